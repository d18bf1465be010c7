//! Move alias: points an alias elsewhere, so that whoever comes after a crash knows where it was to go.
//!
//! ```text
//! forwards:  `switched` recorded -> the alias moves -> phase switched -> the rest is carried over -> done
//! backwards: `rolled_back` recorded, the run given up -> the alias moves -> the rest is carried over -> finished
//! ```
//! An alias cannot be moved on a condition; a record can be written on one. So a move is recorded first, in the record
//! of the run whose generation is concerned, and whoever comes later looks where the alias really points: it has moved
//! or it has not. A recorded move whose alias has not moved is void, and is taken back before anything else is done.
//!
//! A process that is suspended right before it moves the alias, and wakes up when others have gone on without it, finds
//! that its record was written by them. Then the newest recorded move holds, and the process puts the alias there.

use contract::names::CollectionName;
use runtime::failpoint;

use super::lock::Lock;
use super::record::{RunRecord, Runs, StoredRun};
use super::{AliasContext, alias};
use crate::clock::now_micros;

/// A move of an alias that is recorded.
pub struct Move<'a> {
    pub context: AliasContext<'a>,
    /// The lock for changes of the alias.
    pub lock: &'a Lock,
    pub to: &'a CollectionName,
    pub verb: MovedBy,
}

/// The verb that moves an alias, for the names of its failpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MovedBy {
    Rebuild,
    Rollback,
}

impl MovedBy {
    fn before(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild-before-switch",
            Self::Rollback => "rollback-before-switch",
        }
    }

    fn after(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild-after-switch",
            Self::Rollback => "rollback-after-switch",
        }
    }
}

impl Move<'_> {
    /// Points the alias to where `stored`, as it was just saved, says.
    ///
    /// # Errors
    /// If the lock is lost, Qdrant refuses, or others have gone on meanwhile: then the alias points to where they say.
    pub async fn perform(&self, stored: &StoredRun) -> anyhow::Result<()> {
        let record = &stored.record;
        self.lock.check()?;
        failpoint::pass(self.verb.before());
        alias::point(self.context.qdrant, &record.alias, self.to).await?;
        failpoint::pass(self.verb.after());
        if self.context.runs.is_current(stored).await? {
            return Ok(());
        }
        let records = records(self.context.runs, &record.alias).await?;
        let meant = newest(&records).map_or(&record.serving, |(_, collection)| collection);
        if meant != self.to {
            alias::point(self.context.qdrant, &record.alias, meant).await?;
        }
        anyhow::bail!(
            "another process has gone on with run `{}` meanwhile; alias `{}` points to `{meant}`, as recorded",
            record.run,
            record.alias
        )
    }
}

/// All records of an alias, the oldest first.
pub async fn records(runs: &Runs, alias: &CollectionName) -> anyhow::Result<Vec<RunRecord>> {
    let stored = runs.of(alias).await?.into_iter();
    Ok(stored.map(|stored| stored.record).collect())
}

/// A time for the next move: later than all others, whatever the clocks of their hosts said.
pub fn next_time(records: &[RunRecord]) -> u64 {
    let last = newest(records).map_or(0, |(time, _)| time);
    now_micros().max(last + 1)
}

/// The newest recorded move: when, and to which collection.
fn newest(records: &[RunRecord]) -> Option<(u64, &CollectionName)> {
    let forwards = records
        .iter()
        .filter_map(|run| Some((run.switched?, &run.generation)));
    let backwards = records
        .iter()
        .filter_map(|run| Some((run.rolled_back?.began, &run.serving)));
    forwards.chain(backwards).max_by_key(|(time, _)| *time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::record::{Rollback, tests::run};

    #[test]
    fn the_newest_recorded_move_holds_whichever_way_it_goes() {
        let (mut first, mut second) = (run("docs", "a"), run("docs--a", "b"));
        assert_eq!(newest(&[first.clone(), second.clone()]), None);
        first.switched = Some(10);
        second.switched = Some(20);
        let moves = [second.clone(), first.clone()];
        assert_eq!(newest(&moves), Some((20, &second.generation)));
        second.rolled_back = Some(Rollback {
            began: 30,
            finished: true,
        });
        let moves = [second.clone(), first];
        assert_eq!(newest(&moves), Some((30, &second.serving)));
    }

    #[test]
    fn the_next_move_is_later_than_all_others_even_where_a_clock_was_ahead() {
        let mut ahead = run("docs", "a");
        ahead.switched = Some(u64::MAX / 2);
        assert_eq!(next_time(&[ahead]), u64::MAX / 2 + 1);
        assert!(next_time(&[]) > 0);
    }
}
