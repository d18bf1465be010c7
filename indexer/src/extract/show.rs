//! Show: documents, chunks and ledgers as text or as JSON.

use std::fmt::Write as _;

use documents::chunk::Chunk;
use documents::document::{Document, Ledger};
use serde_json::{Map, Value, json};

use super::Unit;
use super::file::File;

/// How things are shown.
#[derive(Clone, Copy, Debug)]
pub struct View {
    pub json: bool,
    /// Whether chunks are left out.
    pub ledger: bool,
    pub unit: Unit,
}

impl View {
    /// What comes first: by what chunks are measured.
    pub fn head(&self) -> String {
        match (self.json, self.unit) {
            (true, _) => String::new(),
            (false, Unit::Tokens) => {
                "Chunks are those that are published with this model, in its tokens.\n".to_owned()
            }
            (false, Unit::Words) => {
                "Chunks are measured in words, because no model is given; give --model for those that are published.\n"
                    .to_owned()
            }
        }
    }

    pub fn document(&self, document: &Document, meta: &Map<String, Value>) -> String {
        if self.ledger {
            return String::new();
        }
        if self.json {
            return line(json!({
                "kind": "document", "doc_id": document.id, "title": document.title, "meta": meta,
                "file": document.origin.to_string(),
            }));
        }
        let title = document.title.as_ref();
        let title = title.map_or_else(String::new, |title| format!(": {title}"));
        format!("\n=== {}{title}\n", document.id)
    }

    pub fn chunk(&self, document: &Document, chunk: &Chunk) -> String {
        if self.ledger {
            return String::new();
        }
        let (unit, count) = (self.unit.name(), chunk.token_ids.len());
        if self.json {
            return line(json!({
                "kind": "chunk", "doc_id": document.id, "chunk": chunk.index, "chunks": chunk.chunks,
                "start": chunk.start, "end": chunk.end, "location": chunk.location,
                "context": chunk.context, "text": chunk.text, unit: count,
            }));
        }
        let location = chunk.location.as_ref().map(ToString::to_string);
        let location = location.map_or_else(String::new, |it| format!(", {it}"));
        let (number, chunks) = (u64::from(chunk.index) + 1, chunk.chunks);
        let (start, end) = (chunk.start, chunk.end);
        let mut shown = format!(
            "--- chunk {number} of {chunks}: {count} {unit}{location}, bytes {start} to {end}\n"
        );
        if let Some(context) = &chunk.context {
            shown.push_str(&format!("[{context}]\n"));
        }
        shown.push_str(&chunk.text);
        shown.push('\n');
        shown
    }

    /// What was left out of one document.
    pub fn ledger_of(&self, document: &Document, ledger: &Ledger) -> String {
        if self.ledger || ledger.is_empty() {
            return String::new();
        }
        match self.json {
            true => line(json!({ "kind": "dropped", "doc_id": document.id, "dropped": ledger })),
            false => format!("--- left out: {ledger}\n"),
        }
    }

    pub fn refused(&self, reason: &str) -> String {
        match self.json {
            true => line(json!({ "kind": "refused", "reason": reason })),
            false => format!("refused: {reason}\n"),
        }
    }

    /// What became of a file.
    pub fn file(&self, path: &str, file: &File) -> String {
        if self.json {
            let mut sums = self.sums(file);
            sums.insert("kind".to_owned(), json!("file"));
            sums.insert("file".to_owned(), json!(path));
            return line(Value::Object(sums));
        }
        let mut shown = format!("\n{path}: ");
        self.write(file, &mut shown);
        shown
    }

    pub fn total(&self, total: &File) -> anyhow::Result<String> {
        if self.json {
            let mut sums = self.sums(total);
            sums.insert("kind".to_owned(), json!("total"));
            sums.insert("skipped".to_owned(), json!(total.skipped));
            return Ok(line(Value::Object(sums)));
        }
        let mut shown = "\ntotal: ".to_owned();
        self.write(total, &mut shown);
        if total.skipped > 0 {
            writeln!(
                shown,
                "{} files have an unknown extension and were passed over",
                total.skipped
            )?;
        }
        Ok(shown)
    }

    fn sums(&self, file: &File) -> Map<String, Value> {
        let unit = self.unit.name();
        let sums = json!({
            "documents": file.documents, "chunks": file.chunks, unit: file.units, "refused": file.refused,
            "read": file.account.read, "text": file.account.text, "dropped": file.account.dropped,
            "text_in_chunks_bytes": file.chunked_bytes,
            "white_space_between_chunks_bytes": file.account.text.bytes.saturating_sub(file.chunked_bytes),
        });
        match sums {
            Value::Object(sums) => sums,
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => Map::new(),
        }
    }

    fn write(&self, file: &File, shown: &mut String) {
        let (documents, chunks) = (file.documents, file.chunks);
        let (units, unit) = (file.units, self.unit.name());
        let mut text = Vec::new();
        // Memory takes all that is written.
        drop(file.account.write(&mut text));
        let space = file.account.text.bytes.saturating_sub(file.chunked_bytes);
        let between = match space {
            0 => String::new(),
            space => format!("; {space} bytes of white space between chunks"),
        };
        let refused = match file.refused {
            0 => String::new(),
            refused => format!("; {refused} refused"),
        };
        shown.push_str(&format!(
            "{documents} documents, {chunks} chunks, {units} {unit}{between}{refused}\n{}",
            String::from_utf8_lossy(&text)
        ));
    }
}

fn line(value: Value) -> String {
    format!("{value}\n")
}
