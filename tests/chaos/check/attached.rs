//! Attached vectors: every point has that of its own text, or the job that was to make it is a dead letter.

use super::Rules;
use super::vectors::{MIN_COSINE, dot};
use crate::final_state::{FinalState, Point};
use crate::violation::{Kind, Violation};

pub(super) fn check(found: &FinalState, rules: &mut Rules<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    for point in &found.points {
        if let Some((kind, problem)) = problem(point, found, rules) {
            let (chunk, version) = (point.chunk, point.version);
            violations.push(Violation {
                kind,
                document: Some(point.document.clone()),
                message: None,
                evidence: format!("chunk {chunk} of version {version} {problem}"),
            });
        }
    }
    violations
}

fn problem(point: &Point, found: &FinalState, rules: &mut Rules<'_>) -> Option<(Kind, String)> {
    let attached = match (&point.attached, point.deleted) {
        (None, true) => return None,
        (Some(_), true) => {
            let problem = "is a tombstone with an attached vector".to_owned();
            return Some((Kind::BadVector, problem));
        }
        (None, false) => {
            let given_up = (point.id.clone(), point.version);
            let is_given_up = found.unattached.contains(&given_up);
            let problem = "has no attached vector, and no dead letter says why".to_owned();
            return (!is_given_up).then_some((Kind::Lost, problem));
        }
        (Some(attached), false) => attached,
    };
    let reference = (rules.reference)(&point.text);
    let norms = dot(attached, attached).sqrt() * dot(&reference, &reference).sqrt();
    let cosine = dot(attached, &reference) / norms;
    let far = attached.len() != reference.len() || cosine.is_nan() || cosine < MIN_COSINE;
    far.then(|| {
        let problem = format!("has the attached vector of another text: cosine {cosine}");
        (Kind::BadVector, problem)
    })
}
