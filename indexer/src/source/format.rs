//! The formats that documents are extracted from.

use std::path::Path;

use clap::ValueEnum;

/// What the bytes of an input mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Plain text: one document.
    Text,
    /// Markdown: one document.
    Markdown,
    /// HTML: one document.
    Html,
    /// One JSON object per line: many documents.
    Jsonl,
    /// Comma-separated values with a header: many documents.
    Csv,
    /// Tab-separated values with a header, without quoting: many documents.
    Tsv,
    /// PDF: one document.
    Pdf,
    /// Parquet: many documents, one in each row.
    Parquet,
}

/// The extensions that are known, for messages.
pub const EXTENSIONS: &str =
    "txt, text, md, markdown, html, htm, jsonl, ndjson, csv, tsv, pdf, parquet";

impl Format {
    /// The format that a file's extension stands for, in any case.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "txt" | "text" => Some(Self::Text),
            "md" | "markdown" => Some(Self::Markdown),
            "html" | "htm" => Some(Self::Html),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            "pdf" => Some(Self::Pdf),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}
