//! Intent: where an alias is meant to point, by what the records of its runs say.
//!
//! ```text
//! forwards:  `switched` recorded -> the alias moves -> phase switched -> the rest is carried over -> done
//! backwards: `rolled_back` recorded, the run given up -> the alias moves -> the rest is carried over -> finished
//! ```
//! An alias cannot be moved on a condition; a record can be written on one. So a move is recorded first, in the record
//! of the run whose generation is concerned, and whoever comes later looks where the alias really points: it has moved
//! or it has not. An intent whose alias has not moved is void, and is taken back before anything else is done.
//!
//! A process that is suspended right before it moves the alias, and wakes up when others have gone on without it, finds
//! that its record was written by them. Then the newest intent holds, and it puts the alias there.

use contract::names::CollectionName;
use qdrant_client::Qdrant;
use runtime::failpoint;

use crate::alias;
use crate::lease::Lease;
use crate::publish::now_micros;
use crate::run::{RunRecord, Runs, Stored};

/// A move of an alias whose intent is recorded.
pub(crate) struct Move<'a> {
    pub(crate) qdrant: &'a Qdrant,
    pub(crate) runs: &'a Runs,
    /// The lease for changes of the alias.
    pub(crate) lock: &'a Lease,
    pub(crate) to: &'a CollectionName,
    /// Failpoints right before and right after it.
    pub(crate) points: [&'static str; 2],
}

impl Move<'_> {
    /// Points the alias to where `stored`, as it was just saved, says.
    ///
    /// # Errors
    /// If the lease is lost, Qdrant refuses, or others have gone on meanwhile: then the alias points to where they say.
    pub(crate) async fn perform(&self, stored: &Stored) -> anyhow::Result<()> {
        let record = &stored.record;
        self.lock.check()?;
        failpoint::pass(self.points[0]);
        alias::point(self.qdrant, &record.alias, self.to).await?;
        failpoint::pass(self.points[1]);
        if self.runs.is_current(stored).await? {
            return Ok(());
        }
        let records = records(self.runs, &record.alias).await?;
        let meant = newest(&records).map_or(&record.serving, |(_, collection)| collection);
        if meant != self.to {
            alias::point(self.qdrant, &record.alias, meant).await?;
        }
        anyhow::bail!(
            "another process has gone on with run `{}` meanwhile; alias `{}` points to `{meant}`, as recorded",
            record.run,
            record.alias
        )
    }
}

/// All records of an alias, the oldest first.
pub(crate) async fn records(runs: &Runs, alias: &CollectionName) -> anyhow::Result<Vec<RunRecord>> {
    let stored = runs.of(alias).await?.into_iter();
    Ok(stored.map(|stored| stored.record).collect())
}

/// A time for the next intent: later than all others, whatever the clocks of their hosts said.
pub(crate) fn next_time(records: &[RunRecord]) -> u64 {
    let last = newest(records).map_or(0, |(time, _)| time);
    now_micros().max(last + 1)
}

/// The newest intent: when, and to which collection.
fn newest(records: &[RunRecord]) -> Option<(u64, &CollectionName)> {
    let forwards = records
        .iter()
        .filter_map(|run| Some((run.switched?, &run.generation)));
    let backwards = records
        .iter()
        .filter_map(|run| Some((run.rolled_back?.began, &run.serving)));
    forwards.chain(backwards).max_by_key(|(time, _)| *time)
}
