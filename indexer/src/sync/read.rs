//! Read: compares all documents of the source with the collection, and publishes those that have changed.

use std::collections::{BTreeMap, HashSet};

use contract::job::Document;
use futures::stream::{self, StreamExt as _};
use runtime::failpoint;
use tokio::sync::mpsc;

use super::compare::{Verdict, with_vectors};
use super::comparer::Comparer;
use super::gather::{Gather, Piece};
use crate::corpus::account::Account;
use crate::corpus::read::Event;
use crate::corpus::seen::{SeenDocuments, identity};
use crate::generation::ledger::DeadPoints;
use crate::generation::lock::Lock;
use crate::jobs::publisher::Publisher;

/// Batches that are looked up at the same time.
const CONCURRENT: usize = 4;

/// A reading of the source under way.
pub struct Reading<'a> {
    pub comparer: &'a Comparer<'a>,
    /// Dead letters of this run: their documents are not published again.
    pub dead: &'a DeadPoints,
    pub publisher: Publisher,
    /// Looked at between batches: without it, going on has no use any more.
    pub lock: Option<&'a Lock>,
}

/// Counts of what was read, and of what was published of it.
#[derive(Debug, Default)]
pub struct ReadResult {
    pub documents: u64,
    pub chunks: u64,
    pub tokens: u64,
    pub text_bytes: u64,
    pub account: Account,
    /// Documents, records and files that cannot be read.
    pub refused: u64,
    pub unchanged: Tally,
    pub changed: Tally,
    pub newer: Tally,
    pub dead: Tally,
    /// Chunks of what has changed whose vectors are known.
    pub reused: u64,
    pub changed_tokens: u64,
    /// Jobs that were published for it.
    pub jobs: u64,
    /// The [`identity`] of each document.
    pub seen: HashSet<u128>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub documents: u64,
    pub chunks: u64,
}

/// Documents that are too large to hold, by their identities.
#[derive(Debug, Default)]
struct Large(BTreeMap<u128, Compared>);

#[derive(Clone, Copy, Debug)]
struct Compared {
    verdict: Verdict,
    chunks: u64,
    total: u64,
}

impl Reading<'_> {
    pub async fn perform(mut self) -> anyhow::Result<ReadResult> {
        let mut found = ReadResult::default();
        let (incoming, reader) = self.comparer.corpus()?;
        let large = self.compare_all(incoming, &mut found).await;
        let ended = reader.ended().await;
        let changed = large?.count(&mut found);
        ended?;
        if !changed.is_empty() {
            let (incoming, reader) = self.comparer.corpus()?;
            let published = self.publish_large(incoming, &changed, &mut found).await;
            let ended = reader.ended().await;
            published.and(ended)?;
        }
        found.jobs = self.publisher.finish().await?;
        Ok(found)
    }

    /// Publishes what has changed, but for documents that are too large to hold: these are given back.
    async fn compare_all(
        &mut self,
        mut incoming: mpsc::Receiver<Event>,
        found: &mut ReadResult,
    ) -> anyhow::Result<Large> {
        let (comparer, dead) = (self.comparer, self.dead);
        let mut seen = SeenDocuments::default();
        let mut gather = Gather::new(comparer.config.hold_bytes);
        let mut large = Large::default();
        {
            let batches = stream::poll_fn(|context| incoming.poll_recv(context))
                .filter_map(|event| std::future::ready(seen.documents(event)))
                .map(|slices| comparer.compare(gather.add(slices), dead))
                .buffered(CONCURRENT);
            let mut batches = std::pin::pin!(batches);
            while let Some(compared) = batches.next().await {
                self.check()?;
                for (piece, verdict) in compared? {
                    let doc_id = piece.doc_id().to_owned();
                    self.take(piece, verdict, found, &mut large).await?;
                    failpoint::pass_with("sync-publishing", || [doc_id]);
                }
            }
        }
        found.refused = seen.refused;
        (found.documents, found.chunks, found.tokens) = (seen.documents, seen.chunks, seen.tokens);
        found.text_bytes = seen.text_bytes;
        found.account = std::mem::take(&mut seen.account);
        found.seen = seen.into_seen();
        Ok(large)
    }

    fn check(&self) -> anyhow::Result<()> {
        self.lock.map_or(Ok(()), Lock::check)
    }

    async fn take(
        &mut self,
        piece: Piece,
        verdict: Verdict,
        found: &mut ReadResult,
        large: &mut Large,
    ) -> anyhow::Result<()> {
        if !piece.whole {
            large.note(&piece, verdict);
            return Ok(());
        }
        found.of(verdict).add(piece.total());
        if verdict == Verdict::Changed {
            for slice in piece.slices {
                self.publish(slice, found).await?;
            }
        }
        Ok(())
    }

    /// Reads the source once more for documents that are too large to hold.
    async fn publish_large(
        &mut self,
        mut incoming: mpsc::Receiver<Event>,
        changed: &HashSet<u128>,
        found: &mut ReadResult,
    ) -> anyhow::Result<()> {
        let mut seen = SeenDocuments::default();
        while let Some(event) = incoming.recv().await {
            self.check()?;
            let slices = seen.documents(event).into_iter().flatten();
            let slices = slices.filter(|slice| changed.contains(&identity(&slice.id)));
            let slices: Vec<_> = slices.collect();
            let known = self.comparer.known(slices.iter()).await?;
            for slice in slices
                .into_iter()
                .flat_map(|slice| with_vectors(slice, &known))
            {
                self.publish(slice, found).await?;
            }
        }
        Ok(())
    }

    async fn publish(&mut self, slice: Document, found: &mut ReadResult) -> anyhow::Result<()> {
        let tokens = slice.chunks.iter().map(|chunk| chunk.token_ids.len());
        found.changed_tokens += tokens.sum::<usize>() as u64;
        let known = slice.chunks.iter().filter(|chunk| chunk.vector.is_some());
        found.reused += known.count() as u64;
        self.publisher.add(vec![slice]).await
    }
}

impl ReadResult {
    fn of(&mut self, verdict: Verdict) -> &mut Tally {
        match verdict {
            Verdict::Unchanged => &mut self.unchanged,
            Verdict::Changed => &mut self.changed,
            Verdict::Dead => &mut self.dead,
            Verdict::Newer => &mut self.newer,
        }
    }
}

impl Tally {
    fn add(&mut self, chunks: u64) {
        self.documents += 1;
        self.chunks += chunks;
    }
}

impl Large {
    fn note(&mut self, piece: &Piece, verdict: Verdict) {
        let new = Compared {
            verdict,
            chunks: 0,
            total: piece.total(),
        };
        let compared = self.0.entry(piece.identity()).or_insert(new);
        compared.verdict = compared.verdict.max(verdict);
        compared.chunks += piece.chunks().count() as u64;
    }

    /// Counts them; gives those that have changed. One whose rest was refused is left out.
    fn count(self, found: &mut ReadResult) -> HashSet<u128> {
        let mut changed = HashSet::new();
        for (identity, compared) in self.0 {
            if compared.chunks != compared.total {
                continue;
            }
            found.of(compared.verdict).add(compared.total);
            if compared.verdict == Verdict::Changed {
                changed.insert(identity);
            }
        }
        changed
    }
}
