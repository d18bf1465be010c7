//! Point: what a chunk becomes in Qdrant.
//!
//! A document's chunk 0 is its head: it carries the version and the number of chunks by which writers decide
//! who is newer. A deleted document keeps its head as a tombstone: no vector, `deleted: true`.
//!
//! **An upsert without a vector may leave the old one.** A server before 1.19 replaces a point that lies in a segment it
//! may write to, but merges one that it has to move out of an indexed segment, or out of one that is being optimized:
//! vectors that the new point lacks stay, and are found by searches. So whoever writes a tombstone removes its vectors
//! afterwards, on condition that the point is still a tombstone ([`crate::guard::tombstones_among`]). After a crash between the two
//! requests, the job that wrote the tombstone is delivered again and does both once more.

use std::collections::HashMap;

use contract::digest::Digest;
use contract::embedding::Embedding;
use contract::field;
use contract::job::{Chunk, Document};
use contract::names::ModelName;
use qdrant_client::qdrant::{
    NamedVectors, PointId, PointStruct, SparseVector, Value, Vector, Vectors,
    vectors::VectorsOptions,
};
use serde_json::{Map, json};
use uuid::Uuid;

/// Namespace of point ids, made once at random for this project.
const POINT_NAMESPACE: Uuid = Uuid::from_u128(0x6d1c_27c8_3d5b_4b0e_9a35_0f6a_51de_b3c4);

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
pub struct WriteStamp {
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
    stamp: &WriteStamp,
    document: &Document,
    chunk: &Chunk,
    version: u64,
    vector: Embedding,
) -> PointStruct {
    let mut payload = HashMap::new();
    let mut put = |name: &str, value: Value| drop(payload.insert(name.to_owned(), value));
    put(field::DOC_ID, document.id.as_str().into());
    put(field::VERSION, integer(version));
    put(field::CHUNK, json!(chunk.index).into());
    put(field::CHUNKS, json!(document.total).into());
    put(field::TEXT, chunk.text.as_str().into());
    put(field::DIGEST, chunk.digest().as_str().into());
    put(field::FINGERPRINT, stamp.fingerprint.as_str().into());
    put(field::INDEXED_AT, stamp.indexed_at.as_str().into());
    put(field::DELETED, false.into());
    let meta = (!document.meta.is_empty()).then(|| json!(document.meta).into());
    let location = chunk.location.as_ref().map(|it| json!(it).into());
    let optional = [
        (field::START, chunk.start.map(integer)),
        (field::END, chunk.end.map(integer)),
        (field::LOCATION, location),
        (field::CONTEXT, chunk.context.as_deref().map(Value::from)),
        (field::RUN, stamp.run.as_deref().map(Value::from)),
        (field::META, meta),
    ];
    for (name, value) in optional {
        value.into_iter().for_each(|value| put(name, value));
    }
    let named = NamedVectors::default().add_vector(stamp.model.as_str(), vector_of(vector));
    let id = point_id(&document.id, chunk.index.unwrap_or(0)).to_string();
    PointStruct::new(id, named, payload)
}

/// An embedding as a vector of a point.
#[must_use]
pub fn vector_of(embedding: Embedding) -> Vector {
    match embedding {
        Embedding::Dense(values) => values.into(),
        Embedding::Sparse { indices, values } => SparseVector { indices, values }.into(),
        Embedding::Multi { dim, values } => {
            let rows = values.chunks_exact(dim.max(1)).map(<[f32]>::to_vec);
            rows.collect::<Vec<_>>().into()
        }
    }
}

/// Versions and places are far below the largest integer.
fn integer(number: impl Into<u64>) -> Value {
    i64::try_from(number.into()).unwrap_or(i64::MAX).into()
}

/// Makes the tombstone of a deleted document.
#[must_use]
pub fn tombstone(stamp: &WriteStamp, doc_id: &str, version: u64) -> PointStruct {
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
