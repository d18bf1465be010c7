//! Await jobs: waits until jobs are over, acknowledged or dead letters.
//!
//! A job leaves its stream when it is settled and not before. So the question "is any of these jobs left" is answered by
//! the stream itself: look for the first message that is one of them, and look again until it is gone. Sequences only
//! grow, so that what was passed over need never be looked at again.
//!
//! Attach jobs are told apart: they write no document, and a model whose workers never come must not hold up the others.

use std::future::Future;
use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::message::StreamMessage;
use contract::names::ModelName;
use contract::topology::{Lane, Task};
use serde::Deserialize;
use tokio::time::Instant;

use super::AliasContext;
use crate::progress::Progress;
use crate::streams::next_message;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// Kind of the jobs that make attached vectors.
const ATTACH: &str = "attach";
/// Time between two counts of what jobs have written.
const BETWEEN_COUNTS: Duration = Duration::from_secs(2);

/// The jobs that are waited for.
#[derive(Clone, Copy, Debug)]
pub enum JobsOf<'a> {
    /// Jobs that this run has published.
    Run(&'a str),
    /// Jobs that name this collection or alias.
    Collection(&'a str),
    /// Jobs that this run has published, and that give points an attached vector.
    Attaching(&'a str),
}

#[derive(Deserialize)]
struct JobHead {
    kind: Option<String>,
    run: Option<String>,
    collection: Option<String>,
}

impl JobsOf<'_> {
    /// Whether a message is such a job.
    pub fn takes(&self, message: &StreamMessage) -> bool {
        self.takes_payload(&message.payload)
    }

    fn takes_payload(&self, payload: &[u8]) -> bool {
        // What is no job writes nothing.
        let Ok(job) = serde_json::from_slice::<JobHead>(payload) else {
            return false;
        };
        let attaches = job.kind.as_deref() == Some(ATTACH);
        match self {
            Self::Run(run) => !attaches && job.run.as_deref() == Some(run),
            Self::Collection(name) => !attaches && job.collection.as_deref() == Some(name),
            Self::Attaching(run) => attaches && job.run.as_deref() == Some(run),
        }
    }
}

impl AliasContext<'_> {
    /// Waits for the jobs of a model that were published by now.
    pub async fn await_published(
        &self,
        model: &ModelName,
        first: u64,
        of: JobsOf<'_>,
    ) -> anyhow::Result<()> {
        let last = self.last_sequence().await?;
        let subject = Lane::all_of(Task::Embed, Some(model));
        self.await_jobs(&subject, first..=last, of).await
    }

    /// Waits for jobs on a subject, in a range of sequences.
    ///
    /// # Errors
    /// If no job is settled for too long, the lock is lost, or NATS cannot be asked.
    pub async fn await_jobs(
        &self,
        subject: &str,
        sequences: RangeInclusive<u64>,
        of: JobsOf<'_>,
    ) -> anyhow::Result<()> {
        let mut wait = Wait::new(*sequences.start(), self.limits.stall);
        let last = *sequences.end();
        while let Some(sequence) = self.first_left(subject, wait.next..=last, of).await? {
            self.check()?;
            if let Some(waited) = wait.is_stalled(sequence, Instant::now()) {
                anyhow::bail!(
                    "job {sequence} on `{subject}` was not settled within {waited:?}; is a worker running? if it had \
                     its last delivery, `indexer dlq sweep` finds it; then run it again to go on"
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Sequence of the first awaited job.
    async fn first_left(
        &self,
        subject: &str,
        sequences: RangeInclusive<u64>,
        of: JobsOf<'_>,
    ) -> anyhow::Result<Option<u64>> {
        let (mut next, last) = sequences.into_inner();
        loop {
            let message = next_message(self.jobs, subject, next).await;
            let message = message.context("failed to look for jobs that are not settled")?;
            match message.filter(|message| message.sequence <= last) {
                None => return Ok(None),
                Some(message) if of.takes(&message) => return Ok(Some(message.sequence)),
                Some(message) => next = message.sequence + 1,
            }
        }
    }

    /// Waits for the workers that may still write to the collection that the alias pointed to before.
    ///
    /// Jobs name the alias, and Qdrant resolves it for each request of a write. A worker in the middle of a write when
    /// the alias moves leaves a part in the old collection, and an acknowledgement comes only after the whole. So once
    /// every job that was delivered before the move is settled, nothing writes to the old collection any more; jobs
    /// that are delivered later go to the new one from their first request.
    pub async fn await_delivered(&self, models: &[ModelName]) -> anyhow::Result<()> {
        for lane in models.iter().flat_map(|model| Lane::of(Task::Embed, model)) {
            if let Some(last) = self.delivered(&lane).await? {
                let of = JobsOf::Collection(self.alias.as_str());
                self.await_jobs(&lane.subject(), 1..=last, of).await?;
            }
        }
        Ok(())
    }

    /// Sequence of the newest job that was delivered; `None` for a lane that nobody reads.
    async fn delivered(&self, lane: &Lane) -> anyhow::Result<Option<u64>> {
        let consumer = lane.consumer();
        match self.jobs.consumer_info(&consumer).await {
            Ok(info) => Ok(Some(info.delivered.stream_sequence)),
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("failed to look at consumer `{consumer}`"))
            }
        }
    }
}

/// Waits for something and shows meanwhile how much is there.
pub async fn in_sight(
    waiting: impl Future<Output = anyhow::Result<()>>,
    progress: Progress,
    count: impl AsyncFn() -> anyhow::Result<u64>,
) -> anyhow::Result<()> {
    let mut waiting = std::pin::pin!(waiting);
    loop {
        tokio::select! {
            done = &mut waiting => {
                progress.finish();
                return done;
            }
            () = tokio::time::sleep(BETWEEN_COUNTS) => progress.set(count().await?),
        }
    }
}

/// A wait that is given up when nothing moves for too long.
#[derive(Debug)]
struct Wait {
    /// Sequence before which no awaited job is left.
    next: u64,
    /// When a job was settled last.
    since: Option<Instant>,
    limit: Duration,
}

impl Wait {
    fn new(first: u64, limit: Duration) -> Self {
        Self {
            next: first.max(1),
            since: None,
            limit,
        }
    }

    /// Notes the first job that is left. How long nothing has moved, if that is too long.
    fn is_stalled(&mut self, sequence: u64, now: Instant) -> Option<Duration> {
        if sequence > self.next {
            (self.next, self.since) = (sequence, Some(now));
        }
        let waited = now - *self.since.get_or_insert(now);
        (waited >= self.limit).then_some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_told_apart_by_run_and_collection_and_what_is_no_job_is_none() {
        let job = br#"{"run":"r","collection":"docs","documents":[]}"#;
        assert!(JobsOf::Run("r").takes_payload(job));
        assert!(!JobsOf::Run("docs").takes_payload(job));
        assert!(JobsOf::Collection("docs").takes_payload(job));
        assert!(!JobsOf::Collection("docs--r").takes_payload(job));
        assert!(!JobsOf::Run("r").takes_payload(br#"{"queries":["r"]}"#));
        assert!(!JobsOf::Run("r").takes_payload(b"r"));
        let attach = br#"{"kind":"attach","run":"r","collection":"docs"}"#;
        assert!(!JobsOf::Run("r").takes_payload(attach));
        assert!(!JobsOf::Collection("docs").takes_payload(attach));
        assert!(JobsOf::Attaching("r").takes_payload(attach));
        assert!(!JobsOf::Attaching("r").takes_payload(job));
    }

    #[test]
    fn a_wait_is_given_up_when_no_job_is_settled_for_too_long() {
        let (second, start) = (Duration::from_secs(1), Instant::now());
        let mut wait = Wait::new(0, second * 10);
        assert_eq!(wait.is_stalled(1, start), None);
        assert_eq!(wait.is_stalled(1, start + second * 9), None);
        assert_eq!(wait.is_stalled(1, start + second * 10), Some(second * 10));
    }

    #[test]
    fn each_job_that_is_settled_starts_the_wait_anew() {
        let (second, start) = (Duration::from_secs(1), Instant::now());
        let mut wait = Wait::new(1, second * 10);
        assert_eq!(wait.is_stalled(1, start), None);
        assert_eq!(wait.is_stalled(5, start + second * 9), None);
        assert_eq!(wait.next, 5, "what was settled is not looked at again");
        assert_eq!(wait.is_stalled(5, start + second * 18), None);
        assert_eq!(wait.is_stalled(5, start + second * 19), Some(second * 10));
    }
}
