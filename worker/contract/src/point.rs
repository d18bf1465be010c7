//! Points: what a chunk becomes in Qdrant.
//!
//! A document's chunk 0 is its head: it carries the version and the number of chunks by which writers decide
//! who is newer. A deleted document keeps its head as a tombstone: no vector, `deleted: true`.
//!
//! **An upsert without a vector may leave the old one.** A server before 1.19 replaces a point that lies in a segment it
//! may write to, but merges one that it has to move out of an indexed segment, or out of one that is being optimized:
//! vectors that the new point lacks stay, and are found by searches. So whoever writes a tombstone removes its vectors
//! afterwards, on condition that the point is still a tombstone ([`tombstones_among`]). After a crash between the two
//! requests, the job that wrote the tombstone is delivered again and does both once more.

use std::collections::HashMap;

use qdrant_client::qdrant::{
    Condition, Filter, NamedVectors, PointId, PointStruct, Range, RetrievedPoint, Value, Vectors,
    vectors::VectorsOptions,
};
use serde_json::{Map, json};
use uuid::Uuid;

use crate::digest::Digest;
use crate::job::{Chunk, Document};
use crate::names::ModelName;

/// Namespace of point ids, made once at random for this project.
const POINT_NAMESPACE: Uuid = Uuid::from_u128(0x6d1c_27c8_3d5b_4b0e_9a35_0f6a_51de_b3c4);

/// Names of payload fields.
pub mod field {
    /// Id of the document.
    pub const DOC_ID: &str = "doc_id";
    /// Version of the document.
    pub const VERSION: &str = "version";
    /// Position of the chunk in the document.
    pub const CHUNK: &str = "chunk";
    /// How many chunks the document has.
    pub const CHUNKS: &str = "chunks";
    /// The text.
    pub const TEXT: &str = "text";
    /// Title and headings above the text.
    pub const CONTEXT: &str = "context";
    /// First byte of the text in the document.
    pub const START: &str = "start";
    /// Byte after the last one of the text in the document.
    pub const END: &str = "end";
    /// Digest of the text that was embedded.
    pub const DIGEST: &str = "digest";
    /// Fingerprint of the model that made the vector.
    pub const FINGERPRINT: &str = "fingerprint";
    /// When the point was written, RFC 3339.
    pub const INDEXED_AT: &str = "indexed_at";
    /// Run that published the job.
    pub const RUN: &str = "run";
    /// Whether this is the tombstone of a deleted document.
    pub const DELETED: &str = "deleted";
    /// What the publisher said about the document.
    pub const META: &str = "meta";
}

/// Id of a chunk's point: a UUIDv5 of document and position, so that writing twice is writing once.
///
/// The collection is not part of it: ids are local to a collection anyway, and a point that is copied into the
/// next generation keeps its id. The position comes first because its length is fixed, so that no two pairs
/// give the same bytes.
#[must_use]
pub fn point_id(doc_id: &str, chunk: u32) -> Uuid {
    let mut name = Vec::with_capacity(4 + doc_id.len());
    name.extend_from_slice(&chunk.to_be_bytes());
    name.extend_from_slice(doc_id.as_bytes());
    Uuid::new_v5(&POINT_NAMESPACE, &name)
}

/// Id of the point that is a document's head.
#[must_use]
pub fn head_id(doc_id: &str) -> PointId {
    point_id(doc_id, 0).to_string().into()
}

/// What all points of one write have in common.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Name of the model, which is the name of the vector.
    pub model: ModelName,
    /// Fingerprint of the model.
    pub fingerprint: Digest,
    /// When the points are written, RFC 3339.
    pub indexed_at: String,
    /// Run that published the job.
    pub run: Option<String>,
}

/// Makes the point of a chunk.
#[must_use]
pub fn chunk_point(
    stamp: &Stamp,
    document: &Document,
    chunk: &Chunk,
    version: u64,
    vector: Vec<f32>,
) -> PointStruct {
    let input = Chunk::model_input("", chunk.context.as_deref(), &chunk.text);
    let mut payload = HashMap::new();
    let mut put = |name: &str, value: Value| drop(payload.insert(name.to_owned(), value));
    put(field::DOC_ID, document.id.as_str().into());
    put(field::VERSION, integer(version));
    put(field::CHUNK, json!(chunk.index).into());
    put(field::CHUNKS, json!(document.total).into());
    put(field::TEXT, chunk.text.as_str().into());
    put(field::DIGEST, Digest::of(input.as_bytes()).as_str().into());
    put(field::FINGERPRINT, stamp.fingerprint.as_str().into());
    put(field::INDEXED_AT, stamp.indexed_at.as_str().into());
    put(field::DELETED, false.into());
    let meta = (!document.meta.is_empty()).then(|| json!(document.meta).into());
    let optional = [
        (field::START, chunk.start.map(integer)),
        (field::END, chunk.end.map(integer)),
        (field::CONTEXT, chunk.context.as_deref().map(Value::from)),
        (field::RUN, stamp.run.as_deref().map(Value::from)),
        (field::META, meta),
    ];
    for (name, value) in optional {
        value.into_iter().for_each(|value| put(name, value));
    }
    let named = NamedVectors::default().add_vector(stamp.model.as_str(), vector);
    let id = point_id(&document.id, chunk.index.unwrap_or(0)).to_string();
    PointStruct::new(id, named, payload)
}

/// Versions and places are far below the largest integer.
fn integer(number: impl Into<u64>) -> Value {
    i64::try_from(number.into()).unwrap_or(i64::MAX).into()
}

