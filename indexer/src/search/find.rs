//! Find: asks Qdrant, once, for the hits of a query and, beside them, for those of each part.
//!
//! **Documents.** The best chunk of a document stands for it. Qdrant's own groups are not used: it fills them by asking
//! again without what it has found, and a fusion by ranks then counts from 1 anew, so that what a later round finds would
//! come before what the first one has found. Here everything is asked for again with a larger limit, if documents are
//! missing.
//!
//! **Ties.** A server gives hits of the same score in any order, and a fusion by ranks has many. They are ordered by their
//! ids here, and more are asked for until all that tie with the last one that is wanted are there: which of them a server
//! gives depends on how many it is asked for. Beyond a multiple of the most hits, ties are left to chance.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Context as _;
use contract::bm25::Bm25Options;
use contract::embedding::Embedding;
use points::Qdrant;
use points::guard::tombstones;
use points::limits::Limits;
use points::payload::id_text;
use qdrant_client::qdrant::{
    Condition, Filter, QuantizationSearchParams, QueryBatchPointsBuilder, QueryPoints, ScoredPoint,
};

use super::{Hit, MOST_HITS, PartRank, SearchConfig};
use crate::retrieval::explain::explain;
use crate::retrieval::request::{CHUNKS_PER_DOCUMENT, PREFETCH, Question, SearchRequest};
use crate::retrieval::{Mode, Search};

/// Conditions of a query: no tombstone, and some of a filter that was given. In a fusion each part has them.
const CONDITIONS: usize = 9;

pub struct Finder<'a> {
    pub config: &'a SearchConfig,
    pub qdrant: &'a Qdrant,
    pub search: Search,
    /// Limits of one request.
    pub limits: Limits,
    /// How quantized copies are searched in.
    pub quantization: Option<QuantizationSearchParams>,
    /// Name of the model's vector, and that of the query.
    pub dense: Option<(&'a str, &'a Embedding)>,
    /// Name and value of the multivector that orders the hits.
    pub order: Option<(&'a str, &'a Embedding)>,
    pub bm25: Option<&'a Bm25Options>,
}

impl Finder<'_> {
    /// The hits after the first `offset`, with what was asked.
    pub async fn find(
        &self,
        limit: u64,
        offset: u64,
    ) -> anyhow::Result<(Vec<Hit>, serde_json::Value)> {
        let wanted = limit + offset;
        let mut chunks = match self.config.group_by_document {
            true => wanted * CHUNKS_PER_DOCUMENT as u64,
            false => wanted,
        };
        loop {
            let asked = self.most(chunks + 1);
            let (hits, request, is_all) = self.ask(asked).await?;
            let (given, lowest) = (hits.len(), hits.last().map_or(f32::MIN, |hit| hit.score));
            let hits = match self.config.group_by_document {
                true => best_of_documents(hits),
                false => hits,
            };
            let last = usize::try_from(wanted)?.checked_sub(1);
            let last = last.and_then(|last| hits.get(last));
            let is_enough = last.is_some_and(|last| last.score > lowest);
            let is_stopped = asked <= chunks || chunks >= MOST_HITS * CHUNKS_PER_DOCUMENT as u64;
            if is_all || is_enough || is_stopped {
                anyhow::ensure!(
                    is_all || last.is_some(),
                    "the first {given} hits of `{}`, which is the most that it gives, are of {} documents, and {wanted} \
                     are asked for; ask for fewer, or leave out --group-by-document",
                    self.config.collection,
                    hits.len()
                );
                let skip = usize::try_from(offset)?;
                let hits = hits.into_iter().skip(skip).take(usize::try_from(limit)?);
                return Ok((hits.collect(), request));
            }
            chunks *= CHUNKS_PER_DOCUMENT as u64;
        }
    }

    /// As many hits as are wanted, or as a request may ask for.
    fn most(&self, wanted: u64) -> u64 {
        let most = usize::try_from(wanted).map(|wanted| self.limits.page(wanted) as u64);
        most.unwrap_or(wanted)
    }

    /// The first hits, what was asked, and whether there are no more.
    async fn ask(&self, limit: u64) -> anyhow::Result<(Vec<Hit>, serde_json::Value, bool)> {
        let asking = self.asking(limit);
        let question = Question {
            dense: self.dense,
            words: self
                .bm25
                .map(|options| (self.config.query.as_str(), options)),
            order: self.order,
        };
        let mut request = asking.request(&question, limit, 0);
        request.score_threshold = self.config.min_score;
        let explained = explain(&request);
        let has_parts = self.search.mode == Mode::Hybrid || self.order.is_some();
        let parts = match has_parts {
            true => asking.parts(&question),
            false => Vec::new(),
        };
        let (names, queries): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let mut results = self.batch(request, queries).await?.into_iter();
        let hits = results.next().unwrap_or_default();
        let is_all = (hits.len() as u64) < limit;
        let places = names.into_iter().zip(results.map(places)).collect();
        Ok((placed(hits, &places), explained, is_all))
    }

    fn asking(&self, limit: u64) -> SearchRequest<'_> {
        let own = self.config.filter.as_ref();
        let own = own.map(|own| Condition::from(own.filter.clone()));
        SearchRequest {
            collection: self.config.collection.as_str(),
            search: self.search,
            filter: Filter {
                must: own.into_iter().collect(),
                must_not: vec![tombstones()],
                ..Filter::default()
            },
            exact: false,
            quantization: self.quantization,
            candidates: self.most(self.config.prefetch.unwrap_or(limit.max(PREFETCH as u64))),
            payload: true.into(),
        }
    }

    async fn batch(
        &self,
        request: QueryPoints,
        parts: Vec<QueryPoints>,
    ) -> anyhow::Result<Vec<Vec<ScoredPoint>>> {
        let collection = self.config.collection.as_str();
        let queries: Vec<_> = std::iter::once(request).chain(parts).collect();
        let together = self.limits.searches(queries.len(), CONDITIONS);
        let mut results = Vec::with_capacity(queries.len());
        for queries in queries.chunks(together) {
            let request = QueryBatchPointsBuilder::new(collection, queries);
            let found = self.qdrant.query_batch(request).await;
            let found = found.with_context(|| format!("failed to search `{collection}`"))?;
            anyhow::ensure!(
                found.result.len() == queries.len(),
                "qdrant answered {} of {} queries",
                found.result.len(),
                queries.len()
            );
            results.extend(found.result.into_iter().map(|it| it.result));
        }
        Ok(results)
    }
}

