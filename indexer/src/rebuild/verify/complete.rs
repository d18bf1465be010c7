//! Complete: every document of the source has a head, and as many chunks as its head says. Exact, not sampled.
//!
//! Documents that a live write has replaced count by their newer head. A live write that is under way while the gate
//! looks may have replaced a part of a document, so that a difference is looked at again after a catch-up.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use contract::point::field;
use qdrant_client::qdrant::{Condition, Filter, Range, ScrollPoints};

use crate::rebuild::Rebuild;
use crate::rebuild::balance::count;
use crate::rebuild::report::{Gate, as_double};
use crate::rebuild::write::{include, number};

/// Looks before a difference is believed.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// Heads of one page.
const HEADS_PER_PAGE: u32 = 2048;

/// What is there and what should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// Documents with a head of the run's version or a newer one.
    documents: u64,
    /// Documents of the source without those with a dead letter.
    expected_documents: u64,
    /// Chunks of the run's version.
    chunks: u64,
    /// The same as their heads say it.
    expected_chunks: u64,
}

impl Found {
    fn is_whole(self) -> bool {
        self.chunks == self.expected_chunks && self.documents >= self.expected_documents
    }
}

impl Rebuild {
    pub(super) async fn complete(&mut self) -> anyhow::Result<Gate> {
        let mut found = self.found().await?;
        for _ in 1..LOOKS {
            if found.is_whole() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            self.catch_up_once().await?;
            found = self.found().await?;
        }
        let Found {
            documents,
            expected_documents,
            chunks,
            expected_chunks,
        } = found;
        Ok(Gate {
            name: "count".to_owned(),
            value: as_double(chunks),
            limit: as_double(expected_chunks),
            passed: found.is_whole(),
            finding: format!(
                "{chunks} chunks of {expected_chunks} and {documents} documents of at least {expected_documents} are \
                 in `{}`",
                self.record().generation
            ),
        })
    }

    async fn found(&self) -> anyhow::Result<Found> {
        let dead = self.dead_points().await?;
        let incomplete: BTreeSet<_> = dead.into_values().map(|dead| dead.doc_id).collect();
        let version = self.record().version;
        let of_run = Condition::matches(field::VERSION, i64::try_from(version)?);
        let chunks = Filter {
            must: vec![of_run],
            must_not: without(&incomplete, true),
            ..Filter::default()
        };
        #[expect(
            clippy::cast_precision_loss,
            reason = "versions are at most 2^53 - 1, which is exact"
        )]
        let newer = Range {
            gt: Some(version as f64),
            ..Range::default()
        };
        let newer = Filter {
            must: vec![
                Condition::range(field::VERSION, newer),
                Condition::matches(field::CHUNK, 0),
            ],
            must_not: without(&incomplete, false),
            ..Filter::default()
        };
        let mut heads = chunks.clone();
        heads.must.push(Condition::matches(field::CHUNK, 0));
        let (documents, expected_chunks) = self.heads(heads).await?;
        let excluded = incomplete.len() as u64;
        Ok(Found {
            documents: documents + count(self.target(), newer).await?,
            expected_documents: self.record().documents.saturating_sub(excluded),
            chunks: count(self.target(), chunks).await?,
            expected_chunks,
        })
    }

    /// Number of heads, and the chunks that they speak of.
    async fn heads(&self, filter: Filter) -> anyhow::Result<(u64, u64)> {
        let mut request = ScrollPoints {
            collection_name: self.record().generation.to_string(),
            filter: Some(filter),
            limit: Some(HEADS_PER_PAGE),
            with_payload: Some(include(&[field::CHUNKS])),
            with_vectors: Some(false.into()),
            ..ScrollPoints::default()
        };
        let (mut heads, mut chunks) = (0, 0);
        loop {
            let page = self.qdrant.scroll(request.clone()).await;
            let page = page.with_context(|| {
                format!("failed to read the heads of `{}`", self.record().generation)
            })?;
            heads += page.result.len() as u64;
            chunks += page
                .result
                .iter()
                .map(|head| number(head, field::CHUNKS))
                .sum::<u64>();
            request.offset = page.next_page_offset;
            if request.offset.is_none() {
                return Ok((heads, chunks));
            }
        }
    }
}

/// Conditions that leave these documents out, and tombstones.
fn without(documents: &BTreeSet<String>, tombstones: bool) -> Vec<Condition> {
    let mut conditions = Vec::new();
    if tombstones {
        conditions.push(Condition::matches(field::DELETED, true));
    }
    if !documents.is_empty() {
        let any: Vec<_> = documents.iter().cloned().collect();
        conditions.push(Condition::matches(field::DOC_ID, any));
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_whole_when_nothing_is_missing_and_only_then() {
        let whole = Found {
            documents: 3,
            expected_documents: 3,
            chunks: 7,
            expected_chunks: 7,
        };
        assert!(whole.is_whole());
        assert!(
            Found {
                documents: 4,
                ..whole
            }
            .is_whole(),
            "a live document more is fine"
        );
        let wrong = [
            Found {
                documents: 2,
                ..whole
            },
            Found { chunks: 6, ..whole },
            Found { chunks: 8, ..whole },
        ];
        assert!(wrong.into_iter().all(|found| !found.is_whole()));
    }
}
