//! Measure: nDCG, recall and MRR of one ranking. Pure functions over grades.
//!
//! The definitions are those of trec_eval. The gain of a document is its grade (linear, not 2^grade - 1), and the
//! discount of rank i is log2(i + 1). A grade of zero or below means not relevant, and so does no grade at all.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many of the first documents count where nobody asks for another number: the 10 of nDCG@10, by which BEIR compares.
pub const CUTOFF: usize = 10;

/// How good the first `k` documents of a ranking are; each value is 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measures {
    /// How many documents count.
    pub k: usize,
    /// Discounted gain, as a share of that of the best possible ranking.
    pub ndcg: f64,
    /// Share of the relevant documents that were found.
    pub recall: f64,
    /// One over the rank of the first relevant document, 0 if none was found.
    pub mrr: f64,
}

/// Measures a ranking. `ranking` has the grade of each document that was found, best score first; `ideal` the grades
/// of all relevant documents, highest first, at least one.
#[must_use]
pub fn measure(ranking: &[i64], ideal: &[i64], k: usize) -> Measures {
    debug_assert!(!ideal.is_empty(), "nothing is relevant");
    let found = &ranking[..k.min(ranking.len())];
    let relevant = found.iter().filter(|grade| **grade > 0).count();
    let first = found.iter().position(|grade| *grade > 0);
    Measures {
        k,
        ndcg: gain(found) / gain(&ideal[..k.min(ideal.len())]),
        recall: relevant as f64 / ideal.len() as f64,
        mrr: first.map_or(0.0, |index| 1.0 / (index + 1) as f64),
    }
}

/// Discounted cumulative gain.
fn gain(grades: &[i64]) -> f64 {
    let discounted =
        |(index, grade): (usize, &i64)| (*grade).max(0) as f64 / ((index + 2) as f64).log2();
    grades.iter().enumerate().map(discounted).sum()
}

/// Means over queries, each measured at the same cutoffs in the same order. Empty without queries.
#[must_use]
pub fn means<'a>(queries: impl Iterator<Item = &'a [Measures]>) -> Vec<Measures> {
    let (mut sums, mut count) = (Vec::new(), 0.0);
    for measures in queries {
        count += 1.0;
        sums.resize(measures.len(), Measures::default());
        for (sum, one) in sums.iter_mut().zip(measures) {
            sum.k = one.k;
            sum.ndcg += one.ndcg;
            sum.recall += one.recall;
            sum.mrr += one.mrr;
        }
    }
    for sum in &mut sums {
        sum.ndcg /= count;
        sum.recall /= count;
        sum.mrr /= count;
    }
    sums
}

/// The measures at a cutoff.
#[must_use]
pub fn at(measures: &[Measures], k: usize) -> Option<&Measures> {
    measures.iter().find(|one| one.k == k)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::rank::ranked;

    /// A random run with the values that another implementation computed for it.
    #[derive(Deserialize)]
    struct Golden {
        queries: Vec<GoldenQuery>,
    }

    #[derive(Deserialize)]
    struct GoldenQuery {
        id: String,
        grades: HashMap<String, i64>,
        run: HashMap<String, f32>,
        measures: Vec<Measures>,
    }

    fn golden() -> Golden {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../fixtures/golden/measures.json"
        );
        let json = std::fs::read_to_string(path).expect("the golden measures are there");
        serde_json::from_str(&json).expect("the golden measures are in their shape")
    }

    fn ideal(grades: &HashMap<String, i64>) -> Vec<i64> {
        let mut ideal: Vec<_> = grades.values().copied().filter(|g| *g > 0).collect();
        ideal.sort_unstable_by(|a, b| b.cmp(a));
        ideal
    }

    fn is_close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn measures_equal_those_of_another_implementation_on_the_same_run() {
        let golden = golden();
        assert_eq!(golden.queries.len(), 50);
        for query in golden.queries {
            let hits = ranked(query.run.clone());
            let grade = |id: &String| query.grades.get(id).copied().unwrap_or_default();
            let ranking: Vec<_> = hits.iter().map(|hit| grade(&hit.id)).collect();
            for expected in query.measures {
                let found = measure(&ranking, &ideal(&query.grades), expected.k);
                let same = is_close(found.ndcg, expected.ndcg)
                    && is_close(found.recall, expected.recall)
                    && is_close(found.mrr, expected.mrr);
                assert!(same, "{}: {found:?}, expected {expected:?}", query.id);
            }
        }
    }

    #[test]
    fn nothing_found_measures_zero_and_everything_in_order_measures_one() {
        let nothing = measure(&[], &[2, 1], 10);
        assert_eq!((nothing.ndcg, nothing.recall, nothing.mrr), (0.0, 0.0, 0.0));
        let all = measure(&[2, 1], &[2, 1], 10);
        assert_eq!((all.ndcg, all.recall, all.mrr), (1.0, 1.0, 1.0));
    }

    #[test]
    fn means_are_over_queries_and_per_cutoff() {
        let of = |ndcg, k| Measures {
            k,
            ndcg,
            ..Measures::default()
        };
        let queries = [[of(1.0, 1), of(0.5, 5)], [of(0.0, 1), of(0.25, 5)]];
        let means = means(queries.iter().map(<[Measures; 2]>::as_slice));
        assert_eq!(means, [of(0.5, 1), of(0.375, 5)]);
    }
}
