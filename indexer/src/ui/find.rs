//! Find: searches, and shows the chunks of a document beside each other.

use std::sync::Arc;

use anyhow::Context as _;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use contract::field;
use contract::names::CollectionName;
use points::Points;
use points::guard::tombstones;
use qdrant_client::qdrant::{Condition, Filter, Range, RetrievedPoint, Value};
use serde::{Deserialize, Serialize};

use super::answer::{Answer, App, Refusal, Shared, apart, in_time, json, read, turn};
use crate::filter::PointFilter;
use crate::retrieval::Mode;
use crate::retrieval::options::FusionChoice;
use crate::search::{Hit, SearchConfig};

/// Most hits of a page.
const MOST_HITS: u64 = 50;
/// Chunks of a document in one answer.
const CHUNKS: u32 = 24;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    query: String,
    collection: CollectionName,
    mode: Option<Mode>,
    /// In the JSON of Qdrant's REST interface; empty for none.
    #[serde(default)]
    filter: String,
    #[serde(default = "ten")]
    limit: u64,
    #[serde(default)]
    group_by_document: bool,
}

#[derive(Serialize)]
struct ShownHit {
    #[serde(flatten)]
    hit: Hit,
    /// Title and headings above the text, which were embedded with it.
    heading: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentRequest {
    collection: CollectionName,
    doc_id: String,
    /// The first chunk.
    #[serde(default)]
    from: i64,
}

#[derive(Serialize)]
struct Chunk {
    chunk: i64,
    chunks: i64,
    heading: Option<String>,
    text: String,
}

const fn ten() -> u64 {
    10
}

pub async fn search(State(app): Shared, body: Bytes) -> Answer {
    let turn = turn(&app.searches, "others search; try again").await?;
    apart(turn, move || hits(app, body)).await
}

async fn hits(app: Arc<App>, body: Bytes) -> Answer {
    let asked: Asked = read(&body)?;
    let config = config(&app, asked)?;
    let found = crate::search::search(&config).await?;
    let hits = found.hits.into_iter().map(|hit| ShownHit {
        heading: hit.context.clone(),
        hit,
    });
    let hits: Vec<_> = hits.collect();
    let search = found.search.to_string();
    let truncated = found.query_truncated;
    Ok(json(
        &serde_json::json!({ "hits": hits, "search": search, "query_truncated": truncated }),
    ))
}

fn config(app: &App, asked: Asked) -> Result<SearchConfig, Refusal> {
    may_search(app)?;
    let filter = match asked.filter.trim() {
        "" => None,
        text => Some(
            text.parse::<PointFilter>()
                .map_err(|error| Refusal::bad(format!("filter: {error}")))?,
        ),
    };
    let config = SearchConfig {
        vector: None,
        first_model: None,
        query: asked.query,
        collection: asked.collection,
        mode: asked.mode,
        fusion: FusionChoice::default(),
        prefetch: None,
        limit: asked.limit.clamp(1, MOST_HITS),
        offset: 0,
        filter,
        min_score: None,
        group_by_document: asked.group_by_document,
        explain: false,
        rescore: None,
        candidates: None,
        timeout: app.config.timeout,
        json: false,
        model: app.config.model.clone(),
        public_key: app.config.public_key.clone(),
        servers: app.config.servers.clone(),
    };
    match config.faults().first() {
        Some(fault) => Err(Refusal::bad(fault.to_string())),
        None => Ok(config),
    }
}

fn may_search(app: &App) -> Result<(), Refusal> {
    let advice = "texts are shown at an address of this machine, or with a token (EBB_UI_TOKEN)";
    match app.config.may_search() {
        true => Ok(()),
        false => Err(Refusal::new(StatusCode::FORBIDDEN, advice)),
    }
}

/// Chunks of a document, from one on.
pub async fn document(State(app): Shared, body: Bytes) -> Answer {
    let turn = turn(&app.reads, "others read documents; try again").await?;
    apart(turn, move || in_time(chunks(app, body))).await
}

async fn chunks(app: Arc<App>, body: Bytes) -> Answer {
    may_search(&app)?;
    let asked: DocumentRequest = read(&body)?;
    let from = asked.from.max(0);
    let filter = Filter {
        must: vec![
            Condition::matches(field::DOC_ID, asked.doc_id),
            Condition::range(field::CHUNK, between(from, from + i64::from(CHUNKS))),
        ],
        must_not: vec![tombstones()],
        ..Filter::default()
    };
    let fields = [field::CHUNK, field::CHUNKS, field::CONTEXT, field::TEXT];
    let points = Points::new(app.sources.qdrant(), &asked.collection);
    let mut pages = points.pages(filter, &fields, CHUNKS);
    let mut chunks: Vec<Chunk> = Vec::new();
    while let Some(page) = pages.next().await.context("failed to read the document")? {
        chunks.extend(page.iter().map(Chunk::of));
    }
    chunks.sort_by_key(|chunk| chunk.chunk);
    Ok(json(
        &serde_json::json!({ "chunks": chunks, "page": CHUNKS }),
    ))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a document has far fewer than 2^52 chunks"
)]
fn between(first: i64, end: i64) -> Range {
    Range {
        gte: Some(first as f64),
        lt: Some(end as f64),
        ..Range::default()
    }
}

impl Chunk {
    fn of(point: &RetrievedPoint) -> Self {
        let text = |name| point.payload.get(name).and_then(Value::as_str).cloned();
        let integer = |name| point.payload.get(name).and_then(Value::as_integer);
        Self {
            chunk: integer(field::CHUNK).unwrap_or_default(),
            chunks: integer(field::CHUNKS).unwrap_or_default(),
            heading: text(field::CONTEXT),
            text: text(field::TEXT).unwrap_or_default(),
        }
    }
}
