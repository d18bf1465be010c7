//! Store: puts a dead letter where it stays, once.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use thiserror::Error;

use super::{Original, Verdict};
use contract::topology::DLQ;

/// Bounds the storing of a dead letter: the client would wait for a reconnect without end.
pub const STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// A dead letter could not be stored; the job must stay where it is.
#[derive(Debug, Error)]
pub enum NotStored {
    /// JetStream refused it, or did not answer its own deadline.
    #[error("failed to store the dead letter `{subject}`")]
    Publish {
        /// Subject of the dead letter.
        subject: String,
        /// What the client said.
        #[source]
        source: PublishError,
    },
    /// Nobody answered.
    #[error("failed to store the dead letter `{subject}`: no answer within {STORE_TIMEOUT:?}")]
    Timeout {
        /// Subject of the dead letter.
        subject: String,
    },
}

/// Stores the dead letter of a job, if it is not stored yet.
///
/// "Nothing on this subject yet" makes it happen once. The message id covers a second store that comes when the dead
/// letter has been replayed and is gone already.
///
/// # Errors
/// [`NotStored`]: nothing is known then, and trying again is harmless.
pub async fn store(
    jetstream: &jetstream::Context,
    original: &Original<'_>,
    verdict: &Verdict<'_>,
) -> Result<(), NotStored> {
    let subject = original.dead_letter_subject();
    let message = PublishMessage::build()
        .payload(original.payload.clone())
        .headers(original.dead_letter_headers(verdict))
        .expected_stream(DLQ)
        .expected_last_subject_sequence(0)
        .message_id(&subject);
    let published = async {
        jetstream
            .send_publish(subject.clone(), message)
            .await?
            .await
    };
    match tokio::time::timeout(STORE_TIMEOUT, published).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => Ok(()),
        Ok(Err(source)) => Err(NotStored::Publish { subject, source }),
        Err(_) => Err(NotStored::Timeout { subject }),
    }
}
