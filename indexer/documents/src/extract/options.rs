//! Options of extraction: limits, each with the name that errors give it, and how tables and encodings are read.

use clap::Args;

use super::encoding::TextEncoding;
use super::isolated::Limits;
use super::record::Columns;
use super::table::{Delimiter, TableOptions};
use crate::source::{Origin, SourceError};

/// How large the things may be that have to be in memory as a whole.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Extraction")]
pub struct ExtractOptions {
    /// Most bytes of one JSON line, one row of a table, or one text from standard input or an object store; a larger
    /// record is skipped and reported. Each thread that extracts may hold several times this much.
    #[arg(long, env = "INDEXER_MAX_RECORD_BYTES", default_value_t = 16 << 20)]
    pub max_record_bytes: usize,
    /// Most bytes of an HTML page; a larger page is refused. Parsing takes about ten times as much memory,
    /// and up to seventy times for a page of nothing but tags.
    #[arg(long, env = "INDEXER_MAX_HTML_BYTES", default_value_t = 8 << 20)]
    pub max_html_bytes: usize,
    /// Most bytes of a PDF file; a larger one, or one with more text, is refused.
    #[arg(long, env = "INDEXER_MAX_PDF_BYTES", default_value_t = 64 << 20)]
    pub max_pdf_bytes: usize,
    /// Most bytes of an office file, a book, a notebook or a mail, and of a file in an archive that is not read in a stream; a
    /// larger one, or one with more text, is refused.
    #[arg(long, env = "INDEXER_MAX_OFFICE_BYTES", default_value_t = 64 << 20)]
    pub max_office_bytes: usize,
    /// Most bytes that an archive may expand to, with all archives in it; it is refused from there on.
    #[arg(long, env = "INDEXER_MAX_ARCHIVE_BYTES", default_value_t = 4 << 30)]
    pub max_archive_bytes: u64,
    /// Most files in an archive, with those of all archives in it; it is refused from there on.
    #[arg(long, env = "INDEXER_MAX_ARCHIVE_MEMBERS", default_value_t = 100_000)]
    pub max_archive_members: u64,
    /// How deep archives and mails may lie in each other; a deeper one is refused.
    #[arg(long, env = "INDEXER_MAX_ARCHIVE_DEPTH", default_value_t = 4)]
    pub max_archive_depth: usize,
    /// Seconds of processor time that reading one file in a process of its own may take, as PDF, office files, books and mails
    /// are read, and one more for each MiB of it; then it is refused.
    #[arg(long, env = "INDEXER_MAX_EXTRACT_SECONDS", default_value_t = 10)]
    pub max_extract_seconds: u64,
    /// Most bytes of memory that reading one such file may take; it is refused then. Each thread that extracts may hold as
    /// much.
    #[arg(long, env = "INDEXER_MAX_EXTRACT_MEMORY_BYTES", default_value_t = 512 << 20)]
    pub max_extract_memory_bytes: u64,
    /// Encoding of texts, pages and tables that have no byte order mark, such as windows-1252 or gb18030; by default what a
    /// page declares, else utf-8, else a guess, which is reported
    #[arg(long, env = "INDEXER_ENCODING")]
    pub encoding: Option<TextEncoding>,
    /// What separates the cells of a table: one character, or `tab`; by default it is found by the header
    #[arg(long)]
    pub delimiter: Option<Delimiter>,
    #[command(flatten)]
    pub columns: Columns,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            max_record_bytes: 16 << 20,
            max_html_bytes: 8 << 20,
            max_pdf_bytes: 64 << 20,
            max_office_bytes: 64 << 20,
            max_archive_bytes: 4 << 30,
            max_archive_members: 100_000,
            max_archive_depth: 4,
            max_extract_seconds: 10,
            max_extract_memory_bytes: 512 << 20,
            encoding: None,
            delimiter: None,
            columns: Columns::default(),
        }
    }
}

/// A limit with the option that sets it, so that an error can name both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    pub(super) bytes: usize,
    pub(super) option: &'static str,
}

impl Limit {
    pub(super) fn exceeded(self, origin: Origin, bytes: u64) -> SourceError {
        SourceError::TooLarge {
            origin,
            bytes,
            limit: self.bytes as u64,
            option: self.option,
        }
    }
}

impl ExtractOptions {
    pub(super) fn record(&self) -> Limit {
        Limit {
            bytes: self.max_record_bytes,
            option: "--max-record-bytes",
        }
    }

    pub(super) fn table(&self) -> TableOptions {
        TableOptions {
            delimiter: self.delimiter,
            columns: self.columns.clone(),
            encoding: self.encoding,
            limit: self.record(),
            file: self.office(),
        }
    }

    pub(super) fn html(&self) -> Limit {
        Limit {
            bytes: self.max_html_bytes,
            option: "--max-html-bytes",
        }
    }

    pub(super) fn pdf(&self) -> Limit {
        Limit {
            bytes: self.max_pdf_bytes,
            option: "--max-pdf-bytes",
        }
    }

    pub(super) fn office(&self) -> Limit {
        Limit {
            bytes: self.max_office_bytes,
            option: "--max-office-bytes",
        }
    }

    pub(super) fn limits(&self, bytes: usize, limit: Limit) -> Limits {
        Limits {
            memory_bytes: self.max_extract_memory_bytes,
            seconds: self.max_extract_seconds.saturating_add(bytes as u64 >> 20),
            text_bytes: limit.bytes as u64,
        }
    }
}
