//! Scores: how similar relevant and other documents are to their queries, as counts in steps of a hundredth.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Steps from -1 to 1. Scores are cosines, so that nothing lies outside.
pub const STEPS: usize = 200;

/// Distribution of the scores of all documents that were found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Scores {
    /// Relevant documents by step, from -1 up.
    pub relevant: Vec<u64>,
    pub other: Vec<u64>,
}

impl Default for Scores {
    fn default() -> Self {
        Self {
            relevant: vec![0; STEPS],
            other: vec![0; STEPS],
        }
    }
}

impl Scores {
    pub fn add(&mut self, score: f32, relevant: bool) {
        let counts = if relevant {
            &mut self.relevant
        } else {
            &mut self.other
        };
        if let Some(count) = counts.get_mut(step(score)) {
            *count += 1;
        }
    }

    /// The steps from the first to the last that has a count; none if nothing was found.
    pub fn occupied(&self) -> std::ops::Range<usize> {
        let has = |step: &usize| {
            let count = |counts: &[u64]| counts.get(*step).copied().unwrap_or_default();
            count(&self.relevant) + count(&self.other) > 0
        };
        let first = (0..STEPS).find(has);
        let last = (0..STEPS).rev().find(has);
        first
            .zip(last)
            .map_or(0..0, |(first, last)| first..last + 1)
    }
}

pub fn start(step: usize) -> f64 {
    step as f64 / STEPS as f64 * 2.0 - 1.0
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the steps before"
)]
fn step(score: f32) -> usize {
    let last = (STEPS - 1) as f32;
    ((score + 1.0) / 2.0 * STEPS as f32)
        .floor()
        .clamp(0.0, last) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_counted_in_their_step_and_never_lost() {
        let mut scores = Scores::default();
        for score in [-1.5, -1.0, 0.005, 0.999, 1.0, 1.000_001] {
            scores.add(score, true);
        }
        assert_eq!(scores.relevant[0], 2);
        assert_eq!(scores.relevant[100], 1);
        assert_eq!(scores.relevant[199], 3);
        assert_eq!(scores.occupied(), 0..200);
        assert_eq!(Scores::default().occupied(), 0..0);
    }
}
