//! What extraction gives and chunking takes: one document.
//!
//! A document owns its text up to a bounded size. The text of a larger file stays in the file and is read in
//! [`blocks`], so that a file of any size never ends up in memory.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

pub mod blocks;
pub mod markdown;

pub use blocks::{Block, Blocks, TextFile};

use crate::source::SourceError;

/// Most bytes a document id may have: it travels in every point and in message headers.
pub const MAX_ID_BYTES: usize = contract::job::MAX_DOCUMENT_ID_BYTES;

/// One document of a corpus.
#[derive(Debug, Clone)]
pub struct Document {
    /// Identity within the collection: 1 to [`MAX_ID_BYTES`] bytes of any Unicode.
    pub id: String,
    /// Title, where the document has one.
    pub title: Option<String>,
    /// Whatever else the source said about the document.
    pub meta: Map<String, Value>,
    /// The extracted text; offsets of chunks count its bytes.
    pub text: Content,
    /// How to find structure in the text.
    pub markup: Markup,
    /// Where the document came from.
    pub origin: Origin,
}

/// The text of a document.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory, of bounded size.
    Text(String),
    /// In a file too large for that.
    File(TextFile),
}

impl Content {
    /// Length of the text in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File(file) => file.bytes(),
        }
    }

    /// The text from its start, in blocks of at most `block_bytes`.
    ///
    /// # Errors
    /// [`SourceError::Read`] and [`SourceError::Changed`] for a file.
    pub fn blocks(&self, block_bytes: usize) -> Result<Blocks<'_>, SourceError> {
        match self {
            Self::Text(text) => Ok(Blocks::of_text(text, block_bytes)),
            Self::File(file) => Blocks::of_file(file, block_bytes),
        }
    }
}

/// How structure shows in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markup {
    /// Paragraphs between blank lines.
    Plain,
    /// Headings, lists, code blocks and tables of Markdown as well.
    Markdown,
}

/// Where a document came from, for errors and payloads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The path as text, or `stdin`.
    pub path: Arc<str>,
    /// Line or row of the record, counted from 1; `None` where the whole input is one document.
    pub line: Option<u64>,
    /// What is counted there.
    unit: &'static str,
}

impl Origin {
    /// The origin of a whole file.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self {
            path: path.to_string_lossy().into(),
            line: None,
            unit: "line",
        }
    }

    /// The origin of an object, by its URL.
    #[must_use]
    pub fn url(url: &str) -> Self {
        Self::file(Path::new(url))
    }

    /// The origin of all that comes through standard input.
    #[must_use]
    pub fn stdin() -> Self {
        Self {
            path: "stdin".into(),
            line: None,
            unit: "line",
        }
    }

    /// The record that starts on `line` of the same input.
    #[must_use]
    pub fn at(&self, line: u64) -> Self {
        Self {
            path: Arc::clone(&self.path),
            line: Some(line),
            unit: self.unit,
        }
    }

    /// The record in row `row` of the same input.
    #[must_use]
    pub fn at_row(&self, row: u64) -> Self {
        Self {
            unit: "row",
            ..self.at(row)
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "`{}` {} {line}", self.path, self.unit),
            None => write!(f, "`{}`", self.path),
        }
    }
}

/// Gives `id` back if it may be a document id.
///
/// # Errors
/// [`SourceError::IdLength`].
pub fn check_id(id: String, origin: impl Fn() -> Origin) -> Result<String, SourceError> {
    if (1..=MAX_ID_BYTES).contains(&id.len()) {
        return Ok(id);
    }
    Err(SourceError::IdLength {
        origin: origin(),
        bytes: id.len(),
        limit: MAX_ID_BYTES,
    })
}
