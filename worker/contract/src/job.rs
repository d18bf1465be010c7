//! The job: what a publisher asks a worker for.
//!
//! Jobs are public. Any NATS client may publish one; `worker/contract/job.schema.json` describes them. A job
//! is decoded by [`Job::decode`], which never panics and never repeats document text in its errors, because
//! errors end up in logs and dead letters.
//!
//! Within one major version fields are only added. Unknown fields are ignored, so that an older worker still
//! reads the jobs of a newer publisher; an unknown major version or kind is an error.

mod decode;
mod validate;
mod vector;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::names::{CollectionName, ReplyId, VectorName};
use crate::score::ScoreField;
pub use decode::JobError;
pub use validate::check_meta;
pub use vector::KnownVector;

/// The version that this code writes.
pub const VERSION: &str = "1.0";

/// Largest job in bytes, headers included. It leaves 64 KiB below NATS' default `max_payload` of 1 MiB, so that
/// a dead letter, which adds headers to the whole job, can always be published.
pub const MAX_JOB_BYTES: usize = 960 * 1024;

/// Bytes of a number of a vector in an answer: nine digits, a sign, a point, a comma, an exponent at times.
pub const ANSWER_BYTES_PER_NUMBER: usize = 14;
/// Largest document id in bytes: it travels in every payload and in filters.
pub const MAX_DOCUMENT_ID_BYTES: usize = 1024;
/// Most rows of a job: chunks, queries, items or removals. Each becomes a vector or a point, so that a small job of
/// many tiny rows would take far more memory than its bytes.
pub const MAX_ROWS: usize = 1024;
/// Most bytes of a document's metadata as JSON: each of its points repeats it.
pub const MAX_META_BYTES: usize = 32 * 1024;
/// Most bytes of metadata in all points that a job makes: each chunk gets a copy of its document's.
pub const MAX_META_COPIES_BYTES: usize = 8 << 20;
/// Most bytes of the name of a run.
pub const MAX_RUN_BYTES: usize = 256;
/// Deepest nesting of a document's metadata: the protocol of Qdrant nests three messages for each level, and its
/// readers stop at a hundred.
pub const MAX_META_DEPTH: usize = 16;
/// Largest document version: the largest integer that a double holds exactly. Qdrant compares ranges as
/// doubles, and so do many JSON readers. Microseconds since the epoch stay below it until the year 2255.
pub const MAX_VERSION: u64 = (1 << 53) - 1;

/// A decoded and validated job.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Job {
    /// Embed documents into a collection, or queries into a reply.
    Embed(Embed),
    /// Score pairs or texts with a cross-encoder or a classifier.
    Rescore(Rescore),
    /// Remove documents from a collection.
    Delete(Delete),
    /// Give points another vector beside that of the model which embeds their documents.
    Attach(Attach),
}

/// Embeds the chunks of documents into a collection, or texts as queries into a reply. Exactly one of
/// `documents` and `queries` is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Embed {
    /// Version of the job schema, `1.0`.
    pub version: String,
    /// Run that published the job, for ledgers and reports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Collection or alias that takes the points; required with `documents`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<CollectionName>,
    /// Which tokenization made the `token_ids`: a worker with another one uses the texts instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenization: Option<Digest>,
    /// Fingerprint of the model that made the `vector`s: a worker with another one embeds the texts instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Digest>,
    /// Documents, or slices of documents.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub documents: Vec<Document>,
    /// Texts to embed as queries; their vectors are published to `results.<reply>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queries: Vec<String>,
    /// Last token of the subject `results.<reply>` that takes the answer; required with `queries`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyId>,
    /// Cuts queries that are longer than the model takes instead of refusing the job; the answer names them. Documents
    /// are never cut by it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncate: bool,
}

/// A document, or a slice of one that is too long for a single job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Document {
    /// Identifies the document in its collection; any Unicode, at most 1,024 bytes.
    pub id: String,
    /// Grows with each change of the document; microseconds since the epoch by convention, at most 2^53 - 1.
    /// Left out, it is the time at which JetStream stored the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// How many chunks the whole document has. Left out: as many as are given here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
    /// Kept in the payload of each chunk under `meta`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub meta: Map<String, Value>,
    /// The chunks of this slice.
    pub chunks: Vec<Chunk>,
}

/// A piece of a document that gets one vector.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Chunk {
    /// Position in the document, from 0. Left out: the position in the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u32>,
    /// The text, stored in the payload.
    pub text: String,
    /// Title and headings above the text: embedded in front of it, stored beside it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// First byte of the text in the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<u64>,
    /// Byte after the last one of the text in the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<u64>,
    /// Where a person looks for the text in the original. What is no such object counts as left out.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "location_or_none"
    )]
    #[schemars(with = "Option<Location>")]
    pub location: Option<Location>,
    /// Token ids of [`Chunk::model_input`], special tokens included.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub token_ids: Vec<u32>,
    /// The vector, where it is known: nothing is computed for this chunk then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<KnownVector>,
}

