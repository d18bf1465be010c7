//! Recover: moves of an alias that somebody has begun and not ended are ended before anything else is done with it.

use contract::names::CollectionName;
use runtime::failpoint;

use super::AliasContext;
use super::carry_over::carrier;
use super::catch_up::Scan;
use super::fill::{Fill, NoRoom};
use super::lock::{Lock, Purpose};
use super::move_alias::records;
use super::record::{RunRecord, StoredRun};
use crate::progress::note;

/// What was done to end a rollback.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub carried: Scan,
    /// Points that were published for the workers of attached models.
    pub attaching: u64,
}

/// A rollback that is not finished, by what is left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PendingRollback {
    /// The alias has not moved, and never will by this rollback.
    Void,
    /// The alias has moved: what was written before is carried over.
    CarryOver,
    /// Somebody has pointed the alias elsewhere since: nothing is left to do.
    Superseded,
}

fn pending_rollback(run: &RunRecord, target: &CollectionName) -> PendingRollback {
    if *target == run.generation {
        PendingRollback::Void
    } else if *target == run.serving {
        PendingRollback::CarryOver
    } else {
        PendingRollback::Superseded
    }
}

/// Whether a run has moved the alias and has not carried over what was left behind.
pub fn is_switched(run: &RunRecord, target: &CollectionName) -> bool {
    run.is_unfinished() && run.switched.is_some() && run.generation == *target
}

impl AliasContext<'_> {
    /// Ends rollbacks: what was written before they moved the alias is carried over. One that has not moved it is void.
    pub async fn recover_rollbacks(&self) -> anyhow::Result<()> {
        let all = self.runs.of(self.alias).await?;
        for stored in all.into_iter().filter(|run| run.record.is_rolling_back()) {
            let target = self.target().await?;
            let (run, serving) = (&stored.record.run, &stored.record.serving);
            match pending_rollback(&stored.record, &target) {
                PendingRollback::Void => self.void_rollback(stored).await?,
                PendingRollback::CarryOver => {
                    note(&format!("ending the rollback of run {run}"));
                    let left = self.end_rollback(stored.clone()).await?.carried.left;
                    if left > 0 {
                        let carrier = carrier(run);
                        tracing::error!(
                            "{left} texts were not carried over and are dead letters; see `indexer dlq ls --run \
                             {carrier}`"
                        );
                    }
                }
                PendingRollback::Superseded => {
                    note(&format!(
                        "the rollback of run {run} to `{serving}` was not ended, and somebody has pointed the alias \
                         to `{target}`: nothing is carried over"
                    ));
                    self.record_end(stored).await?;
                }
            }
        }
        Ok(())
    }

    /// Carries over what a rollback that has moved the alias has left, fills in the attached vectors that points lack by
    /// then, as far as there is room for their jobs, and records that it is finished: last, so that whoever comes after a
    /// crash does what is left.
    pub async fn end_rollback(&self, stored: StoredRun) -> anyhow::Result<Ended> {
        let run = &stored.record;
        let carried = self.carry_backwards(run).await?;
        let fill = Fill {
            context: *self,
            from: Some(self.points(&run.generation)),
            to: self.points(&run.serving),
            run: &carrier(&run.run),
            addressed: self.alias,
            no_room: NoRoom::LeaveOut,
        };
        let filled = fill.all().await?;
        failpoint::pass("rollback-filled");
        self.record_end(stored).await?;
        Ok(Ended {
            carried,
            attaching: filled.values().map(|filled| filled.published).sum(),
        })
    }

    async fn record_end(&self, mut stored: StoredRun) -> anyhow::Result<()> {
        if let Some(back) = &mut stored.record.rolled_back {
            back.finished = true;
        }
        let saved = self.runs.save(&mut stored).await;
        let now = self.runs.find(self.alias, &stored.record.run).await?;
        // Somebody else may have ended it at the same time.
        if now.is_some_and(|now| !now.record.is_rolling_back()) {
            return Ok(());
        }
        saved
    }

    /// Takes a rollback back whose alias has not moved. Whoever still works on it holds the lock.
    async fn void_rollback(&self, stored: StoredRun) -> anyhow::Result<()> {
        let run = &stored.record.run;
        let (bucket, silence) = (self.runs.bucket(), self.limits.silence);
        Lock::holding(bucket, Purpose::Change, self.alias, silence, async |_| {
            let target = self.target().await?;
            let Some(mut now) = self.runs.find(self.alias, run).await? else {
                return Ok(());
            };
            if now.record.is_rolling_back() && target == now.record.generation {
                note(&format!(
                    "the rollback of run {run} died before it moved the alias, and is void"
                ));
                now.record.rolled_back = None;
                self.runs.save(&mut now).await?;
            }
            Ok(())
        })
        .await
    }

    /// Carries over what the switches of unfinished runs have left behind.
    pub async fn recover_switches(&self) -> anyhow::Result<()> {
        let target = self.target().await?;
        let all = records(self.runs, self.alias).await?;
        for run in all.iter().filter(|run| is_switched(run, &target)) {
            self.carry_forwards(run).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::record::{Phase, tests::run};

    #[test]
    fn the_rest_of_a_rollback_follows_from_where_the_alias_points() {
        let run = run("docs--a", "b");
        assert_eq!(
            pending_rollback(&run, &run.generation),
            PendingRollback::Void
        );
        assert_eq!(
            pending_rollback(&run, &run.serving),
            PendingRollback::CarryOver
        );
        let elsewhere = "docs--c".parse().unwrap();
        assert_eq!(
            pending_rollback(&run, &elsewhere),
            PendingRollback::Superseded
        );
    }

    #[test]
    fn a_switch_is_ended_where_it_was_recorded_the_alias_has_moved_and_the_run_is_not_done() {
        let mut run = run("docs--a", "b");
        assert!(!is_switched(&run, &run.generation), "not recorded");
        run.switched = Some(1);
        assert!(is_switched(&run, &run.generation));
        assert!(!is_switched(&run, &run.serving), "not moved");
        run.phase = Phase::Done;
        assert!(!is_switched(&run, &run.generation), "done");
    }
}
