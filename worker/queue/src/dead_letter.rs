//! The dead letter: a job that was given up, as it lies in the stream `DLQ`.
//!
//! It is the job as it was published, payload and headers, with headers of its own that say what became of it. Its
//! subject names the job in its stream, so that a job has one dead letter, whoever stores it how often.

mod store;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, message::StreamMessage};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use contract::topology::{Lane, Priority, Task, header};
pub use store::{NotStored, STORE_TIMEOUT, store};

/// Cause of jobs that JetStream gave up after their last delivery.
pub const EXHAUSTED: &str = "exhausted";

/// Longest header value in bytes, so that a dead letter stays below the largest message of the server.
const MAX_VALUE_BYTES: usize = 1024;
/// Headers that tell what became of a job. The version is not among them: it belongs to the job.
const OWN: [&str; 9] = [
    header::CAUSE,
    header::REASON,
    header::SUBJECT,
    header::SEQUENCE,
    header::DELIVERIES,
    header::WORKER,
    header::FINGERPRINT,
    header::RUN,
    header::REQUEUED,
];

/// A job that is to be given up.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Stream that holds it.
    pub stream: &'a str,
    pub sequence: u64,
    /// When it was stored there, in nanoseconds since the epoch.
    pub stored_nanos: i128,
    /// How often it was delivered.
    pub deliveries: i64,
    /// Subject that it was published to.
    pub subject: &'a str,
    /// Headers that it was published with.
    pub headers: Option<&'a HeaderMap>,
    pub payload: &'a Bytes,
}

/// Why a job is given up, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// Short constant for filters and metrics.
    pub cause: &'a str,
    /// A sentence for people; it never repeats document text.
    pub reason: &'a str,
    /// The worker, or `indexer dlq sweep`, that gives the job up.
    pub worker: &'a str,
    /// Fingerprint of the model that was served; empty where no model was involved.
    pub fingerprint: &'a str,
}

/// A dead letter as its headers describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeadLetter {
    /// Why it was given up.
    pub cause: String,
    /// The cause as a sentence.
    pub reason: String,
    /// Subject that the job was published to.
    pub subject: String,
    /// Position of the job in its stream.
    pub sequence: u64,
    /// How often the job was delivered.
    pub deliveries: i64,
    /// The worker, or `indexer dlq sweep`, that gave the job up.
    pub worker: String,
    /// Fingerprint of the model that was served; empty where no model was involved.
    pub fingerprint: String,
    /// Run that published the job, if any.
    pub run: Option<String>,
}

/// A message that is not a dead letter.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("header `{header}` is missing or not readable")]
pub struct Unreadable {
    /// The first header that is missing or has a value of another kind.
    pub header: &'static str,
}

impl<'a> Original<'a> {
    /// The job of a delivery. `None` for a message that JetStream did not deliver.
    #[must_use]
    pub fn delivered(message: &'a jetstream::Message) -> Option<Self> {
        let info = message.info().ok()?;
        Some(Self {
            stream: info.stream,
            sequence: info.stream_sequence,
            stored_nanos: info.published.unix_timestamp_nanos(),
            deliveries: info.delivered,
            subject: message.subject.as_str(),
            headers: message.headers.as_ref(),
            payload: &message.payload,
        })
    }

    /// A job that was read from its stream by its sequence, which does not tell how often it was delivered.
    #[must_use]
    pub fn stored(stream: &'a str, message: &'a StreamMessage, deliveries: i64) -> Self {
        Self {
            stream,
            sequence: message.sequence,
            stored_nanos: message.time.unix_timestamp_nanos(),
            deliveries,
            subject: message.subject.as_str(),
            headers: Some(&message.headers),
            payload: &message.payload,
        }
    }

    /// Subject of its dead letter.
    #[must_use]
    pub fn dead_letter_subject(&self) -> String {
        subject(self.stream, self.sequence, self.stored_nanos)
    }

    /// Headers under which it may be published again. It keeps the version that it would have had, so that it takes
    /// its place in the order of versions.
    #[must_use]
    pub fn job_headers(&self) -> HeaderMap {
        let mut headers = self.headers.map(job_headers).unwrap_or_default();
        if let Some(version) = crate::streams::version_or_stored(self.headers, self.stored_nanos) {
            headers.insert(header::DOCUMENT_VERSION, version.to_string());
        }
        headers
    }

