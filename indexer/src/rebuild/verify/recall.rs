//! Recall: how much of what an exact search finds the index finds too.
//!
//! Hits are compared by their scores: of two points with the same text either may come first.

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use points::guard::tombstones;
use points::payload::vector;
use qdrant_client::qdrant::{Filter, QueryPointsBuilder, RetrievedPoint, SearchParamsBuilder};
use runtime::failpoint;

use crate::generation::record::Gate;
use crate::progress::as_double;
use crate::rebuild::Rebuild;

/// Vectors that are searched for.
const QUERIES: usize = 200;
/// Hits that are compared.
const HITS: u64 = 10;
/// Searches at the same time.
const CONCURRENT: usize = 4;
/// Scores of the same point may differ by rounding.
const ROUNDING: f32 = 1e-5;

impl Rebuild {
    pub async fn recall(&self, samples: &[RetrievedPoint]) -> anyhow::Result<Gate> {
        let name = self.manifest.name.as_str();
        let queries: Vec<_> = samples
            .iter()
            .filter_map(|point| vector(point, name))
            .take(QUERIES)
            .collect();
        let searched = queries.len() as u64;
        let recalls: Vec<f64> = stream::iter(queries)
            .map(|query| self.recall_of(query))
            .buffer_unordered(CONCURRENT)
            .try_collect()
            .await?;
        // Nothing to search for: an empty collection has a perfect index.
        let mean = if recalls.is_empty() {
            1.0
        } else {
            recalls.iter().sum::<f64>() / as_double(searched)
        };
        let limit = self.config.limits.min_recall;
        let finding = format!(
            "the index finds {mean:.4} of the {HITS} best hits of {searched} exact searches, {limit} is needed \
             (--min-recall)"
        );
        Ok(Gate::at_least("recall", mean, limit, finding))
    }

    async fn recall_of(&self, query: Vec<f32>) -> anyhow::Result<f64> {
        let exact = self.scores(query.clone(), true).await?;
        let mut found = self.scores(query, false).await?;
        if failpoint::skips("rebuild-index-hits") {
            found.clear();
        }
        Ok(recall(&exact, &found))
    }

    /// Scores of the hits, the best first.
    async fn scores(&self, query: Vec<f32>, exact: bool) -> anyhow::Result<Vec<f32>> {
        let request = QueryPointsBuilder::new(self.record().generation.as_str())
            .query(query)
            .using(self.manifest.name.as_str())
            .limit(HITS)
            .filter(Filter::must_not([tombstones()]))
            .params(SearchParamsBuilder::default().exact(exact));
        let found = self.qdrant.query(request).await;
        let found =
            found.with_context(|| format!("failed to search `{}`", self.record().generation))?;
        Ok(found.result.iter().map(|hit| hit.score).collect())
    }
}

/// Share of the exact hits that were found.
fn recall(exact: &[f32], found: &[f32]) -> f64 {
    let Some(worst) = exact.last() else {
        return 1.0;
    };
    let hits = found.iter().filter(|score| **score >= worst - ROUNDING);
    as_double(hits.count().min(exact.len()) as u64) / as_double(exact.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::recall;

    #[test]
    fn recall_is_the_share_of_exact_hits_that_the_index_has() {
        let exact = [0.9, 0.8, 0.7, 0.6];
        assert!((recall(&exact, &[0.9, 0.8, 0.7, 0.6]) - 1.0).abs() < 1e-9);
        assert!((recall(&exact, &[0.9, 0.7, 0.5, 0.4]) - 0.5).abs() < 1e-9);
        assert!(recall(&exact, &[]).abs() < 1e-9);
        assert!((recall(&[], &[]) - 1.0).abs() < 1e-9);
    }
}
