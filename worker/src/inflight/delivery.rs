//! The delivery of one job: settled once, by value.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use async_nats::Subject;
use async_nats::jetstream::stream::LastRawMessageErrorKind;
use async_nats::jetstream::{self, Message};
use bytes::Bytes;
use contract::topology::{DLQ, MAX_DELIVER, Priority, header};
use queue::dead_letter::{self, EXHAUSTED, Original};

use super::progress::Renewal;
use crate::batch::RawJob;
use crate::error::Suspicion;
use crate::health::Health;
use crate::metrics;
use crate::outcome::{Outcome, retry_delay};
use crate::trace::{Process, Receive};
use runtime::failpoint::{self, Verdict};

/// Bounds each settlement: the client would wait for a reconnect without end.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// An acknowledgement that is lost costs a redelivery, so it is worth asking again.
const ACK_ATTEMPTS: usize = 3;

/// The connection by which deliveries are settled, and what dead letters say of the worker.
#[derive(Debug)]
pub struct Queue {
    pub client: async_nats::Client,
    pub jetstream: jetstream::Context,
    /// How long JetStream waits for a sign of life about a job before it is redelivered.
    pub ack_wait: Duration,
    /// Name of this worker, for dead letters.
    pub worker: String,
    /// Fingerprint of the model, for dead letters.
    pub fingerprint: String,
    /// Whether the stages move on: jobs are kept from redelivery for no longer.
    pub health: Health,
}

/// The right and the duty to settle one job.
#[derive(Debug)]
#[must_use = "a job that is not settled is redelivered"]
pub struct Delivery {
    queue: Arc<Queue>,
    message: Message,
    sequence: u64,
    delivery_count: i64,
    renewal: Arc<Renewal>,
    span: Process,
}

/// What JetStream is told about a job that was not done.
#[derive(Debug, PartialEq, Eq)]
enum Settlement {
    DeadLetter(&'static str),
    Nak(Duration),
    Term,
    Nothing,
}

impl Settlement {
    /// A job at its last delivery becomes a dead letter where others are retried: JetStream would drop it silently.
    fn of(outcome: Outcome, delivery_count: i64, backoff: Duration) -> Self {
        match outcome {
            Outcome::DeadLetter { cause } => Self::DeadLetter(cause),
            Outcome::Retry { .. } | Outcome::Hold { .. } | Outcome::GiveBack
                if delivery_count >= MAX_DELIVER =>
            {
                Self::DeadLetter(EXHAUSTED)
            }
            Outcome::Retry { after } => Self::Nak(after.unwrap_or(backoff)),
            Outcome::Hold { .. } | Outcome::GiveBack => Self::Nak(backoff),
            Outcome::Terminate => Self::Term,
            Outcome::Exit => Self::Nothing,
        }
    }
}

impl Delivery {
    /// `None` for a message that JetStream did not deliver.
    pub fn take(queue: Arc<Queue>, message: Message, receive: &Receive) -> Option<Self> {
        let info = message.info().ok()?;
        let (sequence, delivery_count) = (info.stream_sequence, info.delivered);
        // Clocks differ: a job that comes from the future is a new one.
        let age = SystemTime::now().duration_since(info.published.into());
        if let Some(lane) = Priority::of_subject(&message.subject) {
            metrics::job_delivered(lane, age.unwrap_or_default(), delivery_count);
        }
        let renewal = Arc::new(Renewal::new(queue.ack_wait));
        let span = Process::begin(&message, receive);
        Some(Self {
            queue,
            message,
            sequence,
            delivery_count,
            renewal,
            span,
        })
    }

    /// How often the job has been delivered, this time included.
    pub fn delivery_count(&self) -> i64 {
        self.delivery_count
    }

    /// Time since the job was stored; none for one that comes from the future of another clock.
    pub fn age(&self) -> Duration {
        let published = self.message.info().map(|info| info.published.into());
        let age = published.map(|published| SystemTime::now().duration_since(published));
        match age {
            _ if failpoint::skips("refusal-age") => Duration::MAX,
            Ok(Ok(age)) => age,
            Ok(Err(_)) | Err(_) => Duration::ZERO,
        }
    }

    /// Tokens in the job: what its publisher says, else an estimate of four bytes each.
    pub fn tokens(&self) -> usize {
        let stated = self
            .message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(header::TOKENS));
        let stated = stated.and_then(|tokens| tokens.as_str().parse().ok());
        // A token takes at least a byte of text, so a larger number is wrong.
        let bytes = self.message.payload.len();
        stated.unwrap_or(bytes / 4).min(bytes)
    }

