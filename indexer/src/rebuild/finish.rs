//! Finish: what the switch has left behind in the previous generation, then the generations that nobody needs.

use anyhow::Context as _;
use contract::names::ModelName;
use contract::topology::Task;
use points::collection::MODEL;
use qdrant_client::qdrant::CollectionInfo;
use runtime::failpoint;

use super::catch_up::Scan;
use super::in_flight::InFlight;
use super::report::PhaseReport;
use super::switch::report_of;
use super::{Rebuild, Stopped, create, say};
use crate::alias;
use crate::gc;
use crate::hand_over::HandOver;
use crate::lease::{Lease, Purpose};
use crate::run::Phase;
use crate::settle::{Awaited, Of};

/// Scans that may find something after the last worker has left.
const MOST_SCANS: u32 = 1000;

impl Rebuild {
    pub(super) async fn finish(&mut self) -> anyhow::Result<PhaseReport> {
        self.still_switched().await?;
        self.hand_over().await?;
        self.previous_at_rest().await?;
        failpoint::pass("rebuild-finishing");
        let mut sum = Scan::default();
        for scans in 1.. {
            let scan = self.catch_up_once().await?;
            sum.add(scan);
            if scan.is_clean() {
                break;
            }
            anyhow::ensure!(
                scans < MOST_SCANS,
                "something still writes to `{}`; jobs must name the alias `{}`",
                self.record().serving,
                self.record().alias
            );
        }
        self.still_switched().await?;
        self.retire().await?;
        Ok(report_of(Phase::Done, sum))
    }

    /// A rollback meanwhile ends the run.
    async fn still_switched(&mut self) -> anyhow::Result<()> {
        let record = self.record();
        let found = alias::target(&self.qdrant, &record.alias).await?;
        if found == record.generation {
            return Ok(());
        }
        let reason = format!(
            "alias `{}` points to `{found}` again; the run is given up",
            record.alias
        );
        // Whoever has rolled it back has written the record.
        let now = self.runs.find(&record.alias, &record.run).await?;
        self.stored = now.unwrap_or_else(|| self.stored.clone());
        self.stored.record.phase = Phase::Abandoned;
        Err(Stopped(reason).into())
    }

    /// Jobs of publishers that still write for the model before. They name the generation, and are awaited: the worker
    /// that has filled it takes them in any case.
    async fn hand_over(&self) -> anyhow::Result<()> {
        let record = self.record();
        let hand_over = HandOver {
            jetstream: &self.jetstream,
            jobs: &self.jobs,
            alias: &record.alias,
            left: None,
            model: &record.model,
            to: &record.generation,
        };
        let handed = hand_over.perform(|| self.lease.check()).await?;
        failpoint::pass("rebuild-handed-over");
        if handed > 0 {
            let model = &record.model;
            say(&format!(
                "{handed} jobs that waited for another model are handed over to `{model}`"
            ));
        }
        let last = self.jobs.get_info().await;
        let last = last
            .context("failed to look at the jobs")?
            .state
            .last_sequence;
        let awaited = Awaited {
            stream: &self.jobs,
            subject: &format!("jobs.{}.{}.*", Task::Embed.as_str(), record.model),
            first: record.first_sequence + 1,
            last,
            of: Of::Collection(record.generation.as_str()),
            stall_limit: self.config.stall_limit,
        };
        awaited.settled(|| self.lease.check()).await
    }

    /// Waits until no worker writes to the previous generation any more.
    async fn previous_at_rest(&self) -> anyhow::Result<()> {
        let record = self.record();
        let serving = create::look_up(&self.qdrant, record.serving.as_str()).await?;
        let mut models = vec![record.model.clone()];
        models.extend(serving.as_ref().and_then(model_of));
        models.sort();
        models.dedup();
        let in_flight = InFlight {
            jobs: &self.jobs,
            alias: &record.alias,
            stall_limit: self.config.stall_limit,
        };
        in_flight.settled(&models, || self.lease.check()).await
    }

    async fn retire(&mut self) -> anyhow::Result<()> {
        let (alias, silence) = (&self.config.alias, self.config.lease);
        let lock = Lease::take(self.runs.bucket(), Purpose::Change, alias, silence).await?;
        let retired = self.drop_old(&lock).await;
        lock.release().await;
        self.dropped = retired?;
        Ok(())
    }

    async fn drop_old(&self, lock: &Lease) -> anyhow::Result<Vec<contract::names::CollectionName>> {
        let sorted = gc::sort(
            &self.qdrant,
            &self.runs,
            &self.config.alias,
            self.config.keep,
        )
        .await?;
        let mut dropped = Vec::new();
        for generation in sorted {
            if generation.fate == gc::Fate::Drop {
                lock.check()?;
                gc::drop_generation(&self.qdrant, &generation.collection).await?;
                dropped.push(generation.collection);
            }
        }
        Ok(dropped)
    }
}

/// The model that a collection is for.
pub(crate) fn model_of(info: &CollectionInfo) -> Option<ModelName> {
    let metadata = &info.config.as_ref()?.metadata;
    metadata.get(MODEL)?.as_str()?.parse().ok()
}
