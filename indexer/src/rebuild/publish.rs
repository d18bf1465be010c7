//! Publish: collects what has to be embedded into jobs, and keeps a window of them on their way to JetStream.

use async_nats::jetstream;
use bytes::Bytes;
use contract::digest::Digest;
use contract::job::{self, Chunk, Document, Embed, Job, MAX_JOB_BYTES, MAX_ROWS};
use contract::names::CollectionName;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::publish::now_micros;
use crate::store::{NotStored, store_as};

/// Jobs that wait for their acknowledgement at any time.
const WINDOW: usize = 32;
/// Most bytes of the documents of a job: the rest is room for headers and for what surrounds the documents.
pub(crate) const MAX_DOCUMENTS_BYTES: usize = MAX_JOB_BYTES - 8 * 1024;

/// What all jobs have in common.
#[derive(Clone, Debug)]
pub(crate) struct Heading {
    pub(crate) subject: String,
    pub(crate) run: String,
    pub(crate) collection: CollectionName,
    /// What made the token ids, if there are any.
    pub(crate) tokenization: Option<Digest>,
    /// What made the vectors, if there are any.
    pub(crate) fingerprint: Option<Digest>,
    pub(crate) job_tokens: usize,
}

/// Fills jobs with the chunks that are left of others, and publishes them.
pub(crate) struct Publisher {
    /// `None` only counts the jobs.
    jetstream: Option<jetstream::Context>,
    heading: Heading,
    documents: Vec<Document>,
    size: Size,
    window: FuturesUnordered<BoxFuture<'static, Result<bool, NotStored>>>,
    jobs: u64,
    /// Part of each message id. Whoever publishes has waited for all earlier jobs of the run, so that a job that
    /// JetStream remembers is none that is still to come: it was lost with its stream, and must not be refused.
    began: u64,
}

#[derive(Clone, Copy, Default)]
struct Size {
    tokens: usize,
    rows: usize,
    bytes: usize,
}

impl Publisher {
    /// Publishes; without JetStream it only counts.
    pub(crate) fn new(jetstream: Option<jetstream::Context>, heading: Heading) -> Self {
        Self {
            jetstream,
            heading,
            documents: Vec::new(),
            size: Size::default(),
            window: FuturesUnordered::new(),
            jobs: 0,
            began: now_micros(),
        }
    }

    /// Adds documents that fit a job together, each with the chunks that are to be embedded. A text whose tokens nobody
    /// has counted gets a job of its own: the model may refuse it, and then nothing else is refused with it.
    pub(crate) async fn add(&mut self, documents: Vec<Document>) -> anyhow::Result<()> {
        let (counted, uncounted) = apart(documents);
        if !uncounted.is_empty() {
            self.flush().await?;
        }
        for document in uncounted {
            self.put(vec![document]).await?;
            self.flush().await?;
        }
        self.put(counted).await
    }

    async fn put(&mut self, documents: Vec<Document>) -> anyhow::Result<()> {
        let new = Size::of(&documents)?;
        let sum = self.size.plus(new);
        let full = sum.tokens > self.heading.job_tokens
            || sum.rows > MAX_ROWS
            || sum.bytes > MAX_DOCUMENTS_BYTES;
        if full {
            self.flush().await?;
        }
        self.size = self.size.plus(new);
        self.documents.extend(documents);
        Ok(())
    }

