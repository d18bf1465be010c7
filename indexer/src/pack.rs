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
        let tokens = chunk.token_ids.len();
        let (index, total) = (chunk.index, chunk.chunks);
        let chunk = into_job_chunk(chunk);
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
            self.documents.push(self.slice(doc_id, meta, total));
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

    fn slice(&self, doc_id: &str, meta: &Map<String, Value>, total: u32) -> job::Document {
        job::Document {
            id: doc_id.to_owned(),
            version: Some(self.heading.version),
            total: Some(total),
            meta: meta.clone(),
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn heading() -> Heading {
        Heading {
            collection: "docs".parse().unwrap(),
            tokenization: Digest::of(b"tokenizer"),
            version: 7,
            run: None,
        }
    }

    fn chunk(index: u32, chunks: u32, text: String, tokens: usize) -> Chunk {
        let end = text.len() as u64;
        Chunk {
            index,
            chunks,
            text,
            start: 0,
            end,
            context: None,
            token_ids: vec![30_000; tokens],
        }
    }

    /// Packs documents given as the lengths of their chunks in tokens.
    fn pack(documents: &[Vec<usize>], target: usize, text: &str) -> Vec<Packed> {
        let mut packer = Packer::new(heading(), target);
        let mut packed = Vec::new();
        for (n, lengths) in documents.iter().enumerate() {
            let total = u32::try_from(lengths.len()).unwrap();
            for (index, tokens) in (0..).zip(lengths) {
                let chunk = chunk(index, total, text.to_owned(), *tokens);
                packed.extend(packer.add(&format!("d{n}"), &Map::new(), chunk).unwrap());
            }
        }
        packed.extend(packer.finish());
        packed
    }

    proptest! {
        #[test]
        fn jobs_hold_every_chunk_once_and_in_order(
            documents in prop::collection::vec(prop::collection::vec(1_usize..300, 1..30), 0..30),
            target in 1_usize..4000,
        ) {
            let mut seen = Vec::new();
            for packed in pack(&documents, target, "text") {
                prop_assert!(packed.chunks == 1 || packed.tokens <= target);
                let decoded = Job::decode(&packed.job.encode()).unwrap();
                let Job::Embed(embed) = decoded else { panic!("not an embed job") };
                for document in embed.documents {
                    seen.extend(document.chunks.iter().map(|c| (document.id.clone(), c.index.unwrap())));
                }
            }
            let all = documents.iter().enumerate().flat_map(|(n, chunks)| {
                (0..u32::try_from(chunks.len()).unwrap()).map(move |i| (format!("d{n}"), i))
            });
            prop_assert_eq!(seen, all.collect::<Vec<_>>());
        }
    }

    #[test]
    fn jobs_stay_below_the_limit_in_bytes() {
        let text = "\u{1}".repeat(20_000);
        let jobs = pack(&[vec![1; 200]], usize::MAX, &text);
        assert!(jobs.len() > 1);
        assert!(
            jobs.iter()
                .all(|packed| packed.job.encode().len() <= MAX_JOB_BYTES)
        );
    }

    #[test]
    fn a_chunk_that_fits_no_job_is_refused_by_name() {
        let mut packer = Packer::new(heading(), 8192);
        let meta = Map::from_iter([("notes".to_owned(), Value::from("x".repeat(MAX_JOB_BYTES)))]);
        let refused = packer
            .add("large", &meta, chunk(0, 1, "text".to_owned(), 3))
            .unwrap_err();
        assert!(refused.to_string().contains("`large`"), "{refused}");
    }
}
