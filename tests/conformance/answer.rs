//! Answer: what of an answer is recorded. Left out is what differs from run to run, such as durations and numbers of
//! operations, and the text of a refusal: its gRPC code and Ebb's own verdict on it say what programs act upon.

use std::collections::BTreeMap;

use points::payload::id_text;
use qdrant_client::QdrantError;
use qdrant_client::qdrant::{
    PointId, RetrievedPoint, ScoredPoint, UpdateBatchResponse, Value as Payload, VectorsOutput,
    vector_output, vectors_output,
};
use serde_json::{Value, json};

/// The answer, or the code of the refusal.
pub(super) fn answer<T>(result: Result<T, QdrantError>, of: impl FnOnce(T) -> Value) -> Value {
    match result {
        Ok(found) => of(found),
        Err(QdrantError::ResponseError { status }) => {
            json!({ "refused": format!("{:?}", status.code()) })
        }
        // Without its text, which may hold an address.
        Err(_) => json!({ "failed": "client" }),
    }
}

/// The state of each operation of a batch.
pub(super) fn updated(response: UpdateBatchResponse) -> Value {
    let states = response
        .result
        .iter()
        .map(|result| result.status().as_str_name());
    states.collect()
}

/// Points in the order in which they came.
pub(super) fn points(found: &[RetrievedPoint]) -> Value {
    let point = |point: &RetrievedPoint| {
        json!({
            "id": point.id.as_ref().map(id_text),
            "payload": payload(&point.payload),
            "vectors": vectors(point.vectors.as_ref()),
        })
    };
    found.iter().map(point).collect()
}

/// Hits, best first. Those of equal score come in no promised order, and are recorded in that of their ids.
pub(super) fn hits(found: &[ScoredPoint]) -> Value {
    let mut hits: Vec<_> = found
        .iter()
        .map(|hit| (rounded(hit.score), hit.id.as_ref().map(id_text)))
        .collect();
    hits.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let hit = |(score, id)| json!({ "id": id, "score": score });
    hits.into_iter().map(hit).collect()
}

pub(super) fn id(id: Option<&PointId>) -> Value {
    json!(id.map(id_text))
}

fn payload(payload: &std::collections::HashMap<String, Payload>) -> Value {
    let sorted: BTreeMap<_, _> = payload
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into_json()))
        .collect();
    json!(sorted)
}

fn vectors(vectors: Option<&VectorsOutput>) -> Value {
    match vectors.and_then(|vectors| vectors.vectors_options.as_ref()) {
        None => Value::Null,
        Some(vectors_output::VectorsOptions::Vector(vector)) => values(vector.vector.as_ref()),
        Some(vectors_output::VectorsOptions::Vectors(named)) => {
            let sorted: BTreeMap<_, _> = named
                .vectors
                .iter()
                .map(|(name, vector)| (name.clone(), values(vector.vector.as_ref())))
                .collect();
            json!(sorted)
        }
    }
}

fn values(vector: Option<&vector_output::Vector>) -> Value {
    match vector {
        Some(vector_output::Vector::Dense(dense)) => {
            dense.data.iter().map(|value| rounded(*value)).collect()
        }
        Some(vector_output::Vector::Sparse(sparse)) => json!({
            "indices": sparse.indices,
            "values": sparse.values.iter().map(|value| rounded(*value)).collect::<Vec<_>>(),
        }),
        Some(vector_output::Vector::MultiDense(_)) | None => Value::Null,
    }
}

/// To three decimals: sums of floats depend on the order in which a processor adds them.
fn rounded(value: f32) -> f64 {
    (f64::from(value) * 1000.0).round() / 1000.0 + 0.0
}
