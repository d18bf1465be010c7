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

/// The only vector of a point, if it has one.
#[must_use]
pub fn vector(point: &RetrievedPoint) -> Option<Vec<f32>> {
    let vectors = point.vectors.as_ref()?.vectors_options.as_ref()?;
    let one = match vectors {
        vectors_output::VectorsOptions::Vector(vector) => vector.clone(),
        vectors_output::VectorsOptions::Vectors(named) => named.vectors.values().next()?.clone(),
    };
    match one.into_vector() {
        vector_output::Vector::Dense(dense) => Some(dense.data),
        vector_output::Vector::Sparse(_) | vector_output::Vector::MultiDense(_) => None,
    }
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
