//! Store: publishes one job until JetStream has it.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, message::PublishMessage};
use bytes::Bytes;
use contract::digest::Digest;
use contract::job::Job;
use contract::topology::header;
use queue::trace::Publish;
use thiserror::Error;

/// How long a job that cannot be published is tried again before the publish fails.
const PATIENCE: Duration = Duration::from_secs(120);
/// First and longest pause between attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Why a job is not stored.
#[derive(Debug, Error)]
#[error(
    "failed to publish to `{subject}` for {}",
    humantime::format_duration(PATIENCE)
)]
pub struct NotStored {
    subject: String,
    #[source]
    source: PublishError,
}

/// Publishes a job until JetStream has it. Says whether it had it before.
///
/// # Errors
/// [`NotStored`] after two minutes without success.
pub async fn store(
    jetstream: &jetstream::Context,
    subject: &str,
    job: &Job,
    tokens: usize,
) -> Result<bool, NotStored> {
    let payload = Bytes::from(job.encode());
    let id = Digest::of(&payload);
    store_as(jetstream, subject, payload, tokens, id.as_str()).await
}

/// Publishes the bytes of a job under a message id of their own.
///
/// # Errors
/// [`NotStored`] after two minutes without success.
pub async fn store_as(
    jetstream: &jetstream::Context,
    subject: &str,
    payload: Bytes,
    tokens: usize,
    id: &str,
) -> Result<bool, NotStored> {
    let span = Publish::begin(subject, payload.len());
    let mut headers = HeaderMap::new();
    headers.insert(header::TOKENS, tokens.to_string());
    span.write(&mut headers);
    let started = tokio::time::Instant::now();
    let mut pause = PAUSES.0;
    loop {
        let message = PublishMessage::build()
            .payload(payload.clone())
            .headers(headers.clone())
            .message_id(id);
        let sent = async {
            jetstream
                .send_publish(subject.to_owned(), message)
                .await?
                .await
        };
        match sent.await {
            Ok(stored) => {
                span.stored(stored.duplicate);
                return Ok(stored.duplicate);
            }
            Err(error)
                if is_final(&error, started.elapsed()) || started.elapsed() + pause > PATIENCE =>
            {
                span.failed(format!("{:?}", error.kind()));
                return Err(NotStored {
                    subject: subject.to_owned(),
                    source: error,
                });
            }
            Err(error) => tracing::warn!(%error, subject, "not published, trying again"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Time for a stream to come back before it counts as not provisioned.
const ELECTION: Duration = Duration::from_secs(10);

/// Whether waiting cannot help: nobody has provisioned the stream, or the server takes no job of this size.
fn is_final(error: &PublishError, elapsed: Duration) -> bool {
    match error.kind() {
        // No stream answers while it elects a leader, too.
        PublishErrorKind::StreamNotFound => elapsed > ELECTION,
        PublishErrorKind::MaxPayloadExceeded
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence => true,
        PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending
        | PublishErrorKind::Other => false,
    }
}
