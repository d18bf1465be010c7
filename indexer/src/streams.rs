//! Streams: their messages are read in order, found by subject or sequence, and removed.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream::{DeleteStatus, RawMessageError, RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode, Message};
use futures::StreamExt as _;

pub mod orphaned;

/// Silence after which the stream is asked whether anything is left.
const SILENCE: Duration = Duration::from_secs(2);
/// Silences in a row after which reading fails.
const MOST_SILENCES: u32 = 15;

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

/// Whether a message was there to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    Removed,
    /// Somebody else had removed it before.
    Gone,
}

pub async fn stream(jetstream: &jetstream::Context, name: &str) -> anyhow::Result<Stream> {
    let found = jetstream.get_stream(name).await;
    found.map_err(|error| {
        let advice = advice(&error);
        anyhow::Error::from(error).context(format!("failed to look up stream `{name}`{advice}"))
    })
}

/// What makes a stream or a bucket that is not there. Where NATS does not answer, nothing needs to be made.
pub fn advice(error: &(dyn std::error::Error + 'static)) -> &'static str {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut kinds = causes.filter_map(|cause| cause.downcast_ref::<GetStreamError>());
    match kinds.next().map(GetStreamError::kind) {
        Some(GetStreamErrorKind::JetStream(error))
            if error.error_code() == ErrorCode::STREAM_NOT_FOUND =>
        {
            "; run `indexer provision`"
        }
        Some(_) | None => "",
    }
}

/// Removes a message; that it is gone already is no error, whatever the server calls it.
///
/// The server only marks it as removed. The client's own call has the bytes overwritten, for which the server writes a
/// whole block of messages anew, and which takes it eighty times as long.
pub async fn remove_message(
    jetstream: &jetstream::Context,
    stream: &Stream,
    sequence: u64,
) -> anyhow::Result<Removal> {
    let name = &stream.cached_info().config.name;
    let request = serde_json::json!({ "seq": sequence, "no_erase": true });
    let removed: Result<Response<DeleteStatus>, _> = jetstream
        .request(format!("STREAM.MSG.DELETE.{name}"), &request)
        .await;
    let error = match removed {
        Ok(Response::Ok(_)) => return Ok(Removal::Removed),
        Ok(Response::Err { error }) => anyhow::Error::from(error),
        Err(error) => anyhow::Error::from(error),
    };
    match stream.get_raw_message(sequence).await {
        Err(missing) if is_missing(&missing) => Ok(Removal::Gone),
        Ok(_) | Err(_) => {
            Err(error).with_context(|| format!("failed to remove message {sequence} of `{name}`"))
        }
    }
}

/// Whether the stream answered that there is no such message.
pub fn is_missing(error: &RawMessageError) -> bool {
    match error.kind() {
        RawMessageErrorKind::NoMessageFound => true,
        RawMessageErrorKind::JetStream(error) => error.error_code() == ErrorCode::NO_MESSAGE_FOUND,
        RawMessageErrorKind::InvalidSubject | RawMessageErrorKind::Other => false,
    }
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
        if is_any_left(&reader.stream, &reader.filter, (reader.next, reader.last)).await? {
            let (stream, filter) = (&reader.stream, &reader.filter);
            let messages = consume(stream, filter, reader.next, range.headers_only).await?;
            reader.messages = Some(messages);
        }
        Ok(reader)
    }

    /// The next message, `None` at the end.
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
            if !is_any_left(&self.stream, &self.filter, (self.next, self.last)).await? {
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
}

/// Messages of a stream from a sequence on.
async fn consume(
    stream: &Stream,
    filter: &str,
    start_sequence: u64,
    headers_only: bool,
) -> anyhow::Result<Ordered> {
    let consumer = stream.create_consumer(OrderedConfig {
        filter_subject: filter.to_owned(),
        headers_only,
        replay_policy: ReplayPolicy::Instant,
        deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
        ..OrderedConfig::default()
    });
    let name = &stream.cached_info().config.name;
    let context = || format!("failed to read stream `{name}`");
    let consumer = consumer.await.with_context(context)?;
    consumer.messages().await.with_context(context)
}

/// Whether a message is between two sequences. Of a reader only what can be shared is borrowed, so that it may be read by
/// a task that moves between threads.
async fn is_any_left(
    stream: &Stream,
    filter: &str,
    (next, last): (u64, u64),
) -> anyhow::Result<bool> {
    let next = next_message(stream, filter, next).await?;
    Ok(next.is_some_and(|message| message.sequence <= last))
}

/// The first message at or after a sequence.
pub async fn next_message(
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
pub async fn message_at(stream: &Stream, sequence: u64) -> anyhow::Result<Option<StreamMessage>> {
    match stream.get_raw_message(sequence).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => {
            let name = &stream.cached_info().config.name;
            Err(error).with_context(|| format!("failed to read message {sequence} of `{name}`"))
        }
    }
}
