//! Turns an input into its documents.
//!
//! Takes an [`Input`]; gives an iterator of documents; owns the open file, from the first `next` on; what cannot
//! be used is an `Err` item, and the iterator goes on with the next record where there is one. Formats of many
//! records are streamed record by record; text stays in its file beyond one block; everything else is read whole
//! up to a limit that an option sets. Formats whose reading may crash or take any memory are read in processes of their own
//! ([`isolated`]), all by one interface ([`extracted`]).

pub mod archive;
mod code;
mod data_uris;
mod decode;
mod docx;
mod encoding;
mod epub;
pub mod extracted;
mod html;
pub mod isolated;
mod json;
mod lines;
mod mail;
mod markup;
mod notebook;
mod opendocument;
mod package;
mod parquet;
mod pdf;
mod pptx;
mod record;
mod rtf;
mod table;
mod text;
mod xlsx;
mod xml;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};

use clap::Args;

use crate::document::{Amount, Document};
use crate::source::Origin;
use crate::source::{Archive, Compression, Format, Input, InputLocation, Shape, SourceError};
pub use encoding::TextEncoding;
use extracted::{Extract, Extracted};
use isolated::{Limits, Pool, Program};
pub use record::Columns;
pub use table::Delimiter;
use table::TableOptions;

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

    fn table(&self) -> TableOptions {
        TableOptions {
            delimiter: self.delimiter,
            columns: self.columns.clone(),
            encoding: self.encoding,
            limit: self.record(),
            file: self.office(),
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

    fn office(&self) -> Limit {
        Limit {
            bytes: self.max_office_bytes,
            option: "--max-office-bytes",
        }
    }

    fn limits(&self, bytes: usize, limit: Limit) -> Limits {
        Limits {
            memory_bytes: self.max_extract_memory_bytes,
            seconds: self.max_extract_seconds.saturating_add(bytes as u64 >> 20),
            text_bytes: limit.bytes as u64,
        }
    }
}

/// Extracts documents with one set of options. Copies share the processes that formats are isolated in.
#[derive(Debug, Clone, Default)]
pub struct Extractor {
    options: Arc<ExtractOptions>,
    pool: Arc<Pool>,
    skipped: Arc<AtomicU64>,
}

impl Extractor {
    /// `program` is what reads formats that are isolated.
    pub fn new(options: ExtractOptions, program: Program) -> Self {
        Self {
            options: Arc::new(options),
            pool: Arc::new(Pool::new(program)),
            skipped: Arc::default(),
        }
    }

    /// Files inside archives that were passed over so far because their extension is not one of [`Format`]'s.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    fn skip(&self) {
        self.skipped.fetch_add(1, Ordering::Relaxed);
    }

    /// The documents of `input`. Nothing is opened before the first one is asked for.
    pub fn extract(&self, input: Input) -> Documents {
        Documents {
            state: State::Waiting(Box::new(input), self.clone()),
        }
    }

    fn open(&self, input: &Input) -> Result<Stream, SourceError> {
        let options = &self.options;
        let one = |document| -> Stream { Box::new(std::iter::once(Ok(document))) };
        let members = |kind| -> Result<Stream, SourceError> {
            Ok(self.documents_of(archive::members(input, kind, self)?))
        };
        Ok(match input.format {
            Format::Zip => members(Archive::Zip)?,
            Format::Tar => members(Archive::Tar)?,
            Format::Mbox => members(Archive::Mbox)?,
            Format::Text | Format::Markdown => {
                one(text::text(input, options.record(), options.encoding)?)
            }
            Format::Html => one(html::html(input, options.html(), options.encoding)?),
            Format::Jsonl => Box::new(json::Records::open(input, &options.table())?),
            Format::Csv | Format::Tsv => Box::new(table::Rows::open(input, &options.table())?),
            Format::Parquet => Box::new(parquet::Rows::open(input, &options.table())?),
            Format::Rst
            | Format::Asciidoc
            | Format::Org
            | Format::Latex
            | Format::Xml
            | Format::Srt
            | Format::Vtt => one(self.isolated_text(input)?),
            Format::Bash
            | Format::C
            | Format::Cpp
            | Format::Csharp
            | Format::Go
            | Format::Java
            | Format::Javascript
            | Format::Kotlin
            | Format::Php
            | Format::Python
            | Format::Ruby
            | Format::Rust
            | Format::Typescript
            | Format::Tsx => match self.isolated_text(input) {
                // Among sources a file without a line is no mistake: it marks a folder.
                Err(SourceError::Empty { .. } | SourceError::EmptyText { .. }) => {
                    Box::new(std::iter::empty())
                }
                document => one(document?),
            },
            Format::Eml => self.mail(input)?,
            Format::Pdf => one(self.isolated_document(input, options.pdf())?),
            Format::Docx
            | Format::Pptx
            | Format::Xlsx
            | Format::Odt
            | Format::Ods
            | Format::Odp
            | Format::Rtf
            | Format::Epub
            | Format::Ipynb => one(self.isolated_document(input, options.office())?),
        })
    }

    /// What is read of an input in a process of its own.
    fn isolated(&self, input: &Input, limit: Limit) -> Result<(Amount, Extracted), SourceError> {
        let origin = input.origin();
        let bytes = decode::read(input, limit)?;
        if bytes.is_empty() {
            return Err(SourceError::Empty { origin });
        }
        let limits = self.options.limits(bytes.len(), limit);
        let read = Amount::bytes(bytes.len() as u64);
        let extracted = self.pool.extract(input.format, limits, &bytes);
        let extracted = extracted.map_err(|reason| SourceError::Unreadable {
            origin,
            format: input.format.name(),
            reason,
        })?;
        Ok((read, extracted))
    }

    fn isolated_document(&self, input: &Input, limit: Limit) -> Result<Document, SourceError> {
        let (read, extracted) = self.isolated(input, limit)?;
        text::extracted(input, read, extracted)
    }

    /// The ids of the documents of `input`, as far as they are known without reading more than that takes: of a file in an
    /// archive, its place there. Nothing is opened before the first one is asked for.
    pub fn ids(&self, input: Input) -> Ids {
        let members = |kind| match archive::members(&input, kind, self) {
            Ok(members) => self.ids_of(members),
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        match input.format.shape() {
            Shape::Document => Box::new(std::iter::once(Ok(input.id))),
            Shape::Records => Box::new(self.extract(input).map(|document| Ok(document?.id))),
            Shape::Mail => match self.read_mail(&input) {
                Ok((_, _, attached)) => {
                    let own = std::iter::once(Ok(input.id));
                    Box::new(own.chain(self.ids_of(Box::new(attached.into_iter()))))
                }
                // What is attached to it is not known.
                Err(error) => Box::new([Ok(input.id), Err(error)].into_iter()),
            },
            Shape::Archive(kind) => members(kind),
        }
    }

    fn ids_of(&self, members: archive::Members) -> Ids {
        let extractor = self.clone();
        Box::new(members.flat_map(move |member| match member {
            Ok(member) => extractor.ids(member),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }))
    }

    /// The documents of inputs inside another one.
    fn documents_of(&self, members: archive::Members) -> Stream {
        let extractor = self.clone();
        Box::new(members.flat_map(move |member| match member {
            Ok(member) => extractor.extract(member).stream(),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }))
    }

    /// The document of a mail, and those of its attachments.
    fn mail(&self, input: &Input) -> Result<Stream, SourceError> {
        let (read, extracted, attached) = self.read_mail(input)?;
        let text = text::extracted(input, read, extracted);
        // A mail may be nothing but what is attached to it.
        let text = match text {
            Err(SourceError::EmptyText { .. }) if !attached.is_empty() => None,
            other => Some(other),
        };
        let attached = self.documents_of(Box::new(attached.into_iter()));
        Ok(Box::new(text.into_iter().chain(attached)))
    }

    fn read_mail(&self, input: &Input) -> Result<(Amount, Extracted, Attached), SourceError> {
        let (read, mut extracted) = self.isolated(input, self.options.office())?;
        let attachments = std::mem::take(&mut extracted.attachments);
        let attached = mail::attached(input, attachments, self, &mut extracted.dropped)?;
        Ok((read, extracted, attached))
    }
}

impl Extractor {
    /// The document of a text that is read in a process of its own, once its encoding is settled.
    fn isolated_text(&self, input: &Input) -> Result<Document, SourceError> {
        let (origin, limit) = (input.origin(), self.options.record());
        let bytes = decode::read(input, limit)?;
        let declared = (input.format == Format::Xml).then(|| html::declared(&bytes));
        let length = bytes.len() as u64;
        let encoding = self.options.encoding;
        let source = decode::decode(bytes, &origin, encoding, declared.flatten())?;
        let read = Amount {
            bytes: length,
            ..Amount::of(&source.text)
        };
        // Markup may take more room than the text that it is made of.
        let limits = Limits {
            text_bytes: 4 * limit.bytes as u64,
            ..self.options.limits(source.text.len(), limit)
        };
        let extracted = self
            .pool
            .extract(input.format, limits, source.text.as_bytes());
        let extracted = extracted.map_err(|reason| SourceError::Unreadable {
            origin,
            format: input.format.name(),
            reason,
        })?;
        let mut document = text::extracted(input, read, extracted)?;
        document.dropped.absorb(&text::guessed(source.guessed));
        Ok(document)
    }
}

/// The inputs that are attached to a mail, and why some cannot be read.
type Attached = Vec<Result<Input, SourceError>>;
/// The ids of documents.
pub type Ids = Box<dyn Iterator<Item = Result<String, SourceError>> + Send>;

/// The extractor of a format that is read in a process of its own.
fn isolated_extractor(format: Format) -> Option<Extract> {
    Some(match format {
        Format::Pdf => pdf::pdf,
        Format::Docx => docx::docx,
        Format::Pptx => pptx::pptx,
        Format::Xlsx => xlsx::xlsx,
        Format::Odt | Format::Ods | Format::Odp => opendocument::opendocument,
        Format::Rtf => rtf::rtf,
        Format::Epub => epub::epub,
        Format::Ipynb => notebook::notebook,
        Format::Eml => mail::mail,
        Format::Rst => markup::rst,
        Format::Asciidoc => markup::asciidoc,
        Format::Org => markup::org,
        Format::Latex => markup::latex,
        Format::Xml => markup::xml,
        Format::Srt => markup::srt,
        Format::Vtt => markup::vtt,
        Format::Bash
        | Format::C
        | Format::Cpp
        | Format::Csharp
        | Format::Go
        | Format::Java
        | Format::Javascript
        | Format::Kotlin
        | Format::Php
        | Format::Python
        | Format::Ruby
        | Format::Rust
        | Format::Typescript
        | Format::Tsx => return code::extractor(format),
        Format::Text
        | Format::Markdown
        | Format::Html
        | Format::Jsonl
        | Format::Csv
        | Format::Tsv
        | Format::Parquet
        | Format::Mbox
        | Format::Zip
        | Format::Tar => return None,
    })
}

/// The documents of one input, in its order.
pub struct Documents {
    state: State,
}

type Stream = Box<dyn Iterator<Item = Result<Document, SourceError>> + Send>;

enum State {
    Waiting(Box<Input>, Extractor),
    Reading(Stream),
}

impl std::fmt::Debug for Documents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Documents").finish_non_exhaustive()
    }
}

