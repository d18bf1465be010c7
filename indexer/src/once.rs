//! Once: the documents of the source, each one time, and how many there are.

use std::collections::HashSet;

use contract::job::{Document, Job};
use contract::point;

use crate::read::Event;

/// Documents that were seen, 16 bytes each: an id that comes twice would be counted twice and stored once.
#[derive(Debug, Default)]
pub(crate) struct Once {
    seen: HashSet<u128>,
    skipping: Option<String>,
    /// Documents, records and files that cannot be read, or come twice.
    pub(crate) refused: u64,
    /// Documents that were seen.
    pub(crate) documents: u64,
    /// Their chunks.
    pub(crate) chunks: u64,
    /// Tokens of the chunks.
    pub(crate) tokens: u64,
}

/// What tells documents apart: the id of their first point.
pub(crate) fn identity(doc_id: &str) -> u128 {
    point::point_id(doc_id, 0).as_u128()
}

impl Once {
    /// The documents of a job, those with an id that came before left out.
    pub(crate) fn documents(&mut self, event: Event) -> Option<Vec<Document>> {
        let packed = match event {
            Event::Job(packed) => packed,
            Event::Refused(error) => {
                self.refused += 1;
                tracing::error!("refused: {:#}", anyhow::Error::from(error));
                return None;
            }
            Event::Document { .. } | Event::Skipped(_) => return None,
        };
        let Job::Embed(job) = packed.job else {
            return None;
        };
        let mut documents = job.documents;
        documents.retain(|document| self.is_first(document));
        for chunk in documents.iter().flat_map(|document| &document.chunks) {
            self.chunks += 1;
            self.tokens += chunk.token_ids.len() as u64;
        }
        Some(documents)
    }

    /// The [`identity`] of each document that was seen.
    pub(crate) fn into_seen(self) -> HashSet<u128> {
        self.seen
    }

    /// A document may come in several slices; only the first has chunk 0.
    fn is_first(&mut self, document: &Document) -> bool {
        let begins = document.chunks.first().and_then(|chunk| chunk.index) == Some(0);
        if begins {
            self.skipping = None;
            if self.seen.insert(identity(&document.id)) {
                self.documents += 1;
            } else {
                self.refused += 1;
                tracing::error!("refused: document `{}` is in the source twice", document.id);
                self.skipping = Some(document.id.clone());
            }
        }
        self.skipping.as_ref() != Some(&document.id)
    }
}