    /// Publishes what is left and waits for all acknowledgements. Gives the number of jobs.
    pub(crate) async fn finish(mut self) -> anyhow::Result<u64> {
        self.flush().await?;
        while let Some(stored) = self.window.next().await {
            stored?;
        }
        Ok(self.jobs)
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        if self.documents.is_empty() {
            return Ok(());
        }
        self.jobs += 1;
        let Some(jetstream) = self.jetstream.clone() else {
            self.documents.clear();
            self.size = Size::default();
            return Ok(());
        };
        while self.window.len() >= WINDOW {
            if let Some(stored) = self.window.next().await {
                stored?;
            }
        }
        let tokens = std::mem::take(&mut self.size).tokens;
        let documents = std::mem::take(&mut self.documents);
        let mut chunks = documents.iter().flat_map(|document| &document.chunks);
        let with_vectors = chunks.any(|chunk| chunk.vector.is_some());
        let job = Job::Embed(Embed {
            version: job::VERSION.to_owned(),
            run: Some(self.heading.run.clone()),
            collection: Some(self.heading.collection.clone()),
            tokenization: self.heading.tokenization.clone(),
            fingerprint: self.heading.fingerprint.clone().filter(|_| with_vectors),
            documents,
            ..Embed::default()
        });
        let subject = self.heading.subject.clone();
        let payload = Bytes::from(job.encode());
        let id = format!("{}.{}", Digest::of(&payload), self.began);
        self.window.push(Box::pin(async move {
            store_as(&jetstream, &subject, payload, tokens, &id).await
        }));
        Ok(())
    }
}

impl Size {
    fn of(documents: &[Document]) -> anyhow::Result<Self> {
        let chunks = documents.iter().flat_map(|document| &document.chunks);
        Ok(Self {
            tokens: chunks.clone().map(tokens).sum(),
            rows: chunks.count(),
            bytes: serde_json::to_vec(documents)?.len(),
        })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            tokens: self.tokens + other.tokens,
            rows: self.rows + other.rows,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// Documents with their chunks that are known to fit the model, and each other chunk by itself.
fn apart(documents: Vec<Document>) -> (Vec<Document>, Vec<Document>) {
    let (mut counted, mut uncounted) = (Vec::new(), Vec::new());
    for mut document in documents {
        let is_counted = |chunk: &mut Chunk| chunk.vector.is_some() || !chunk.token_ids.is_empty();
        let known = document.chunks.extract_if(.., is_counted).collect();
        for chunk in std::mem::replace(&mut document.chunks, known) {
            uncounted.push(Document {
                id: document.id.clone(),
                version: document.version,
                total: document.total,
                meta: document.meta.clone(),
                chunks: vec![chunk],
            });
        }
        if !document.chunks.is_empty() {
            counted.push(document);
        }
    }
    (counted, uncounted)
}

/// Tokens that a worker has to run. Where nobody has counted them, a token has about four bytes.
fn tokens(chunk: &Chunk) -> usize {
    match (&chunk.vector, chunk.token_ids.len()) {
        (Some(_), _) => 0,
        (None, 0) => chunk.text.len() / 4,
        (None, tokens) => tokens,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_nobody_has_counted_travel_alone() {
        let chunk = |index, token_ids: &[u32]| Chunk {
            index: Some(index),
            text: "Ebb.".to_owned(),
            token_ids: token_ids.to_vec(),
            ..Chunk::default()
        };
        let document = |id: &str, chunks| Document {
            id: id.to_owned(),
            chunks,
            ..Document::default()
        };
        let mixed = document("mixed", vec![chunk(0, &[1]), chunk(1, &[]), chunk(2, &[1])]);
        let unknown = document("unknown", vec![chunk(0, &[]), chunk(1, &[])]);
        let (counted, uncounted) = apart(vec![mixed, unknown]);
        let given = |documents: &[Document]| {
            let indices =
                |it: &Document| it.chunks.iter().filter_map(|chunk| chunk.index).collect();
            let each = documents.iter().map(|it| (it.id.clone(), indices(it)));
            each.collect::<Vec<(String, Vec<u32>)>>()
        };
        assert_eq!(given(&counted), [("mixed".to_owned(), vec![0, 2])]);
        let alone = [("mixed", 1), ("unknown", 0), ("unknown", 1)];
        let alone = alone.map(|(id, index)| (id.to_owned(), vec![index]));
        assert_eq!(given(&uncounted), alone);
    }
}
