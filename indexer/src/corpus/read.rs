//! Read: runs source, extract, chunk and pack over a corpus, in parallel and with bounded memory.
//!
//! ```text
//! walk --portions--> chunk (one thread per core) --portions, in order--> pack --jobs--> whoever publishes
//! ```
//! A thread walks the sources and cuts the work into portions. Each free core takes the next one, so that a portion that
//! takes long delays no other, and the portions that are done wait for their turn: jobs are packed in the order of the
//! sources, so that the same corpus gives the same jobs every time. No more than `PORTIONS_AHEAD` are on their way: a
//! slow publisher stops the reading.

use std::collections::HashSet;
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde_json::{Map, Value};
use thiserror::Error;

use super::seen::identity;
use crate::jobs::packer::json_bytes;
use crate::jobs::{DocumentPacker, Packed, TooLarge};
use documents::chunk::{Chunk, ChunkError, Chunker};
use documents::document::{Amount, Content, Document, Ledger, Reason};
use documents::extract::Extractor;
use documents::source::{Input, Origin, Shape, SourceError, Sources};

/// Text of a portion in bytes: enough that handing it on costs nothing, little enough that cores end together.
const PORTION_BYTES: u64 = 256 << 10;
/// Documents of a portion.
const PORTION_UNITS: usize = 64;
/// Portions per core that wait, are being chunked, or are done before their turn.
const PORTIONS_AHEAD: usize = 4;

/// Metadata that says where the file of a document lies.
pub const SOURCE: &str = "source";
/// The name of the field with the source, where a document has a field `source` of its own.
pub const SOURCE_FILE: &str = "source_file";

/// Why a part of a corpus is not published; the rest goes on.
#[derive(Debug, Error)]
pub enum ReadError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    #[error("{0}; shorten or flatten it")]
    Meta(String),
    #[error(
        "{origin} has the document id `{id}`, which an earlier document here has as well: rename one"
    )]
    Repeated { origin: Origin, id: String },
    #[error("document `{doc_id}` of `{collection}` {problem}; publish it again")]
    Stored {
        doc_id: String,
        collection: String,
        problem: String,
    },
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

#[derive(Debug)]
pub enum Event {
    /// A job to publish.
    Job(Box<Packed>),
    /// A document was read to its end.
    Document {
        read: Amount,
        text: Amount,
        /// Parts of the file that are not in the text.
        dropped: Dropped,
    },
    /// Something is not published.
    Refused(ReadError),
    /// Things of the corpus that are no documents.
    Skipped(Skipped),
}

/// Things in a corpus that are no documents.
#[derive(Debug, Default)]
pub struct Skipped {
    /// Files whose extension is unknown.
    pub files: u64,
    /// Parts of archives, by the reason.
    pub parts: Ledger,
}

/// Parts that were left out of a document; `None` for most documents.
pub type Dropped = Option<Box<(Origin, Ledger)>>;

/// A piece of work for one core.
enum Unit {
    /// A file that is one document: extracted in parallel too, because HTML and PDF take long.
    Input(Input),
    /// A record of a file with many.
    Document(Box<Document>),
    /// Not readable.
    Refused(SourceError),
}

/// A document with its chunks.
enum Chunked {
    Whole(Box<Document>, Vec<Chunk>),
    /// Too large to hold all chunks at once: chunked while it is packed.
    Streamed(Box<Document>),
}

type ReadDocument = Result<Chunked, ReadError>;

/// A portion to chunk, and where its chunks go.
type Work = (Vec<Unit>, SyncSender<Vec<ReadDocument>>);

/// Where the chunks of the next portion come from.
type NextPortion = Receiver<Vec<ReadDocument>>;

/// What is needed to put chunks into jobs.
pub struct Packing {
    pub packer: DocumentPacker,
    /// The documents so far by their [`identity`], unless whoever reads looks for those that come twice: 20 bytes each.
    pub seen: Option<HashSet<u128>>,
}

