//! Reembed: a stored chunk as a document to be embedded by another model.

use contract::field;
use contract::job::{Chunk, Document, Location};
use contract::model::Manifest;
use contract::tokenizer::Tokenizer;
use qdrant_client::qdrant::{RetrievedPoint, Value};
use serde_json::{Map, Value as Json};

use points::payload::{number, text};

/// A chunk to be embedded again, alone in its document's slice.
pub struct Reembed {
    pub document: Document,
    pub tokens: u64,
    /// Whether the model does not take it whole: its tokens are left to the worker, which refuses it or cuts it.
    pub truncated: bool,
}

impl Reembed {
    /// The document of a point that was read with its whole payload.
    pub fn of(
        point: &RetrievedPoint,
        manifest: &Manifest,
        tokenizer: &Tokenizer,
    ) -> anyhow::Result<Self> {
        let mut chunk = chunk(point);
        let prefix = &manifest.identity.prefixes.document;
        let input = Chunk::model_input(prefix, chunk.context.as_deref(), &chunk.text);
        let token_ids = tokenizer.encode(&input)?;
        let tokens = token_ids.len() as u64;
        let truncated = token_ids.len() > manifest.identity.max_tokens;
        if !truncated {
            chunk.token_ids = token_ids;
        }
        Ok(Self {
            document: document(point, chunk),
            tokens,
            truncated,
        })
    }

    /// The document of a point that was read with its whole payload, for a worker to tokenize.
    pub fn untokenized(point: &RetrievedPoint) -> Self {
        Self {
            document: document(point, chunk(point)),
            tokens: 0,
            truncated: false,
        }
    }
}

fn document(point: &RetrievedPoint, chunk: Chunk) -> Document {
    Document {
        id: text(point, field::DOC_ID).unwrap_or_default(),
        version: Some(number(point, field::VERSION)),
        total: u32::try_from(number(point, field::CHUNKS)).ok(),
        meta: meta(point),
        chunks: vec![chunk],
    }
}

fn chunk(point: &RetrievedPoint) -> Chunk {
    let offset = |name| {
        let value = point.payload.get(name).and_then(Value::as_integer);
        value.and_then(|value| u64::try_from(value).ok())
    };
    Chunk {
        index: u32::try_from(number(point, field::CHUNK)).ok(),
        text: text(point, field::TEXT).unwrap_or_default(),
        context: text(point, field::CONTEXT),
        start: offset(field::START),
        end: offset(field::END),
        location: location(point),
        token_ids: Vec::new(),
        vector: None,
    }
}

/// The location of the text of a point in the original, for people.
pub fn location(point: &RetrievedPoint) -> Option<Location> {
    let location = point.payload.get(field::LOCATION).cloned()?;
    serde_json::from_value(Json::from(location)).ok()
}

/// What the publisher said about the document of a point.
pub fn meta(point: &RetrievedPoint) -> Map<String, Json> {
    let meta = point.payload.get(field::META).cloned().map(Json::from);
    match meta {
        Some(Json::Object(meta)) => meta,
        Some(Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_))
        | None => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(fields: &[(&str, Value)]) -> RetrievedPoint {
        let fields = fields.iter().cloned();
        RetrievedPoint {
            payload: fields
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            ..RetrievedPoint::default()
        }
    }

    #[test]
    fn a_stored_chunk_keeps_its_place_its_text_and_its_version() {
        let meta = Value::from(serde_json::json!({ "author": "a" }));
        let stored = point(&[
            (field::DOC_ID, "d".into()),
            (field::VERSION, 7.into()),
            (field::CHUNKS, 3.into()),
            (field::CHUNK, 2.into()),
            (field::TEXT, "a text".into()),
            (field::CONTEXT, "a title".into()),
            (field::START, 40.into()),
            (field::END, 46.into()),
            (
                field::LOCATION,
                Value::from(serde_json::json!({ "page": 2, "section": "A" })),
            ),
            (field::META, meta),
        ]);
        let Reembed {
            document,
            tokens,
            truncated,
        } = Reembed::untokenized(&stored);
        assert_eq!((tokens, truncated), (0, false));
        assert_eq!((document.id.as_str(), document.version), ("d", Some(7)));
        assert_eq!(document.total, Some(3));
        assert_eq!(document.meta["author"], "a");
        let [chunk] = document.chunks.as_slice() else {
            panic!("not one chunk: {document:?}");
        };
        assert_eq!((chunk.index, chunk.text.as_str()), (Some(2), "a text"));
        assert_eq!(chunk.context.as_deref(), Some("a title"));
        assert_eq!((chunk.start, chunk.end), (Some(40), Some(46)));
        let location = Location {
            page: Some(2),
            section: Some("A".to_owned()),
            ..Location::default()
        };
        assert_eq!(chunk.location, Some(location));
        assert!(chunk.token_ids.is_empty(), "the worker tokenizes it");
    }

    #[test]
    fn offsets_that_cannot_be_and_a_description_that_is_no_object_are_left_out() {
        let odd = point(&[(field::START, (-1).into()), (field::META, "a text".into())]);
        let document = Reembed::untokenized(&odd).document;
        assert_eq!(document.chunks[0].start, None);
        assert!(document.meta.is_empty());
    }
}
