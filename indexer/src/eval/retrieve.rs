//! Retrieve: the best documents for queries.
//!
//! Qdrant finds chunks; the best chunk of a document stands for it. Documents with many chunks take the places of
//! others, so that a search goes on, without the documents that it has, until it has enough. Every round finds a new
//! document or is the last. A fusion is asked for again as a whole, with a larger limit: without what was found, its ranks
//! would count from 1 again.

use std::collections::HashMap;

use anyhow::Context as _;
use contract::embedding::Embedding;
use contract::field;
use points::Qdrant;
use points::guard::tombstones;
use points::limits::Limits;
use points::payload::include;
use points::store::Store as _;
use qdrant_client::qdrant::{
    Condition, Filter, QueryBatchPointsBuilder, QueryPoints, ScoredPoint, Value,
};

use super::rank::{Hit, ranked};
use super::read::Topic;
use super::target::Target;
use crate::retrieval::Mode;
use crate::retrieval::request::{CHUNKS_PER_DOCUMENT, PREFETCH, Question, SearchRequest};

/// Most chunks that one request asks for, all its queries together.
const MOST_CHUNKS: usize = 16_384;
/// Conditions of a query: no tombstone, and none of the documents that it has. Of a fusion it is the first alone, in each of
/// two parts, which are searches by themselves.
const CONDITIONS: usize = 3;
/// Rounds after which documents that all have the same score are enough.
const MOST_ROUNDS: usize = 1000;

#[derive(Clone, Copy)]
pub struct Retriever<'a> {
    pub qdrant: &'a Qdrant,
    /// Documents that are wanted for each query.
    pub depth: usize,
}

struct Search<'a> {
    text: &'a str,
    vector: Option<&'a Embedding>,
    found: HashMap<String, f32>,
    /// Chunks that are asked for.
    limit: usize,
    done: bool,
}

impl Retriever<'_> {
    /// The best documents of each query, best first. `vectors` are those of the queries, where the mode needs them.
    pub async fn retrieve(
        self,
        target: &Target,
        topics: &[Topic],
        vectors: &[Embedding],
    ) -> anyhow::Result<Vec<Vec<Hit>>> {
        let limits = self.limits(target).await?;
        let mut searches = Vec::with_capacity(topics.len());
        for (index, topic) in topics.iter().enumerate() {
            searches.push(Search {
                text: topic.text.as_str(),
                vector: vectors.get(index),
                found: HashMap::new(),
                limit: limits.page(self.depth * CHUNKS_PER_DOCUMENT),
                done: false,
            });
        }
        for _ in 0..MOST_ROUNDS {
            let open = searches.iter_mut().filter(|search| !search.done);
            let mut open: Vec<_> = open.collect();
            let Some(limit) = open.iter().map(|search| search.limit).max() else {
                break;
            };
            let together = limits.searches((MOST_CHUNKS / limit).max(1), CONDITIONS);
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

    /// Limits of one request. A fusion finds its documents with one request, however many rounds there are.
    async fn limits(self, target: &Target) -> anyhow::Result<Limits> {
        let subject = &target.subject;
        let collection = subject.collection.as_str();
        let limits = self.qdrant.limits(collection).await;
        let limits = limits.with_context(|| format!("failed to look up `{collection}`"))?;
        anyhow::ensure!(
            limits.exact || !subject.exact,
            "`{collection}` allows no exact search (search_allow_exact of its strict mode); leave out --exact, or allow it"
        );
        let most = limits.page(self.depth);
        anyhow::ensure!(
            most == self.depth || subject.search.mode != Mode::Hybrid,
            "`{collection}` gives at most {most} hits (max_query_limit of its strict mode), and a hybrid search for the \
             largest cutoff needs {}; lower --cutoffs, or give --modes dense",
            self.depth
        );
        Ok(limits)
    }

    /// Asks for the next chunks of several queries with one request.
    async fn round(
        self,
        target: &Target,
        searches: &mut [&mut Search<'_>],
        limits: Limits,
    ) -> anyhow::Result<()> {
        let collection = target.subject.collection.as_str();
        let queries = searches.iter().map(|search| query(target, search, limits));
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
        let fused = target.subject.search.mode == Mode::Hybrid;
        for (search, found) in searches.iter_mut().zip(found) {
            if fused {
                search.take_anew(&found.result, self.depth, limits);
                let is_cut = found.result.len() >= limits.page(MOST_CHUNKS);
                anyhow::ensure!(
                    !is_cut || search.found.len() >= self.depth,
                    "the first {} hits of `{collection}`, which is the most that it gives, are of {} documents, and the \
                     largest cutoff needs {}; lower --cutoffs, or give --modes dense",
                    found.result.len(),
                    search.found.len(),
                    self.depth
                );
            } else {
                search.take(&found.result, search.limit, self.depth);
            }
        }
        Ok(())
    }
}

fn query(target: &Target, search: &Search<'_>, limits: Limits) -> QueryPoints {
    let subject = &target.subject;
    let mut unwanted = vec![tombstones()];
    // Ranks of a fusion would count from 1 again without what was found.
    if subject.search.mode != Mode::Hybrid {
        let ids: Vec<_> = search.found.keys().cloned().collect();
        for ids in ids.chunks(limits.values(ids.len())) {
            unwanted.push(Condition::matches(field::DOC_ID, ids.to_vec()));
        }
    }
    let limit = search.limit as u64;
    let asking = SearchRequest {
        collection: subject.collection.as_str(),
        search: subject.search,
        filter: Filter::must_not(unwanted),
        exact: subject.exact,
        quantization: target.quantization,
        candidates: limits.page(search.limit.max(PREFETCH)) as u64,
        payload: include(&[field::DOC_ID]),
    };
    let name = target.manifest.name.as_str();
    let question = Question {
        dense: search.vector.map(|vector| (name, vector)),
        words: target.bm25.as_ref().map(|options| (search.text, options)),
        order: None,
    };
    asking.request(&question, limit, 0)
}

impl Search<'_> {
    /// Takes the first chunks of a fusion, and asks for all of them again, and more, while documents are missing.
    fn take_anew(&mut self, chunks: &[ScoredPoint], depth: usize, limits: Limits) {
        self.found.clear();
        self.take(chunks, self.limit, depth);
        self.done |= self.limit >= limits.page(MOST_CHUNKS);
        self.limit = limits.page(self.limit * CHUNKS_PER_DOCUMENT);
    }

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
            text: "",
            vector: None,
            found: HashMap::new(),
            limit: 3,
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
    fn a_fusion_is_asked_for_again_as_a_whole() {
        let (mut search, no) = (search(), Limits::default());
        search.take_anew(&[chunk("a", 0.9), chunk("a", 0.8), chunk("a", 0.7)], 2, no);
        assert!(!search.done);
        assert_eq!(search.limit, 12);
        search.take_anew(&[chunk("b", 0.9), chunk("a", 0.8), chunk("c", 0.7)], 2, no);
        assert!(search.done && search.found["a"] == 0.8);
    }

    #[test]
    fn a_round_without_new_documents_is_the_last() {
        let mut search = search();
        search.take(&[ScoredPoint::default(), ScoredPoint::default()], 2, 2);
        assert!(search.done);
    }
}
