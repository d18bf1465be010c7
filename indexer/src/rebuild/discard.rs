//! Discard: takes the jobs of a run that was given up out of their lanes, so that nobody embeds them.
//!
//! A subject cannot be purged by the content of its messages, so that they are looked at one by one.

use async_nats::jetstream::{self, stream::Stream};
use contract::topology::{Lane, Task};

use crate::dlq::read::next_message;
use crate::dlq::{Removal, remove_message};
use crate::run::RunRecord;
use crate::settle::Of;

/// Removes the jobs that a run has published; gives their number. One that a worker has already is written into the
/// generation of the run, which nobody looks at any more.
pub(super) async fn discard(
    jetstream: &jetstream::Context,
    jobs: &Stream,
    run: &RunRecord,
    check: impl Fn() -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let mut discarded = 0;
    for lane in Lane::of(Task::Embed, &run.model) {
        let mut next = run.first_sequence + 1;
        while let Some(message) = next_message(jobs, &lane.subject(), next).await? {
            check()?;
            next = message.sequence + 1;
            if Of::Run(&run.run).takes(&message) {
                let removal = remove_message(jetstream, jobs, message.sequence).await?;
                discarded += u64::from(matches!(removal, Removal::Removed));
            }
        }
    }
    Ok(discarded)
}
