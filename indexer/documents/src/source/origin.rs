//! Origin: where a document came from, and which ids it may have.

use std::path::Path;
use std::sync::Arc;

use super::SourceError;

/// Most bytes a document id may have: it travels in every point and in message headers.
pub const MAX_ID_BYTES: usize = contract::job::MAX_DOCUMENT_ID_BYTES;

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
    pub fn file(path: &Path) -> Self {
        Self {
            path: path.to_string_lossy().into(),
            line: None,
            unit: "line",
        }
    }

    /// The origin of an object, by its URL.
    pub fn url(url: &str) -> Self {
        Self::file(Path::new(url))
    }

    /// The origin of a part of another input.
    pub fn inside(path: &str) -> Self {
        Self::file(Path::new(path))
    }

    /// The origin of all that comes through standard input.
    pub fn stdin() -> Self {
        Self {
            path: "stdin".into(),
            line: None,
            unit: "line",
        }
    }

    /// The record that starts on `line` of the same input.
    pub fn at(&self, line: u64) -> Self {
        Self {
            path: Arc::clone(&self.path),
            line: Some(line),
            unit: self.unit,
        }
    }

    /// A mail of the same input, by its number.
    pub fn at_mail(&self, number: u64) -> Self {
        Self {
            unit: "mail",
            ..self.at(number)
        }
    }

    /// The record in row `row` of the same input.
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
pub fn check_id(id: String, origin: impl Fn() -> Origin) -> Result<String, SourceError> {
    if !id.is_empty() && id.trim().is_empty() {
        return Err(SourceError::BlankId { origin: origin() });
    }
    if (1..=MAX_ID_BYTES).contains(&id.len()) {
        return Ok(id);
    }
    Err(SourceError::IdLength {
        origin: origin(),
        bytes: id.len(),
        limit: MAX_ID_BYTES,
    })
}
