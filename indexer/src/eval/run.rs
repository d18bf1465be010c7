//! Run: all queries, through the queue and one or two collections.

use std::ops::Range;

use anyhow::Context as _;
use contract::model::Manifest;
use contract::tokenizer::Tokenizer;
use futures::{StreamExt, TryStreamExt};

use super::batch::{Size, batches};
use super::evaluation::Evaluation;
use super::rank::Hit;
use super::read::Topic;
use super::retrieve::Retriever;
use super::target::Target;
use crate::progress::Progress;
use crate::retrieval::query_client::{QueryClient, QueryError, QueryVectors};

/// Jobs on their way at any time: enough to keep a worker busy, few enough for live work to come through.
const IN_FLIGHT: usize = 4;

pub struct Run<'a> {
    pub query_client: &'a QueryClient,
    pub retriever: Retriever<'a>,
    pub topics: &'a [Topic],
    /// The collection, and the baseline if it is one.
    pub targets: &'a [Target],
    pub cutoffs: &'a [usize],
    /// Documents that count for each query; one more is retrieved.
    pub depth: usize,
}

/// The results of a batch of queries in one target.
struct FoundBatch {
    hits: Vec<Vec<Hit>>,
    /// Queries that the model did not take whole.
    truncated: usize,
}

/// The tokenizer of a model with what limits its input.
pub struct Limit {
    tokenizer: Tokenizer,
    prefix: String,
    max_tokens: usize,
}

impl Limit {
    pub fn load(model: &std::path::Path, manifest: &Manifest) -> anyhow::Result<Self> {
        Ok(Self {
            tokenizer: manifest.tokenizer(model)?,
            prefix: manifest.identity.prefixes.query.clone(),
            max_tokens: manifest.identity.max_tokens,
        })
    }

    /// Tokens of a query, and whether they are more than the model takes.
    fn tokens(&self, text: &str) -> anyhow::Result<(usize, bool)> {
        let tokens = self
            .tokenizer
            .encode(&format!("{}{text}", self.prefix))?
            .len();
        Ok((tokens, tokens > self.max_tokens))
    }
}

impl Run<'_> {
    pub async fn evaluate(&self, limits: &[Limit]) -> anyhow::Result<Vec<Evaluation>> {
        let sizes = self.topics.iter().map(|topic| size(topic, limits));
        let sizes: Vec<_> = sizes.collect::<anyhow::Result<_>>()?;
        let dimensions = self
            .targets
            .iter()
            .map(|it| it.manifest.identity.dimensions);
        let batches = batches(&sizes, dimensions.max().unwrap_or_default());
        let subjects = self.targets.iter().map(|target| target.subject.clone());
        let mut evaluations: Vec<_> = subjects.map(Evaluation::new).collect();
        let progress = Progress::new("queries", self.topics.len() as u64);
        let runs = batches.into_iter().map(|batch| {
            let tokens = sizes[batch.clone()].iter().map(|size| size.tokens).sum();
            self.batch(batch, tokens)
        });
        let mut done = futures::stream::iter(runs).buffered(IN_FLIGHT);
        while let Some((batch, found)) = done.try_next().await? {
            progress.set(batch.end as u64);
            let topics = &self.topics[batch];
            for (evaluation, found) in evaluations.iter_mut().zip(found) {
                evaluation.truncated_queries += found.truncated;
                for (topic, hits) in topics.iter().zip(found.hits) {
                    let hits = without_itself(topic, hits, self.depth);
                    evaluation.add(topic, hits, self.cutoffs);
                }
            }
        }
        progress.finish();
        evaluations.iter_mut().for_each(Evaluation::finish);
        Ok(evaluations)
    }

    /// The hits of a batch in each target. Targets of the same model share the vectors of the queries.
    async fn batch(
        &self,
        batch: Range<usize>,
        tokens: usize,
    ) -> anyhow::Result<(Range<usize>, Vec<FoundBatch>)> {
        let topics = &self.topics[batch.clone()];
        let mut found = Vec::new();
        let mut asked: Option<(&Manifest, QueryVectors)> = None;
        for target in self.targets {
            let manifest = &target.manifest;
            let vectors = match asked.take() {
                // Words need no vector.
                kept if !target.subject.search.mode.has_dense() => {
                    asked = kept;
                    QueryVectors::default()
                }
                Some((other, vectors)) if is_same_model(other, manifest) => vectors,
                Some(_) | None => self.ask(manifest, topics, tokens).await?,
            };
            let hits = self.retriever.retrieve(target, topics, &vectors.vectors);
            found.push(FoundBatch {
                hits: hits.await?,
                truncated: vectors.truncated.len(),
            });
            if target.subject.search.mode.has_dense() {
                asked = Some((manifest, vectors));
            }
        }
        Ok((batch, found))
    }

    async fn ask(
        &self,
        manifest: &Manifest,
        topics: &[Topic],
        tokens: usize,
    ) -> anyhow::Result<QueryVectors> {
        let texts = topics.iter().map(|topic| topic.text.clone()).collect();
        let answer = self.query_client.ask(manifest, texts, tokens).await;
        if let (Err(QueryError::Refused { .. }), [topic]) = (&answer, topics) {
            return answer.with_context(|| {
                format!(
                    "query `{}` has no vector; leave it out, or upgrade the workers if it is long",
                    topic.id
                )
            });
        }
        Ok(answer?)
    }
}

/// The hits without the document that is the query itself: where queries are taken from the corpus, it would always be the
/// best. One that is judged counts.
fn without_itself(topic: &Topic, mut hits: Vec<Hit>, depth: usize) -> Vec<Hit> {
    hits.retain(|hit| hit.id != topic.id || topic.grades.contains_key(&hit.id));
    hits.truncate(depth);
    hits
}

/// Models of the same fingerprint give the same vectors. The name matters as well, because jobs find their worker by
/// it.
fn is_same_model(a: &Manifest, b: &Manifest) -> bool {
    (&a.name, &a.fingerprint) == (&b.name, &b.fingerprint)
}

fn size(topic: &Topic, limits: &[Limit]) -> anyhow::Result<Size> {
    let mut size = Size {
        bytes: topic.text.len(),
        ..Size::default()
    };
    for limit in limits {
        let (tokens, too_long) = limit.tokens(&topic.text)?;
        size.tokens = size.tokens.max(tokens);
        size.alone |= too_long;
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_does_not_find_itself() {
        let hits = |ids: &[&str]| -> Vec<Hit> {
            let hit = |id: &&str| Hit {
                id: (*id).to_owned(),
                score: 0.5,
            };
            ids.iter().map(hit).collect()
        };
        let mut topic = Topic {
            id: "q".to_owned(),
            text: "text".to_owned(),
            grades: [("a".to_owned(), 1)].into(),
            ideal: vec![1],
        };
        let found = hits(&["q", "a", "b"]);
        assert_eq!(without_itself(&topic, found.clone(), 2), hits(&["a", "b"]));
        assert_eq!(
            without_itself(&topic, hits(&["a", "b", "c"]), 2),
            hits(&["a", "b"])
        );
        topic.grades.insert("q".to_owned(), 1);
        assert_eq!(without_itself(&topic, found, 2), hits(&["q", "a"]));
    }
}
