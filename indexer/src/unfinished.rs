//! Unfinished: moves of an alias that somebody has begun and not ended, ended before anything else is done with it.

use crate::alias;
use crate::carry_over::{Scene, carrier};
use crate::intent::records;
use crate::lease::{Lease, Purpose};
use crate::rebuild::catch_up::Scan;
use crate::rebuild::say;
use crate::run::{Runs, Stored};

/// Ends what is unfinished.
pub(crate) struct Unfinished<'a> {
    pub(crate) scene: Scene<'a>,
    pub(crate) runs: &'a Runs,
    /// How long the owner of a lease may be silent.
    pub(crate) silence: std::time::Duration,
}

impl Unfinished<'_> {
    /// Ends rollbacks: what was written before they moved the alias is carried over. One that has not moved it is void.
    ///
    /// # Errors
    /// If a server refuses, or `check` fails.
    pub(crate) async fn rollbacks(
        &self,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let all = self.runs.of(self.scene.alias).await?;
        for stored in all.into_iter().filter(|run| run.record.is_rolling_back()) {
            let found = alias::target(self.scene.qdrant, self.scene.alias).await?;
            let (run, serving) = (&stored.record.run, &stored.record.serving);
            if found == stored.record.generation {
                self.void(stored).await?;
            } else if found == *serving {
                say(&format!("ending the rollback of run {run}"));
                let left = self.end(stored.clone(), &check).await?.left;
                if left > 0 {
                    let carrier = carrier(run);
                    tracing::error!(
                        "{left} texts were not carried over and are dead letters; see `indexer dlq ls --run {carrier}`"
                    );
                }
            } else {
                say(&format!(
                    "the rollback of run {run} to `{serving}` was not ended, and somebody has pointed the alias to \
                     `{found}`: nothing is carried over"
                ));
                self.record_end(stored).await?;
            }
        }
        Ok(())
    }

    /// Carries over what a rollback that has moved the alias has left, and records that it is finished.
    ///
    /// # Errors
    /// If a server refuses, or `check` fails.
    pub(crate) async fn end(
        &self,
        stored: Stored,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Scan> {
        let scan = self.scene.backwards(&stored.record, check).await?;
        self.record_end(stored).await?;
        Ok(scan)
    }

    async fn record_end(&self, mut stored: Stored) -> anyhow::Result<()> {
        if let Some(back) = &mut stored.record.rolled_back {
            back.finished = true;
        }
        let saved = self.runs.save(&mut stored).await;
        let (alias, run) = (&stored.record.alias, &stored.record.run);
        let now = self.runs.find(alias, run).await?;
        // Somebody else may have ended it at the same time.
        if now.is_some_and(|now| !now.record.is_rolling_back()) {
            return Ok(());
        }
        saved
    }

    /// Carries over what the switches of unfinished runs have left behind.
    ///
    /// # Errors
    /// If a server refuses, or `check` fails.
    pub(crate) async fn switches(
        &self,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let found = alias::target(self.scene.qdrant, self.scene.alias).await?;
        let all = records(self.runs, self.scene.alias).await?;
        for run in all.iter().filter(|run| run.is_unfinished()) {
            if run.switched.is_some() && run.generation == found {
                self.scene.forwards(run, &check).await?;
            }
        }
        Ok(())
    }

    /// Takes a rollback back whose alias has not moved. Whoever still works on it holds the lease.
    async fn void(&self, stored: Stored) -> anyhow::Result<()> {
        let (alias, run) = (self.scene.alias, &stored.record.run);
        let bucket = self.runs.bucket();
        let lock = Lease::take(bucket, Purpose::Change, alias, self.silence).await?;
        let voided = async {
            let found = alias::target(self.scene.qdrant, alias).await?;
            let Some(mut now) = self.runs.find(alias, run).await? else {
                return Ok(());
            };
            if now.record.is_rolling_back() && found == now.record.generation {
                say(&format!(
                    "the rollback of run {run} died before it moved the alias, and is void"
                ));
                now.record.rolled_back = None;
                self.runs.save(&mut now).await?;
            }
            anyhow::Ok(())
        };
        let voided = voided.await;
        lock.release().await;
        voided
    }
}
