//! Read: runs source, extract, chunk and pack over a corpus, in parallel and with bounded memory.
//!
//! ```text
//! units --2 blocks--> chunk (rayon) --1 block--> pack --jobs--> whoever publishes
//! ```
//! A thread walks the sources and cuts the work into blocks of a few megabytes; all cores chunk a block; jobs are
//! packed in the order of the sources, so that the same corpus gives the same jobs every time. Every channel is
//! bounded: a slow publisher stops the reading.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use rayon::prelude::*;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::chunk::{Chunk, ChunkError, Chunker};
use crate::document::{Content, Document};
use crate::extract::{ExtractOptions, extract};
use crate::pack::{Packed, Packer, TooLarge};
use crate::source::{Format, Input, Place, SourceError, Sources};

/// Text that is chunked at once by all cores. Large enough that no core waits, small enough to hold a few of.
const BLOCK_BYTES: u64 = 4 << 20;
/// Documents that are chunked at once.
const BLOCK_UNITS: usize = 512;

/// Why a part of a corpus is not published; the rest goes on.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A source, an input or a document cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A document cannot be chunked.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// A document has metadata that no worker takes.
    #[error("{0}; shorten or flatten it")]
    Meta(String),
    /// A document cannot be taken from the collection that holds it.
    #[error("document `{doc_id}` of `{collection}` {problem}; publish it again")]
    Stored {
        /// Its id.
        doc_id: String,
        /// The collection.
        collection: String,
        /// What is wrong.
        problem: String,
    },
    /// A document does not fit into jobs.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// What reading gives, in order.
#[derive(Debug)]
pub enum Event {
    /// A job to publish.
    Job(Box<Packed>),
    /// A document was read to its end.
    Document {
        /// Bytes of its text.
        bytes: u64,
    },
    /// Something is not published.
    Refused(ReadError),
    /// Files were passed over because their extension is unknown.
    Skipped(u64),
}

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

type Unread = Result<Chunked, ReadError>;

/// Reads a corpus on threads of its own. Ends early when the receiver is gone.
#[must_use]
pub fn read(
    sources: Sources,
    options: ExtractOptions,
    chunker: Chunker,
    packer: Packer,
    output: tokio::sync::mpsc::Sender<Event>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let (to_chunk, from_walk) = sync_channel(1);
        let (to_pack, from_chunk) = sync_channel(1);
        thread::scope(|scope| {
            let skipped = scope.spawn(move || walk(sources, options, &to_chunk));
            let chunker = &chunker;
            scope.spawn(move || chunk_blocks(chunker, options, &from_walk, &to_pack));
            let packed = pack_blocks(chunker, packer, &from_chunk, &output);
            drop(from_chunk);
            match (packed, skipped.join()) {
                (Some(()), Ok(skipped)) => drop(output.blocking_send(Event::Skipped(skipped))),
                (None, Ok(_)) => {}
                // What was read so far is not all: whoever joins this thread must know.
                (_, Err(panic)) => std::panic::resume_unwind(panic),
            }
        });
    })
}

/// Cuts the work into blocks. Gives the number of files that were passed over.
fn walk(mut sources: Sources, options: ExtractOptions, blocks: &SyncSender<Vec<Unit>>) -> u64 {
    let mut block = Block::default();
    while let Some(input) = sources.next() {
        let sent = match input {
            Err(error) => block.add(Unit::Refused(error), 0, blocks),
            Ok(input) if is_one_document(&input) => {
                let bytes = size_of(&input);
                block.add(Unit::Input(input), bytes, blocks)
            }
            Ok(input) => extract(input, options).try_for_each(|record| match record {
                Ok(document) => {
                    let bytes = document.text.bytes();
                    block.add(Unit::Document(Box::new(document)), bytes, blocks)
                }
                Err(error) => block.add(Unit::Refused(error), 0, blocks),
            }),
        };
        if sent.is_none() {
            return sources.skipped();
        }
    }
    // The receiver may be gone; then nobody waits for the last block.
    drop(blocks.send(block.units));
    sources.skipped()
}

/// Whether an input is one document with the id of the input, not records with ids of their own.
pub(crate) fn is_one_document(input: &Input) -> bool {
    match input.format {
        Format::Text | Format::Markdown | Format::Html | Format::Pdf => true,
        Format::Jsonl | Format::Csv | Format::Tsv | Format::Parquet => false,
    }
}

