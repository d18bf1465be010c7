//! Payload: reads what a point says. A field that is missing, or of another type, reads as its empty value: points that
//! Ebb did not write have none of them.

use contract::field;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::with_payload_selector::SelectorOptions;
use qdrant_client::qdrant::{
    PayloadIncludeSelector, PointId, RetrievedPoint, Value, Vector, WithPayloadSelector, vector,
    vector_output, vectors_output,
};

/// Asks for some fields of the payload.
#[must_use]
pub fn include(fields: &[&str]) -> WithPayloadSelector {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    WithPayloadSelector {
        selector_options: Some(SelectorOptions::Include(PayloadIncludeSelector { fields })),
    }
}

/// Id of a point as text, empty if it has none.
#[must_use]
pub fn id(point: &RetrievedPoint) -> String {
    point.id.as_ref().map_or_else(String::new, id_text)
}

/// An id as text: a UUID, or a number, which Ebb never writes.
#[must_use]
pub fn id_text(id: &PointId) -> String {
    match id.point_id_options.as_ref() {
        Some(PointIdOptions::Uuid(uuid)) => uuid.clone(),
        Some(PointIdOptions::Num(number)) => number.to_string(),
        None => String::new(),
    }
}

/// Id of the document that a point belongs to.
#[must_use]
pub fn doc_id(point: &RetrievedPoint) -> Option<String> {
    text(point, field::DOC_ID)
}

/// A text of a payload.
#[must_use]
pub fn text(point: &RetrievedPoint, field: &str) -> Option<String> {
    point.payload.get(field).and_then(Value::as_str).cloned()
}

/// A count of a payload.
#[must_use]
pub fn number(point: &RetrievedPoint, field: &str) -> u64 {
    let value = point.payload.get(field).and_then(Value::as_integer);
    value
        .and_then(|value| u64::try_from(value).ok())
        .unwrap_or(0)
}

/// Whether a point is the tombstone of a deleted document.
#[must_use]
pub fn is_deleted(point: &RetrievedPoint) -> bool {
    let value = point.payload.get(field::DELETED).and_then(Value::as_bool);
    value.unwrap_or(false)
}

/// Whether the attached vector of that name, if the point has it, was made of the text that it has.
#[must_use]
pub fn is_made_of_text(point: &RetrievedPoint, name: &str) -> bool {
    let marks = point.payload.get(field::ATTACHED);
    let mark = marks.and_then(|marks| marks.get_value(name));
    mark.and_then(Value::as_bool).unwrap_or(false)
}

/// The mark of attached vectors that were made of the text of their point.
#[must_use]
pub fn made_of_text<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Value> {
    let marks = names.into_iter().map(|name| (name.to_owned(), true.into()));
    let marks: serde_json::Map<_, _> = marks.collect();
    (!marks.is_empty()).then(|| serde_json::Value::Object(marks).into())
}

/// The dense vector of that name.
#[must_use]
pub fn vector(point: &RetrievedPoint, name: &str) -> Option<Vec<f32>> {
    let vectors = point.vectors.as_ref()?.vectors_options.as_ref()?;
    let vectors_output::VectorsOptions::Vectors(named) = vectors else {
        return None;
    };
    match named.vectors.get(name)?.clone().into_vector() {
        vector_output::Vector::Dense(dense) => Some(dense.data),
        vector_output::Vector::Sparse(_) | vector_output::Vector::MultiDense(_) => None,
    }
}

/// The vector of that name, of whatever kind, to be written again.
#[must_use]
pub fn named_vector(point: &RetrievedPoint, name: &str) -> Option<Vector> {
    let vectors = point.vectors.as_ref()?.vectors_options.as_ref()?;
    let vectors_output::VectorsOptions::Vectors(named) = vectors else {
        return None;
    };
    let vector = match named.vectors.get(name)?.clone().into_vector() {
        vector_output::Vector::Dense(dense) => vector::Vector::Dense(dense),
        vector_output::Vector::Sparse(sparse) => vector::Vector::Sparse(sparse),
        vector_output::Vector::MultiDense(multi) => vector::Vector::MultiDense(multi),
    };
    Some(Vector {
        vector: Some(vector),
        ..Vector::default()
    })
}

/// Whether a point that was read with its vectors has any.
#[must_use]
pub fn has_vectors(point: &RetrievedPoint) -> bool {
    let vectors = point.vectors.as_ref();
    match vectors.and_then(|vectors| vectors.vectors_options.as_ref()) {
        Some(vectors_output::VectorsOptions::Vectors(named)) => !named.vectors.is_empty(),
        Some(vectors_output::VectorsOptions::Vector(_)) => true,
        None => false,
    }
}