/// Reads a corpus on threads of its own. Ends early when the receiver is gone.
pub fn read(
    sources: Sources,
    extractor: Extractor,
    chunker: Chunker,
    packing: Packing,
    output: tokio::sync::mpsc::Sender<Event>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let (work, from_walk) = sync_channel(cores);
        let (turns, in_order) = sync_channel(cores * PORTIONS_AHEAD);
        let (chunker, extractor) = (&chunker, &extractor);
        // Held by those alone who chunk: when all of them have died, the walk ends.
        let from_walk = Arc::new(Mutex::new(from_walk));
        thread::scope(|scope| {
            let walked = scope.spawn(move || walk(sources, extractor, &Portions { work, turns }));
            for _ in 0..cores {
                let from_walk = Arc::clone(&from_walk);
                scope.spawn(move || chunk_portions(chunker, extractor, &from_walk));
            }
            drop(from_walk);
            let packed = pack_portions(chunker, packing, in_order, &output);
            match (packed, walked.join()) {
                // Mails are opened where they are chunked: only behind the last portion is all counted.
                (Some(()), Ok(files)) => {
                    let skipped = Skipped {
                        files: files + extractor.skipped(),
                        parts: extractor.take_passed_over(),
                    };
                    drop(output.blocking_send(Event::Skipped(skipped)));
                }
                (None, Ok(_)) => {}
                // What was read so far is not all: whoever joins this thread must know.
                (_, Err(panic)) => std::panic::resume_unwind(panic),
            }
        });
    })
}

/// The ways of a portion: to whoever is free, and to its turn.
struct Portions {
    work: SyncSender<Work>,
    turns: SyncSender<NextPortion>,
}

impl Portions {
    /// `None` when nobody listens any more.
    fn send(&self, units: Vec<Unit>) -> Option<()> {
        let (chunks, turn) = sync_channel(1);
        self.turns.send(turn).ok()?;
        self.work.send((units, chunks)).ok()
    }
}

/// Cuts the work into portions. Gives how many files of the sources were passed over.
fn walk(mut sources: Sources, extractor: &Extractor, portions: &Portions) -> u64 {
    let mut portion = Portion::default();
    for input in sources.by_ref() {
        let sent = match input {
            Err(error) => portion.add(Unit::Refused(error), 0, portions),
            Ok(input) if is_one_unit(&input) => {
                let bytes = input.bytes();
                portion.add(Unit::Input(input), bytes, portions)
            }
            Ok(input) => extractor
                .extract(input)
                .try_for_each(|record| match record {
                    Ok(document) => {
                        let bytes = document.text.bytes();
                        portion.add(Unit::Document(Box::new(document)), bytes, portions)
                    }
                    Err(error) => portion.add(Unit::Refused(error), 0, portions),
                }),
        };
        if sent.is_none() {
            break;
        }
    }
    // The receivers may be gone; then nobody waits for the last portion.
    portions.send(portion.units);
    sources.skipped()
}

/// Whether an input is small enough to be one piece of work: a document, or a mail with what is attached to it.
fn is_one_unit(input: &Input) -> bool {
    matches!(input.format.shape(), Shape::Document | Shape::Mail)
}

#[derive(Default)]
struct Portion {
    units: Vec<Unit>,
    bytes: u64,
}

impl Portion {
    /// Adds a unit; sends the portion when it is full. `None` when nobody listens any more.
    fn add(&mut self, unit: Unit, bytes: u64, portions: &Portions) -> Option<()> {
        self.units.push(unit);
        self.bytes += bytes;
        if self.bytes < PORTION_BYTES && self.units.len() < PORTION_UNITS {
            return Some(());
        }
        self.bytes = 0;
        portions.send(std::mem::take(&mut self.units))
    }
}

/// Chunks portion after portion until there are no more.
fn chunk_portions(chunker: &Chunker, extractor: &Extractor, work: &Mutex<Receiver<Work>>) {
    let next = || work.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok((units, chunks)) = next() {
        let units = units.into_iter();
        let chunked = units.flat_map(|unit| chunk_unit(chunker, extractor, unit));
        // Whoever packs may be gone; the walk ends soon then, and with it the work.
        drop(chunks.send(chunked.collect()));
    }
}

fn chunk_unit(chunker: &Chunker, extractor: &Extractor, unit: Unit) -> Vec<ReadDocument> {
    match unit {
        Unit::Refused(error) => vec![Err(error.into())],
        Unit::Document(document) => vec![chunk_document(chunker, document)],
        Unit::Input(input) => extractor
            .extract(input)
            .map(|document| chunk_document(chunker, Box::new(document?)))
            .collect(),
    }
}

fn chunk_document(chunker: &Chunker, document: Box<Document>) -> ReadDocument {
    match document.text {
        Content::File(_) => Ok(Chunked::Streamed(document)),
        Content::Text(_) => {
            let chunks = chunker.chunks(&document).collect::<Result<_, _>>()?;
            Ok(Chunked::Whole(document, chunks))
        }
    }
}

