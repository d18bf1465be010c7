//! Copy: reads the source; a chunk whose vector the serving collection has is copied, any other is published.
//!
//! Batches are looked up side by side and published in the order of the source.

use std::time::Instant;

use contract::names::CollectionName;
use contract::tokenizer::Tokenizer;
use contract::topology::{Lane, Priority, Task};
use futures::stream::{self, StreamExt as _};
use points::Points;
use runtime::failpoint;
use tokio::sync::mpsc;

use super::{Rebuild, RebuildConfig};
use crate::corpus::account::Account;
use crate::corpus::read::Event;
use crate::corpus::seen::{Chunks, SeenDocuments};
use crate::corpus::{Corpus, READ_AHEAD};
use crate::generation::await_jobs::JobsOf;
use crate::generation::ledger::DeadPoints;
use crate::generation::lock::{Lock, Purpose};
use crate::generation::record::{Gate, Phase, PhaseReport};
use crate::jobs::JobTemplate;
use crate::jobs::publisher::Publisher;
use crate::progress::{as_double, note};
use documents::source::{Format, Naming};
use from_collection::CollectionReader;
pub use resolve::{Copier, reusable};

mod from_collection;
mod resolve;

/// Gate on what cannot be read of the source.
pub const REFUSED: &str = "refused";
/// Batches that are looked up at the same time.
const CONCURRENT: usize = 4;

/// The result of reading the source.
pub struct CopyResult {
    pub report: PhaseReport,
    /// Bytes of all texts.
    pub text_bytes: u64,
    pub account: Account,
    pub refused: u64,
    pub jobs: u64,
    /// Chunks whose documents were replaced by something newer meanwhile.
    pub superseded: u64,
    pub source: Chunks,
}

impl Rebuild<'_> {
    pub async fn copy(&mut self) -> anyhow::Result<PhaseReport> {
        let started = Instant::now();
        self.await_own_jobs().await?;
        let dead = self.dead_points().await?;
        let CopyResult {
            report,
            refused,
            superseded,
            source,
            ..
        } = match &self.config.from_collection {
            Some(name) => self.copy_collection(name, &dead).await?,
            None => self.copying(&dead).await?.sources().await?,
        };
        let record = &mut self.stored.record;
        (record.documents, record.expected) = (report.documents, report.chunks);
        (record.refused, record.superseded) = (refused, superseded);
        self.source = Some(source);
        let limit = self.config.limits.max_refused;
        let finding = format!(
            "{refused} documents, records and files of the source cannot be read, {limit} are allowed (--max-refused)"
        );
        let (refused, limit) = (as_double(refused), as_double(limit));
        let judged = self.judge(Gate::at_most(REFUSED, refused, limit, finding));
        if judged.is_err() {
            // What was published is published, and whoever reads the report has to know.
            self.keep(report.clone().after(started.elapsed()));
        }
        judged.map(|()| report)
    }

    /// Takes the documents from another collection, or from the serving one.
    async fn copy_collection(
        &self,
        name: &CollectionName,
        dead: &DeadPoints,
    ) -> anyhow::Result<CopyResult> {
        // Wherever the alias points by now.
        let reads = self.record().reads.clone();
        let from = reads.unwrap_or_else(|| name.clone());
        if from != self.record().serving {
            return self.copy_from(&from, dead).await;
        }
        let (bucket, silence) = (self.context.runs.bucket(), self.config.lease);
        let work = async |_: &Lock| {
            self.await_earlier_jobs().await?;
            self.copy_from(&from, dead).await
        };
        Lock::holding(bucket, Purpose::Sync, &self.config.alias, silence, work).await
    }

    async fn copy_from(
        &self,
        from: &CollectionName,
        dead: &DeadPoints,
    ) -> anyhow::Result<CopyResult> {
        let copying = self.copying(dead).await?;
        copying
            .collection(from, self.serving(), self.tokenizer)
            .await
    }

    /// Documents of the serving collection get the version of the run. What is written there later must be newer: jobs
    /// that were published before have to be done, and no sync that began before may go on.
    async fn await_earlier_jobs(&self) -> anyhow::Result<()> {
        let (alias, last) = (&self.config.alias, self.record().first_sequence);
        note(&format!(
            "waiting for jobs for `{alias}` that were published before"
        ));
        let all = Lane::all_of(Task::Embed, None);
        let of = JobsOf::Collection(alias.as_str());
        self.context.await_jobs(&all, 1..=last, of).await
    }

    async fn copying<'a>(&'a self, dead: &'a DeadPoints) -> anyhow::Result<Copying<'a>> {
        let record = self.record();
        let serving = reusable(self.serving(), self.manifest, self.config.full).await?;
        Ok(Copying {
            config: self.config,
            copier: Copier {
                target: Some(self.target()),
                schema: self.target().schema().await?,
                serving,
                manifest: self.manifest,
                version: record.version,
                run: &record.run,
                dead,
            },
            publisher: self.publisher(Priority::Bulk),
            lock: self.context.lock,
        })
    }

    pub fn publisher(&self, priority: Priority) -> Publisher {
        let lane = Lane::new(Task::Embed, self.manifest.name.clone(), priority);
        let (record, manifest) = (self.record(), self.manifest);
        let run = Some(record.run.clone());
        let template = JobTemplate::of(manifest, record.generation.clone(), run);
        let to = Some((self.context.jetstream.clone(), lane));
        Publisher::new(to, template, self.config.chunking.job_tokens)
    }
}

