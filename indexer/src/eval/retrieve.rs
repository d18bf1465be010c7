//! Retrieve: the best documents for vectors of queries.
//!
//! Qdrant finds chunks; the best chunk of a document stands for it. Documents with many chunks take the places of
//! others, so that a search goes on, without the documents that it has, until it has enough. Every round finds a new
//! document or is the last.

use std::collections::HashMap;

use anyhow::Context as _;
use contract::field;
use points::Qdrant;
use points::guard::tombstones;
use points::limits::Limits;
use points::store::Store as _;
use qdrant_client::qdrant::{
    Condition, Filter, PayloadIncludeSelector, QueryBatchPointsBuilder, QueryPoints,
    QueryPointsBuilder, ScoredPoint, SearchParams, Value,
};

use super::rank::{Hit, ranked};
use super::target::Target;

/// Chunks that are asked for at first, for each document that is wanted.
const CHUNKS_PER_DOCUMENT: usize = 4;
/// Most chunks that one request asks for, all its queries together.
const MOST_CHUNKS: usize = 16_384;
/// Conditions of a query: no tombstone, and none of the documents that it has.
const CONDITIONS: usize = 2;
/// Rounds after which documents that all have the same score are enough.
const MOST_ROUNDS: usize = 1000;

#[derive(Clone, Copy)]
pub struct Retriever<'a> {
    pub qdrant: &'a Qdrant,
    /// Documents that are wanted for each query.
    pub depth: usize,
}

struct Search<'a> {
    vector: &'a [f32],
    found: HashMap<String, f32>,
    done: bool,
}

impl Retriever<'_> {
    /// The best documents of each vector, best first.
    pub async fn retrieve(
        self,
        target: &Target,
        vectors: &[Vec<f32>],
    ) -> anyhow::Result<Vec<Vec<Hit>>> {
        let search = |vector| Search {
            vector,
            found: HashMap::new(),
            done: false,
        };
        let collection = target.subject.collection.as_str();
        let limits = self.qdrant.limits(collection).await;
        let limits = limits.with_context(|| format!("failed to look up `{collection}`"))?;
        anyhow::ensure!(
            limits.exact || !target.subject.exact,
            "`{collection}` allows no exact search (search_allow_exact of its strict mode); leave out --exact, or allow it"
        );
        let together = limits.searches(MOST_CHUNKS / self.limit(limits), CONDITIONS);
        let mut searches: Vec<_> = vectors.iter().map(|vector| search(vector)).collect();
        for _ in 0..MOST_ROUNDS {
            let open = searches.iter_mut().filter(|search| !search.done);
            let mut open: Vec<_> = open.collect();
            if open.is_empty() {
                break;
            }
            for part in open.chunks_mut(together) {
                self.round(target, part, limits).await?;
            }
        }
        let best = |search: Search| {
            let mut hits = ranked(search.found);
            hits.truncate(self.depth);
            hits
        };
        Ok(searches.into_iter().map(best).collect())
    }

    /// Asks for the next chunks of several queries with one request.
    async fn round(
        self,
        target: &Target,
        searches: &mut [&mut Search<'_>],
        limits: Limits,
    ) -> anyhow::Result<()> {
        let collection = target.subject.collection.as_str();
        let queries = searches
            .iter()
            .map(|search| self.query(target, search, limits));
        let request = QueryBatchPointsBuilder::new(collection, queries.collect::<Vec<_>>());
        let found = self.qdrant.query_batch(request).await;
        let found = found
            .with_context(|| format!("failed to search `{collection}`"))?
            .result;
        anyhow::ensure!(
            found.len() == searches.len(),
            "qdrant answered {} of {} queries",
            found.len(),
            searches.len()
        );
        for (search, found) in searches.iter_mut().zip(found) {
            search.take(&found.result, self.limit(limits), self.depth);
        }
        Ok(())
    }

    fn query(self, target: &Target, search: &Search<'_>, limits: Limits) -> QueryPoints {
        let mut unwanted = vec![tombstones()];
        let ids: Vec<_> = search.found.keys().cloned().collect();
        for ids in ids.chunks(limits.values(ids.len())) {
            unwanted.push(Condition::matches(field::DOC_ID, ids.to_vec()));
        }
        QueryPointsBuilder::new(target.subject.collection.as_str())
            .query(search.vector.to_vec())
            .using(target.manifest.name.as_str())
            .limit(self.limit(limits) as u64)
            .filter(Filter::must_not(unwanted))
            .params(SearchParams {
                exact: Some(target.subject.exact),
                quantization: target.quantization,
                ..SearchParams::default()
            })
            .with_payload(PayloadIncludeSelector::from(vec![field::DOC_ID.to_owned()]))
            .into()
    }

    fn limit(self, limits: Limits) -> usize {
        limits.page(self.depth * CHUNKS_PER_DOCUMENT)
    }
}

