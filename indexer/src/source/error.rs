//! Why a source, an input or a document was refused.

use std::path::PathBuf;

use runtime::object_stores::StoreError;
use thiserror::Error;

use super::format::EXTENSIONS;
use crate::source::Origin;

/// Why a source, an input or a document was refused. No variant carries text of a document.
#[derive(Debug, Error)]
pub enum SourceError {
    /// The argument names nothing.
    #[error("source `{path}` does not exist and is not a glob: check the path")]
    NotFound {
        /// The argument.
        path: PathBuf,
    },
    /// The argument, or a symbolic link below it, leads to no regular file.
    #[error("`{path}` is neither a regular file nor a directory")]
    NotFile {
        /// The file.
        path: PathBuf,
    },
    /// A file was named whose extension is unknown.
    #[error(
        "`{path}` has no known extension: expected one of {EXTENSIONS}, or pipe it in as `-` with --format"
    )]
    Extension {
        /// The file.
        path: PathBuf,
    },
    /// The pattern cannot be understood.
    #[error("`{pattern}` is not a valid glob: {reason}")]
    Glob {
        /// The argument.
        pattern: String,
        /// Where and why.
        reason: String,
    },
    /// Standard input can be read once.
    #[error("source `-` was given more than once: standard input can be read only once")]
    StdinTwice,
    /// Parquet is read from its end.
    #[error(
        "parquet cannot be read from standard input, because it is read from its end: give a file"
    )]
    StdinParquet,
    /// The argument is a URL that leads nowhere.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The source gave no input at all.
    #[error("source `{argument}` matches no file with one of the extensions {EXTENSIONS}")]
    NoMatch {
        /// The argument.
        argument: String,
    },
    /// A folder or an entry of it could not be read.
    #[error("failed to walk a source: {reason}")]
    Walk {
        /// What the system said, with the path.
        reason: String,
    },
    /// A document id must be text, so the path must be.
    #[error("path `{path}` is not utf-8 and cannot be a document id: rename the file")]
    PathNotUtf8 {
        /// The path, with its undecodable bytes replaced.
        path: PathBuf,
    },
    /// Two files would be one document.
    #[error("{origin} has the document id `{id}`, which {first} has as well: index them apart")]
    DuplicateId {
        /// The later file, which is left out.
        origin: Origin,
        /// The id of both.
        id: String,
        /// The earlier file, which is kept.
        first: Origin,
    },
    /// A document id is longer than the limit, or empty.
    #[error("{origin} has a document id of {bytes} bytes, expected 1 to {limit}")]
    IdLength {
        /// Whose id.
        origin: Origin,
        /// Length of the id.
        bytes: usize,
        /// Most bytes an id may have.
        limit: usize,
    },
    /// The system refused to open or read.
    #[error("failed to read {origin}")]
    Read {
        /// What was read.
        origin: Origin,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// There is a NUL byte where text was expected.
    #[error("{origin} is a binary file: byte {offset} is NUL")]
    Binary {
        /// The file.
        origin: Origin,
        /// Where, counted from 0.
        offset: u64,
    },
    /// The bytes are not UTF-8.
    #[error("{origin} is not utf-8 at byte {offset}: convert it first")]
    NotUtf8 {
        /// The file, and the line of the record where there is one.
        origin: Origin,
        /// Where in the file, counted from 0; for a record of a table, where the record starts.
        offset: u64,
    },
    /// Nothing is in it.
    #[error("{origin} is empty")]
    Empty {
        /// The file.
        origin: Origin,
    },
    /// The whole is larger than the limit for its format.
    #[error("{origin} has {bytes} bytes, more than {option} {limit}")]
    TooLarge {
        /// The file, or the line where a record starts.
        origin: Origin,
        /// Its size; for standard input, what had been read.
        bytes: u64,
        /// The limit in bytes.
        limit: u64,
        /// The option that sets the limit.
        option: &'static str,
    },
    /// The line is not JSON.
    #[error("{origin} is not valid json: {reason}")]
    Json {
        /// The line.
        origin: Origin,
        /// What is wrong, and in which column.
        reason: String,
    },
    /// The line is JSON of another kind.
    #[error("{origin} is {found}, expected a json object")]
    NotObject {
        /// The line.
        origin: Origin,
        /// The kind found.
        found: &'static str,
    },
    /// A field that every record needs is not there.
    #[error("{origin} has no field `{field}`")]
    MissingField {
        /// The record.
        origin: Origin,
        /// The field.
        field: &'static str,
    },
    /// A field has a value of the wrong kind.
    #[error("{origin} has {found} in field `{field}`, expected {expected}")]
    FieldKind {
        /// The record.
        origin: Origin,
        /// The field.
        field: &'static str,
        /// The kind expected.
        expected: &'static str,
        /// The kind found.
        found: &'static str,
    },
    /// The header of a table lacks a column.
    #[error("{origin} has no column `{column}` in its header: found {found} columns")]
    MissingColumn {
        /// The file.
        origin: Origin,
        /// The column.
        column: &'static str,
        /// Columns in the header.
        found: usize,
    },
    /// A row has more or fewer cells than the header.
    #[error("{origin} has {found} cells, expected {expected}")]
    CellCount {
        /// The row.
        origin: Origin,
        /// Columns in the header.
        expected: usize,
        /// Cells in the row.
        found: usize,
    },
    /// There is no text in the document.
    #[error("{origin} has no text")]
    EmptyText {
        /// The file or record.
        origin: Origin,
    },
    /// Elements are nested so deeply, or left open so often, that parsing would take quadratic time and memory.
    #[error("{origin} nests elements more than {limit} deep, or never closes them")]
    TooDeep {
        /// The file.
        origin: Origin,
        /// The limit.
        limit: usize,
    },
    /// The library could not make sense of the file.
    #[error("{origin} is not a readable pdf: {reason}")]
    Pdf {
        /// The file.
        origin: Origin,
        /// What the library said.
        reason: String,
    },
    /// The library could not make sense of the file.
    #[error("{origin} is not a readable parquet file: {reason}")]
    Parquet {
        /// The file, and the row where there is one.
        origin: Origin,
        /// What the library said.
        reason: String,
    },
    /// A large file was altered between or during its two passes.
    #[error("{origin} changed while it was being read: publish it again")]
    Changed {
        /// The file.
        origin: Origin,
    },
}

impl SourceError {
    /// Whether there may be documents behind it whose ids nobody knows. No document has an id that no id may be, and
    /// the one whose id comes twice is known.
    #[must_use]
    pub fn hides_documents(&self) -> bool {
        let known = matches!(
            self,
            Self::DuplicateId { .. } | Self::IdLength { .. } | Self::PathNotUtf8 { .. }
        );
        !known
    }
}
