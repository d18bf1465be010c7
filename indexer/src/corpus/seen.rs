//! Seen: the documents of a source, each one time, and how many there are.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use contract::job::{Document, Job};
use points::point_id;

use super::account::Account;
use super::read::Event;

/// Number of chunks of each document, by its [`identity`]: 20 bytes each.
pub type Chunks = HashMap<u128, u32>;

/// Documents that were seen: an id that comes twice would be counted twice and stored once.
#[derive(Debug, Default)]
pub struct SeenDocuments {
    seen: Chunks,
    skipping: Option<String>,
    /// Documents, records and files that cannot be read, or come twice.
    pub refused: u64,
    pub documents: u64,
    pub chunks: u64,
    pub tokens: u64,
    pub text_bytes: u64,
    pub account: Account,
}

/// The identity of a document: the id of its first point.
pub fn identity(doc_id: &str) -> u128 {
    point_id(doc_id, 0).as_u128()
}

impl SeenDocuments {
    /// The documents of a job, those with an id that came before left out.
    pub fn documents(&mut self, event: Event) -> Option<Vec<Document>> {
        let packed = match event {
            Event::Job(packed) => packed,
            Event::Refused(error) => {
                self.refused += 1;
                tracing::error!("refused: {:#}", anyhow::Error::from(error));
                return None;
            }
            Event::Document {
                read,
                text,
                dropped,
            } => {
                let ledger = dropped.as_deref().map(|(origin, ledger)| (origin, ledger));
                self.account.add(read, text, ledger);
                let lost = dropped.filter(|dropped| dropped.1.is_loss());
                if let Some((origin, ledger)) = lost.map(|lost| *lost) {
                    tracing::warn!("{origin}: {ledger}");
                }
                return None;
            }
            Event::Skipped(skipped) => {
                self.account.dropped.absorb(&skipped.parts);
                return None;
            }
        };
        let Job::Embed(job) = packed.job else {
            return None;
        };
        let mut documents = job.documents;
        documents.retain(|document| self.is_first(document));
        for chunk in documents.iter().flat_map(|document| &document.chunks) {
            self.chunks += 1;
            self.tokens += chunk.token_ids.len() as u64;
            self.text_bytes += chunk.text.len() as u64;
        }
        Some(documents)
    }

    /// The [`identity`] of each document that was seen.
    pub fn into_seen(self) -> HashSet<u128> {
        self.seen.into_keys().collect()
    }

    /// The number of chunks of each document that was seen.
    pub fn into_chunks(self) -> Chunks {
        self.seen
    }

    /// A document may come in several slices; only the first has chunk 0.
    fn is_first(&mut self, document: &Document) -> bool {
        let begins = document.chunks.first().and_then(|chunk| chunk.index) == Some(0);
        if begins {
            self.skipping = None;
            let identity = identity(&document.id);
            if let Entry::Vacant(vacant) = self.seen.entry(identity) {
                vacant.insert(document.total.unwrap_or(0));
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