impl Search<'_> {
    /// Takes the chunks of a round, best first. More are needed while documents are missing, or while the next one
    /// may have the score of the last that is wanted: which of them comes first must not be chance.
    fn take(&mut self, chunks: &[ScoredPoint], limit: usize, depth: usize) {
        let before = self.found.len();
        for chunk in chunks {
            let Some(id) = chunk.payload.get(field::DOC_ID).and_then(Value::as_str) else {
                continue;
            };
            let best = self.found.entry(id.clone()).or_insert(chunk.score);
            *best = best.max(chunk.score);
        }
        let is_last = chunks.len() < limit || self.found.len() == before;
        let lowest = chunks.last().map_or(f32::MIN, |chunk| chunk.score);
        self.done = is_last || self.score_at(depth).is_some_and(|score| score > lowest);
    }

    /// Score of the document at a rank counted from 1, if there is one.
    fn score_at(&self, rank: usize) -> Option<f32> {
        let mut scores: Vec<_> = self.found.values().copied().collect();
        scores.sort_unstable_by(|a, b| b.total_cmp(a));
        scores.get(rank - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(doc_id: &str, score: f32) -> ScoredPoint {
        let payload = [(field::DOC_ID.to_owned(), Value::from(doc_id))];
        ScoredPoint {
            payload: payload.into(),
            score,
            ..ScoredPoint::default()
        }
    }

    fn search() -> Search<'static> {
        Search {
            vector: &[],
            found: HashMap::new(),
            done: false,
        }
    }

    #[test]
    fn a_document_has_the_score_of_its_best_chunk() {
        let mut search = search();
        search.take(&[chunk("a", 0.9), chunk("b", 0.8), chunk("a", 0.7)], 8, 2);
        assert_eq!(search.found["a"], 0.9);
        assert!(search.done, "there were fewer chunks than asked for");
    }

    #[test]
    fn a_search_goes_on_while_one_document_takes_all_places() {
        let mut search = search();
        search.take(&[chunk("a", 0.9), chunk("a", 0.8), chunk("a", 0.7)], 3, 2);
        assert!(!search.done);
        search.take(&[chunk("b", 0.6), chunk("b", 0.5), chunk("c", 0.4)], 3, 2);
        assert!(search.done);
    }

    #[test]
    fn a_search_goes_on_while_the_next_document_may_be_as_good_as_the_last_wanted() {
        let mut search = search();
        search.take(&[chunk("a", 0.9), chunk("b", 0.8), chunk("c", 0.8)], 3, 2);
        assert!(!search.done);
        search.take(&[chunk("d", 0.8), chunk("e", 0.8), chunk("f", 0.7)], 3, 2);
        assert!(search.done);
    }

    #[test]
    fn a_round_without_new_documents_is_the_last() {
        let mut search = search();
        search.take(&[ScoredPoint::default(), ScoredPoint::default()], 2, 2);
        assert!(search.done);
    }
}
