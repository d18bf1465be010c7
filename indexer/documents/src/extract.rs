//! Turns an input into its documents.
//!
//! Takes an [`Input`]; gives an iterator of documents; owns the open file, from the first `next` on; what cannot
//! be used is an `Err` item, and the iterator goes on with the next record where there is one. Formats of many
//! records are streamed record by record; text stays in its file beyond one block; everything else is read whole
//! up to a limit that an option sets.

mod decode;
mod html;
mod json;
mod lines;
mod parquet;
mod pdf;
mod record;
mod table;
mod text;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use clap::Args;

use crate::document::Document;
use crate::source::Origin;
use crate::source::{Format, Input, InputLocation, SourceError};

/// How large the things may be that have to be in memory as a whole.
#[derive(Debug, Clone, Copy, Args)]
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
    /// Most bytes of a PDF file; a larger one is refused. What its streams unpack to is not limited.
    #[arg(long, env = "INDEXER_MAX_PDF_BYTES", default_value_t = 64 << 20)]
    pub max_pdf_bytes: usize,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            max_record_bytes: 16 << 20,
            max_html_bytes: 8 << 20,
            max_pdf_bytes: 64 << 20,
        }
    }
}

/// A limit with the option that sets it, so that an error can name both.
#[derive(Debug, Clone, Copy)]
struct Limit {
    bytes: usize,
    option: &'static str,
}

impl Limit {
    fn exceeded(self, origin: Origin, bytes: u64) -> SourceError {
        SourceError::TooLarge {
            origin,
            bytes,
            limit: self.bytes as u64,
            option: self.option,
        }
    }
}

impl ExtractOptions {
    fn record(&self) -> Limit {
        Limit {
            bytes: self.max_record_bytes,
            option: "--max-record-bytes",
        }
    }

    fn html(&self) -> Limit {
        Limit {
            bytes: self.max_html_bytes,
            option: "--max-html-bytes",
        }
    }

    fn pdf(&self) -> Limit {
        Limit {
            bytes: self.max_pdf_bytes,
            option: "--max-pdf-bytes",
        }
    }
}

/// The documents of `input`. Nothing is opened before the first one is asked for.
pub fn extract(input: Input, options: ExtractOptions) -> Documents {
    Documents {
        state: State::Waiting(Box::new(input), options),
    }
}

/// The documents of one input, in its order.
pub struct Documents {
    state: State,
}

type Stream = Box<dyn Iterator<Item = Result<Document, SourceError>> + Send>;

enum State {
    Waiting(Box<Input>, ExtractOptions),
    Reading(Stream),
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents").finish_non_exhaustive()
    }
}

impl Iterator for Documents {
    type Item = Result<Document, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let State::Waiting(input, options) = &self.state {
            let stream =
                open(input, options).unwrap_or_else(|error| Box::new(std::iter::once(Err(error))));
            self.state = State::Reading(stream);
        }
        match &mut self.state {
            State::Reading(stream) => stream.next(),
            State::Waiting(..) => None,
        }
    }
}

fn open(input: &Input, options: &ExtractOptions) -> Result<Stream, SourceError> {
    let one = |document| -> Stream { Box::new(std::iter::once(Ok(document))) };
    Ok(match input.format {
        Format::Text | Format::Markdown => one(text::text(input, options.record())?),
        Format::Html => one(html::html(input, options.html())?),
        Format::Pdf => one(pdf::pdf(input, options.pdf())?),
        Format::Jsonl => Box::new(json::Records::open(input, options.record())?),
        Format::Csv => Box::new(table::Rows::open(input, b',', options.record())?),
        Format::Tsv => Box::new(table::Rows::open(input, b'\t', options.record())?),
        Format::Parquet => Box::new(parquet::Rows::open(input, options.record())?),
    })
}

/// The bytes of an input, from its start.
fn bytes_of(input: &Input) -> Result<Box<dyn std::io::Read + Send>, SourceError> {
    match &input.location {
        InputLocation::Stdin => Ok(Box::new(std::io::stdin())),
        InputLocation::Object(object) => Ok(Box::new(object.reader())),
        InputLocation::File(path) => match std::fs::File::open(path) {
            Ok(file) => Ok(Box::new(file)),
            Err(source) => Err(SourceError::Read {
                origin: input.origin(),
                source,
            }),
        },
    }
}

#[cfg(test)]
mod tests;

thread_local! {
    /// Whether a panic on this thread is expected and becomes an error.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `call`; `None` where it panics. Broken files make some libraries panic rather often: the hook of the process
/// is told to keep quiet about this thread meanwhile, and is as it was for all others.
pub fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                loud(info);
            }
        }));
    });
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(false);
    result.ok()
}
