//! Letter: a dead letter as it lies in its stream.

use std::time::SystemTime;

use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::message::StreamMessage;
use queue::dead_letter::{DeadLetter, Unreadable};
use schemars::JsonSchema;
use serde::Serialize;

/// A message of the stream of dead letters, without its payload.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StoredLetter {
    /// Its sequence in the stream of dead letters, by which people name it.
    pub id: u64,
    #[serde(rename = "dead_letter")]
    pub subject: String,
    #[serde(serialize_with = "rfc3339")]
    #[schemars(with = "String")]
    pub died: SystemTime,
    pub bytes: u64,
    #[serde(flatten, serialize_with = "letter_or_error")]
    #[schemars(with = "DeadLetter")]
    pub letter: Result<DeadLetter, Unreadable>,
}

impl StoredLetter {
    /// The dead letter of a message that was delivered without its payload.
    pub fn delivered(message: &Message) -> anyhow::Result<Self> {
        let info = message.info().map_err(anyhow::Error::from_boxed)?;
        let none = HeaderMap::new();
        let headers = message.headers.as_ref().unwrap_or(&none);
        let size = headers.get("Nats-Msg-Size");
        let size = size.and_then(|size| size.as_str().parse().ok());
        Ok(Self {
            id: info.stream_sequence,
            subject: message.subject.to_string(),
            died: info.published.into(),
            bytes: size.unwrap_or(message.payload.len() as u64),
            letter: DeadLetter::parse(headers),
        })
    }

    /// The dead letter of a message that was read whole.
    pub fn of(message: &StreamMessage) -> Self {
        Self {
            id: message.sequence,
            subject: message.subject.to_string(),
            died: message.time.into(),
            bytes: message.payload.len() as u64,
            letter: DeadLetter::parse(&message.headers),
        }
    }

    /// Cause code; `unreadable` for what is no dead letter.
    pub fn cause(&self) -> &str {
        self.letter
            .as_ref()
            .map_or(UNREADABLE, |letter| &letter.cause)
    }
}

/// Cause under which messages without the headers of a dead letter are listed.
pub const UNREADABLE: &str = "unreadable";

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

fn letter_or_error<S: serde::Serializer>(
    letter: &Result<DeadLetter, Unreadable>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match letter {
        Ok(letter) => letter.serialize(serializer),
        Err(error) => serde_json::json!({ "cause": UNREADABLE, "reason": error.to_string() })
            .serialize(serializer),
    }
}
