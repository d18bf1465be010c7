//! Complete: every document of the source has a head, and as many chunks as the source has of it. Exact, not sampled.
//!
//! The process that has read the source knows its documents: one that has only been published live makes up for none of
//! them. A document of the source that a live write has replaced counts by its newer head. A live write that is under way
//! while the gate looks may have replaced a part of a document, so that a difference is looked at again after a catch-up.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Context as _;
use contract::field;
use points::guard::{self, Head, tombstones};
use qdrant_client::qdrant::{Condition, Filter};

use crate::corpus::seen::{Chunks, identity};
use crate::generation::record::Gate;
use crate::progress::as_double;
use crate::rebuild::Rebuild;

/// Looks before a difference is believed.
const LOOKS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
/// Documents whose chunks are counted together.
const DOCUMENTS_PER_COUNT: usize = 1024;
/// Heads of one page.
const HEADS_PER_PAGE: u32 = 2048;

/// How much of the source is in the generation, and how much should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Completeness {
    /// Documents of the source with a head of the run's version or a newer one.
    documents: u64,
    /// Documents of the source, without those with a dead letter.
    expected_documents: u64,
    /// Chunks of the run's version.
    chunks: u64,
    /// Chunks of the source.
    expected_chunks: u64,
}

impl Completeness {
    fn is_whole(self) -> bool {
        self.chunks == self.expected_chunks && self.documents == self.expected_documents
    }
}

/// Counts heads against the source.
struct Tally<'a> {
    source: &'a Chunks,
    /// Documents with a dead letter.
    incomplete: &'a HashSet<u128>,
    version: u64,
    found: Completeness,
}

impl Tally<'_> {
    fn add(&mut self, doc_id: &str, head: Head) {
        let identity = identity(doc_id);
        if self.incomplete.contains(&identity) || head.version < self.version {
            return;
        }
        let of_source = self.source.get(&identity);
        self.found.documents += u64::from(of_source.is_some());
        if head.version == self.version && !head.deleted {
            self.found.expected_chunks += of_source.map_or(0, |chunks| u64::from(*chunks));
        }
    }
}

impl Rebuild<'_> {
    pub async fn complete(&mut self) -> anyhow::Result<Gate> {
        let mut found = self.found().await?;
        for _ in 1..LOOKS {
            if found.is_whole() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            self.catch_up_once().await?;
            found = self.found().await?;
        }
        let Completeness {
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
                "{chunks} chunks of {expected_chunks} and {documents} documents of the source of \
                 {expected_documents} are in `{}`",
                self.record().generation
            ),
        })
    }

    async fn found(&self) -> anyhow::Result<Completeness> {
        let source = self.source.as_ref();
        let source = source.context("the source was not read by this process; run it again")?;
        let dead = self.dead_points().await?;
        let doc_ids: HashSet<_> = dead.into_values().map(|dead| dead.doc_id).collect();
        let incomplete: HashSet<_> = doc_ids.iter().map(|doc_id| identity(doc_id)).collect();
        let version = self.record().version;
        let mut tally = Tally {
            source,
            incomplete: &incomplete,
            version,
            found: Completeness::default(),
        };
        self.heads(&mut tally).await?;
        let own = i64::try_from(version)?;
        let chunks = |of: Vec<Condition>| Filter {
            must: [vec![Condition::matches(field::VERSION, own)], of].concat(),
            must_not: vec![tombstones()],
            ..Filter::default()
        };
        let mut present = self.target().count(chunks(Vec::new())).await?;
        // What there is of documents with a dead letter does not count.
        let doc_ids: Vec<_> = doc_ids.into_iter().collect();
        let values = self.target().limits().await?.values(DOCUMENTS_PER_COUNT);
        for doc_ids in doc_ids.chunks(values) {
            let part = Condition::matches(field::DOC_ID, doc_ids.to_vec());
            present -= self.target().count(chunks(vec![part])).await?.min(present);
        }
        let complete = source.keys().filter(|it| !incomplete.contains(*it));
        Ok(Completeness {
            expected_documents: complete.count() as u64,
            chunks: present,
            ..tally.found
        })
    }

    async fn heads(&self, tally: &mut Tally<'_>) -> anyhow::Result<()> {
        let mut pages = self
            .target()
            .pages(guard::heads(), &Head::FIELDS, HEADS_PER_PAGE);
        while let Some(page) = pages.next().await? {
            let heads = page.iter().filter_map(Head::read);
            heads.for_each(|(doc_id, head)| tally.add(&doc_id, head));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_is_whole_when_nothing_is_missing_and_only_then() {
        let whole = Completeness {
            documents: 3,
            expected_documents: 3,
            chunks: 7,
            expected_chunks: 7,
        };
        assert!(whole.is_whole());
        let wrong = [
            Completeness {
                documents: 2,
                ..whole
            },
            Completeness { chunks: 6, ..whole },
            Completeness { chunks: 8, ..whole },
        ];
        assert!(wrong.into_iter().all(|found| !found.is_whole()));
    }

    #[test]
    fn a_document_that_is_not_of_the_source_makes_up_for_none_that_is_missing() {
        let source = Chunks::from([(identity("a"), 2), (identity("b"), 1), (identity("c"), 1)]);
        let mut tally = Tally {
            source: &source,
            incomplete: &HashSet::from([identity("c")]),
            version: 10,
            found: Completeness::default(),
        };
        let head = |version, deleted| Head {
            version,
            chunks: 5,
            deleted,
        };
        tally.add("a", head(10, false));
        tally.add("live", head(11, false));
        tally.add("c", head(10, false));
        tally.add("b", head(9, false));
        let expected = Completeness {
            documents: 1,
            expected_chunks: 2,
            ..Completeness::default()
        };
        assert_eq!(tally.found, expected);
        tally.add("b", head(12, true));
        assert_eq!(tally.found.documents, 2, "deleted since");
    }
}
