//! Requeue: publishes a job again that lies where no consumer will look.
//!
//! Such a job may have had its last delivery. It may also have been acknowledged, by a server that was killed before
//! it had removed the job for good: then it is done, and doing it again under its first version changes nothing.
//! Nobody can tell the two apart, and only the first is a dead letter. So the job gets a new round of deliveries, a
//! few times; after them it has been given up often enough.

use anyhow::Context as _;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use contract::topology::{JOBS, header};
use queue::dead_letter::Original;

use super::{Exhausted, Sweeper};
use crate::streams::next_message;
use crate::streams::remove_message;

/// Rounds of deliveries that a job gets besides its first.
const MOST_ROUNDS: u32 = 3;

impl Sweeper {
    /// Deals with a job that no consumer holds. Each way ends with its removal, so that a crash before that repeats a
    /// step which JetStream recognises.
    pub async fn restore(&mut self, job: &StreamMessage, by: &Exhausted<'_>) -> anyhow::Result<()> {
        let original = Original::stored(JOBS, job, by.deliveries);
        let letter = next_message(&self.dlq, &original.dead_letter_subject(), 1).await?;
        if letter.is_some() {
            self.swept.settled += u64::from(self.take_away(job).await?);
            return Ok(());
        }
        let rounds = rounds(job);
        if rounds >= MOST_ROUNDS {
            self.swept.by_comparison += u64::from(self.give_up(job, by).await?);
            return Ok(());
        }
        if !self.dry_run {
            self.publish_again(&original, rounds + 1).await?;
        }
        self.swept.requeued += u64::from(self.take_away(job).await?);
        Ok(())
    }

    /// Publishes a job on its lane, under the version that it had the first time.
    async fn publish_again(&self, original: &Original<'_>, rounds: u32) -> anyhow::Result<()> {
        let mut headers = original.job_headers();
        headers.insert(header::REQUEUED, rounds.to_string());
        let job = PublishMessage::build()
            .payload(original.payload.clone())
            .headers(headers)
            .message_id(format!("requeue.{}", original.dead_letter_subject()))
            .expected_stream(JOBS);
        let subject = original.subject.to_owned();
        let sent = async { self.jetstream.send_publish(subject, job).await?.await };
        let sequence = original.sequence;
        sent.await
            .with_context(|| format!("failed to publish job {sequence} again"))?;
        tracing::info!(job.sequence = sequence, rounds, "job published again");
        Ok(())
    }

    /// Removes a job; says whether it was one that this sweep had not found yet.
    async fn take_away(&mut self, job: &StreamMessage) -> anyhow::Result<bool> {
        if !self.dry_run {
            remove_message(&self.jetstream, &self.jobs, job.sequence).await?;
        }
        Ok(self.seen.insert(job.sequence))
    }
}

/// Rounds of deliveries that a job has got besides its first.
fn rounds(job: &StreamMessage) -> u32 {
    let value = job.headers.get(header::REQUEUED);
    value
        .and_then(|value| value.as_str().parse().ok())
        .unwrap_or(0)
}