    /// The job as it was published.
    pub fn payload(&self) -> &[u8] {
        &self.message.payload
    }

    /// Identifies the job by its sequence and the time of its publish: sequences start again when the stream is made anew.
    pub fn key(&self) -> String {
        let stored = self
            .message
            .info()
            .map_or(0, |info| info.published.unix_timestamp_nanos());
        format!("{}-{stored}", self.sequence)
    }

    /// Whether the job has a dead letter already: then a worker has stored that and could not terminate the job any more.
    ///
    /// # Errors
    /// [`Suspicion::Unrecorded`] if JetStream does not answer.
    pub async fn is_dead_lettered(&self) -> Result<bool, Suspicion> {
        let original = Original::delivered(&self.message);
        let subject = original.map(|original| original.dead_letter_subject());
        let subject = subject.ok_or_else(|| Suspicion::Unrecorded("not a delivery".into()))?;
        let unrecorded = |error: async_nats::Error| Suspicion::Unrecorded(error);
        let dlq = self.queue.jetstream.get_stream_no_info(DLQ).await;
        let dlq = dlq.map_err(|error| unrecorded(error.into()))?;
        match dlq.get_last_raw_message_by_subject(&subject).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(false),
            Err(error) => Err(unrecorded(error.into())),
        }
    }

    pub(super) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    pub(super) fn renewal(&self) -> Option<(Subject, Arc<Renewal>)> {
        Some((self.message.reply.clone()?, self.renewal.clone()))
    }

    pub(super) fn raw_job(&self) -> RawJob {
        let info = self.message.info();
        let headers = self.message.headers.as_ref();
        RawJob {
            payload: self.message.payload.clone(),
            default_version: info
                .ok()
                .and_then(|info| queue::streams::default_version(headers, &info)),
        }
    }

    pub(super) fn stage_done(&self, stage: &'static str, elapsed: Duration, jobs: usize) {
        self.span.stage(stage, elapsed, jobs);
    }

    /// Acknowledges: the job leaves the stream. Asks for confirmation, because an acknowledgement that nobody
    /// received is none. A job whose acknowledgement fails is redelivered, which is harmless. A delivery that has lapsed
    /// is acknowledged, too: the points are durable, whoever has the job now.
    pub(super) async fn ack(self) {
        failpoint::pass("before-ack");
        if failpoint::skips("ack") {
            return self.settled("ack_lost");
        }
        for _ in 0..ACK_ATTEMPTS {
            match self.confirm("ack", Bytes::from_static(b"+ACK")).await {
                Ok(()) => {
                    failpoint::pass("after-ack");
                    return self.settled("ack");
                }
                Err(error) => tracing::warn!(job.sequence = self.sequence, %error, "ack failed"),
            }
        }
        self.settled("ack_lost");
    }

    /// Acknowledges a job that was for an answer alone and was refused: whoever waits has read why.
    pub async fn refused(self, cause: &'static str, reason: &str) {
        tracing::info!(job.sequence = self.sequence, cause, reason, "job refused");
        self.ack().await;
    }

    /// Gives the job back, to be redelivered after the delay.
    pub async fn nak(self, delay: Duration) {
        if self.renewal.has_lapsed() {
            return self.leave_to_others();
        }
        let kind = if delay.is_zero() {
            Bytes::from_static(b"-NAK")
        } else {
            Bytes::from(format!("-NAK {{\"delay\": {}}}", delay.as_nanos()))
        };
        if let Err(error) = self.confirm("nak", kind).await {
            tracing::warn!(job.sequence = self.sequence, %error, "nak failed");
        }
        self.settled("nak");
    }

    /// Settles a job that was not done.
    pub async fn settle(self, outcome: Outcome, reason: &str) {
        let backoff = retry_delay(self.delivery_count, self.sequence);
        match Settlement::of(outcome, self.delivery_count, backoff) {
            Settlement::DeadLetter(cause) => self.dead_letter(cause, reason).await,
            Settlement::Nak(delay) => self.nak(delay).await,
            Settlement::Term => self.term(reason).await,
            Settlement::Nothing => {}
        }
    }

    /// Stores the job in the DLQ, then takes it out of the stream. If it cannot be stored, the job is given back.
    pub async fn dead_letter(self, cause: &str, reason: &str) {
        if self.renewal.has_lapsed() {
            return self.leave_to_others();
        }
        tracing::warn!(
            job.sequence = self.sequence,
            cause,
            reason,
            "job dead-lettered"
        );
        failpoint::pass("before-dead-letter");
        if let Err(error) = self.store_dead_letter(cause, reason).await {
            tracing::warn!(
                job.sequence = self.sequence,
                error = format!("{error:#}"),
                "dead letter not stored"
            );
            let delay = retry_delay(self.delivery_count, self.sequence);
            return self.nak(delay).await;
        }
        failpoint::pass("after-dead-letter");
        metrics::dead_letter(cause);
        self.span.dead_lettered(cause);
        self.term(cause).await;
    }

    /// Takes the job out of the stream; its dead letter is stored.
    async fn term(self, reason: &str) {
        failpoint::pass("before-term");
        let kind = Bytes::from(format!("+TERM {reason}"));
        if let Err(error) = self.confirm("term", kind).await {
            tracing::warn!(job.sequence = self.sequence, %error, "term failed");
        }
        failpoint::pass("after-term");
        self.settled("term");
    }

    /// Settles nothing, because another worker may have the job by now.
    fn leave_to_others(self) {
        tracing::warn!(
            job.sequence = self.sequence,
            "the ack wait is over, job left to others"
        );
        self.settled("lapsed");
    }

    fn settled(&self, outcome: &'static str) {
        metrics::job_settled(outcome);
        self.span.settled(outcome);
    }

    async fn store_dead_letter(&self, cause: &str, reason: &str) -> anyhow::Result<()> {
        match failpoint::reached("dead-letter") {
            Verdict::Go => {}
            Verdict::Skip => return Ok(()),
            Verdict::Fail => anyhow::bail!("failpoint"),
        }
        let verdict = dead_letter::Verdict {
            cause,
            reason,
            worker: &self.queue.worker,
            fingerprint: &self.queue.fingerprint,
        };
        let original = Original::delivered(&self.message).context("not a delivery")?;
        Ok(dead_letter::store(&self.queue.jetstream, &original, &verdict).await?)
    }

    /// Sends a settlement and waits until the server has it. A request without responders is an error here; the
    /// client's own confirmed acknowledgement would take it for success.
    async fn confirm(&self, operation: &'static str, kind: Bytes) -> Result<(), String> {
        let started = Instant::now();
        let confirmed = self.request(kind).await;
        self.span
            .settle_requested(operation, started.elapsed(), confirmed.is_ok());
        confirmed
    }

    async fn request(&self, kind: Bytes) -> Result<(), String> {
        let reply = self
            .message
            .reply
            .clone()
            .ok_or("the message has no reply subject")?;
        let request = self.queue.client.request(reply, kind);
        match tokio::time::timeout(SETTLE_TIMEOUT, request).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {SETTLE_TIMEOUT:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Duration = Duration::from_secs(5);

    fn settled(outcome: Outcome, delivery_count: i64) -> Settlement {
        Settlement::of(outcome, delivery_count, BACKOFF)
    }

    #[test]
    fn what_may_succeed_later_is_given_back_with_the_delay_that_was_asked_for() {
        let after = Duration::from_secs(60);
        let asked = Outcome::Retry { after: Some(after) };
        assert_eq!(settled(asked, 1), Settlement::Nak(after));
        let retry = Outcome::Retry { after: None };
        assert_eq!(settled(retry, 1), Settlement::Nak(BACKOFF));
        assert_eq!(settled(Outcome::GiveBack, 1), Settlement::Nak(BACKOFF));
    }

    #[test]
    fn the_last_delivery_becomes_a_dead_letter() {
        let exhausted = Settlement::DeadLetter(EXHAUSTED);
        for outcome in [Outcome::Retry { after: None }, Outcome::GiveBack] {
            let before = settled(outcome, MAX_DELIVER - 1);
            assert_eq!(before, Settlement::Nak(BACKOFF));
            assert_eq!(settled(outcome, MAX_DELIVER), exhausted);
        }
    }

    #[test]
    fn what_is_permanent_does_not_depend_on_the_number_of_deliveries() {
        for count in [1, MAX_DELIVER] {
            let refused = Outcome::DeadLetter { cause: "invalid" };
            assert_eq!(settled(refused, count), Settlement::DeadLetter("invalid"));
            assert_eq!(settled(Outcome::Terminate, count), Settlement::Term);
            assert_eq!(settled(Outcome::Exit, count), Settlement::Nothing);
        }
    }
}