fn size_of(input: &Input) -> u64 {
    match &input.place {
        Place::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
        Place::Object(object) => object.bytes(),
        Place::Stdin => 0,
    }
}

#[derive(Default)]
struct Block {
    units: Vec<Unit>,
    bytes: u64,
}

impl Block {
    /// Adds a unit; sends the block when it is full. `None` when nobody listens any more.
    fn add(&mut self, unit: Unit, bytes: u64, blocks: &SyncSender<Vec<Unit>>) -> Option<()> {
        self.units.push(unit);
        self.bytes += bytes;
        if self.bytes < BLOCK_BYTES && self.units.len() < BLOCK_UNITS {
            return Some(());
        }
        self.bytes = 0;
        blocks.send(std::mem::take(&mut self.units)).ok()
    }
}

/// Chunks block after block on all cores, keeping the order.
fn chunk_blocks(
    chunker: &Chunker,
    options: ExtractOptions,
    blocks: &Receiver<Vec<Unit>>,
    output: &SyncSender<Vec<Unread>>,
) {
    for block in blocks {
        let chunked: Vec<Vec<Unread>> = block
            .into_par_iter()
            .map(|unit| chunk_unit(chunker, options, unit))
            .collect();
        if output
            .send(chunked.into_iter().flatten().collect())
            .is_err()
        {
            return;
        }
    }
}

fn chunk_unit(chunker: &Chunker, options: ExtractOptions, unit: Unit) -> Vec<Unread> {
    match unit {
        Unit::Refused(error) => vec![Err(error.into())],
        Unit::Document(document) => vec![chunk_document(chunker, document)],
        Unit::Input(input) => extract(input, options)
            .map(|document| chunk_document(chunker, Box::new(document?)))
            .collect(),
    }
}

fn chunk_document(chunker: &Chunker, document: Box<Document>) -> Unread {
    match document.text {
        Content::File(_) => Ok(Chunked::Streamed(document)),
        Content::Text(_) => {
            let chunks = chunker.chunks(&document).collect::<Result<_, _>>()?;
            Ok(Chunked::Whole(document, chunks))
        }
    }
}

/// Packs and sends. `None` when nobody listens any more.
fn pack_blocks(
    chunker: &Chunker,
    mut packer: Packer,
    blocks: &Receiver<Vec<Unread>>,
    output: &tokio::sync::mpsc::Sender<Event>,
) -> Option<()> {
    for chunked in blocks.iter().flatten() {
        let packed =
            chunked.and_then(|chunked| pack_document(chunker, &mut packer, chunked, output));
        let event = match packed {
            Ok(Some(bytes)) => Event::Document { bytes },
            Ok(None) => return None,
            Err(error) => Event::Refused(error),
        };
        output.blocking_send(event).ok()?;
    }
    match packer.finish() {
        Some(packed) => output.blocking_send(Event::Job(Box::new(packed))).ok(),
        None => Some(()),
    }
}

/// Packs one document. `None` when nobody listens any more.
fn pack_document(
    chunker: &Chunker,
    packer: &mut Packer,
    chunked: Chunked,
    output: &tokio::sync::mpsc::Sender<Event>,
) -> Result<Option<u64>, ReadError> {
    match chunked {
        Chunked::Whole(document, chunks) => {
            pack_chunks(packer, &document, chunks.into_iter().map(Ok), output)
        }
        Chunked::Streamed(document) => {
            pack_chunks(packer, &document, chunker.chunks(&document), output)
        }
    }
}

fn pack_chunks(
    packer: &mut Packer,
    document: &Document,
    chunks: impl Iterator<Item = Result<Chunk, ChunkError>>,
    output: &tokio::sync::mpsc::Sender<Event>,
) -> Result<Option<u64>, ReadError> {
    let meta = meta_of(document);
    contract::job::check_meta(&document.id, &meta).map_err(ReadError::Meta)?;
    for chunk in chunks {
        if let Some(packed) = packer.add(&document.id, &meta, chunk?)?
            && output.blocking_send(Event::Job(Box::new(packed))).is_err()
        {
            return Ok(None);
        }
    }
    Ok(Some(document.text.bytes()))
}

/// What the payload says about a document: its own fields, its title, and where it came from.
fn meta_of(document: &Document) -> Map<String, Value> {
    let mut meta = document.meta.clone();
    if let Some(title) = &document.title {
        meta.insert("title".to_owned(), Value::from(title.as_str()));
    }
    meta.insert(
        "source".to_owned(),
        Value::from(document.origin.path.as_ref()),
    );
    meta
}