/// Packs and sends. `None` when nobody listens any more.
fn pack_portions(
    chunker: &Chunker,
    mut packing: Packing,
    in_order: Receiver<NextPortion>,
    output: &tokio::sync::mpsc::Sender<Event>,
) -> Option<()> {
    for turn in in_order {
        // A thread that died has left its portion behind; the scope says so when it ends.
        for chunked in turn.recv().ok()? {
            let packed =
                chunked.and_then(|chunked| pack_document(chunker, &mut packing, chunked, output));
            let event = match packed {
                Ok(Some(packed)) => packed,
                Ok(None) => return None,
                Err(error) => Event::Refused(error),
            };
            output.blocking_send(event).ok()?;
        }
    }
    match packing.packer.finish() {
        Some(packed) => output.blocking_send(Event::Job(Box::new(packed))).ok(),
        None => Some(()),
    }
}

/// Packs one document. `None` when nobody listens any more.
fn pack_document(
    chunker: &Chunker,
    packing: &mut Packing,
    chunked: Chunked,
    output: &tokio::sync::mpsc::Sender<Event>,
) -> Result<Option<Event>, ReadError> {
    match chunked {
        Chunked::Whole(document, chunks) => {
            pack_chunks(packing, &document, chunks.into_iter().map(Ok), output)
        }
        Chunked::Streamed(document) => {
            pack_chunks(packing, &document, chunker.chunks(&document), output)
        }
    }
}

fn pack_chunks(
    packing: &mut Packing,
    document: &Document,
    chunks: impl Iterator<Item = Result<Chunk, ChunkError>>,
    output: &tokio::sync::mpsc::Sender<Event>,
) -> Result<Option<Event>, ReadError> {
    let meta = meta_of(document);
    contract::job::check_meta(&document.id, &meta).map_err(ReadError::Meta)?;
    packing.note(document)?;
    let mut weight = Weight::of(document);
    for chunk in chunks {
        let chunk = chunk?;
        weight.add(&chunk);
        if let Some(packed) = packing.packer.add(&document.id, &meta, chunk)?
            && output.blocking_send(Event::Job(Box::new(packed))).is_err()
        {
            return Ok(None);
        }
    }
    let dropped = weight.ledger(document);
    let dropped = (!dropped.is_empty()).then(|| Box::new((document.origin.clone(), dropped)));
    Ok(Some(Event::Document {
        read: document.read,
        text: document.text.amount(),
        dropped,
    }))
}

/// What is stored of a document: its text and its own metadata, which each chunk repeats.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weight {
    text_bytes: u64,
    /// Bytes of one copy of the metadata.
    meta_bytes: u64,
    copies: u64,
}

impl Weight {
    pub fn of(document: &Document) -> Self {
        let has_meta = !document.meta.is_empty();
        Self {
            meta_bytes: if has_meta {
                json_bytes(&document.meta) as u64
            } else {
                0
            },
            ..Self::default()
        }
    }

    pub fn add(&mut self, chunk: &Chunk) {
        let context = chunk.context.as_ref().map_or(0, String::len);
        self.text_bytes += (chunk.text.len() + context) as u64;
        self.copies += 1;
    }

    /// The account of what was left out of the document.
    pub fn ledger(self, document: &Document) -> Ledger {
        let mut ledger = document.dropped.clone();
        let copied = self.meta_bytes * self.copies;
        if copied > self.text_bytes {
            ledger.add(
                Reason::LongMetadata,
                copied,
                Some(format!("`{}`", document.id)),
            );
        }
        ledger
    }
}

impl Packing {
    /// Refuses a document whose id came before: one would replace the other, and nobody could say which.
    fn note(&mut self, document: &Document) -> Result<(), ReadError> {
        let Some(seen) = &mut self.seen else {
            return Ok(());
        };
        if seen.insert(identity(&document.id)) {
            return Ok(());
        }
        Err(ReadError::Repeated {
            origin: document.origin.clone(),
            id: document.id.clone(),
        })
    }
}

/// What the payload says about a document: its own fields, its title, and where it came from. A field `source` of its own
/// stays; the place has another name then.
pub fn meta_of(document: &Document) -> Map<String, Value> {
    let mut meta = document.meta.clone();
    if let Some(title) = &document.title {
        meta.insert("title".to_owned(), Value::from(title.as_str()));
    }
    let name = if meta.contains_key(SOURCE) {
        SOURCE_FILE
    } else {
        SOURCE
    };
    let place = Value::from(document.origin.path.as_ref());
    meta.insert(name.to_owned(), place);
    meta
}

#[cfg(test)]
mod tests;
