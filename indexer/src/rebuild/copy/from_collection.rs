//! From collection: the source of a rebuild is what another collection, or the serving one, holds.
//!
//! Heads are read page by page, and the chunks of each document by their ids; what is in memory is a page of heads and
//! the texts of one document. Chunks are taken as they are: their texts were cut for another model, and where this one
//! takes less, they are left to the worker, which refuses or cuts them, and counted.
//!
//! The collection may change while it is read, and before a run that was killed goes on. What was written to the serving
//! collection since the start of the run is carried over later; here it is left out, and so is what was deleted. If an
//! earlier attempt has copied it, it is forgotten, so that the ledger balances.

use std::collections::HashMap;
use std::slice;
use std::time::Duration;

use contract::field;
use contract::names::CollectionName;
use contract::tokenizer::Tokenizer;
use points::guard::{self, Head};
use points::payload::{id, number};
use points::{Points, point_id};
use qdrant_client::qdrant::{Condition, Filter, RetrievedPoint};
use tokio::sync::mpsc;

use super::Copier;
use crate::corpus::read::{Event, ReadError};
use crate::generation::reembed::Reembed;
use crate::jobs::documents::ParentDocument;
use crate::jobs::{DocumentPacker, Packed, TooLarge};

/// Heads of one page.
const HEADS_PER_PAGE: u32 = 128;
/// Points of one read.
const POINTS_PER_READ: usize = 256;
/// Looks at a document before it counts as stored in part.
const LOOKS: u32 = 5;
/// Pause before the second look; each later one is longer by as much.
const PAUSE: Duration = Duration::from_millis(100);

/// Reads a collection as a source.
pub struct CollectionReader<'a> {
    pub from: Points<'a>,
    /// What the alias points to: what changes there during the run is carried over later.
    pub serving: &'a CollectionName,
    pub tokenizer: &'a Tokenizer,
    pub copier: Copier<'a>,
    pub packer: DocumentPacker,
    pub output: mpsc::Sender<Event>,
    /// Chunks that the model does not take whole.
    pub truncated: u64,
}

struct SourceDocument {
    doc_id: String,
    head: Head,
}

impl CollectionReader<'_> {
    /// Reads all documents. Gives the number of chunks that the model does not take whole.
    pub async fn read(mut self) -> anyhow::Result<u64> {
        let from = self.from;
        let mut pages = from.pages(guard::heads(), &Head::FIELDS, HEADS_PER_PAGE);
        while let Some(page) = pages.next().await? {
            self.page(&page).await?;
        }
        let last = self.packer.finish();
        self.send(last).await;
        Ok(self.truncated)
    }

    async fn page(&mut self, heads: &[RetrievedPoint]) -> anyhow::Result<()> {
        let found = heads.iter().filter_map(Head::read);
        let found = found.map(|(doc_id, head)| SourceDocument { doc_id, head });
        let (taken, left): (Vec<_>, Vec<_>) = found.partition(|found| self.is_taken(found.head));
        self.forget(&left).await?;
        for found in taken {
            self.document(found).await?;
        }
        Ok(())
    }

    fn is_taken(&self, head: Head) -> bool {
        let comes_later =
            self.from.collection == self.serving && head.version > self.copier.version;
        !head.deleted && !comes_later
    }

    /// Removes what an earlier attempt has copied of documents that are left out now.
    async fn forget(&self, documents: &[SourceDocument]) -> anyhow::Result<()> {
        let copier = &self.copier;
        let Some(target) = copier.target.filter(|_| !documents.is_empty()) else {
            return Ok(());
        };
        let ids: Vec<_> = documents.iter().map(|found| found.doc_id.clone()).collect();
        let values = target.limits().await?.values(ids.len());
        for ids in ids.chunks(values) {
            let copied = Filter::must([
                Condition::matches(field::DOC_ID, ids.to_vec()),
                Condition::matches(field::RUN, copier.run.to_owned()),
            ]);
            target.delete(copied).await?;
        }
        Ok(())
    }

    /// Takes a document as a whole. One that somebody writes meanwhile is looked at again: it may be one that comes later,
    /// or one that is written in a moment.
    async fn document(&mut self, mut found: SourceDocument) -> anyhow::Result<()> {
        for look in 0..LOOKS {
            tokio::time::sleep(PAUSE * look).await;
            if let Some(points) = self.points(&found).await? {
                return self.take(&found, &points).await;
            }
            let mut heads = self.from.heads(slice::from_ref(&found.doc_id)).await?;
            match heads.remove(&found.doc_id) {
                Some(head) if self.is_taken(head) => found.head = head,
                Some(_) | None => return self.forget(&[found]).await,
            }
        }
        let problem = format!("is stored in part, expected {} chunks", found.head.chunks);
        self.refuse(&found, problem).await;
        Ok(())
    }

    /// All points of a document, if all of them are there and of its version.
    async fn points(&self, found: &SourceDocument) -> anyhow::Result<Option<Vec<RetrievedPoint>>> {
        let ids: Vec<_> = found.ids().collect();
        let mut all = Vec::new();
        for part in ids.chunks(POINTS_PER_READ) {
            let points = self.from.get(part.to_vec(), &[]).await?;
            let points = points.into_iter().map(|point| (id(&point), point));
            let mut points: HashMap<_, _> = points.collect();
            for wanted in part {
                let point = points.remove(wanted);
                let same = point.filter(|it| number(it, field::VERSION) == found.head.version);
                let Some(point) = same else {
                    return Ok(None);
                };
                all.push(point);
            }
        }
        Ok(Some(all).filter(|all| !all.is_empty()))
    }

    async fn take(
        &mut self,
        found: &SourceDocument,
        points: &[RetrievedPoint],
    ) -> anyhow::Result<()> {
        for point in points {
            match self.chunk(found, point)? {
                Ok(packed) => self.send(packed).await,
                Err(error) => self.send_event(Event::Refused(error.into())).await,
            }
        }
        Ok(())
    }

    fn chunk(
        &mut self,
        found: &SourceDocument,
        point: &RetrievedPoint,
    ) -> anyhow::Result<Result<Option<Packed>, TooLarge>> {
        let reembed = Reembed::of(point, self.copier.manifest, self.tokenizer)?;
        self.truncated += u64::from(reembed.truncated);
        let (meta, chunks) = (reembed.document.meta, reembed.document.chunks);
        let tokens = usize::try_from(reembed.tokens).unwrap_or(usize::MAX);
        let whole = ParentDocument {
            doc_id: &found.doc_id,
            meta: &meta,
            total: found.head.chunks,
        };
        let mut packed = None;
        for chunk in chunks {
            match self.packer.put(whole, chunk, tokens) {
                Ok(full) => packed = full,
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(packed))
    }

    async fn refuse(&self, found: &SourceDocument, problem: String) {
        let error = ReadError::Stored {
            doc_id: found.doc_id.clone(),
            collection: self.from.collection.to_string(),
            problem,
        };
        self.send_event(Event::Refused(error)).await;
    }

    async fn send(&self, packed: Option<Packed>) {
        if let Some(packed) = packed {
            self.send_event(Event::Job(Box::new(packed))).await;
        }
    }

    /// When nobody listens any more, the copying has failed and says why.
    async fn send_event(&self, event: Event) {
        drop(self.output.send(event).await);
    }
}

impl SourceDocument {
    fn ids(&self) -> impl Iterator<Item = String> {
        (0..self.head.chunks).map(|chunk| point_id(&self.doc_id, chunk).to_string())
    }
}
