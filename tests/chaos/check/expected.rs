//! Expected: what a document must look like, by all that was published about it.

use std::collections::BTreeMap;

use crate::history::Record;
use crate::message::Action;

/// Orders what is done to a document: the newer version wins, and at one version the delete.
pub(super) type Key = (u64, bool);

/// All that was published about one document.
#[derive(Clone, Debug, Default)]
pub(super) struct Document {
    pub(super) versions: BTreeMap<Key, Version>,
}

/// A version of a document.
#[derive(Clone, Debug, Default)]
pub(super) struct Version {
    /// How many chunks it has, 0 for a delete.
    pub(super) total: u32,
    /// Text and job of its chunks; a chunk may have come with several jobs.
    pub(super) chunks: BTreeMap<u32, (String, Vec<String>)>,
    /// Whether JetStream has acknowledged all of it.
    pub(super) certain: bool,
}

impl Document {
    /// The newest version that must be there, or be replaced by a newer one.
    pub(super) fn newest_certain(&self) -> Option<(&Key, &Version)> {
        self.versions
            .iter()
            .rev()
            .find(|(_, version)| version.certain)
    }

    /// The versions of which one must be there: the newest acknowledged one, or a newer one of unknown outcome.
    pub(super) fn allowed(&self) -> impl Iterator<Item = (&Key, &Version)> {
        let certain = self.newest_certain().map(|(key, _)| *key);
        self.versions
            .iter()
            .filter(move |(key, _)| certain.is_none_or(|certain| **key >= certain))
    }
}

/// Sorts what was published by document. Jobs that cannot be done do nothing.
pub(super) fn documents(records: &[Record]) -> BTreeMap<&str, Document> {
    let mut documents: BTreeMap<&str, Document> = BTreeMap::new();
    for record in records {
        let run = record.message.run();
        for change in &record.message.changes {
            let document = documents.entry(&change.document).or_default();
            if record.message.poison.is_some() {
                continue;
            }
            let key = (change.version, change.action == Action::Delete);
            let version = document.versions.entry(key).or_insert_with(|| Version {
                certain: true,
                ..Version::default()
            });
            version.certain &= record.is_acknowledged();
            if let Action::Write { total, chunks } = &change.action {
                version.total = *total;
                for (index, text) in chunks {
                    let chunk = version.chunks.entry(*index);
                    let (_, runs) = chunk.or_insert_with(|| (text.clone(), Vec::new()));
                    runs.push(run.clone());
                }
            }
        }
    }
    // A version of which slices were never tried need not be complete.
    for version in documents
        .values_mut()
        .flat_map(|document| document.versions.values_mut())
    {
        let complete = version.chunks.len() == usize::try_from(version.total).unwrap_or(0);
        version.certain &= complete;
    }
    documents
}
