//! Sample: points from places that the ids' digest scatters evenly. Each is looked at by itself; then an exact search for
//! its vector tells how much of what there is the index finds too.
//!
//! Hits are compared by their scores: of two points with the same text either may come first.

use std::collections::HashMap;

use anyhow::Context as _;
use contract::field;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use points::guard::tombstones;
use points::options::Settings;
use points::payload::{id, text, vector};
use points::point_id;
use qdrant_client::qdrant::{
    Filter, PointId, QuantizationSearchParams, QueryPointsBuilder, RetrievedPoint, SearchParams,
};
use runtime::failpoint;

use crate::generation::known_vectors::unsound;
use crate::generation::record::Gate;
use crate::progress::as_double;
use crate::rebuild::Rebuild;

/// Neighbouring points of one place.
const POINTS_PER_PLACE: usize = 10;

impl Rebuild<'_> {
    /// Points with their vectors, each once; fewer than asked for only where there are not more.
    pub async fn samples(&self) -> anyhow::Result<Vec<RetrievedPoint>> {
        let wanted = self.config.limits.samples;
        // One more tells whether these were all.
        let first = self.points_from(None, wanted + 1).await?;
        if first.len() <= wanted {
            return Ok(first);
        }
        let mut samples = HashMap::new();
        // Places may overlap; twice as many as needed bound the work.
        for place in 0..wanted.div_ceil(POINTS_PER_PLACE) * 2 {
            if samples.len() >= wanted {
                break;
            }
            let start = point_id(&format!("{} {place}", self.record().run), 0);
            let start = PointId::from(start.to_string());
            let points = self.points_from(Some(start), POINTS_PER_PLACE).await?;
            samples.extend(points.into_iter().map(|point| (id(&point), point)));
        }
        Ok(samples.into_values().take(wanted).collect())
    }

    async fn points_from(
        &self,
        start: Option<PointId>,
        limit: usize,
    ) -> anyhow::Result<Vec<RetrievedPoint>> {
        let fields = [field::DOC_ID, field::FINGERPRINT];
        let sample = Filter::must_not([tombstones()]);
        let pages = self.target().pages(sample, &fields, u32::try_from(limit)?);
        let name = self.manifest.name.as_str();
        let selection = self.target().select([name]).await?;
        let mut pages = pages.starting_at(start).with_vectors(selection);
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(page) = pages.next().await?
        {
            found.extend(page);
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Dimensions, numbers, lengths and fingerprints.
    pub fn sound(&self, samples: &[RetrievedPoint]) -> Gate {
        let faults: Vec<_> = samples
            .iter()
            .filter_map(|point| Some((id(point), self.fault(point)?)))
            .collect();
        let bad = faults.len() as u64;
        let example = faults.first().map_or(String::new(), |(id, fault)| {
            format!("; point `{id}` has {fault}")
        });
        let sampled = samples.len();
        let finding = format!("{bad} of {sampled} sampled points are wrong{example}");
        Gate::at_most("vectors", as_double(bad), 0.0, finding)
    }

    fn fault(&self, point: &RetrievedPoint) -> Option<String> {
        let fingerprint = text(point, field::FINGERPRINT).unwrap_or_default();
        if fingerprint != self.manifest.fingerprint.as_str() {
            return Some(format!("fingerprint `{fingerprint}`"));
        }
        match vector(point, self.manifest.name.as_str()) {
            Some(vector) => unsound(&vector, self.manifest),
            None => Some("no vector".to_owned()),
        }
    }
}

/// Vectors that are searched for.
const QUERIES: usize = 200;
/// Hits that are compared.
const HITS: usize = 10;
/// Searches at the same time.
const CONCURRENT: usize = 4;
/// Scores of the same point may differ by rounding.
const ROUNDING: f32 = 1e-5;

impl Rebuild<'_> {
    pub async fn recall(&self, samples: &[RetrievedPoint]) -> anyhow::Result<Gate> {
        let name = self.manifest.name.as_str();
        let queries: Vec<_> = samples
            .iter()
            .filter_map(|point| vector(point, name))
            .take(QUERIES)
            .collect();
        let limits = self.target().limits().await?;
        anyhow::ensure!(
            limits.exact,
            "`{}` allows no exact search, by which its index is judged; set search_allow_exact of its strict mode to true",
            self.record().generation
        );
        let hits = limits.page(HITS);
        let searched = queries.len() as u64;
        let info = self.info().await?;
        let quantization = Settings::of(&info).0.exact_scores();
        let recalls: Vec<f64> = stream::iter(queries)
            .map(|query| self.recall_of(query, hits, quantization))
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
            "the index finds {mean:.4} of the {hits} best hits of {searched} exact searches, {limit} is needed \
             (--min-recall)"
        );
        Ok(Gate::at_least("recall", mean, limit, finding))
    }

    async fn recall_of(
        &self,
        query: Vec<f32>,
        hits: usize,
        quantization: QuantizationSearchParams,
    ) -> anyhow::Result<f64> {
        let exact = self.scores(query.clone(), hits, None).await?;
        let mut found = self.scores(query, hits, Some(quantization)).await?;
        if failpoint::skips("rebuild-index-hits") {
            found.clear();
        }
        Ok(recall(&exact, &found))
    }

    /// Scores of the hits, the best first: those that a search finds by the way in which it looks at quantized copies, or
    /// exactly the best.
    async fn scores(
        &self,
        query: Vec<f32>,
        hits: usize,
        quantization: Option<QuantizationSearchParams>,
    ) -> anyhow::Result<Vec<f32>> {
        let request = QueryPointsBuilder::new(self.record().generation.as_str())
            .query(query)
            .using(self.manifest.name.as_str())
            .limit(hits as u64)
            .filter(Filter::must_not([tombstones()]))
            .params(SearchParams {
                exact: Some(quantization.is_none()),
                quantization,
                ..SearchParams::default()
            });
        let found = self.context.qdrant.query(request).await;
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
