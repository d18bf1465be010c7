//! What a point holds.

use qdrant_client::qdrant::{RetrievedPoint, Value, vector_output, vectors_output};

/// A text of a payload, empty if it is not there.
#[must_use]
pub fn text(point: &RetrievedPoint, field: &str) -> String {
    point
        .payload
        .get(field)
        .and_then(Value::as_str)
        .cloned()
        .unwrap_or_default()
}

/// An integer of a payload, -1 if it is not there.
#[must_use]
pub fn integer(point: &RetrievedPoint, field: &str) -> i64 {
    point
        .payload
        .get(field)
        .and_then(Value::as_integer)
        .unwrap_or(-1)
}

/// A truth value of a payload, false if it is not there.
#[must_use]
pub fn flag(point: &RetrievedPoint, field: &str) -> bool {
    point
        .payload
        .get(field)
        .and_then(Value::as_bool)
        .unwrap_or(false)
}

/// The only dense vector of a point, if it has one.
#[must_use]
pub fn vector(point: &RetrievedPoint) -> Option<Vec<f32>> {
    all_vectors(point).into_iter().find_map(|one| match one {
        vector_output::Vector::Dense(dense) => Some(dense.data),
        vector_output::Vector::Sparse(_) | vector_output::Vector::MultiDense(_) => None,
    })
}

/// The indices of the only sparse vector of a point, if it has one.
#[must_use]
pub fn terms(point: &RetrievedPoint) -> Option<Vec<u32>> {
    all_vectors(point).into_iter().find_map(|one| match one {
        vector_output::Vector::Sparse(sparse) => Some(sparse.indices),
        vector_output::Vector::Dense(_) | vector_output::Vector::MultiDense(_) => None,
    })
}

fn all_vectors(point: &RetrievedPoint) -> Vec<vector_output::Vector> {
    let vectors = point.vectors.as_ref();
    let vectors = vectors.and_then(|vectors| vectors.vectors_options.as_ref());
    let all: Vec<_> = match vectors {
        Some(vectors_output::VectorsOptions::Vector(vector)) => vec![vector.clone()],
        Some(vectors_output::VectorsOptions::Vectors(named)) => {
            named.vectors.values().cloned().collect()
        }
        None => Vec::new(),
    };
    all.into_iter().map(|one| one.into_vector()).collect()
}

/// Cosine of the angle between two vectors.
#[must_use]
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len(), "vectors of different lengths");
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}
