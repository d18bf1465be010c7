//! Attempt: one way through a sync, from the jobs before it to the last of its own.

use std::time::Instant;

use contract::field;
use contract::names::CollectionName;
use contract::topology::{JOBS, Lane};
use qdrant_client::qdrant::{Condition, Filter};
use runtime::failpoint;

use super::claim::SourceIdentities;
use super::comparer::Comparer;
use super::config::SyncConfig;
use super::read::{Reading, Tally};
use super::remove::{Removed, Remover};
use super::report::Report;
use crate::generation::await_jobs::{JobsOf, in_sight};
use crate::generation::ledger::{DeadPoints, dead_points, missing};
use crate::generation::record::run_id;
use crate::generation::reroute::Reroute;
use crate::generation::{AliasContext, Stopped};
use crate::jobs::publisher::Publisher;
use crate::outcome::many;
use crate::progress::{Progress, note};

/// Readings of the source, the first included, before jobs that are lost again and again are an error.
const ROUNDS: u32 = 4;

pub struct Attempt<'a> {
    config: &'a SyncConfig,
    comparer: Comparer<'a>,
    context: AliasContext<'a>,
    run: String,
    /// Sequence of the first job of this attempt.
    first: u64,
    dead: DeadPoints,
    /// Documents that may be behind a missing mount.
    behind: u64,
    pub report: Report,
}

impl<'a> Attempt<'a> {
    pub async fn open(config: &'a SyncConfig, context: AliasContext<'a>) -> anyhow::Result<Self> {
        let comparer = Comparer::open(&config.comparison, context.qdrant).await?;
        let run = config.run_id.clone();
        let run = run.unwrap_or_else(|| run_id(comparer.version));
        let report = Report {
            run: run.clone(),
            alias: config.comparison.alias.clone(),
            collection: comparer.serving.clone(),
            version: comparer.version,
            ..Report::default()
        };
        Ok(Self {
            config,
            comparer,
            context,
            run,
            first: 0,
            dead: DeadPoints::new(),
            behind: 0,
            report,
        })
    }

    pub async fn perform(&mut self) -> anyhow::Result<()> {
        self.await_earlier_jobs().await?;
        self.first = self.context.last_sequence().await? + 1;
        failpoint::pass("sync-waited");
        let mut claimed = self.comparer.claim().await?;
        let most = self.removable(&claimed).await?;
        failpoint::pass("sync-claimed");
        let began = Instant::now();
        let expected = self.round(&mut claimed, most, true).await?;
        if !self.config.no_wait {
            self.balance(&mut claimed, most, expected).await?;
            self.report.embedded_within(began.elapsed());
        }
        if let Some(reason) = self.refusal(&claimed) {
            return Err(Stopped(reason).into());
        }
        self.report.done = !self.config.no_wait;
        Ok(())
    }

    /// How many documents may be deleted, by what the source claims.
    async fn removable(&mut self, claimed: &SourceIdentities) -> anyhow::Result<u64> {
        let shrink = self.comparer.shrink(claimed).await?;
        self.behind = shrink.behind;
        self.report.kept = shrink.behind;
        if !self.comparer.may_remove(claimed) {
            self.report.kept += shrink.absent;
            return Ok(0);
        }
        match shrink.refusal() {
            Some(reason) => {
                self.report.kept += shrink.absent;
                Err(Stopped(reason).into())
            }
            None => Ok(shrink.absent),
        }
    }

    /// Reads the source until nothing of it is missing in the collection. Once is enough, unless something newer was
    /// written meanwhile, or jobs were lost.
    async fn balance(
        &mut self,
        claimed: &mut SourceIdentities,
        most: u64,
        expected: u64,
    ) -> anyhow::Result<()> {
        let mut published = expected;
        for _ in 1..ROUNDS {
            if published == 0
                || self.moved_to().await?.is_some()
                || self.is_balanced(expected).await?
            {
                return Ok(());
            }
            note("not all that was published is there: reading the source again");
            published = self.round(claimed, most, false).await?;
        }
        anyhow::ensure!(
            published == 0 || self.is_balanced(expected).await?,
            "{published} chunks and deletions are published and lost again and again; does the stream `{JOBS}` keep \
             its messages?"
        );
        Ok(())
    }

    /// Publishes what differs; gives the number of chunks and deletions.
    async fn round(
        &mut self,
        claimed: &mut SourceIdentities,
        most: u64,
        first: bool,
    ) -> anyhow::Result<u64> {
        let comparer = &self.comparer;
        let lane = comparer.lane(self.config.lane);
        let to = Some((self.context.jetstream.clone(), lane.clone()));
        let template = comparer.template(Some(self.run.clone()));
        let job_tokens = self.config.comparison.chunking.job_tokens;
        let reading = Reading {
            comparer,
            dead: &self.dead,
            publisher: Publisher::new(to, template, job_tokens),
            lock: self.context.lock,
        };
        let mut found = reading.perform().await?;
        claimed.extend(std::mem::take(&mut found.seen));
        self.report.add(&found, first);
        let Tally { documents, chunks } = found.changed;
        note(&format!(
            "published {} of {}",
            many(documents, "document"),
            found.documents
        ));
        failpoint::pass("sync-read");
        self.context.check()?;
        let removed = self.remove(claimed, most, lane).await?;
        failpoint::pass("sync-published");
        Ok(chunks + removed.documents)
    }

