//! Check: compares what is there with what was published. A pure function, so that it can be shown to find what it is
//! there to find.

mod attached;
mod documents;
mod expected;
mod letters;
mod replicas;
mod vectors;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod tests;

use crate::final_state::{FinalState, Jobs};
use crate::history::Record;
use crate::violation::{Kind, Violation};

/// What vectors must be.
pub(crate) struct Rules<'a> {
    /// Fingerprint of the model.
    pub(crate) fingerprint: &'a str,
    /// Length of a vector.
    pub(crate) dimensions: usize,
    /// Whether points have the vector of another model, which gives texts the same vectors.
    pub(crate) attached: bool,
    /// Vector of a text where nothing fails.
    pub(crate) reference: &'a mut dyn FnMut(&str) -> Vec<f32>,
}

/// All broken promises.
pub(crate) fn check(
    records: &[Record],
    found: &FinalState,
    rules: &mut Rules<'_>,
) -> Vec<Violation> {
    let mut violations = letters::check(records, &found.letters);
    violations.extend(documents::check(records, &found.points));
    violations.extend(vectors::check(&found.points, rules));
    if rules.attached {
        violations.extend(attached::check(found, rules));
    }
    violations.extend(replicas::check(&found.points, &found.elsewhere));
    violations.extend(drained(&found.jobs));
    violations
}

fn drained(jobs: &Jobs) -> Vec<Violation> {
    if jobs.left == 0 && jobs.pending == 0 {
        return Vec::new();
    }
    let one = |message| Violation {
        kind: Kind::NotDrained,
        document: None,
        message,
        evidence: format!(
            "{} jobs are still in the stream, consumers wait for {}; some of them: {:?}",
            jobs.left, jobs.pending, jobs.some
        ),
    };
    let messages: Vec<_> = jobs
        .some
        .iter()
        .filter_map(|(_, message)| *message)
        .collect();
    match messages.as_slice() {
        [] => vec![one(None)],
        some => some.iter().map(|message| one(Some(*message))).collect(),
    }
}
