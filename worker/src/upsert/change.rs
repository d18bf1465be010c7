//! What a batch changes: one entry per document and job, as references into the batch. Points are made of it request by
//! request, because a payload repeats the metadata of its document.

use std::collections::BTreeMap;

use contract::job::{Chunk, Document, Job};
use contract::names::CollectionName;
use contract::point::{self, Head, Stamp};
use qdrant_client::qdrant::{Filter, PointStruct};
use serde_json::Value;

use super::{BYTES_PER_REQUEST, POINTS_PER_REQUEST};
use crate::batch::Vectors;
use crate::failpoint;

/// Memory of a number in a payload, as the client holds it.
const BYTES_OF_A_VALUE: usize = 64;

/// What one job does to one document.
#[derive(Clone, Debug)]
pub(super) struct Change<'a> {
    pub(super) doc_id: &'a str,
    pub(super) version: u64,
    run: Option<&'a str>,
    kind: Kind<'a>,
}

#[derive(Clone, Debug)]
enum Kind<'a> {
    Write {
        document: &'a Document,
        vectors: &'a [Vec<f32>],
    },
    Delete,
}

/// A point that is not made yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft<'a> {
    change: &'a Change<'a>,
    chunk: Option<(&'a Chunk, &'a [f32])>,
}

/// Which points of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Chunk 0, or the tombstone.
    Head,
    /// All others.
    Body,
}

/// Cuts points into requests: by their number, and by their size for the few that are large.
pub(super) fn cut<'d, 'a>(mut drafts: &'d [Draft<'a>]) -> Vec<&'d [Draft<'a>]> {
    let mut requests = Vec::new();
    while !drafts.is_empty() {
        let mut bytes = 0;
        let fits = drafts.iter().take(POINTS_PER_REQUEST).take_while(|draft| {
            bytes += draft.bytes();
            bytes <= BYTES_PER_REQUEST
        });
        let (request, rest) = drafts.split_at(fits.count().max(1));
        requests.push(request);
        drafts = rest;
    }
    requests
}

impl Change<'_> {
    /// The points of a part that this job has.
    pub(super) fn drafts(&self, part: Part) -> Vec<Draft<'_>> {
        match &self.kind {
            Kind::Delete if failpoint::skips("tombstone") => Vec::new(),
            Kind::Delete if part == Part::Head => vec![Draft {
                change: self,
                chunk: None,
            }],
            Kind::Delete => Vec::new(),
            Kind::Write { document, vectors } => {
                let chunks = document.chunks.iter().zip(vectors.iter());
                let in_head = |chunk: &Chunk| chunk.index == Some(0);
                chunks
                    .filter(|(chunk, _)| in_head(chunk) == (part == Part::Head))
                    .map(|(chunk, vector)| Draft {
                        change: self,
                        chunk: Some((chunk, vector)),
                    })
                    .collect()
            }
        }
    }

    /// Whether a document with this head must not be changed any more. A delete wins at its own version: it removes
    /// that version and all before it.
    pub(super) fn is_superseded_by(&self, head: &Head) -> bool {
        let writes = matches!(self.kind, Kind::Write { .. });
        head.version > self.version || (writes && head.deleted && head.version == self.version)
    }

    pub(super) fn is_delete(&self) -> bool {
        matches!(self.kind, Kind::Delete)
    }

    /// Existing points that the points of this change may replace.
    pub(super) fn guard(&self) -> Filter {
        if failpoint::skips("version-guard") {
            return Filter::default();
        }
        match self.kind {
            Kind::Write { .. } => point::writable(self.version),
            Kind::Delete => point::not_newer_than(self.version),
        }
    }

    /// Equal for changes that share a [`Change::guard`]; sorts older versions first.
    pub(super) fn guard_key(&self) -> (u64, bool) {
        (self.version, self.is_delete())
    }

    /// The points that the document must not have any more once this change is done. A slice without the head
    /// leaves that to the slice that has it.
    pub(super) fn obsolete(&self) -> Option<Filter> {
        match &self.kind {
            Kind::Delete => Some(point::body_up_to(self.doc_id, self.version)),
            Kind::Write { .. } if self.drafts(Part::Head).is_empty() => None,
            Kind::Write { document, .. } => Some(point::obsolete(
                self.doc_id,
                self.version,
                document.total.unwrap_or(0),
            )),
        }
    }
}

/// The points that a document with this head must not have.
pub(super) fn overtaken(doc_id: &str, head: &Head) -> Filter {
    if head.deleted {
        point::body_up_to(doc_id, head.version)
    } else {
        point::older_than(doc_id, head.version)
    }
}

impl Draft<'_> {
    /// About how much memory the point takes.
    fn bytes(&self) -> usize {
        match (&self.change.kind, self.chunk) {
            (Kind::Write { document, .. }, Some((chunk, vector))) => {
                let meta: usize = document.meta.values().map(bytes).sum();
                BYTES_OF_A_VALUE + chunk.text.len() + size_of_val(vector) + meta
            }
            (Kind::Write { .. } | Kind::Delete, _) => BYTES_OF_A_VALUE,
        }
    }

    /// Makes the point.
    pub(super) fn point(&self, stamp: &Stamp) -> PointStruct {
        let change = self.change;
        let stamp = Stamp {
            run: change.run.map(str::to_owned),
            ..stamp.clone()
        };
        match (&change.kind, self.chunk) {
            (Kind::Write { document, .. }, Some((chunk, vector))) => {
                let mut vector = vector.to_vec();
                if failpoint::skips("vector") {
                    vector.reverse();
                }
                point::chunk_point(&stamp, document, chunk, change.version, vector)
            }
            (Kind::Write { .. } | Kind::Delete, _) => {
                point::tombstone(&stamp, change.doc_id, change.version)
            }
        }
    }
}

/// About how much memory a value takes in a point.
fn bytes(value: &Value) -> usize {
    BYTES_OF_A_VALUE
        + match value {
            Value::Array(values) => values.iter().map(bytes).sum(),
            Value::Object(values) => values
                .iter()
                .map(|(key, value)| key.len() + bytes(value))
                .sum(),
            Value::String(text) => text.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}

/// Sorts the documents of a batch by the collection that they go to, older versions first.
pub(super) fn changes(vectors: &Vectors) -> BTreeMap<&CollectionName, Vec<Change<'_>>> {
    let mut by_collection: BTreeMap<&CollectionName, Vec<Change<'_>>> = BTreeMap::new();
    for (work, rows) in vectors.jobs.iter().zip(&vectors.vectors) {
        let Some(collection) = work.job.collection() else {
            continue;
        };
        let changes = by_collection.entry(collection).or_default();
        let run = work.job.run();
        match &work.job {
            Job::Embed(job) => {
                let mut rest = rows.as_slice();
                for document in &job.documents {
                    let (vectors, others) = rest.split_at(document.chunks.len());
                    rest = others;
                    let version = document.version.unwrap_or(work.default_version);
                    let kind = Kind::Write { document, vectors };
                    changes.push(Change {
                        doc_id: &document.id,
                        version,
                        run,
                        kind,
                    });
                }
            }
            Job::Delete(job) => changes.extend(job.documents.iter().map(|removal| {
                let version = removal.version.unwrap_or(work.default_version);
                Change {
                    doc_id: &removal.id,
                    version,
                    run,
                    kind: Kind::Delete,
                }
            })),
            Job::Rescore(_) => {}
        }
    }
    by_collection
        .values_mut()
        .for_each(|changes| changes.sort_by_key(Change::guard_key));
    by_collection
}
