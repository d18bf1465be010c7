//! Sweep: deals with jobs that JetStream has given up.
//!
//! A job that had its last delivery stays in the stream and is handed to nobody any more. Two things tell of it:
//! the advisory that the server published at that moment, if it was caught, and the job itself, which lies in the
//! stream where no consumer will look again. A sweep goes by both.
//!
//! A job that an advisory tells of becomes a dead letter. One that only lies there is published again, a few times.
//!
//! The dead letter is stored first and the job removed then, so that a crash between the two leaves both, and the next
//! sweep finds the dead letter stored and removes the job. Two sweeps at once take the same steps twice, and the second
//! time changes nothing.

mod advisories;
mod compare;
mod raw;
mod requeue;

use std::collections::HashSet;
use std::io::{self, Write};

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::{self, stream::Stream};
use clap::Args;
use contract::topology::{DLQ, JOBS};
use queue::dead_letter::{EXHAUSTED, Original, Verdict, store};
use schemars::JsonSchema;
use serde::Serialize;

use crate::outcome::Outcome;
use crate::outcome::escaped;
use crate::streams::orphaned::{Orphaned, orphaned};
use crate::streams::{remove_message, stream};

#[derive(Args, Clone, Debug)]
pub struct SweepConfig {
    /// Change nothing; say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Swept {
    /// Whether it only looked.
    pub dry_run: bool,
    /// Jobs that an advisory told of and that are dead letters now.
    pub by_advisory: u64,
    /// Jobs that no consumer held and that were published again.
    pub requeued: u64,
    /// Jobs that no consumer held once more after all their rounds, and that are dead letters now.
    pub by_comparison: u64,
    /// Jobs that no consumer held, whose dead letter was there, and that are removed now.
    pub settled: u64,
    /// Advisories about jobs that are gone, or that a consumer made anew hands out again.
    pub obsolete: u64,
    /// Jobs that could not be dealt with, like one that is too large with its headers; they stay.
    pub failed: u64,
    /// Jobs that no consumer reads; they stay.
    pub orphaned: Orphaned,
}

/// When this many jobs have failed, the sweep fails.
const MOST_FAILURES: u64 = 10;

/// What both ways of finding given-up jobs share.
struct Sweeper {
    jetstream: jetstream::Context,
    jobs: Stream,
    dlq: Stream,
    dry_run: bool,
    /// Found in a dry run, where finding a job does not take it away from the other way of finding it.
    seen: HashSet<u64>,
    swept: Swept,
}

/// A job that had its last delivery, and the consumer that gave it up.
struct Exhausted<'a> {
    consumer: &'a str,
    deliveries: i64,
}

pub async fn sweep(jetstream: &jetstream::Context, config: &SweepConfig) -> anyhow::Result<Swept> {
    let mut sweeper = Sweeper {
        jetstream: jetstream.clone(),
        jobs: stream(jetstream, JOBS).await?,
        dlq: stream(jetstream, DLQ).await?,
        dry_run: config.dry_run,
        seen: HashSet::new(),
        swept: Swept::default(),
    };
    sweeper.swept.dry_run = config.dry_run;
    sweeper.sweep_advisories().await?;
    sweeper.sweep_by_comparison().await?;
    sweeper.swept.orphaned = orphaned(&sweeper.jobs).await?;
    Ok(sweeper.swept)
}

impl Sweeper {
    /// Counts a job that could not be dealt with, so that it does not stop the sweep of all others. If many jobs fail,
    /// the cause is not in the jobs, and the sweep ends.
    fn or_failed<T>(
        &mut self,
        sequence: u64,
        done: anyhow::Result<T>,
    ) -> anyhow::Result<Option<T>> {
        let error = match done {
            Ok(done) => return Ok(Some(done)),
            Err(error) => error,
        };
        self.swept.failed += 1;
        if self.swept.failed >= MOST_FAILURES {
            return Err(error);
        }
        tracing::error!("job {sequence} stays: {error:#}");
        Ok(None)
    }

    /// Makes a dead letter of a job; says whether it was one that this sweep had not found yet.
    async fn give_up(&mut self, job: &StreamMessage, by: &Exhausted<'_>) -> anyhow::Result<bool> {
        if self.dry_run {
            return Ok(self.seen.insert(job.sequence));
        }
        let Exhausted {
            consumer,
            deliveries,
        } = by;
        let reason =
            format!("delivered {deliveries} times by consumer `{consumer}` without being settled");
        let original = Original::stored(JOBS, job, *deliveries);
        let verdict = Verdict {
            cause: EXHAUSTED,
            reason: &reason,
            worker: "indexer dlq sweep",
            fingerprint: "",
        };
        store(&self.jetstream, &original, &verdict).await?;
        remove_message(&self.jetstream, &self.jobs, job.sequence).await?;
        tracing::info!(job.sequence, consumer, deliveries, "job dead-lettered");
        Ok(true)
    }
}

impl Outcome for Swept {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let would = if self.dry_run { "would become" } else { "are" };
        let found = self.by_advisory + self.by_comparison;
        writeln!(out, "{found} exhausted jobs {would} dead letters")?;
        if self.requeued > 0 {
            let would = if self.dry_run { "would be" } else { "are" };
            let requeued = self.requeued;
            writeln!(
                out,
                "{requeued} jobs that no consumer holds {would} published again"
            )?;
        }
        for orphaned in &self.orphaned.subjects {
            let subject = escaped(&orphaned.subject);
            writeln!(
                out,
                "{} jobs on `{subject}` are read by nobody",
                orphaned.jobs
            )?;
        }
        if self.orphaned.more_subjects > 0 {
            let more = self.orphaned.more_subjects;
            writeln!(out, "{more} more subjects are read by nobody")?;
        }
        Ok(())
    }

    fn is_failure(&self) -> bool {
        self.failed > 0
    }
}