/// The source on its way into the generation.
pub struct Copying<'a> {
    pub config: &'a RebuildConfig,
    pub copier: Copier<'a>,
    pub publisher: Publisher,
    /// Looked at between batches. A dry run has none.
    pub lock: Option<&'a Lock>,
}

impl Copying<'_> {
    /// Copies the documents of the sources.
    pub async fn sources(self) -> anyhow::Result<CopyResult> {
        let (config, manifest) = (self.config, self.copier.manifest);
        let chunker = config.chunking.chunker(manifest, &config.model)?;
        let (incoming, reader) = self.corpus().read(chunker)?;
        let copied = self.copy_all(incoming).await;
        let ended = reader.ended().await;
        let copied = copied?;
        ended?;
        Ok(copied)
    }

    /// Copies the documents of a collection.
    pub async fn collection(
        self,
        from: &CollectionName,
        serving: Points<'_>,
        tokenizer: &Tokenizer,
    ) -> anyhow::Result<CopyResult> {
        let (output, incoming) = mpsc::channel(READ_AHEAD);
        let reader = CollectionReader {
            from: Points {
                collection: from,
                ..serving
            },
            serving: serving.collection,
            tokenizer,
            copier: self.copier.clone(),
            packer: self.corpus().packer(),
            output,
            truncated: 0,
        };
        // The reading ends with the copying: whoever fails first ends both.
        let (truncated, mut copied) = tokio::try_join!(reader.read(), self.copy_all(incoming))?;
        copied.report.truncated = truncated;
        Ok(copied)
    }

    fn corpus(&self) -> Corpus<'_> {
        Corpus {
            sources: &self.config.sources,
            stdin: Format::Jsonl,
            naming: Naming::default(),
            extract: self.config.extract.clone(),
            collection: self.config.alias.clone(),
            tokenization: self.copier.manifest.tokenization(),
            version: self.copier.version,
            job_tokens: self.config.chunking.job_tokens,
            refuses_repeated: false,
        }
    }

    /// Resolves all that is read, a few batches at a time, and publishes what is left in the order of the source.
    async fn copy_all(self, mut incoming: mpsc::Receiver<Event>) -> anyhow::Result<CopyResult> {
        let (copier, mut publisher) = (self.copier, self.publisher);
        let (mut seen, mut superseded) = (SeenDocuments::default(), 0);
        let mut sum = PhaseReport::new(Phase::Copied);
        {
            let batches = stream::poll_fn(|context| incoming.poll_recv(context))
                .filter_map(|event| std::future::ready(seen.documents(event)))
                .map(|documents| copier.resolve(documents))
                .buffered(CONCURRENT);
            let mut batches = std::pin::pin!(batches);
            while let Some(copied) = batches.next().await {
                self.lock.map_or(Ok(()), Lock::check)?;
                let copied = copied?;
                sum.reused += copied.reused;
                sum.present += copied.present;
                superseded += copied.superseded;
                for chunk in copied.rest.iter().flat_map(|document| &document.chunks) {
                    sum.published += 1;
                    sum.published_tokens += chunk.token_ids.len() as u64;
                }
                publisher.add(copied.rest).await?;
                failpoint::pass("rebuild-copying");
            }
        }
        let jobs = publisher.finish().await?;
        (sum.documents, sum.chunks, sum.tokens) = (seen.documents, seen.chunks, seen.tokens);
        Ok(CopyResult {
            report: sum,
            text_bytes: seen.text_bytes,
            account: std::mem::take(&mut seen.account),
            refused: seen.refused,
            jobs,
            superseded,
            source: seen.into_chunks(),
        })
    }
}
