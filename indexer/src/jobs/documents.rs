//! Documents: their chunks are put into jobs, in order.
//!
//! A document that is larger than a job is sliced; small documents share one.

use contract::digest::Digest;
use contract::job::{self, Embed, Job};
use contract::model::Manifest;
use contract::names::CollectionName;
use serde_json::{Map, Value};
use thiserror::Error;

use super::packer::{Filled, MAX_ITEM_BYTES, Packer, Size, json_bytes};
use documents::chunk::Chunk;

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

/// What all jobs with documents of one publisher have in common.
#[derive(Clone, Debug)]
pub struct JobTemplate {
    pub collection: CollectionName,
    /// Digest of the tokenizer that made the token ids, if there are any.
    pub tokenization: Option<Digest>,
    /// Fingerprint of the model that made the vectors, if there are any.
    pub fingerprint: Option<Digest>,
    /// Run that publishes, if any.
    pub run: Option<String>,
}

/// The document that a chunk belongs to.
#[derive(Clone, Copy, Debug)]
pub struct ParentDocument<'a> {
    pub doc_id: &'a str,
    pub meta: &'a Map<String, Value>,
    /// How many chunks the document has.
    pub total: u32,
}

/// A job with what its headers say about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Packed {
    pub job: Job,
    pub tokens: usize,
    pub chunks: usize,
}

#[derive(Debug)]
pub struct DocumentPacker {
    template: JobTemplate,
    version: u64,
    packer: Packer<job::Document>,
}

impl JobTemplate {
    /// A template for texts that are tokenized here, and vectors that exist already, both by one model.
    pub fn of(manifest: &Manifest, collection: CollectionName, run: Option<String>) -> Self {
        Self {
            collection,
            tokenization: Some(manifest.tokenization()),
            fingerprint: Some(manifest.fingerprint.clone()),
            run,
        }
    }

    /// A job with these documents. Who made the vectors is said only where there are some.
    pub fn job(&self, documents: Vec<job::Document>) -> Job {
        let mut chunks = documents.iter().flat_map(|document| &document.chunks);
        let with_vectors = chunks.any(|chunk| chunk.vector.is_some());
        Job::Embed(Embed {
            version: job::VERSION.to_owned(),
            run: self.run.clone(),
            collection: Some(self.collection.clone()),
            tokenization: self.tokenization.clone(),
            fingerprint: self.fingerprint.clone().filter(|_| with_vectors),
            documents,
            ..Embed::default()
        })
    }
}

impl DocumentPacker {
    /// Packs documents of one version into jobs of about `job_tokens`.
    pub fn new(template: JobTemplate, version: u64, job_tokens: usize) -> Self {
        Self {
            template,
            version,
            packer: Packer::new(job_tokens),
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
        let whole = ParentDocument {
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
        whole: ParentDocument<'_>,
        chunk: job::Chunk,
        tokens: usize,
    ) -> Result<Option<Packed>, TooLarge> {
        let ParentDocument { doc_id, meta, .. } = whole;
        let index = chunk.index.unwrap_or(0);
        let meta_bytes = json_bytes(meta);
        let own = Size {
            tokens,
            rows: 1,
            // One more for the comma.
            bytes: json_bytes(&chunk) + 1,
            copies: meta_bytes,
        };
        let slice = Size {
            bytes: json_bytes(doc_id) + meta_bytes + 128,
            ..Size::default()
        };
        let both = own.plus(slice);
        if !both.fits_alone() {
            return Err(TooLarge {
                doc_id: doc_id.to_owned(),
                chunk: index,
                bytes: both.bytes,
                limit: MAX_ITEM_BYTES,
            });
        }
        let packed = self.packer.make_room(both).map(|filled| self.job(filled));
        match self.packer.last_mut() {
            Some(last) if last.id == doc_id && index != 0 => {
                last.chunks.push(chunk);
                self.packer.grow(own);
            }
            Some(_) | None => self.packer.push(self.slice(whole, chunk), both),
        }
        Ok(packed)
    }

    /// Gives the job that is being filled, if anything is in it.
    pub fn finish(&mut self) -> Option<Packed> {
        self.packer.finish().map(|filled| self.job(filled))
    }

    fn job(&self, filled: Filled<job::Document>) -> Packed {
        Packed {
            job: self.template.job(filled.items),
            tokens: filled.size.tokens,
            chunks: filled.size.rows,
        }
    }

    fn slice(&self, whole: ParentDocument<'_>, chunk: job::Chunk) -> job::Document {
        job::Document {
            id: whole.doc_id.to_owned(),
            version: Some(self.version),
            total: Some(whole.total),
            meta: whole.meta.clone(),
            chunks: vec![chunk],
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
        location: chunk.location,
        token_ids: chunk.token_ids,
        vector: None,
    }
}

#[cfg(test)]
mod tests;
