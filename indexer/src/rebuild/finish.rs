//! Finish: what the switch has left behind in the previous generation, then the generations that nobody needs.

use runtime::failpoint;

use super::Rebuild;
use super::switch::report_of;
use crate::generation::Stopped;
use crate::generation::await_jobs::JobsOf;
use crate::generation::carry_over::until_clean;
use crate::generation::collection::{CollectionModel, look_up};
use crate::generation::fill::NoRoom;
use crate::generation::lock::{Lock, Purpose};
use crate::generation::record::{Phase, PhaseReport};
use crate::generation::reroute::Reroute;
use crate::generation::retire::{Fate, retire};

impl Rebuild<'_> {
    pub async fn finish(&mut self) -> anyhow::Result<PhaseReport> {
        self.still_switched().await?;
        self.reroute().await?;
        self.previous_at_rest().await?;
        failpoint::pass("rebuild-finishing");
        let (serving, alias) = (self.record().serving.clone(), self.record().alias.clone());
        let sum = until_clean(&serving, &alias, async || self.catch_up_once().await).await?;
        self.still_switched().await?;
        // What live writes have brought may lack vectors whose jobs went to the previous generation.
        self.fill(&alias, NoRoom::LeaveOut).await?;
        self.retire().await?;
        Ok(report_of(Phase::Done, sum))
    }

    /// A rollback meanwhile ends the run.
    async fn still_switched(&mut self) -> anyhow::Result<()> {
        let record = self.record();
        let found = self.context.target().await?;
        if found == record.generation {
            return Ok(());
        }
        let reason = format!(
            "alias `{}` points to `{found}` again; the run is given up",
            record.alias
        );
        // Whoever has rolled it back has written the record.
        let now = self.context.runs.find(&record.alias, &record.run).await?;
        self.stored = now.unwrap_or_else(|| self.stored.clone());
        self.stored.record.phase = Phase::Abandoned;
        Err(Stopped(reason).into())
    }

    /// Jobs of publishers that still write for the model before. They name the generation, and are awaited: the worker
    /// that has filled it takes them in any case.
    async fn reroute(&self) -> anyhow::Result<()> {
        let (context, record) = (self.context, self.record());
        let reroute = Reroute {
            left: None,
            model: &record.model,
            to: &record.generation,
        };
        context.reroute(reroute).await?;
        failpoint::pass("rebuild-rerouted");
        let of = JobsOf::Collection(record.generation.as_str());
        let first = record.first_sequence + 1;
        context.await_published(&record.model, first, of).await
    }

    /// Waits until no worker writes to the previous generation any more.
    async fn previous_at_rest(&self) -> anyhow::Result<()> {
        let record = self.record();
        let serving = look_up(self.context.qdrant, &record.serving).await?;
        let serving = serving.as_ref().and_then(CollectionModel::of);
        let mut models = vec![record.model.clone()];
        models.extend(serving.map(|serving| serving.model));
        models.sort();
        models.dedup();
        self.context.await_delivered(&models).await
    }

    async fn retire(&mut self) -> anyhow::Result<()> {
        let (alias, keep, silence) = (&self.config.alias, self.config.keep, self.config.lease);
        let bucket = self.context.runs.bucket();
        let all = Lock::holding(bucket, Purpose::Change, alias, silence, async |lock| {
            retire(self.context.qdrant, self.context.runs, alias, keep, lock).await
        });
        let dropped = all.await?.into_iter().filter(|it| it.fate == Fate::Drop);
        self.dropped = dropped.map(|generation| generation.collection).collect();
        Ok(())
    }
}
