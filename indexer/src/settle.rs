//! Settle: waits until jobs are over: acknowledged, or dead letters.
//!
//! A job leaves its stream when it is settled and not before. So the question "is any of these jobs left" is answered by
//! the stream itself: look for the first message that is one of them, and look again until it is gone. Sequences only
//! grow, so that what was passed over need never be looked at again.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::Stream;
use serde::Deserialize;
use tokio::time::Instant;

use crate::dlq::read::next_message;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Jobs to wait for: those on a subject, up to a sequence, that are `of` something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) subject: &'a str,
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) of: Of<'a>,
    /// Longest time without a job being settled.
    pub(crate) stall_limit: Duration,
}

/// What makes a job one of those that are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Of<'a> {
    /// It was published by this run.
    Run(&'a str),
    /// It names this collection or alias.
    Collection(&'a str),
}

#[derive(Deserialize)]
struct Job {
    run: Option<String>,
    collection: Option<String>,
}

impl Awaited<'_> {
    /// Waits. `check` is asked between looks; it fails when waiting has no use any more.
    ///
    /// # Errors
    /// What `check` fails with; if no job is settled for too long; if NATS cannot be asked.
    pub(crate) async fn settled(
        &self,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut next = self.first.max(1);
        let mut waits_since = Instant::now();
        while let Some(sequence) = self.first_left(next).await? {
            check()?;
            if sequence > next {
                (next, waits_since) = (sequence, Instant::now());
            }
            let waited = waits_since.elapsed();
            anyhow::ensure!(
                waited < self.stall_limit,
                "job {sequence} on `{}` was not settled within {waited:?}; is a worker running? if it had its last \
                 delivery, `indexer dlq sweep` finds it; then run it again to go on",
                self.subject
            );
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Sequence of the first awaited job at or after `next`.
    async fn first_left(&self, mut next: u64) -> anyhow::Result<Option<u64>> {
        loop {
            let message = next_message(self.stream, self.subject, next).await;
            let message = message.context("failed to look for jobs that are not settled")?;
            match message.filter(|message| message.sequence <= self.last) {
                None => return Ok(None),
                Some(message) if self.of.takes(&message) => return Ok(Some(message.sequence)),
                Some(message) => next = message.sequence + 1,
            }
        }
    }
}

impl Of<'_> {
    /// Whether a message is such a job.
    pub(crate) fn takes(&self, message: &StreamMessage) -> bool {
        // What is no job writes nothing.
        let Ok(job) = serde_json::from_slice::<Job>(&message.payload) else {
            return false;
        };
        match self {
            Self::Run(run) => job.run.as_deref() == Some(run),
            Self::Collection(name) => job.collection.as_deref() == Some(name),
        }
    }
}