/// Where a person looks for a text in the original: the places at which it starts, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Location {
    /// Page, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<u32>,
    /// Slide of a presentation, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slide: Option<u32>,
    /// Sheet of a workbook, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// Chapter, headings, or names of source code that the text stands below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    /// Cell of a notebook, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<u32>,
    /// Line of the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.page.map(|page| format!("page {page}")),
            self.slide.map(|slide| format!("slide {slide}")),
            self.sheet.as_ref().map(|sheet| format!("sheet `{sheet}`")),
            self.cell.map(|cell| format!("cell {cell}")),
            self.section
                .as_ref()
                .map(|section| format!("section `{section}`")),
            self.line.map(|line| format!("line {line}")),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        f.write_str(&parts.join(", "))
    }
}

/// Publishers may have had a field of this name before it had a meaning: their jobs stay good.
fn location_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Location>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// Scores texts, or pairs of a query and a text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rescore {
    /// Version of the job schema, `1.0`.
    pub version: String,
    /// Run that published the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Collection whose points take the scores; required without `reply`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collection: Option<CollectionName>,
    /// Payload field of the points that takes the scores: a number, or for a model of several labels an object with a
    /// number for each. Left out, it is `scores.<model>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<ScoreField>,
    /// What to score.
    pub items: Vec<Item>,
    /// Last token of the subject `results.<reply>` that takes the scores, in the order of the items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyId>,
    /// Cuts items that are longer than the model takes instead of refusing the job; an answer names them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncate: bool,
}

/// Computes another vector for points that are there. Indexers and workers publish it to the embed lane of the model
/// that makes the vector; the collection lists the vector with the fingerprint of that model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attach {
    /// Version of the job schema, `1.0`.
    pub version: String,
    /// Run that published the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Collection or alias that holds the points.
    pub collection: CollectionName,
    /// The vector of the points that is written. A collection that does not have it any more takes nothing.
    pub vector: VectorName,
    /// Fingerprint of the model that makes the vector: a worker with another one gives the job back.
    pub fingerprint: Digest,
    /// The points with their texts. Each names its point, and none has a query.
    pub items: Vec<Item>,
}

/// One thing to score, or to make a vector of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// Id of the point that takes the score or the vector, a UUID or an unsigned integer; required without `reply`. A
    /// point that is not there, or deleted, takes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<String>,
    /// Version of the document that the text is from: a point of any other version does not take the score or the vector,
    /// and one of this version with another text does not take the vector. Left out, whatever the point has by then takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// Digest of the text that the point has, its payload field `digest`: a point with another one does not take the score or
    /// the vector. Left out, a score asks for no text, and a vector with a version for `text`. A vector with neither is one of
    /// no known text: a rebuild makes it anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Id of the point that is the head of its document, chunk 0. Where the point of an attach job is not there, it tells
    /// whether that comes later or has been replaced. Left out, nothing is expected to come later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
    /// The query of a pair; left out for a classifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The passage of a pair, or the text to classify or to make a vector of.
    pub text: String,
}

/// Removes documents: each leaves a tombstone, so that a late job of an older version cannot bring it back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Delete {
    /// Version of the job schema, `1.0`.
    pub version: String,
    /// Run that published the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
    /// Collection or alias that holds the documents.
    pub collection: CollectionName,
    /// What to remove.
    pub documents: Vec<Removal>,
}

/// One document to remove.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Removal {
    /// Id of the document.
    pub id: String,
    /// Version of the removal: it removes this version and all before it. Left out, it is the time at which
    /// JetStream stored the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl Job {
    /// Writes the job as JSON.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a job has only string keys and finite numbers")
    }

    /// `embed`, `rescore`, `delete` or `attach`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Embed(_) => "embed",
            Self::Rescore(_) => "rescore",
            Self::Delete(_) => "delete",
            Self::Attach(_) => "attach",
        }
    }

    /// The run that published the job, if any.
    #[must_use]
    pub fn run(&self) -> Option<&str> {
        match self {
            Self::Embed(job) => job.run.as_deref(),
            Self::Rescore(job) => job.run.as_deref(),
            Self::Delete(job) => job.run.as_deref(),
            Self::Attach(job) => job.run.as_deref(),
        }
    }

    /// The collection that the job writes to, if any.
    #[must_use]
    pub fn collection(&self) -> Option<&CollectionName> {
        match self {
            Self::Embed(job) => job.collection.as_ref(),
            Self::Rescore(job) => job.collection.as_ref(),
            Self::Delete(job) => Some(&job.collection),
            Self::Attach(job) => Some(&job.collection),
        }
    }
}

impl Chunk {
    /// The text that the model sees: prefix of the model, context, text. It is defined once, here, because
    /// indexers tokenize it for jobs with token ids and workers for jobs without.
    #[must_use]
    pub fn model_input(prefix: &str, context: Option<&str>, text: &str) -> String {
        let mut input = String::new();
        Self::write_model_input(&mut input, prefix, context, text);
        input
    }

    /// Digest of its text as a point has it: without the prefix, which is the model's own.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let input = Self::model_input("", self.context.as_deref(), &self.text);
        Digest::of(input.as_bytes())
    }

    /// Writes [`Chunk::model_input`] into a buffer that is used again and again.
    pub fn write_model_input(input: &mut String, prefix: &str, context: Option<&str>, text: &str) {
        input.clear();
        input.push_str(prefix);
        if let Some(context) = context {
            input.push_str(context);
            input.push('\n');
        }
        input.push_str(text);
    }
}
