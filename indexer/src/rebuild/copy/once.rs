//! Once: the documents of the source, each one time, and how many there are.

use std::collections::HashSet;

use contract::job::{Document, Job};
use contract::point;

use crate::read::Event;
use crate::rebuild::report::PhaseReport;
use crate::run::Phase;

/// Documents that were seen, 16 bytes each: an id that comes twice would be counted twice and stored once.
pub(super) struct Once {
    seen: HashSet<u128>,
    skipping: Option<String>,
    pub(super) refused: u64,
    pub(super) report: PhaseReport,
}

impl Once {
    pub(super) fn new() -> Self {
        Self {
            seen: HashSet::new(),
            skipping: None,
            refused: 0,
            report: PhaseReport::new(Phase::Copied),
        }
    }

    /// The documents of a job, those with an id that came before left out.
    pub(super) fn documents(&mut self, event: Event) -> Option<Vec<Document>> {
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
            self.report.chunks += 1;
            self.report.tokens += chunk.token_ids.len() as u64;
        }
        Some(documents)
    }

    /// A document may come in several slices; only the first has chunk 0.
    fn is_first(&mut self, document: &Document) -> bool {
        let begins = document.chunks.first().and_then(|chunk| chunk.index) == Some(0);
        if begins {
            self.skipping = None;
            if self.seen.insert(point::point_id(&document.id, 0).as_u128()) {
                self.report.documents += 1;
            } else {
                self.refused += 1;
                tracing::error!("refused: document `{}` is in the source twice", document.id);
                self.skipping = Some(document.id.clone());
            }
        }
        self.skipping.as_ref() != Some(&document.id)
    }
}
