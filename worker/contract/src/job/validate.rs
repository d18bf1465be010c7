//! Validate: what the types of a job cannot say. Problems are sentences that name ids and positions, never texts.

use std::collections::HashSet;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::decode::cut;
use super::{
    Attach, Delete, Document, Embed, Item, MAX_DOCUMENT_ID_BYTES, MAX_META_BYTES,
    MAX_META_COPIES_BYTES, MAX_META_DEPTH, MAX_ROWS, MAX_RUN_BYTES, MAX_VERSION, Rescore,
};

impl Embed {
    pub(super) fn validate(&self) -> Result<(), String> {
        let chunks: usize = self
            .documents
            .iter()
            .map(|document| document.chunks.len())
            .sum();
        check_rows(chunks + self.queries.len())?;
        check_run(self.run.as_deref())?;
        check_meta_copies(&self.documents)?;
        match (self.documents.is_empty(), self.queries.is_empty()) {
            (true, true) => Err("it has neither documents nor queries".to_owned()),
            (false, false) => Err("it has both documents and queries".to_owned()),
            (false, true) if self.collection.is_none() => {
                Err("it has documents but no collection".to_owned())
            }
            (true, false) if self.reply.is_none() => Err("it has queries but no reply".to_owned()),
            (true, false) => self.queries.iter().enumerate().try_for_each(|(i, text)| {
                non_blank(text).map_err(|problem| format!("query {i} {problem}"))
            }),
            (false, true) => self.documents.iter().try_for_each(Document::validate),
        }
    }
}

impl Document {
    pub(super) fn validate(&self) -> Result<(), String> {
        check_id(&self.id)?;
        check_version(self.version)?;
        check_meta(&self.id, &self.meta)?;
        if self.chunks.is_empty() {
            return Err(format!("document `{}` has no chunks", cut(&self.id)));
        }
        let total = self.total.unwrap_or(0);
        let mut seen = HashSet::new();
        for chunk in &self.chunks {
            let index = chunk.index.unwrap_or(0);
            let blame =
                |problem: &str| format!("chunk {index} of document `{}` {problem}", cut(&self.id));
            non_blank(&chunk.text).map_err(blame)?;
            if index >= total {
                return Err(blame(&format!("is beyond its total of {total}")));
            }
            if !seen.insert(index) {
                return Err(blame("is given twice"));
            }
        }
        Ok(())
    }
}

impl Rescore {
    pub(super) fn validate(&self) -> Result<(), String> {
        check_rows(self.items.len())?;
        check_run(self.run.as_deref())?;
        if self.items.is_empty() {
            return Err("it has no items".to_owned());
        }
        if self.reply.is_none() && self.collection.is_none() {
            return Err("it has neither a reply nor a collection".to_owned());
        }
        for (i, item) in self.items.iter().enumerate() {
            non_blank(&item.text).map_err(|problem| format!("item {i} {problem}"))?;
            if let Some(query) = &item.query {
                non_blank(query).map_err(|_| format!("item {i} has a query without text"))?;
            }
            if self.reply.is_none() && item.point.is_none() {
                return Err(format!("item {i} names no point and the job has no reply"));
            }
            item.check_target(i)?;
        }
        Ok(())
    }
}

impl Attach {
    pub(super) fn validate(&self) -> Result<(), String> {
        check_rows(self.items.len())?;
        check_run(self.run.as_deref())?;
        if self.items.is_empty() {
            return Err("it has no items".to_owned());
        }
        for (i, item) in self.items.iter().enumerate() {
            non_blank(&item.text).map_err(|problem| format!("item {i} {problem}"))?;
            if item.query.is_some() {
                return Err(format!("item {i} has a query, which makes no vector"));
            }
            if item.point.is_none() {
                return Err(format!("item {i} names no point"));
            }
            item.check_target(i)?;
        }
        Ok(())
    }
}

impl Item {
    /// Checks where its score or its vector goes.
    fn check_target(&self, position: usize) -> Result<(), String> {
        check_point(position, self.point.as_deref())?;
        check_point(position, self.head.as_deref())?;
        check_version(self.version)
    }
}

