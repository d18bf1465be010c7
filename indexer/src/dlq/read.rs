//! Read: messages of a stream one after the other, up to the one that was the last at the start.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_nats::HeaderMap;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::Stream;
use futures::StreamExt as _;
use queue::dead_letter::{DeadLetter, Unreadable};
use serde::Serialize;

use super::is_missing;

/// Silence after which the stream is asked whether anything is left.
const SILENCE: Duration = Duration::from_secs(2);
/// Silences in a row after which reading fails.
const MOST_SILENCES: u32 = 15;

/// What to read.
#[derive(Clone, Debug)]
pub struct Range {
    /// Subjects to read; `>` for all.
    pub filter: String,
    /// First sequence.
    pub first: u64,
    /// Leave the payloads where they are.
    pub headers_only: bool,
}

/// Messages of a stream in their order, those that are stored later than the reader left out.
pub struct Reader {
    stream: Stream,
    messages: Option<Ordered>,
    filter: String,
    next: u64,
    last: u64,
}

/// A message of the stream of dead letters, without its payload.
#[derive(Clone, Debug, Serialize)]
pub struct Stored {
    /// Its sequence in the stream of dead letters: what people name it by.
    pub id: u64,
    /// Its own subject.
    #[serde(rename = "dead_letter")]
    pub subject: String,
    /// When it was stored.
    #[serde(serialize_with = "rfc3339")]
    pub died: SystemTime,
    /// Bytes of its job.
    pub bytes: u64,
    /// What its headers say.
    #[serde(flatten, serialize_with = "letter_or_error")]
    pub letter: Result<DeadLetter, Unreadable>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("filter", &self.filter)
            .field("next", &self.next)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// Starts to read.
    ///
    /// # Errors
    /// If the stream cannot be asked.
    pub async fn open(stream: Stream, range: Range) -> anyhow::Result<Self> {
        let state = stream.get_info().await?.state;
        let first = range.first.max(state.first_sequence).max(1);
        let mut reader = Self {
            stream,
            messages: None,
            filter: range.filter,
            next: first,
            last: state.last_sequence,
        };
        if reader.is_any_left().await? {
            reader.messages = Some(reader.consume(range.headers_only).await?);
        }
        Ok(reader)
    }

    async fn consume(&self, headers_only: bool) -> anyhow::Result<Ordered> {
        let consumer = self.stream.create_consumer(OrderedConfig {
            filter_subject: self.filter.clone(),
            headers_only,
            replay_policy: ReplayPolicy::Instant,
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: self.next,
            },
            ..OrderedConfig::default()
        });
        let name = &self.stream.cached_info().config.name;
        let context = || format!("failed to read stream `{name}`");
        let consumer = consumer.await.with_context(context)?;
        consumer.messages().await.with_context(context)
    }

    /// The next message, `None` at the end.
    ///
    /// # Errors
    /// If the stream stops answering.
    pub async fn next(&mut self) -> anyhow::Result<Option<(u64, Message)>> {
        let mut silences = 0;
        while self.next <= self.last {
            let Some(messages) = &mut self.messages else {
                break;
            };
            match tokio::time::timeout(SILENCE, messages.next()).await {
                Ok(Some(message)) => return self.advance(message?),
                Ok(None) => break,
                Err(_) => silences += 1,
            }
            // The messages that were to come may have been removed meanwhile.
            if !self.is_any_left().await? {
                break;
            }
            let next = self.next;
            anyhow::ensure!(silences < MOST_SILENCES, "nothing came after {next}");
        }
        self.messages = None;
        Ok(None)
    }

    fn advance(&mut self, message: Message) -> anyhow::Result<Option<(u64, Message)>> {
        let info = message.info().map_err(anyhow::Error::from_boxed)?;
        let (sequence, pending) = (info.stream_sequence, info.pending);
        self.next = sequence + 1;
        if pending == 0 {
            self.last = self.last.min(sequence);
        }
        Ok((sequence <= self.last).then_some((sequence, message)))
    }

    async fn is_any_left(&self) -> anyhow::Result<bool> {
        let next = next_message(&self.stream, &self.filter, self.next).await?;
        Ok(next.is_some_and(|message| message.sequence <= self.last))
    }
}

/// The first message at or after a sequence.
pub(crate) async fn next_message(
    stream: &Stream,
    filter: &str,
    sequence: u64,
) -> anyhow::Result<Option<StreamMessage>> {
    let next = stream
        .raw_message_builder()
        .sequence(sequence)
        .next_by_subject(filter);
    match next.send().await {
        Ok(message) => Ok(Some(message)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => {
            let name = &stream.cached_info().config.name;
            Err(error).with_context(|| format!("failed to read `{name}` from {sequence}"))
        }
    }
}

/// A message by its sequence, `None` if it is not there.
pub(crate) async fn message_at(
    stream: &Stream,
    sequence: u64,
) -> anyhow::Result<Option<StreamMessage>> {
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => {
            let name = &stream.cached_info().config.name;
            Err(error).with_context(|| format!("failed to read message {sequence} of `{name}`"))
        }
    }
}

impl Stored {
    /// Of a message that was delivered without its payload.
    ///
    /// # Errors
    /// If JetStream did not deliver it.
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

    /// Of a message that was read whole.
    #[must_use]
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
    #[must_use]
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
