//! Encode: turns jobs into the bytes and the id that JetStream gets, in their order, on a thread of its own, so that the
//! task that publishes does nothing but keep its window full.

use bytes::Bytes;
use contract::digest::Digest;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::pack::Packed;
use crate::read::Event;

/// Jobs that are encoded before there is room in the window: at most a megabyte each.
const ENCODED_AHEAD: usize = 8;

/// What reading gives, ready to be published.
pub(super) enum Ready {
    Job(Encoded),
    Other(Event),
}

/// A job as JetStream gets it.
pub(super) struct Encoded {
    pub(super) payload: Bytes,
    /// The digest of the payload.
    pub(super) id: Digest,
    pub(super) tokens: usize,
    pub(super) chunks: usize,
}

/// Encodes all that comes in. Ends early when the receiver is gone.
pub(super) fn encode(mut events: mpsc::Receiver<Event>) -> (mpsc::Receiver<Ready>, JoinHandle<()>) {
    let (output, encoded) = mpsc::channel(ENCODED_AHEAD);
    let encoding = tokio::task::spawn_blocking(move || {
        while let Some(event) = events.blocking_recv() {
            let ready = match event {
                Event::Job(packed) => Ready::Job(Encoded::of(&packed)),
                other @ (Event::Document { .. } | Event::Refused(_) | Event::Skipped(_)) => {
                    Ready::Other(other)
                }
            };
            if output.blocking_send(ready).is_err() {
                return;
            }
        }
    });
    (encoded, encoding)
}

impl Encoded {
    fn of(packed: &Packed) -> Self {
        let payload = Bytes::from(packed.job.encode());
        Self {
            id: Digest::of(&payload),
            payload,
            tokens: packed.tokens,
            chunks: packed.chunks,
        }
    }
}
