//! Copy: reads the source; a chunk whose vector the serving collection has is copied, any other is published.
//!
//! Batches are looked up side by side and published in the order of the source.

use anyhow::Context as _;
use contract::failpoint;
use contract::model::TOKENIZER;
use contract::tokenizer::Tokenizer;
use contract::topology::{Lane, Priority, Task};
use futures::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use super::balance::DeadPoints;
use super::publish::{Heading, Publisher};
use super::report::{Gate, PhaseReport, as_double};
use super::write::Target;
use super::{Rebuild, create};
use crate::chunk::{ChunkOptions, Chunker};
use crate::pack::{self, Packer};
use crate::read::{Event, read};
use crate::run::Phase;
use crate::source::{Format, Sources};
use once::Once;
use resolve::Copier;

mod from_collection;
mod once;
mod resolve;

/// Batches that are looked up at the same time.
const CONCURRENT: usize = 4;
/// Events between the reading threads and this one.
const READ_AHEAD: usize = 16;

impl Rebuild {
    pub(super) async fn copy(&mut self) -> anyhow::Result<PhaseReport> {
        self.own_jobs_settled().await?;
        let dead = self.dead_points().await?;
        let once = match &self.config.from_collection {
            Some(name) => self.copy_collection(name, &dead).await?,
            None => self.copy_sources(&dead).await?,
        };
        let Once {
            report, refused, ..
        } = once;
        let record = &mut self.stored.record;
        (record.documents, record.expected) = (report.documents, report.chunks);
        record.refused = refused;
        let limit = self.config.limits.max_refused;
        self.judge(Gate {
            name: "refused".to_owned(),
            value: as_double(refused),
            limit: as_double(limit),
            passed: refused <= limit,
            finding: format!(
                "{refused} documents, records and files of the source cannot be read, {limit} are allowed \
                 (--max-refused)"
            ),
        })?;
        Ok(report)
    }

    async fn copy_sources(&self, dead: &DeadPoints) -> anyhow::Result<Once> {
        let (events, incoming) = mpsc::channel(READ_AHEAD);
        let sources = Sources::open(&self.config.sources, Format::Jsonl)
            .map_err(|mut errors| anyhow::Error::from(errors.remove(0)))?;
        let options = self.config.extract;
        let reader = read(sources, options, self.chunker()?, self.packer(), events);
        let copied = self.copy_all(incoming, dead).await;
        let died = tokio::task::spawn_blocking(move || reader.join().is_err()).await?;
        let copied = copied?;
        anyhow::ensure!(!died, "a reading thread died; run it again to go on");
        Ok(copied)
    }

    async fn copy_all(
        &self,
        mut incoming: mpsc::Receiver<Event>,
        dead: &DeadPoints,
    ) -> anyhow::Result<Once> {
        let copier = self.copier(dead).await?;
        let mut once = Once::new();
        let mut publisher = self.publisher(Priority::Bulk);
        let mut sum = PhaseReport::new(Phase::Copied);
        {
            let batches = stream::poll_fn(|context| incoming.poll_recv(context))
                .filter_map(|event| std::future::ready(once.documents(event)))
                .map(|documents| copier.resolve(documents))
                .buffered(CONCURRENT);
            let mut batches = std::pin::pin!(batches);
            while let Some(copied) = batches.next().await {
                self.lease.check()?;
                let copied = copied?;
                sum.reused += copied.reused;
                sum.present += copied.present;
                for chunk in copied.rest.iter().flat_map(|document| &document.chunks) {
                    sum.published += 1;
                    sum.published_tokens += chunk.token_ids.len() as u64;
                }
                publisher.add(copied.rest).await?;
                failpoint::pass("rebuild-copying");
            }
        }
        publisher.finish().await?;
        once.report = PhaseReport {
            reused: sum.reused,
            present: sum.present,
            published: sum.published,
            published_tokens: sum.published_tokens,
            ..once.report
        };
        Ok(once)
    }

    async fn copier<'a>(&'a self, dead: &'a DeadPoints) -> anyhow::Result<Copier<'a>> {
        let record = self.record();
        let serving = create::look_up(&self.qdrant, record.serving.as_str()).await?;
        let serving = serving.with_context(|| {
            format!(
                "collection `{}`, which served at the start, is gone",
                record.serving
            )
        })?;
        let same = contract::collection::check(&record.serving, &serving, &self.manifest).is_ok();
        Ok(Copier {
            target: self.target(),
            serving: (same && !self.config.full).then_some(self.serving()),
            manifest: &self.manifest,
            version: record.version,
            run: &record.run,
            dead,
        })
    }

    pub(super) fn publisher(&self, priority: Priority) -> Publisher {
        let lane = Lane {
            task: Task::Embed,
            model: self.manifest.name.clone(),
            priority,
        };
        let heading = Heading {
            subject: lane.subject(),
            run: self.record().run.clone(),
            collection: self.record().generation.clone(),
            tokenization: self.manifest.tokenization(),
            job_tokens: self.config.chunking.job_tokens,
        };
        Publisher::new(self.jetstream.clone(), heading)
    }

    fn packer(&self) -> Packer {
        let heading = pack::Heading {
            collection: self.record().generation.clone(),
            tokenization: self.manifest.tokenization(),
            version: self.record().version,
            run: Some(self.record().run.clone()),
        };
        Packer::new(heading, self.config.chunking.job_tokens)
    }

    fn chunker(&self) -> anyhow::Result<Chunker> {
        let tokenizer = Tokenizer::load(&self.config.model.model.join(TOKENIZER))?;
        let chunking = &self.config.chunking;
        let options = ChunkOptions {
            max_tokens: self.manifest.identity.max_tokens,
            target_tokens: chunking.chunk_tokens,
            overlap_tokens: chunking.overlap_tokens,
            prefix: self.manifest.identity.prefixes.document.clone(),
            context: !chunking.no_context,
        };
        Ok(Chunker::new(tokenizer, options)?)
    }

    pub(super) fn target(&self) -> Target<'_> {
        Target {
            qdrant: &self.qdrant,
            collection: &self.record().generation,
        }
    }

    pub(super) fn serving(&self) -> Target<'_> {
        Target {
            qdrant: &self.qdrant,
            collection: &self.record().serving,
        }
    }
}
