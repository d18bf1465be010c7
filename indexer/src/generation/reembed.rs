//! Reembed: a stored chunk as a document to be embedded by another model.

use contract::field;
use contract::job::{Chunk, Document};
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
    /// Of a point with its whole payload.
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

    /// Of a point with its whole payload, for a worker to tokenize.
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
        token_ids: Vec::new(),
        vector: None,
    }
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