impl Delete {
    pub(super) fn validate(&self) -> Result<(), String> {
        check_rows(self.documents.len())?;
        check_run(self.run.as_deref())?;
        if self.documents.is_empty() {
            return Err("it names no documents".to_owned());
        }
        self.documents.iter().try_for_each(|document| {
            check_id(&document.id)?;
            check_version(document.version)
        })
    }
}

fn check_rows(rows: usize) -> Result<(), String> {
    if rows <= MAX_ROWS {
        return Ok(());
    }
    Err(format!(
        "it has {rows} rows, at most {MAX_ROWS} are allowed"
    ))
}

fn check_run(run: Option<&str>) -> Result<(), String> {
    let bytes = run.map_or(0, str::len);
    if bytes <= MAX_RUN_BYTES {
        return Ok(());
    }
    Err(format!(
        "its run has {bytes} bytes, at most {MAX_RUN_BYTES} are allowed"
    ))
}

/// Each chunk becomes a point with a copy of the metadata.
fn check_meta_copies(documents: &[Document]) -> Result<(), String> {
    let copies = |document: &Document| document.chunks.len() * json_bytes(&document.meta);
    let bytes: usize = documents.iter().map(copies).sum();
    if bytes <= MAX_META_COPIES_BYTES {
        return Ok(());
    }
    Err(format!(
        "it has {bytes} bytes of metadata, counted for each chunk, at most {MAX_META_COPIES_BYTES} are allowed; \
         shorten it or slice the document"
    ))
}

fn json_bytes(meta: &Map<String, Value>) -> usize {
    serde_json::to_vec(meta).map_or(0, |json| json.len())
}

/// Checks the metadata of a document, for whoever makes jobs: one document that is refused takes its job with it.
///
/// # Errors
/// A sentence with the id of the document and the limit.
pub fn check_meta(id: &str, meta: &Map<String, Value>) -> Result<(), String> {
    let id = cut(id);
    let bytes = json_bytes(meta);
    let depth = meta.values().map(depth).max().unwrap_or(0);
    if bytes > MAX_META_BYTES {
        return Err(format!(
            "document `{id}` has {bytes} bytes of metadata, at most {MAX_META_BYTES} are allowed"
        ));
    }
    if depth > MAX_META_DEPTH {
        return Err(format!(
            "metadata of document `{id}` is nested {depth} deep, at most {MAX_META_DEPTH} is allowed"
        ));
    }
    Ok(())
}

/// Levels of a value. JSON is read with a limit to its nesting, so that this cannot exhaust the stack.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(values) => 1 + values.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn check_id(id: &str) -> Result<(), String> {
    match id.len() {
        0 => Err("a document id is empty".to_owned()),
        1..=MAX_DOCUMENT_ID_BYTES => Ok(()),
        bytes => Err(format!(
            "document id `{}` has {bytes} bytes, at most {MAX_DOCUMENT_ID_BYTES} are allowed",
            cut(id)
        )),
    }
}

/// One id that Qdrant does not take would fail the write of all its neighbours.
fn check_point(item: usize, id: Option<&str>) -> Result<(), String> {
    let is_id = |id: &str| id.parse::<u64>().is_ok() || Uuid::try_parse(id).is_ok();
    match id {
        Some(id) if !is_id(id) => Err(format!(
            "item {item} names the point `{}`, which is neither a uuid nor an unsigned integer",
            cut(id)
        )),
        Some(_) | None => Ok(()),
    }
}

fn check_version(version: Option<u64>) -> Result<(), String> {
    match version {
        Some(version) if version == 0 || version > MAX_VERSION => Err(format!(
            "document version {version} is not between 1 and {MAX_VERSION}; \
             use microseconds since the epoch or a counter"
        )),
        Some(_) | None => Ok(()),
    }
}

fn non_blank(text: &str) -> Result<(), &'static str> {
    if text.trim().is_empty() {
        Err("has no text")
    } else {
        Ok(())
    }
}
