//! Advisories: what the server said when it gave a job up.
//!
//! An advisory may be a week old, and an advisory may come twice. It is acknowledged when its job is dealt with.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::datetime::{DateTime, parse_rfc3339};
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::stream::{ConsumerErrorKind, Stream};
use async_nats::jetstream::{AckKind, ErrorCode, Message};
use contract::topology::{ADVISORIES, JOBS, SWEEP};
use futures::StreamExt as _;
use serde::Deserialize;

use super::raw::job_at;
use super::{Exhausted, Sweeper};
use crate::streams::stream;
use crate::streams::{Range, Reader};

/// Advisories of one pull.
const BATCH: usize = 64;
/// How long a pull waits for the first advisory. Without it the client would wait for a lost answer without end.
const PULL_WAIT: Duration = Duration::from_millis(500);
/// Bounds a pull, whatever the server does.
const PULL_TIMEOUT: Duration = Duration::from_secs(10);
/// An advisory whose acknowledgement is lost comes again, and its job is gone then.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Deserialize)]
struct Advisory {
    timestamp: String,
    stream: String,
    consumer: String,
    stream_seq: u64,
    deliveries: i64,
}

impl Sweeper {
    /// Deals with all advisories that wait.
    pub async fn sweep_advisories(&mut self) -> anyhow::Result<()> {
        let advisories = stream(&self.jetstream, ADVISORIES).await?;
        let consumer: Result<PullConsumer, _> = self
            .jetstream
            .get_consumer_from_stream(SWEEP, ADVISORIES)
            .await;
        let consumer = consumer.with_context(|| {
            format!("failed to look up consumer `{SWEEP}`; run `indexer provision`")
        })?;
        if self.dry_run {
            return self.look_at_advisories(advisories, &consumer).await;
        }
        loop {
            let batch = pull(&consumer).await?;
            if batch.is_empty() {
                return Ok(());
            }
            for message in batch {
                self.heed(&message.payload).await?;
                acknowledge(&message).await;
            }
        }
    }

    /// Reads the advisories that nobody has acknowledged, without taking them from the consumer.
    async fn look_at_advisories(
        &mut self,
        advisories: Stream,
        consumer: &PullConsumer,
    ) -> anyhow::Result<()> {
        let info = consumer.cached_info();
        let range = Range {
            filter: info.config.filter_subject.clone(),
            first: info.ack_floor.stream_sequence + 1,
            headers_only: false,
        };
        let mut reader = Reader::open(advisories, range).await?;
        while let Some((_, message)) = reader.next().await? {
            self.heed(&message.payload).await?;
        }
        Ok(())
    }

    /// Makes a dead letter of the job that an advisory tells of, if it is still true.
    async fn heed(&mut self, payload: &[u8]) -> anyhow::Result<()> {
        let Some((advisory, given_up)) = parse(payload) else {
            tracing::warn!("an advisory is not readable");
            self.swept.obsolete += 1;
            return Ok(());
        };
        let job = job_at(&self.jetstream, advisory.stream_seq).await?;
        // A stream made anew counts from 1 again: a job that is younger than the advisory is another one.
        let job = job.filter(|job| job.time <= given_up && advisory.stream == JOBS);
        let Some(job) = job else {
            self.swept.obsolete += 1;
            return Ok(());
        };
        if !self.was_there(&advisory.consumer, given_up).await? {
            self.swept.obsolete += 1;
            return Ok(());
        }
        let by = Exhausted {
            consumer: &advisory.consumer,
            deliveries: advisory.deliveries,
        };
        let given_up = self.give_up(&job, &by).await;
        if let Some(new) = self.or_failed(job.sequence, given_up)? {
            self.swept.by_advisory += u64::from(new);
        }
        Ok(())
    }

    /// Whether the consumer is still the one that gave the job up. A consumer that was made anew hands out all jobs
    /// again.
    async fn was_there(&self, consumer: &str, then: DateTime) -> anyhow::Result<bool> {
        let found: Result<PullConsumer, _> = self
            .jetstream
            .get_consumer_from_stream(consumer, JOBS)
            .await;
        match found {
            Ok(found) => Ok(found.cached_info().created <= then),
            Err(error) => match error.kind() {
                ConsumerErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::CONSUMER_NOT_FOUND =>
                {
                    Ok(false)
                }
                ConsumerErrorKind::JetStream(_)
                | ConsumerErrorKind::TimedOut
                | ConsumerErrorKind::Request
                | ConsumerErrorKind::InvalidConsumerType
                | ConsumerErrorKind::InvalidName
                | ConsumerErrorKind::Other => {
                    Err(error).with_context(|| format!("failed to look up consumer `{consumer}`"))
                }
            },
        }
    }
}

fn parse(payload: &[u8]) -> Option<(Advisory, DateTime)> {
    let advisory: Advisory = serde_json::from_slice(payload).ok()?;
    let given_up = parse_rfc3339(&advisory.timestamp).ok()?;
    Some((advisory, given_up))
}

/// The advisories that wait now, at most one batch of them.
async fn pull(consumer: &PullConsumer) -> anyhow::Result<Vec<Message>> {
    let pulled = async {
        let batch = consumer.fetch().max_messages(BATCH).expires(PULL_WAIT);
        let mut batch = batch.messages().await?;
        let mut messages = Vec::new();
        while let Some(message) = batch.next().await {
            messages.push(message.map_err(anyhow::Error::from_boxed)?);
        }
        anyhow::Ok(messages)
    };
    let pulled = tokio::time::timeout(PULL_TIMEOUT, pulled).await;
    pulled
        .with_context(|| format!("no answer within {PULL_TIMEOUT:?}"))
        .flatten()
        .context("failed to pull advisories")
}

async fn acknowledge(message: &Message) {
    let acked = message.double_ack_with(AckKind::Ack);
    match tokio::time::timeout(ACK_TIMEOUT, acked).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "an advisory was not acknowledged"),
        Err(_) => tracing::warn!("an advisory was not acknowledged within {ACK_TIMEOUT:?}"),
    }
}
