//! Gate: whether the measures are good enough.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compare::{Comparison, TOLERANCE};
use super::evaluation::Evaluation;

#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Cutoff of both.
    pub k: usize,
    pub min_ndcg: Option<f64>,
    /// How much lower than the baseline's the mean nDCG may be.
    pub max_regression: Option<f64>,
}

/// A limit and what was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gate {
    /// The option that asks for it.
    pub name: String,
    pub k: usize,
    pub limit: f64,
    pub value: f64,
    pub passed: bool,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            name,
            k,
            limit,
            value,
            passed,
        } = self;
        let verdict = if *passed { "passed" } else { "failed" };
        let what = if name == MIN_NDCG { "is" } else { "fell by" };
        write!(
            f,
            "{verdict}: {name} {limit}, mean nDCG@{k} {what} {value:.4}"
        )
    }
}

const MIN_NDCG: &str = "--min-ndcg";
const MAX_REGRESSION: &str = "--max-regression";

/// Holds the measures against the limits that were asked for. What was not measured does not pass.
pub fn gates(limits: Limits, now: &Evaluation, baseline: Option<&Comparison>) -> Vec<Gate> {
    let k = limits.k;
    let min = limits.min_ndcg.map(|limit| {
        let value = now.ndcg(k).unwrap_or_default();
        Gate {
            name: MIN_NDCG.to_owned(),
            k,
            limit,
            value,
            passed: value >= limit - TOLERANCE,
        }
    });
    let regression = limits.max_regression.map(|limit| {
        let value = baseline.map_or(f64::INFINITY, |found| -found.mean_delta) + 0.0;
        Gate {
            name: MAX_REGRESSION.to_owned(),
            k,
            limit,
            value,
            passed: value <= limit + TOLERANCE,
        }
    });
    min.into_iter().chain(regression).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::compare::compare;
    use crate::eval::tests::evaluation;

    fn passed(limits: Limits, now: f64, before: f64) -> Vec<bool> {
        let (now, before) = (evaluation(&[("a", now)]), evaluation(&[("a", before)]));
        let comparison = compare(&now, &before, 10);
        let gates = gates(limits, &now, Some(&comparison));
        gates.iter().map(|gate| gate.passed).collect()
    }

    #[test]
    fn a_gate_passes_at_its_limit_and_fails_beyond_it() {
        let limits = Limits {
            k: 10,
            min_ndcg: Some(0.6),
            max_regression: Some(0.1),
        };
        assert_eq!(passed(limits, 0.6, 0.7), [true, true]);
        assert_eq!(passed(limits, 0.599, 0.7), [false, false]);
        assert_eq!(passed(limits, 0.5, 0.1), [false, true]);
        assert_eq!(passed(Limits::default(), 0.0, 1.0), [false; 0]);
    }

    #[test]
    fn a_regression_without_a_baseline_does_not_pass() {
        let limits = Limits {
            k: 10,
            min_ndcg: None,
            max_regression: Some(0.5),
        };
        let gates = gates(limits, &evaluation(&[("a", 1.0)]), None);
        assert!(!gates[0].passed);
    }
}
