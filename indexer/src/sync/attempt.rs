//! Attempt: one way through a sync, from the jobs before it to the last of its own.

use std::time::Instant;

use async_nats::jetstream::{self, stream::Stream};
use contract::names::CollectionName;
use contract::topology::JOBS;
use runtime::failpoint;

use super::claim::Claimed;
use super::comparer::Comparer;
use super::config::SyncConfig;
use super::read::{Reading, Tally};
use super::remove::{Removed, Remover};
use super::report::Report;
use crate::alias;
use crate::carry_over::Scene;
use crate::dlq::stream;
use crate::hand_over::HandOver;
use crate::lease::Lease;
use crate::rebuild::balance::DeadPoints;
use crate::rebuild::publish::Publisher;
use crate::rebuild::{Stopped, say};
use crate::run::Runs;
use crate::run_id::run_id;
use crate::unfinished::Unfinished;

/// Readings of the source, the first included, before jobs that are lost again and again are an error.
const ROUNDS: u32 = 4;

/// One attempt at a sync.
pub(super) struct Attempt<'a> {
    pub(super) config: &'a SyncConfig,
    pub(super) comparer: Comparer<'a>,
    pub(super) jetstream: jetstream::Context,
    pub(super) jobs: Stream,
    pub(super) lease: &'a Lease,
    pub(super) run: String,
    /// Sequence before the first job of this attempt.
    pub(super) first: u64,
    pub(super) dead: DeadPoints,
    /// Documents that may be behind a missing mount.
    behind: u64,
    pub(super) report: Report,
}

impl<'a> Attempt<'a> {
    pub(super) async fn open(
        config: &'a SyncConfig,
        jetstream: jetstream::Context,
        lease: &'a Lease,
    ) -> anyhow::Result<Self> {
        let comparer = Comparer::open(&config.comparison).await?;
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
            jobs: stream(&jetstream, JOBS).await?,
            jetstream,
            lease,
            run,
            first: 0,
            dead: DeadPoints::new(),
            behind: 0,
            report,
        })
    }

    /// Goes all the way.
    pub(super) async fn perform(&mut self) -> anyhow::Result<()> {
        self.earlier_jobs_settled().await?;
        self.first = self.last_sequence().await? + 1;
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
        self.judge(&claimed)?;
        self.report.done = !self.config.no_wait;
        Ok(())
    }

    /// How many documents may be deleted, by what the source claims.
    async fn removable(&mut self, claimed: &Claimed) -> anyhow::Result<u64> {
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
        claimed: &mut Claimed,
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
            say("not all that was published is there: reading the source again");
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
        claimed: &mut Claimed,
        most: u64,
        first: bool,
    ) -> anyhow::Result<u64> {
        let (comparer, lease) = (&self.comparer, self.lease);
        let subject = comparer.lane(self.config.lane).subject();
        let heading = comparer.heading(subject.clone(), self.run.clone());
        let reading = Reading {
            comparer,
            dead: &self.dead,
            publisher: Publisher::new(Some(self.jetstream.clone()), heading),
            check: &|| lease.check(),
        };
        let mut found = reading.perform().await?;
        claimed.extend(std::mem::take(&mut found.seen));
        self.report.add(&found, first);
        let Tally { documents, chunks } = found.changed;
        say(&format!(
            "published {documents} documents of {}",
            found.documents
        ));
        failpoint::pass("sync-read");
        lease.check()?;
        let removed = self.remove(claimed, most, subject).await?;
        failpoint::pass("sync-published");
        Ok(chunks + removed.documents)
    }

    async fn remove(
        &mut self,
        claimed: &Claimed,
        most: u64,
        subject: String,
    ) -> anyhow::Result<Removed> {
        if !self.comparer.may_remove(claimed) {
            return Ok(Removed::default());
        }
        let remover = Remover {
            jetstream: Some(self.jetstream.clone()),
            subject,
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

    /// Fails if something has to be looked at.
    fn judge(&self, claimed: &Claimed) -> anyhow::Result<()> {
        let (dead, refused) = (self.report.dead_letters, self.report.refused);
        let (most_dead, most_refused) = (
            self.config.max_dead_letters,
            self.config.comparison.max_refused,
        );
        if dead > most_dead {
            let run = &self.run;
            return Err(Stopped(format!(
                "dead letters: {dead} chunks and deletions, {most_dead} are allowed (--max-dead-letters); see \
                 `indexer dlq ls --run {run}`"
            ))
            .into());
        }
        if refused > most_refused {
            let kept = self.report.kept;
            return Err(Stopped(format!(
                "refused: {refused} documents, records and files of the source cannot be read, {most_refused} are \
                 allowed (--max-refused); {kept} documents were not deleted because of that"
            ))
            .into());
        }
        if self.behind > 0 {
            let (behind, empty) = (self.behind, &claimed.empty);
            return Err(Stopped(format!(
                "empty: {behind} documents may be behind folders that hold nothing ({empty:?}), and were not deleted; \
                 is a mount missing? remove the folder if they are gone"
            ))
            .into());
        }
        Ok(())
    }

    /// Where the alias points, if that is not where it pointed at the start.
    pub(super) async fn moved_to(&self) -> anyhow::Result<Option<CollectionName>> {
        let alias = &self.config.comparison.alias;
        let found = alias::target(&self.comparer.qdrant, alias).await?;
        Ok((found != self.comparer.serving).then_some(found))
    }

    /// What earlier moves of the alias have left behind comes first: it is older than the source.
    pub(super) async fn unfinished(&self, runs: &Runs) -> anyhow::Result<()> {
        let unfinished = Unfinished {
            scene: Scene {
                qdrant: &self.comparer.qdrant,
                jetstream: &self.jetstream,
                jobs: &self.jobs,
                alias: &self.config.comparison.alias,
                clock_skew: self.config.comparison.clock_skew,
                stall_limit: self.config.stall_limit,
            },
            runs,
            silence: self.config.lease,
        };
        unfinished.rollbacks(|| self.lease.check()).await?;
        unfinished.switches(|| self.lease.check()).await?;
        self.hand_over().await
    }

    /// Publishers that still write for another model.
    async fn hand_over(&self) -> anyhow::Result<()> {
        let alias = &self.config.comparison.alias;
        let hand_over = HandOver {
            jetstream: &self.jetstream,
            jobs: &self.jobs,
            alias,
            left: None,
            model: &self.comparer.manifest.name,
            to: alias,
        };
        let handed = hand_over.perform(|| self.lease.check()).await?;
        if handed > 0 {
            say(&format!(
                "{handed} jobs for `{alias}` in lanes of other models are handed over"
            ));
        }
        Ok(())
    }
}