    /// Headers of its dead letter: its own, and why it is one.
    #[must_use]
    pub fn dead_letter_headers(&self, verdict: &Verdict<'_>) -> HeaderMap {
        let mut headers = self.job_headers();
        let (sequence, deliveries) = (self.sequence.to_string(), self.deliveries.to_string());
        let run = run_of(self.payload).unwrap_or_default();
        let values = [
            (header::CAUSE, verdict.cause),
            (header::REASON, verdict.reason),
            (header::SUBJECT, self.subject),
            (header::SEQUENCE, &sequence),
            (header::DELIVERIES, &deliveries),
            (header::WORKER, verdict.worker),
            (header::FINGERPRINT, verdict.fingerprint),
            (header::RUN, &run),
        ];
        for (name, value) in values.into_iter().filter(|(_, value)| !value.is_empty()) {
            headers.insert(name, printable(value));
        }
        headers
    }
}

impl DeadLetter {
    /// Reads the headers of a dead letter.
    ///
    /// # Errors
    /// [`Unreadable`] if nothing that Ebb stores looks so: anybody may publish to the stream.
    pub fn parse(headers: &HeaderMap) -> Result<Self, Unreadable> {
        let value = |header| headers.get(header).map(|value| value.as_str().to_owned());
        let needed = |header| value(header).ok_or(Unreadable { header });
        Ok(Self {
            cause: needed(header::CAUSE)?,
            reason: value(header::REASON).unwrap_or_default(),
            subject: needed(header::SUBJECT)?,
            sequence: number(headers, header::SEQUENCE)?,
            deliveries: number(headers, header::DELIVERIES)?,
            worker: value(header::WORKER).unwrap_or_default(),
            fingerprint: value(header::FINGERPRINT).unwrap_or_default(),
            run: value(header::RUN),
        })
    }

    /// The lane that the job was published to. `None` for a subject that no worker reads: such a job was never
    /// given up by one, and must not be published there.
    #[must_use]
    pub fn lane(&self) -> Option<Lane> {
        let mut tokens = self.subject.split('.');
        let mut next = || tokens.next();
        let ("jobs", task, model, priority) = (next()?, next()?, next()?, next()?) else {
            return None;
        };
        let lane = Lane {
            task: [Task::Embed, Task::Rescore]
                .into_iter()
                .find(|known| known.as_str() == task)?,
            model: model.parse().ok()?,
            priority: Priority::ALL
                .into_iter()
                .find(|known| known.as_str() == priority)?,
        };
        (lane.subject() == self.subject).then_some(lane)
    }
}

/// Subject of the dead letter of a job: one per job, so that storing it twice is refused by JetStream. Sequences start
/// again when a stream is made anew, so the time at which the job was stored, in nanoseconds, is part of it.
#[must_use]
pub fn subject(stream: &str, sequence: u64, stored_nanos: i128) -> String {
    format!("dlq.{stream}.{sequence}.{stored_nanos}")
}

/// `Nats-Msg-Id` of the replay of a dead letter. It is the same for each attempt to replay it; a job that dies again
/// has another dead letter, and so another id.
#[must_use]
pub fn replay_id(dead_letter_subject: &str) -> String {
    format!("replay.{dead_letter_subject}")
}

/// Headers of a job without those that NATS and its dead letter added: those of NATS are instructions for the first
/// publish, not facts about the job.
#[must_use]
pub fn job_headers(headers: &HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, values) in headers.iter() {
        let text = name.to_string();
        if text.to_ascii_lowercase().starts_with("nats-") || OWN.contains(&text.as_str()) {
            continue;
        }
        values
            .iter()
            .for_each(|value| kept.append(name.clone(), value.clone()));
    }
    kept
}

/// The run that a job names, if it is a job at all.
fn run_of(payload: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct WithRun {
        run: Option<String>,
    }
    serde_json::from_slice::<WithRun>(payload).ok()?.run
}

fn number<T: std::str::FromStr>(
    headers: &HeaderMap,
    header: &'static str,
) -> Result<T, Unreadable> {
    let value = headers.get(header);
    let value = value.and_then(|value| value.as_str().parse().ok());
    value.ok_or(Unreadable { header })
}

/// Header values may hold neither line breaks nor anything beyond ASCII.
fn printable(value: &str) -> String {
    let clean = |c: char| {
        if c.is_ascii() && !c.is_ascii_control() {
            c
        } else {
            '?'
        }
    };
    value.chars().take(MAX_VALUE_BYTES).map(clean).collect()
}

#[cfg(test)]
mod tests;
