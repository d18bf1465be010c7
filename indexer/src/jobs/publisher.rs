//! Publisher: packs documents into jobs, and keeps a window of the jobs on their way to JetStream.

use async_nats::jetstream;
use bytes::Bytes;
use contract::digest::Digest;
use contract::job::{Chunk, Document};
use contract::topology::Lane;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::documents::JobTemplate;
use super::packer::{Filled, Packer, Size, json_bytes};
use super::store::{NotStored, store_as};
use crate::clock::now_micros;

/// Jobs that wait for their acknowledgement at any time.
const WINDOW: usize = 32;

/// Fills jobs with documents that fit a job each, and publishes the jobs.
pub struct Publisher {
    /// `None` only counts the jobs.
    to: Option<(jetstream::Context, Lane)>,
    template: JobTemplate,
    packer: Packer<Vec<Document>>,
    window: FuturesUnordered<BoxFuture<'static, Result<bool, NotStored>>>,
    jobs: u64,
    /// Part of each message id. Whoever publishes has waited for all earlier jobs of the run, so that a job that
    /// JetStream remembers is none that is still to come: it was lost with its stream, and must not be refused.
    began: u64,
}

impl Publisher {
    /// Publishes to a lane. Without one, jobs are only counted.
    pub fn new(
        to: Option<(jetstream::Context, Lane)>,
        template: JobTemplate,
        job_tokens: usize,
    ) -> Self {
        Self {
            to,
            template,
            packer: Packer::new(job_tokens),
            window: FuturesUnordered::new(),
            jobs: 0,
            began: now_micros(),
        }
    }

    /// Adds documents that fit a job together, each with the chunks that are to be embedded. A text whose tokens nobody
    /// has counted gets a job of its own: the model may refuse it, and then nothing else is refused with it.
    pub async fn add(&mut self, documents: Vec<Document>) -> anyhow::Result<()> {
        let (counted, uncounted) = apart(documents);
        for document in uncounted {
            let before = self.packer.finish();
            self.publish(before).await?;
            let documents = vec![document];
            let size = size_of(&documents);
            self.packer.push(documents, size);
            let alone = self.packer.finish();
            self.publish(alone).await?;
        }
        if !counted.is_empty() {
            let size = size_of(&counted);
            let filled = self.packer.add(counted, size);
            self.publish(filled).await?;
        }
        Ok(())
    }

    /// Publishes what is left and waits for all acknowledgements. Gives the number of jobs.
    pub async fn finish(mut self) -> anyhow::Result<u64> {
        let last = self.packer.finish();
        self.publish(last).await?;
        while let Some(stored) = self.window.next().await {
            stored?;
        }
        Ok(self.jobs)
    }

    async fn publish(&mut self, filled: Option<Filled<Vec<Document>>>) -> anyhow::Result<()> {
        let Some(Filled { items, size }) = filled else {
            return Ok(());
        };
        self.jobs += 1;
        let Some((jetstream, lane)) = self.to.clone() else {
            return Ok(());
        };
        while self.window.len() >= WINDOW {
            if let Some(stored) = self.window.next().await {
                stored?;
            }
        }
        let payload = Bytes::from(self.template.job(items.concat()).encode());
        let id = format!("{}.{}", Digest::of(&payload), self.began);
        self.window.push(Box::pin(async move {
            store_as(&jetstream, &lane.subject(), payload, size.tokens, &id).await
        }));
        Ok(())
    }
}

fn size_of(documents: &[Document]) -> Size {
    let chunks = documents.iter().flat_map(|document| &document.chunks);
    Size {
        tokens: chunks.clone().map(tokens).sum(),
        rows: chunks.count(),
        bytes: json_bytes(documents),
        copies: documents.iter().map(copies).sum(),
    }
}

/// Bytes of metadata, counted for each chunk.
fn copies(document: &Document) -> usize {
    document.chunks.len() * json_bytes(&document.meta)
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
