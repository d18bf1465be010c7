//! Room: how much of the stream of jobs is for what can be published later.
//!
//! All lanes share one stream. Jobs that add something to points that are there, attached vectors and scores, can be made
//! anew from the points at any time, and documents cannot. So these jobs yield: where the stream is more than half full and
//! workers of their lane are behind, no more of them are published. Then a model whose workers never come takes half
//! of the stream at most, and documents still find room in the other half. A lane whose workers keep up is not concerned,
//! however full the stream is.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::response::Response;
use contract::topology::{JOBS, Lane};
use serde::Deserialize;
use serde_json::json;

/// Jobs with which workers of a lane are not behind: a fleet that is started has them done in a moment.
const FEW_JOBS: u64 = 256;
/// How long an answer is waited for, within a write, which has to end soon when the process is to end.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How long an answer holds. What is published meanwhile does not matter: half of the stream is no exact bound.
const HOLDS: Duration = Duration::from_secs(1);
/// How long nobody asks again who got no answer.
const SILENCE: Duration = Duration::from_secs(60);

/// Looks for room in the stream of jobs. It remembers what it has seen: whoever has one asks as often as there is
/// something to publish.
#[derive(Debug, Default)]
pub struct Room {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The answer for each lane by its subject, with the time until which it holds.
    seen: HashMap<String, (Instant, Seen)>,
    /// The time until which no lane is asked about.
    silent: Option<Instant>,
}

/// The result of a look at a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether a job may be published that could be published later as well.
    pub has_room: bool,
    /// Jobs of the lane that are not done.
    pub waiting: u64,
}

/// The result for a lane that could not be looked at.
const UNSEEN: Seen = Seen {
    has_room: true,
    waiting: 0,
};

#[derive(Deserialize)]
struct Info {
    config: Config,
    state: State,
}

#[derive(Deserialize)]
struct Config {
    max_bytes: i64,
}

#[derive(Deserialize)]
struct State {
    bytes: u64,
    #[serde(default)]
    subjects: HashMap<String, u64>,
}

impl Info {
    fn seen(&self) -> Seen {
        let waiting: u64 = self.state.subjects.values().sum();
        // Below zero there is no limit.
        let most = u64::try_from(self.config.max_bytes).unwrap_or(u64::MAX);
        Seen {
            has_room: self.state.bytes <= most / 2 || waiting < FEW_JOBS,
            waiting,
        }
    }
}

impl Room {
    /// Looks at a lane. Who gets no answer may publish.
    pub async fn look(&self, jetstream: &jetstream::Context, lane: &Lane) -> Seen {
        let (subject, now) = (lane.subject(), Instant::now());
        if let Some(seen) = self.known().of(&subject, now) {
            return seen;
        }
        match look(jetstream, &subject).await {
            Ok(info) => {
                let seen = info.seen();
                self.known().seen.insert(subject, (now + HOLDS, seen));
                seen
            }
            Err(error) => {
                tracing::warn!(
                    error,
                    lane = subject,
                    "no look at the room in the stream of jobs"
                );
                self.known().silent = Some(now + SILENCE);
                UNSEEN
            }
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn of(&self, subject: &str, now: Instant) -> Option<Seen> {
        if self.silent.is_some_and(|until| now < until) {
            return Some(UNSEEN);
        }
        let (until, seen) = self.seen.get(subject)?;
        (now < *until).then_some(*seen)
    }
}

/// Jobs of a lane that are not done, as the stream counts them.
///
/// # Errors
/// What NATS said, if it said nothing about them.
pub async fn waiting(jetstream: &jetstream::Context, subject: &str) -> Result<u64, String> {
    look(jetstream, subject)
        .await
        .map(|info| info.seen().waiting)
}

async fn look(jetstream: &jetstream::Context, subject: &str) -> Result<Info, String> {
    let request = json!({ "subjects_filter": subject });
    let info = jetstream.request(format!("STREAM.INFO.{JOBS}"), &request);
    let info = tokio::time::timeout(TIMEOUT, info).await;
    let info = info.map_err(|error| error.to_string())?;
    match info.map_err(|error| error.to_string())? {
        Response::Ok(info) => Ok(info),
        Response::Err { error } => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_room(json: serde_json::Value) -> bool {
        let info: Info = serde_json::from_value(json).unwrap();
        info.seen().has_room
    }

    #[test]
    fn a_lane_that_is_behind_takes_half_of_the_stream_at_most() {
        let lane = "jobs.embed.m.bulk";
        for (bytes, max_bytes, waiting, expected) in [
            (50, 100, 9999, true),
            (51, 100, 256, false),
            (51, 100, 255, true),
            (100, 100, 9999, false),
            (u64::MAX / 4, -1, 9999, true),
        ] {
            let info = json!({
                "config": { "max_bytes": max_bytes },
                "state": { "bytes": bytes, "subjects": { lane: waiting } },
            });
            assert_eq!(has_room(info), expected, "{bytes} {max_bytes} {waiting}");
        }
        // The server names no subjects where it has no message of them.
        let none = json!({ "config": { "max_bytes": 100 }, "state": { "bytes": 100 } });
        assert!(has_room(none));
    }
}
