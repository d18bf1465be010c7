//! Compare: the same queries against a baseline, one by one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::evaluation::{Evaluation, Subject};
use super::measure::Measures;

/// Differences below this are rounding, not quality.
pub const TOLERANCE: f64 = 1e-9;

/// One query in both evaluations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delta {
    pub id: String,
    pub baseline: f64,
    pub ndcg: f64,
    /// How much better it is now; negative if it is worse.
    pub delta: f64,
}

/// All queries in both evaluations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Comparison {
    pub subject: Subject,
    /// Means of the baseline at each cutoff.
    pub means: Vec<Measures>,
    /// How much better the mean nDCG is now.
    pub mean_delta: f64,
    /// Standard error of that: a difference below twice of it may be chance. Nothing for a single query.
    pub standard_error: Option<f64>,
    /// Queries that are better now.
    pub wins: usize,
    /// Queries that are worse now.
    pub losses: usize,
    /// Queries that are as good as before.
    pub ties: usize,
    /// Each query, in the order of its file.
    pub deltas: Vec<Delta>,
}

/// Compares nDCG at a cutoff. Both have measured the same queries.
pub fn compare(now: &Evaluation, baseline: &Evaluation, k: usize) -> Comparison {
    let before: std::collections::HashMap<_, _> = baseline
        .queries
        .iter()
        .map(|query| (query.id.as_str(), query.ndcg(k)))
        .collect();
    let delta = |query: &super::evaluation::QueryOutcome| {
        let (ndcg, baseline) = (query.ndcg(k), *before.get(query.id.as_str())?);
        let delta = if (ndcg - baseline).abs() < TOLERANCE {
            0.0
        } else {
            ndcg - baseline
        };
        Some(Delta {
            id: query.id.clone(),
            baseline,
            ndcg,
            delta,
        })
    };
    let deltas: Vec<_> = now.queries.iter().filter_map(delta).collect();
    let count = |is: fn(f64) -> bool| deltas.iter().filter(|one| is(one.delta)).count();
    let mean_delta = mean(deltas.iter().map(|one| one.delta));
    Comparison {
        subject: baseline.subject.clone(),
        means: baseline.means.clone(),
        mean_delta,
        standard_error: standard_error(&deltas, mean_delta),
        wins: count(|delta| delta > 0.0),
        losses: count(|delta| delta < 0.0),
        ties: count(|delta| delta == 0.0),
        deltas,
    }
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len().max(1) as f64;
    values.sum::<f64>() / count
}

fn standard_error(deltas: &[Delta], mean_delta: f64) -> Option<f64> {
    let count = deltas.len();
    let squares = deltas.iter().map(|one| (one.delta - mean_delta).powi(2));
    (count > 1).then(|| (squares.sum::<f64>() / (count - 1) as f64 / count as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::evaluation;

    #[test]
    fn wins_and_losses_are_counted_per_query() {
        let now = evaluation(&[("a", 1.0), ("b", 0.5), ("c", 0.25)]);
        let before = evaluation(&[("c", 0.75), ("b", 0.5), ("a", 0.9)]);
        let found = compare(&now, &before, 10);
        assert_eq!((found.wins, found.losses, found.ties), (1, 1, 1));
        assert!((found.mean_delta - (0.1 - 0.5) / 3.0).abs() < 1e-12);
        assert_eq!(found.deltas[2].delta, -0.5);
        assert!(found.standard_error.is_some_and(|error| error > 0.1));
    }

    #[test]
    fn a_difference_of_rounding_is_none() {
        let now = evaluation(&[("a", 0.1 + 0.2)]);
        let found = compare(&now, &evaluation(&[("a", 0.3)]), 10);
        assert_eq!((found.ties, found.mean_delta), (1, 0.0));
        assert_eq!(found.standard_error, None);
    }
}
