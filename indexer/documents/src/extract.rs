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
mod entities;
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
mod options;
mod package;
mod parquet;
mod pdf;
mod pptx;
mod reader;
mod record;
mod rtf;
mod table;
mod text;
mod xlsx;
mod xml;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use crate::document::{Amount, Document, Ledger, Reason};
use crate::source::{Compression, Format, Input, InputLocation, Shape, SourceError};
use archive::MembersFor;
pub use encoding::TextEncoding;
use extracted::Extracted;
use isolated::{Limits, Pool, Program};
pub use options::ExtractOptions;
use options::Limit;
use reader::Reader;
pub use record::Columns;
pub use table::Delimiter;

/// Most bytes of a source that may be blank: what is larger has something in it, or is a mistake.
const MOST_OF_BLANK: u64 = 4 << 10;

/// Extracts documents with one set of options. Copies share the processes that formats are isolated in.
#[derive(Debug, Clone, Default)]
pub struct Extractor {
    options: Arc<ExtractOptions>,
    pool: Arc<Pool>,
    skipped: Arc<AtomicU64>,
    passed_over: Arc<Mutex<Ledger>>,
}

impl Extractor {
    /// `program` is what reads formats that are isolated.
    pub fn new(options: ExtractOptions, program: Program) -> Self {
        Self {
            options: Arc::new(options),
            pool: Arc::new(Pool::new(program)),
            skipped: Arc::default(),
            passed_over: Arc::default(),
        }
    }

    /// Files inside archives that were passed over so far because their extension is not one of [`Format`]'s.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// What else was passed over inside archives since this was asked last, such as links.
    pub fn take_passed_over(&self) -> Ledger {
        let mut passed = self
            .passed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut passed)
    }

    fn pass_over(&self, reason: Reason, name: String) {
        let mut passed = self
            .passed_over
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        passed.add(reason, 0, Some(name));
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
        Ok(match Reader::of(input.format) {
            Reader::Archive(kind) => {
                self.documents_of(archive::members(input, kind, self, MembersFor::Documents)?)
            }
            Reader::Text => one(text::text(input, options.record(), options.encoding)?),
            Reader::Html => one(html::html(input, options.html(), options.encoding)?),
            Reader::Jsonl => Box::new(json::Records::open(input, &options.table())?),
            Reader::Table => Box::new(table::Rows::open(input, &options.table())?),
            Reader::Parquet => Box::new(parquet::Rows::open(input, &options.table())?),
            Reader::Markup(_) => one(self.isolated_text(input)?),
            Reader::Code(_) => match self.isolated_text(input) {
                // Among sources a file without a line is no mistake: it marks a folder.
                Err(SourceError::Empty { .. } | SourceError::EmptyText { .. })
                    if input.bytes() <= MOST_OF_BLANK =>
                {
                    Box::new(std::iter::empty())
                }
                document => one(document?),
            },
            Reader::Mail(_) => self.mail(input)?,
            Reader::Pdf(_) => one(self.isolated_document(input, options.pdf())?),
            Reader::Office(_) => one(self.isolated_document(input, options.office())?),
        })
    }

    /// What is read of an input in a process of its own.
    fn isolated(&self, input: &Input, limit: Limit) -> Result<(Amount, Extracted), SourceError> {
        let bytes = decode::read(input, limit)?;
        if bytes.is_empty() {
            let origin = input.origin();
            return Err(SourceError::Empty { origin });
        }
        let limits = self.options.limits(bytes.len(), limit);
        let read = Amount::bytes(bytes.len() as u64);
        Ok((read, self.apart(input, limits, &bytes)?))
    }

    fn apart(&self, input: &Input, limits: Limits, bytes: &[u8]) -> Result<Extracted, SourceError> {
        let extracted = self.pool.extract(input.format, limits, bytes);
        extracted.map_err(|reason| SourceError::Unreadable {
            origin: input.origin(),
            format: input.format.name(),
            reason,
        })
    }

    fn isolated_document(&self, input: &Input, limit: Limit) -> Result<Document, SourceError> {
        let (read, extracted) = self.isolated(input, limit)?;
        text::extracted(input, read, extracted)
    }

    /// The ids of the documents of `input`, as far as they are known without reading more than that takes: of a file in an
    /// archive, its place there. Nothing is opened before the first one is asked for.
    pub fn ids(&self, input: Input) -> Ids {
        let members = |kind| match archive::members(&input, kind, self, MembersFor::Ids) {
            Ok(members) => self.ids_of(members),
            Err(error) => Box::new(std::iter::once(Err(error))),
        };
        match input.format.shape() {
            Shape::Document if self.is_blank_source(&input) => Box::new(std::iter::empty()),
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

    /// Whether it is a source that gives no document because there is no line in it.
    fn is_blank_source(&self, input: &Input) -> bool {
        matches!(Reader::of(input.format), Reader::Code(_))
            && !matches!(input.location, InputLocation::Stdin)
            && input.bytes() <= MOST_OF_BLANK
            && decode::read(input, self.options.record())
                .is_ok_and(|bytes| bytes.trim_ascii().is_empty())
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
        // Each of them is read, and counted, by itself.
        let inside: u64 = attachments.iter().map(|it| it.bytes.len() as u64).sum();
        let read = Amount::bytes(read.bytes.saturating_sub(inside));
        let attached = mail::attached(input, attachments, self, &mut extracted.dropped)?;
        Ok((read, extracted, attached))
    }

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
        let extracted = self.apart(input, limits, source.text.as_bytes())?;
        let mut document = text::extracted(input, read, extracted)?;
        document.dropped.absorb(&source.notes);
        Ok(document)
    }
}

/// The inputs that are attached to a mail, and why some cannot be read.
type Attached = Vec<Result<Input, SourceError>>;
/// The ids of documents.
pub type Ids = Box<dyn Iterator<Item = Result<String, SourceError>> + Send>;

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
    let expanded: Box<dyn std::io::Read + Send> = match Compression::of_name(&input.file_name()) {
        None => return Ok(bytes),
        Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(buffered(bytes))),
        Some(Compression::Zstd) => {
            Box::new(zstd::Decoder::with_buffer(buffered(bytes)).map_err(fault)?)
        }
    };
    Ok(match &input.location {
        // What a member expands to is what its archive expands to.
        InputLocation::Member(member) => archive::counted(expanded, &member.container),
        InputLocation::File(_) | InputLocation::Object(_) | InputLocation::Stdin => expanded,
    })
}

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

#[cfg(test)]
mod tests;