    async fn remove(
        &mut self,
        claimed: &SourceIdentities,
        most: u64,
        lane: Lane,
    ) -> anyhow::Result<Removed> {
        if !self.comparer.may_remove(claimed) {
            return Ok(Removed::default());
        }
        let remover = Remover {
            to: Some((self.context.jetstream.clone(), lane)),
            run: self.run.clone(),
            alias: self.config.comparison.alias.clone(),
            version: self.comparer.version,
            most,
        };
        let removed = self.comparer.remove(claimed, &self.dead, &remover).await?;
        self.report.deleted += removed.documents;
        self.report.jobs += removed.jobs;
        Ok(removed)
    }

    /// Why somebody has to look at the sync, if anything is wrong.
    fn refusal(&self, claimed: &SourceIdentities) -> Option<String> {
        let (dead, refused) = (self.report.dead_letters, self.report.refused);
        let most_dead = self.config.max_dead_letters;
        let most_refused = self.config.comparison.max_refused;
        let (run, kept, behind) = (&self.run, self.report.kept, self.behind);
        if dead > most_dead {
            return Some(format!(
                "dead letters: {dead} chunks and deletions, {most_dead} are allowed (--max-dead-letters); see \
                 `indexer dlq ls --run {run}`"
            ));
        }
        if refused > most_refused {
            return Some(format!(
                "refused: {refused} documents, records and files of the source cannot be read, {most_refused} are \
                 allowed (--max-refused); {kept} documents were not deleted because of that"
            ));
        }
        // What is read may be whole where the look at what is there was not.
        let hidden = claimed.hidden;
        if hidden > most_refused {
            return Some(format!(
                "refused: {hidden} files of the source could not be looked through for their documents, {most_refused} \
                 are allowed (--max-refused); {kept} documents were not deleted because of that"
            ));
        }
        let empty = &claimed.empty;
        (behind > 0).then(|| {
            format!(
                "empty: {behind} documents may be behind folders that hold nothing ({empty:?}), and were not deleted; \
                 is a mount missing? remove the folder if they are gone"
            )
        })
    }

    /// The collection behind the alias, if it is another one than at the start.
    pub async fn moved_to(&self) -> anyhow::Result<Option<CollectionName>> {
        let found = self.context.target().await?;
        Ok((found != self.comparer.serving).then_some(found))
    }

    /// What earlier moves of the alias have left behind comes first: it is older than the source. So do jobs of
    /// publishers that still write for another model.
    pub async fn recover(&self) -> anyhow::Result<()> {
        let context = self.context;
        context.recover_rollbacks().await?;
        context.recover_switches().await?;
        let reroute = Reroute {
            left: None,
            model: &self.comparer.manifest.name,
            to: context.alias,
        };
        context.reroute(reroute).await
    }

    /// Waits for all jobs for the alias that were published before the start. The source counts as of the start, so
    /// that what they write is compared with it and not written after the comparison.
    async fn await_earlier_jobs(&self) -> anyhow::Result<()> {
        let context = self.context;
        let alias = context.alias.as_str();
        note(&format!(
            "waiting for jobs for `{alias}` that were published before"
        ));
        let model = &self.comparer.manifest.name;
        for name in [alias, self.comparer.serving.as_str()] {
            let of = JobsOf::Collection(name);
            context.await_published(model, 1, of).await?;
        }
        Ok(())
    }

    /// Waits for the jobs of this run. Gives whether all that was published is in the collection or a dead letter;
    /// otherwise something newer was written in its place, or jobs were lost with their stream.
    async fn is_balanced(&mut self, expected: u64) -> anyhow::Result<bool> {
        let (context, model) = (self.context, &self.comparer.manifest.name);
        let own = context.await_published(model, self.first, JobsOf::Run(&self.run));
        let progress = Progress::new("chunks and deletions", expected);
        in_sight(own, progress, || self.written()).await?;
        let version = self.comparer.version;
        let mut dead = dead_points(self.context.jetstream, &self.run).await?;
        // The others are of an earlier attempt, which this one has made good or repeated.
        dead.retain(|_, chunk| chunk.version >= version);
        let target = self.comparer.target();
        self.report.dead_letters = missing(target, version, &dead).await?;
        self.dead = dead;
        Ok(self.written().await? + self.report.dead_letters >= expected)
    }

    /// Exact number of points that this sync has written, tombstones included.
    async fn written(&self) -> anyhow::Result<u64> {
        let version = i64::try_from(self.comparer.version)?;
        let own = Condition::matches(field::VERSION, version);
        Ok(self.comparer.target().count(Filter::must([own])).await?)
    }
}
