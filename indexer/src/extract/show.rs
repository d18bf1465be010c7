//! Show: documents, chunks and ledgers as text or as JSON.

use std::fmt::Write as _;

use contract::job::Location;
use documents::chunk::Chunk;
use documents::document::{Amount, Document, Ledger};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

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

/// A line of JSON.
#[derive(JsonSchema, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Line<'a> {
    /// A document; what follows is of it, up to the next one.
    Document {
        doc_id: &'a str,
        title: Option<&'a str>,
        meta: &'a Map<String, Value>,
        /// Where it comes from.
        file: String,
    },
    /// A chunk of it.
    Chunk {
        doc_id: &'a str,
        /// Its number, from 0.
        chunk: u32,
        /// How many the document has.
        chunks: u32,
        /// Where it is in the extracted text, in bytes.
        start: u64,
        end: u64,
        location: Option<&'a Location>,
        /// Title and headings, which are embedded with the text.
        context: Option<&'a str>,
        text: &'a str,
        #[serde(flatten)]
        length: Length,
    },
    /// What was left out of it.
    Dropped {
        doc_id: &'a str,
        dropped: &'a Ledger,
    },
    /// What cannot be used, and why.
    Refused { reason: &'a str },
    /// A line about a file.
    File {
        file: &'a str,
        #[serde(flatten)]
        sums: Sums<'a>,
    },
    /// What became of all files.
    Total {
        /// Files whose extension is unknown.
        skipped: u64,
        #[serde(flatten)]
        sums: Sums<'a>,
    },
}

/// A length, in tokens where a model is given, else in words.
#[derive(JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    Tokens(u64),
    Words(u64),
}

/// What was read of files, and what was made of it.
#[derive(JsonSchema, Serialize)]
pub struct Sums<'a> {
    documents: u64,
    chunks: u64,
    /// Lengths of all chunks.
    #[serde(flatten)]
    length: Length,
    /// Documents and records that cannot be used.
    refused: u64,
    /// What was read.
    read: &'a Amount,
    /// Text that was found in it.
    text: &'a Amount,
    /// What was left out of it.
    dropped: &'a Ledger,
    text_in_chunks_bytes: u64,
    white_space_between_chunks_bytes: u64,
}

impl View {
    /// The first line, which says in which unit chunks are measured.
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
            return line(&Line::Document {
                doc_id: &document.id,
                title: document.title.as_deref(),
                meta,
                file: document.origin.to_string(),
            });
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
            return line(&Line::Chunk {
                doc_id: &document.id,
                chunk: chunk.index,
                chunks: chunk.chunks,
                start: chunk.start,
                end: chunk.end,
                location: chunk.location.as_ref(),
                context: chunk.context.as_deref(),
                text: &chunk.text,
                length: self.length(count as u64),
            });
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
            true => line(&Line::Dropped {
                doc_id: &document.id,
                dropped: ledger,
            }),
            false => format!("--- left out: {ledger}\n"),
        }
    }

    pub fn refused(&self, reason: &str) -> String {
        match self.json {
            true => line(&Line::Refused { reason }),
            false => format!("refused: {reason}\n"),
        }
    }

    /// A line about a file.
    pub fn file(&self, path: &str, file: &File) -> String {
        if self.json {
            return line(&Line::File {
                file: path,
                sums: self.sums(file),
            });
        }
        let mut shown = format!("\n{path}: ");
        self.write(file, &mut shown);
        shown
    }

    pub fn total(&self, total: &File) -> anyhow::Result<String> {
        if self.json {
            return Ok(line(&Line::Total {
                skipped: total.skipped,
                sums: self.sums(total),
            }));
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

    fn length(&self, count: u64) -> Length {
        match self.unit {
            Unit::Tokens => Length::Tokens(count),
            Unit::Words => Length::Words(count),
        }
    }

    fn sums<'a>(&self, file: &'a File) -> Sums<'a> {
        let account = &file.account;
        Sums {
            documents: file.documents,
            chunks: file.chunks,
            length: self.length(file.units),
            refused: file.refused,
            read: &account.read,
            text: &account.text,
            dropped: &account.dropped,
            text_in_chunks_bytes: file.chunked_bytes,
            white_space_between_chunks_bytes: account.text.bytes.saturating_sub(file.chunked_bytes),
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

fn line(line: &Line<'_>) -> String {
    // Nothing in a line cannot be written as JSON.
    let json = serde_json::to_string(line).unwrap_or_default();
    format!("{json}\n")
}
