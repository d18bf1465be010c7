//! Change: what a job does to a document, as references into the job. Points are made of it request by request, because
//! a payload repeats the metadata of its document.

use contract::embedding::Embedding;
use contract::field;
use contract::job::{Chunk, Document};
use prost::Message as _;
use qdrant_client::qdrant::{Filter, PointId, PointStruct};
use runtime::failpoint;
use serde_json::Value;

use crate::guard::{Guard, body_up_to, obsolete};
use crate::point::{self, WriteStamp};

/// Memory of a number in a payload, as the client holds it.
const BYTES_OF_A_VALUE: usize = 64;

/// What one job does to one document.
#[derive(Clone, Debug)]
pub struct Change<'a> {
    /// Id of the document.
    pub doc_id: &'a str,
    /// Version that is written or deleted.
    pub version: u64,
    /// Run that published the job.
    pub run: Option<&'a str>,
    /// Which of the two.
    pub kind: Kind<'a>,
}

/// What a job does with a document.
#[derive(Clone, Debug)]
pub enum Kind<'a> {
    /// Writes these chunks of the document; all of them, or a slice.
    Write {
        document: &'a Document,
        /// Vectors of its chunks, in their order.
        vectors: &'a [Embedding],
    },
    Delete,
}

/// Which points of a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Chunk 0, or the tombstone.
    Head,
    Body,
}

/// A point that is to be written, with what decides whether it wins.
pub trait Draft: Sync {
    /// Which points it may replace.
    fn guard(&self) -> Guard;

    /// About how much memory the point takes in a request.
    fn bytes(&self) -> usize;

    fn point(&self) -> PointStruct;

    /// Id of the document, and of the point.
    fn ids(&self) -> (String, PointId);
}

/// A point that is taken over from elsewhere.
#[derive(Clone, Debug)]
pub struct Copied {
    /// Which points it may replace.
    pub guard: Guard,
    pub point: PointStruct,
}

impl Draft for Copied {
    fn guard(&self) -> Guard {
        self.guard
    }

    fn bytes(&self) -> usize {
        self.point.encoded_len()
    }

    fn point(&self) -> PointStruct {
        self.point.clone()
    }

    fn ids(&self) -> (String, PointId) {
        let doc_id = self.point.payload.get(field::DOC_ID);
        let doc_id = doc_id.and_then(qdrant_client::qdrant::Value::as_str);
        let id = self.point.id.clone();
        (doc_id.cloned().unwrap_or_default(), id.unwrap_or_default())
    }
}

/// A point of a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChangeDraft<'a> {
    change: &'a Change<'a>,
    chunk: Option<(&'a Chunk, &'a Embedding)>,
    stamp: &'a WriteStamp,
}

impl Change<'_> {
    #[must_use]
    pub fn guard(&self) -> Guard {
        Guard {
            version: self.version,
            deletes: matches!(self.kind, Kind::Delete),
        }
    }

    /// How many chunks the document has that is written, and whether its head is among these.
    pub(crate) fn total(&self) -> Option<(u32, bool)> {
        match &self.kind {
            Kind::Delete => None,
            Kind::Write { document, .. } => {
                let total = document.total.unwrap_or(0);
                Some((total, document.chunks.iter().any(is_head)))
            }
        }
    }

    /// The points of a part that this job has.
    pub(crate) fn drafts<'a>(&'a self, part: Part, stamp: &'a WriteStamp) -> Vec<ChangeDraft<'a>> {
        let draft = |chunk| ChangeDraft {
            change: self,
            chunk,
            stamp,
        };
        match &self.kind {
            Kind::Delete if failpoint::skips("tombstone") => Vec::new(),
            Kind::Delete if part == Part::Head => vec![draft(None)],
            Kind::Delete => Vec::new(),
            Kind::Write { document, vectors } => {
                let chunks = document.chunks.iter().zip(vectors.iter());
                chunks
                    .filter(|(chunk, _)| is_head(chunk) == (part == Part::Head))
                    .map(|(chunk, vector)| draft(Some((chunk, vector))))
                    .collect()
            }
        }
    }

    /// The points that the document must not have any more once this change is done. A slice without the head leaves
    /// that to the slice that has it.
    pub(crate) fn obsolete(&self) -> Option<Filter> {
        match &self.kind {
            Kind::Delete => Some(body_up_to(self.doc_id, self.version)),
            Kind::Write { document, .. } => {
                let total = document.total.unwrap_or(0);
                let has_head = document.chunks.iter().any(is_head);
                has_head.then(|| obsolete(self.doc_id, self.version, total))
            }
        }
    }
}

fn is_head(chunk: &Chunk) -> bool {
    chunk.index == Some(0)
}

impl Draft for ChangeDraft<'_> {
    fn guard(&self) -> Guard {
        self.change.guard()
    }

    fn bytes(&self) -> usize {
        match (&self.change.kind, self.chunk) {
            (Kind::Write { document, .. }, Some((chunk, vector))) => {
                let meta: usize = document.meta.values().map(bytes).sum();
                // The text is in the payload, and once more for Qdrant to make a vector of.
                BYTES_OF_A_VALUE + 2 * chunk.text.len() + vector.bytes() + meta
            }
            (Kind::Write { .. } | Kind::Delete, _) => BYTES_OF_A_VALUE,
        }
    }

    fn point(&self) -> PointStruct {
        let change = self.change;
        let stamp = WriteStamp {
            run: change.run.map(str::to_owned),
            ..self.stamp.clone()
        };
        match (&change.kind, self.chunk) {
            (Kind::Write { document, .. }, Some((chunk, vector))) => {
                let mut vector = vector.clone();
                if let Embedding::Dense(values) = &mut vector
                    && failpoint::skips("vector")
                {
                    values.reverse();
                }
                point::chunk_point(&stamp, document, chunk, change.version, vector)
            }
            (Kind::Write { .. } | Kind::Delete, _) => {
                point::tombstone(&stamp, change.doc_id, change.version)
            }
        }
    }

    fn ids(&self) -> (String, PointId) {
        let doc_id = self.change.doc_id;
        let chunk = self.chunk.and_then(|(chunk, _)| chunk.index).unwrap_or(0);
        let id = point::point_id(doc_id, chunk).to_string().into();
        (doc_id.to_owned(), id)
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
