//! Pack: puts chunks into jobs of a roughly constant amount of work.
//!
//! Takes the chunks of documents in order, gives jobs. A job holds about as many tokens as the packer aims at, so
//! that the number of waiting jobs is proportional to the work that waits, and never more bytes than a job may have. A
//! document that is larger than a job is sliced; small documents share one.

use contract::digest::Digest;
use contract::job::{self, Embed, Job, MAX_JOB_BYTES, MAX_ROWS};
use contract::names::CollectionName;
use serde::Serialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::chunk::Chunk;

/// Tokens of a job, unless somebody chooses otherwise: what a waiting job stands for where a fleet is sized.
pub const JOB_TOKENS: usize = 8192;
/// Room in a job for headers and for what surrounds its documents.
const RESERVE_BYTES: usize = 8 * 1024;

/// A document that cannot be put into jobs.
#[derive(Debug, Error)]
#[error(
    "chunk {chunk} of document `{doc_id}` takes {bytes} bytes with its metadata, a job holds {limit}; \
     shorten the metadata"
)]
pub struct TooLarge {
    doc_id: String,
    chunk: u32,
    bytes: usize,
    limit: usize,
}

/// What all jobs of a publish have in common.
#[derive(Clone, Debug)]
pub struct Heading {
    /// Where the points go.
    pub collection: CollectionName,
    /// What made the token ids.
    pub tokenization: Digest,
    /// Version of all documents.
    pub version: u64,
    /// Run that publishes, if any.
    pub run: Option<String>,
}

/// The document that a chunk belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Whole<'a> {
    /// Its id.
    pub doc_id: &'a str,
    /// Its metadata.
    pub meta: &'a Map<String, Value>,
    /// How many chunks it has.
    pub total: u32,
}

/// A job with what its headers say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    /// The job.
    pub job: Job,
    /// Tokens of all its chunks.
    pub tokens: usize,
    /// Its chunks.
    pub chunks: usize,
}

/// Fills jobs one after the other.
#[derive(Debug)]
pub struct Packer {
    heading: Heading,
    target_tokens: usize,
    documents: Vec<job::Document>,
    tokens: usize,
    chunks: usize,
    bytes: usize,
}

impl Packer {
    /// Packs jobs of about `target_tokens`.
    #[must_use]
    pub fn new(heading: Heading, target_tokens: usize) -> Self {
        Self {
            heading,
            target_tokens,
            documents: Vec::new(),
            tokens: 0,
            chunks: 0,
            bytes: 0,
        }
    }

    /// Adds the next chunk of a document. Gives a job when one is full.
    ///
    /// # Errors
    /// [`TooLarge`] if the chunk does not fit a job even alone.
    pub fn add(
        &mut self,
        doc_id: &str,
        meta: &Map<String, Value>,
        chunk: Chunk,
    ) -> Result<Option<Packed>, TooLarge> {
        let (tokens, total) = (chunk.token_ids.len(), chunk.chunks);
        let whole = Whole {
            doc_id,
            meta,
            total,
        };
        self.put(whole, into_job_chunk(chunk), tokens)
    }

    /// Adds the next chunk of a document as it is in a job. Gives a job when one is full.
    ///
    /// # Errors
    /// [`TooLarge`] if the chunk does not fit a job even alone.
    pub fn put(
        &mut self,
        whole: Whole<'_>,
        chunk: job::Chunk,
        tokens: usize,
    ) -> Result<Option<Packed>, TooLarge> {
        let Whole { doc_id, meta, .. } = whole;
        let index = chunk.index.unwrap_or(0);
        // One more for the comma.
        let own = json_bytes(&chunk) + 1;
        let slice = json_bytes(doc_id) + json_bytes(meta) + 128;
        let limit = MAX_JOB_BYTES - RESERVE_BYTES;
        if own + slice > limit {
            let doc_id = doc_id.to_owned();
            return Err(TooLarge {
                doc_id,
                chunk: index,
                bytes: own + slice,
                limit,
            });
        }
        let full = self.tokens + tokens > self.target_tokens
            || self.chunks == MAX_ROWS
            || self.bytes + own + slice > limit;
        let packed = if full { self.finish() } else { None };
        if self
            .documents
            .last()
            .is_none_or(|last| last.id != doc_id || index == 0)
        {
            self.bytes += slice;
            self.documents.push(self.slice(whole));
        }
        if let Some(document) = self.documents.last_mut() {
            document.chunks.push(chunk);
        }
        self.tokens += tokens;
        self.chunks += 1;
        self.bytes += own;
        Ok(packed)
    }

    /// Gives the job that is being filled, if anything is in it.
    pub fn finish(&mut self) -> Option<Packed> {
        if self.documents.is_empty() {
            return None;
        }
        let embed = Embed {
            version: job::VERSION.to_owned(),
            run: self.heading.run.clone(),
            collection: Some(self.heading.collection.clone()),
            tokenization: Some(self.heading.tokenization.clone()),
            documents: std::mem::take(&mut self.documents),
            ..Embed::default()
        };
        let packed = Packed {
            job: Job::Embed(embed),
            tokens: self.tokens,
            chunks: self.chunks,
        };
        (self.tokens, self.chunks, self.bytes) = (0, 0, 0);
        Some(packed)
    }

    fn slice(&self, whole: Whole<'_>) -> job::Document {
        job::Document {
            id: whole.doc_id.to_owned(),
            version: Some(self.heading.version),
            total: Some(whole.total),
            meta: whole.meta.clone(),
            chunks: Vec::new(),
        }
    }
}

fn into_job_chunk(chunk: Chunk) -> job::Chunk {
    job::Chunk {
        index: Some(chunk.index),
        text: chunk.text,
        context: chunk.context,
        start: Some(chunk.start),
        end: Some(chunk.end),
        token_ids: chunk.token_ids,
        vector: None,
    }
}

/// Bytes of a value as JSON, counted and not kept.
fn json_bytes(value: &(impl Serialize + ?Sized)) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Counting cannot fail, and what is counted has only string keys.
    serde_json::to_writer(&mut count, value).map_or(usize::MAX / 4, |()| count.0)
}

#[cfg(test)]
mod tests;