/// Makes the tombstone of a deleted document.
#[must_use]
pub fn tombstone(stamp: &Stamp, doc_id: &str, version: u64) -> PointStruct {
    let payload = json!({
        (field::DOC_ID): doc_id,
        (field::VERSION): version,
        (field::CHUNK): 0,
        (field::CHUNKS): 0,
        (field::DELETED): true,
        (field::FINGERPRINT): stamp.fingerprint,
        (field::INDEXED_AT): stamp.indexed_at,
    });
    let payload = payload
        .as_object()
        .cloned()
        .map(into_payload)
        .unwrap_or_default();
    let no_vectors = Vectors {
        vectors_options: Some(VectorsOptions::Vectors(NamedVectors::default())),
    };
    PointStruct::new(point_id(doc_id, 0).to_string(), no_vectors, payload)
}

fn into_payload(map: Map<String, serde_json::Value>) -> HashMap<String, Value> {
    map.into_iter()
        .map(|(key, value)| (key, Value::from(value)))
        .collect()
}

/// What the head of a document says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Version of the document.
    pub version: u64,
    /// How many chunks it has, 0 for a tombstone.
    pub chunks: u32,
    /// Whether the document is deleted.
    pub deleted: bool,
}

impl Head {
    /// Fields that must be asked for to read a head.
    pub const FIELDS: [&str; 4] = [field::DOC_ID, field::VERSION, field::CHUNKS, field::DELETED];

    /// Reads a head with the id of its document. A point that Ebb did not write has none, or version 0.
    #[must_use]
    pub fn read(point: &RetrievedPoint) -> Option<(String, Self)> {
        let doc_id = point.payload.get(field::DOC_ID)?.as_str()?.clone();
        let integer = |name| {
            point
                .payload
                .get(name)
                .and_then(Value::as_integer)
                .unwrap_or(0)
        };
        let head = Self {
            version: u64::try_from(integer(field::VERSION)).unwrap_or(0),
            chunks: u32::try_from(integer(field::CHUNKS)).unwrap_or(0),
            deleted: point
                .payload
                .get(field::DELETED)
                .and_then(Value::as_bool)
                .unwrap_or(false),
        };
        Some((doc_id, head))
    }
}

/// Points that a write of `version` may replace: the same or an older version, or points without one. Qdrant
/// compares as doubles, which is exact up to [`crate::job::MAX_VERSION`].
#[must_use]
pub fn not_newer_than(version: u64) -> Filter {
    Filter::should([
        Condition::is_empty(field::VERSION),
        Condition::range(
            field::VERSION,
            Range {
                lte: Some(as_double(version)),
                ..Range::default()
            },
        ),
    ])
}

/// Points that the chunks of `version` may replace: as [`not_newer_than`], but a tombstone wins at its own version,
/// because a delete removes that version too.
#[must_use]
pub fn writable(version: u64) -> Filter {
    let own = Range {
        gte: Some(as_double(version)),
        ..Range::default()
    };
    let tombstone = Filter::must([
        Condition::matches(field::DELETED, true),
        Condition::range(field::VERSION, own),
    ]);
    Filter {
        must_not: vec![Condition::from(tombstone)],
        ..not_newer_than(version)
    }
}

/// The points among these that are tombstones.
#[must_use]
pub fn tombstones_among(ids: impl IntoIterator<Item = PointId>) -> Filter {
    Filter::must([
        Condition::has_id(ids),
        Condition::matches(field::DELETED, true),
    ])
}

/// All points of a document older than `version`.
#[must_use]
pub fn older_than(doc_id: &str, version: u64) -> Filter {
    Filter::must([
        Condition::matches(field::DOC_ID, doc_id.to_owned()),
        Condition::range(
            field::VERSION,
            Range {
                lt: Some(as_double(version)),
                ..Range::default()
            },
        ),
    ])
}

/// All points that a document of `version` with `total` chunks must not have: those of older versions, and those of
/// its own beyond its end, which a publisher leaves that uses a version twice.
#[must_use]
pub fn obsolete(doc_id: &str, version: u64, total: u32) -> Filter {
    let upto = Range {
        lte: Some(as_double(version)),
        ..Range::default()
    };
    let beyond = Range {
        gte: Some(f64::from(total)),
        ..Range::default()
    };
    let own = Filter::must([
        Condition::range(field::VERSION, upto),
        Condition::range(field::CHUNK, beyond),
    ]);
    let older = Range {
        lt: Some(as_double(version)),
        ..Range::default()
    };
    Filter {
        must: vec![Condition::matches(field::DOC_ID, doc_id.to_owned())],
        should: vec![
            Condition::range(field::VERSION, older),
            Condition::from(own),
        ],
        ..Filter::default()
    }
}

/// All points of a document but its head, up to and including `version`.
#[must_use]
pub fn body_up_to(doc_id: &str, version: u64) -> Filter {
    let upto = Range {
        lte: Some(as_double(version)),
        ..Range::default()
    };
    Filter {
        must: vec![
            Condition::matches(field::DOC_ID, doc_id.to_owned()),
            Condition::range(field::VERSION, upto),
        ],
        must_not: vec![Condition::matches(field::CHUNK, 0)],
        ..Filter::default()
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "versions are at most 2^53 - 1, which is exact"
)]
fn as_double(version: u64) -> f64 {
    debug_assert!(
        version <= crate::job::MAX_VERSION,
        "version {version} is not exact as a double"
    );
    version as f64
}
