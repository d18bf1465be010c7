//! Vectors: each is what the model gives for its text.

use super::Rules;
use crate::final_state::Point;
use crate::violation::{Kind, Violation};

/// How far from 1 a norm may be.
const NORM_TOLERANCE: f64 = 1e-3;
/// Batches change the last digits of a vector, and no more.
pub(super) const MIN_COSINE: f64 = 0.9999;

pub(super) fn check(points: &[Point], rules: &mut Rules<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for point in points {
        if let Some(problem) = problem(point, rules) {
            violations.push(Violation {
                kind: Kind::BadVector,
                document: Some(point.document.clone()),
                message: None,
                evidence: format!(
                    "chunk {} of version {} {problem}",
                    point.chunk, point.version
                ),
            });
        }
    }
    violations
}

fn problem(point: &Point, rules: &mut Rules<'_>) -> Option<String> {
    if point.fingerprint != rules.fingerprint {
        return Some(format!("has the fingerprint `{}`", point.fingerprint));
    }
    match (point.has_words, point.deleted) {
        (true, true) => return Some("is a tombstone with the vector of words".to_owned()),
        (false, false) => return Some("has no vector of its words".to_owned()),
        (true, false) | (false, true) => {}
    }
    let vector = match (&point.vector, point.deleted) {
        (None, true) => return None,
        (Some(_), true) => return Some("is a tombstone with a vector".to_owned()),
        (None, false) => return Some("has no vector".to_owned()),
        (Some(vector), false) => vector,
    };
    if vector.len() != rules.dimensions {
        return Some(format!("has {} dimensions", vector.len()));
    }
    let norm = dot(vector, vector).sqrt();
    if norm.is_nan() || (norm - 1.0).abs() > NORM_TOLERANCE {
        return Some(format!("has the norm {norm}"));
    }
    let reference = (rules.reference)(&point.text);
    let cosine = dot(vector, &reference) / (norm * dot(&reference, &reference).sqrt());
    let far = cosine.is_nan() || cosine < MIN_COSINE;
    far.then(|| format!("has the cosine {cosine} to its text's vector"))
}

pub(super) fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}