impl Documents {
    fn stream(self) -> Stream {
        Box::new(self)
    }
}

impl Iterator for Documents {
    type Item = Result<Document, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let State::Waiting(input, extractor) = &self.state {
            let stream = extractor
                .open(input)
                .unwrap_or_else(|error| Box::new(std::iter::once(Err(error))));
            self.state = State::Reading(stream);
        }
        match &mut self.state {
            State::Reading(stream) => stream.next(),
            State::Waiting(..) => None,
        }
    }
}

/// The bytes of an input, from its start, expanded if its name says that they are compressed.
fn bytes_of(input: &Input) -> Result<Box<dyn std::io::Read + Send>, SourceError> {
    let fault = |source| SourceError::Read {
        origin: input.origin(),
        source,
    };
    let bytes: Box<dyn std::io::Read + Send> = match &input.location {
        InputLocation::Stdin => Box::new(std::io::stdin()),
        InputLocation::Object(object) => Box::new(object.reader()),
        InputLocation::Member(member) => member.reader().map_err(fault)?,
        InputLocation::File(path) => Box::new(std::fs::File::open(path).map_err(fault)?),
    };
    let buffered = |bytes| std::io::BufReader::with_capacity(64 << 10, bytes);
    Ok(match Compression::of_name(&input.file_name()) {
        None => bytes,
        Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(bytes))),
        Some(Compression::Zstd) => {
            Box::new(zstd::Decoder::with_buffer(buffered(bytes)).map_err(fault)?)
        }
    })
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
