//! Why a source, an input or a document was refused.

use std::path::PathBuf;

use runtime::object_stores::StoreError;
use thiserror::Error;

use super::EXTENSIONS;
use crate::source::Origin;

/// Why a source, an input or a document was refused. No variant carries text of a document.
#[derive(Debug, Error)]
pub enum SourceError {
    #[error("source `{path}` does not exist and is not a glob: check the path")]
    NotFound { path: PathBuf },
    #[error(
        "`{path}` is a link that leads out of its source: name its target as a source of its own"
    )]
    LeadsOut { path: PathBuf },
    #[error("`{path}` is neither a regular file nor a directory")]
    NotFile { path: PathBuf },
    #[error(
        "`{path}` has no known extension: expected one of {EXTENSIONS}, or pipe it in as `-` with --format"
    )]
    Extension { path: PathBuf },
    #[error("`{pattern}` is not a valid glob: {reason}")]
    Glob { pattern: String, reason: String },
    #[error("source `-` was given more than once: standard input can be read only once")]
    StdinTwice,
    #[error(
        "parquet cannot be read from standard input, because it is read from its end: give a file"
    )]
    StdinParquet,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("source `{argument}` matches no file with one of the extensions {EXTENSIONS}")]
    NoMatch { argument: String },
    #[error("failed to walk a source: {reason}")]
    Walk { reason: String },
    #[error("path `{path}` is not utf-8 and cannot be a document id: rename the file")]
    PathNotUtf8 { path: PathBuf },
    #[error("{origin} has the document id `{id}`, which {first} has as well: index them apart")]
    DuplicateId {
        origin: Origin,
        id: String,
        first: Origin,
    },
    #[error("{origin} has a document id of {bytes} bytes, expected 1 to {limit}")]
    IdLength {
        origin: Origin,
        bytes: usize,
        limit: usize,
    },
    #[error("failed to read {origin}")]
    Read {
        origin: Origin,
        #[source]
        source: std::io::Error,
    },
    #[error("{origin} is a binary file: byte {offset} is NUL")]
    Binary { origin: Origin, offset: u64 },
    #[error(
        "{origin} looks like {encoding}, but cannot be read as that: convert it{}",
        if encoding.starts_with("utf-32") { "" } else { ", or name its encoding with --encoding" }
    )]
    Wide {
        origin: Origin,
        encoding: &'static str,
    },
    #[error("{origin} has a document id of nothing but white space: give it a name")]
    BlankId { origin: Origin },
    #[error(
        "{origin} is not utf-8 at byte {offset}: name its encoding with --encoding, or convert it"
    )]
    NotUtf8 {
        /// The file, and the line of the record where there is one.
        origin: Origin,
        /// Where in the file, counted from 0; for a record of a table, where the record starts.
        offset: u64,
    },
    #[error("{origin} has bytes in field `{field}` that are not utf-8")]
    BinaryField { origin: Origin, field: String },
    #[error("{origin} holds a NUL, which no text has")]
    Nul { origin: Origin },
    #[error(
        "{origin} is not {encoding}{}: name its encoding with --encoding, or convert it",
        if *is_guess { ", which its bytes look like" } else { ", which it says or was said to be" }
    )]
    NotEncoded {
        origin: Origin,
        encoding: &'static str,
        is_guess: bool,
    },
    #[error(
        "{origin} opens a quote that {}; nothing from there on was read",
        if *is_end { "is never closed" } else { "closes in the midst of a text lines later" }
    )]
    Quote {
        /// The line where the quote opens.
        origin: Origin,
        /// Whether the file ends inside it.
        is_end: bool,
    },
    #[error("{origin} has the field `{field}` twice: rename one")]
    RepeatedField { origin: Origin, field: String },
    #[error(
        "{origin} is json over several lines, expected one json object per line: convert it, \
         with `jq -c '.[]'` for example"
    )]
    PrettyJson { origin: Origin },
    #[error("{origin} is empty")]
    Empty { origin: Origin },
    #[error("{origin} has {bytes} bytes, more than {option} {limit}")]
    TooLarge {
        /// The file, or the line where a record starts.
        origin: Origin,
        /// Its size; for standard input, what had been read.
        bytes: u64,
        limit: u64,
        option: &'static str,
    },
    #[error("{origin} is not valid json: {reason}")]
    Json { origin: Origin, reason: String },
    #[error("{origin} is {found}, expected a json object")]
    NotObject { origin: Origin, found: &'static str },
    #[error("{origin} has no field `{field}`")]
    MissingField { origin: Origin, field: String },
    #[error("{origin} has {found} in field `{field}`, expected {expected}")]
    FieldKind {
        origin: Origin,
        field: String,
        expected: &'static str,
        found: &'static str,
    },
    #[error("{origin} has no column `{column}`, found {found}: name the right one with {option}")]
    MissingColumn {
        origin: Origin,
        column: String,
        option: &'static str,
        /// The columns that it has.
        found: String,
    },
    #[error("{origin} has {found} cells, expected {expected}")]
    CellCount {
        origin: Origin,
        expected: usize,
        found: usize,
    },
    #[error("{origin} has no text")]
    EmptyText { origin: Origin },
    #[error("{origin} nests elements more than {limit} deep, or never closes them")]
    TooDeep { origin: Origin, limit: usize },
    #[error("{origin} is not a readable {format}: {reason}")]
    Unreadable {
        origin: Origin,
        format: String,
        reason: String,
    },
    #[error("{origin} is not a readable parquet file: {reason}")]
    Parquet {
        /// The file, and the row where there is one.
        origin: Origin,
        reason: String,
    },
    #[error("{origin} changed while it was being read: publish it again")]
    Changed { origin: Origin },
}

impl SourceError {
    /// Whether there may be documents behind it whose ids nobody knows. No document has an id that no id may be, and
    /// the one whose id comes twice is known.
    pub fn hides_documents(&self) -> bool {
        let known = matches!(
            self,
            Self::DuplicateId { .. }
                | Self::IdLength { .. }
                | Self::BlankId { .. }
                | Self::PathNotUtf8 { .. }
        );
        !known
    }
}