/// The rank of each point in a part.
fn places(hits: Vec<ScoredPoint>) -> HashMap<String, PartRank> {
    let places = (1..).zip(hits).map(|(rank, hit)| {
        let id = hit.id.as_ref().map(id_text).unwrap_or_default();
        let score = hit.score;
        (id, PartRank { rank, score })
    });
    places.collect()
}

/// The hits in an order that does not depend on chance, with their places.
fn placed(
    hits: Vec<ScoredPoint>,
    parts: &BTreeMap<&'static str, HashMap<String, PartRank>>,
) -> Vec<Hit> {
    let mut hits: Vec<_> = hits
        .into_iter()
        .map(|hit| (hit.id.as_ref().map(id_text).unwrap_or_default(), hit))
        .collect();
    hits.sort_by(|(a, x), (b, y)| y.score.total_cmp(&x.score).then_with(|| a.cmp(b)));
    let hit = |(id, point): (String, ScoredPoint)| {
        let places = parts.iter();
        let places = places.filter_map(|(name, places)| Some((*name, *places.get(&id)?)));
        Hit {
            parts: places.collect(),
            ..Hit::from(point)
        }
    };
    hits.into_iter().map(hit).collect()
}

fn best_of_documents(mut hits: Vec<Hit>) -> Vec<Hit> {
    let mut seen = HashSet::new();
    hits.retain(|hit| seen.insert(hit.doc_id.clone()));
    hits
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::PointId;

    use super::*;

    fn point(id: u64, score: f32) -> ScoredPoint {
        ScoredPoint {
            id: Some(PointId::from(id)),
            score,
            ..ScoredPoint::default()
        }
    }

    #[test]
    fn hits_of_the_same_score_have_an_order() {
        let order = |hits: Vec<ScoredPoint>| {
            let parts = BTreeMap::from([("dense", places(vec![point(2, 0.9), point(1, 0.8)]))]);
            let hits = placed(hits, &parts);
            hits.iter()
                .map(|hit| hit.parts.get("dense").map(|place| place.rank))
                .collect::<Vec<_>>()
        };
        let one = order(vec![point(3, 0.6), point(1, 0.5), point(2, 0.5)]);
        let other = order(vec![point(3, 0.6), point(2, 0.5), point(1, 0.5)]);
        assert_eq!(one, [None, Some(2), Some(1)]);
        assert_eq!(one, other);
    }
}
