//! Board: what was seen last of each part, and what is wrong with it. All viewers get the same bytes.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::watch;

use super::history::{History, STEP};
use crate::status::collections::Collections;
use crate::status::workers::Workers;
use crate::status::{Causes, LaneStatus, Rate, RunStatus};
use crate::streams::orphaned::Orphaned;

/// A part, as it was seen last. What could not be looked at keeps what was seen before, with the reason.
#[derive(Clone, Debug, Serialize)]
pub struct Part<T> {
    /// When it was seen, in milliseconds since the epoch.
    at: Option<u64>,
    data: Option<T>,
    error: Option<String>,
    /// Since when it could not be looked at.
    since: Option<u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Queue {
    pub lanes: Vec<LaneStatus>,
    /// How many lanes are not among them.
    pub more_lanes: usize,
    pub rate: Option<Rate>,
    /// Jobs in the stream.
    pub jobs: u64,
    pub orphaned: Orphaned,
}

#[derive(Clone, Debug, Serialize)]
pub struct Letters {
    pub total: u64,
    pub causes: Causes,
}

#[derive(Clone, Debug, Serialize)]
pub struct Runs {
    pub shown: Vec<RunStatus>,
    pub count: usize,
}

/// The dry run that was started last.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DryRun {
    pub alias: String,
    pub started: u64,
    pub is_running: bool,
    /// The plan as `indexer plan --json` prints it where no option but the model is given.
    pub plan: Option<serde_json::Value>,
    pub error: Option<String>,
}

/// What the page is told of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Setup {
    pub version: &'static str,
    pub interval_seconds: f64,
    pub can_search: bool,
    pub can_search_vectors: bool,
    pub can_change: bool,
    pub can_plan: bool,
    pub asks_workers: bool,
    pub price_per_hour: Option<f64>,
    pub currency: Option<String>,
    pub tokens_per_second: Option<f64>,
}

#[derive(Clone, Debug, Serialize)]
struct Parts {
    now: u64,
    setup: Setup,
    queue: Part<Queue>,
    index: Part<Collections>,
    letters: Part<Letters>,
    runs: Part<Runs>,
    workers: Part<Workers>,
    dry_run: Option<DryRun>,
}

/// The state of all parts, and the event that was made of it last.
#[derive(Debug)]
pub struct Board {
    parts: Mutex<(Parts, History)>,
    event: watch::Sender<Bytes>,
    history: watch::Sender<Bytes>,
}

/// A part of the state that is looked at by itself.
pub trait Seen: Sized {
    fn part<'a>(parts: &'a mut PartsOf<'_>) -> &'a mut Part<Self>;
}

/// The parts, for those who are one of them.
pub struct PartsOf<'a>(&'a mut Parts);

macro_rules! part {
    ($kind:ty, $field:ident) => {
        impl Seen for $kind {
            fn part<'a>(parts: &'a mut PartsOf<'_>) -> &'a mut Part<Self> {
                &mut parts.0.$field
            }
        }
    };
}
part!(Queue, queue);
part!(Collections, index);
part!(Letters, letters);
part!(Runs, runs);
part!(Workers, workers);

impl<T> Default for Part<T> {
    fn default() -> Self {
        Self {
            at: None,
            data: None,
            error: None,
            since: None,
        }
    }
}

impl<T> Part<T> {
    fn put(&mut self, found: Result<T, String>, now: u64) {
        match found {
            Ok(data) => {
                *self = Self {
                    at: Some(now),
                    data: Some(data),
                    ..Self::default()
                }
            }
            Err(error) => {
                self.error = Some(error);
                self.since.get_or_insert(now);
            }
        }
    }

    /// The part as it was seen last, if that look succeeded.
    fn current(&self) -> Option<&T> {
        self.data.as_ref().filter(|_| self.error.is_none())
    }
}

impl Board {
    pub fn new(setup: Setup) -> Self {
        let parts = Parts {
            now: now_millis(),
            setup,
            queue: Part::default(),
            index: Part::default(),
            letters: Part::default(),
            runs: Part::default(),
            workers: Part::default(),
            dry_run: None,
        };
        Self {
            event: watch::Sender::new(framed(&parts)),
            history: watch::Sender::new(json(&History::default())),
            parts: Mutex::new((parts, History::default())),
        }
    }

    /// Takes what was found of a part, or why nothing was.
    pub fn put<T: Seen>(&self, found: Result<T, String>) {
        let mut parts = self.parts();
        T::part(&mut PartsOf(&mut parts.0)).put(found, now_millis());
        self.publish(&mut parts.0);
    }

    pub fn put_dry_run(&self, dry_run: DryRun) {
        let mut parts = self.parts();
        parts.0.dry_run = Some(dry_run);
        self.publish(&mut parts.0);
    }

    /// Takes a sample every ten seconds.
    pub async fn sample(&self) {
        let mut tick = tokio::time::interval(std::time::Duration::from_secs(STEP));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let mut parts = self.parts();
            let (parts, history) = &mut *parts;
            let lanes = parts.queue.current().map_or(&[][..], |queue| &queue.lanes);
            let workers = parts.workers.current().map(|found| found.count as u64);
            history.add(now_millis(), lanes, workers);
            self.history.send_replace(json(history));
        }
    }

    /// The newest event, and those to come. Whoever misses some gets the newest of them.
    pub fn events(&self) -> watch::Receiver<Bytes> {
        let mut events = self.event.subscribe();
        events.mark_changed();
        events
    }

    /// The state in the newest event.
    pub fn state(&self) -> Bytes {
        let event = self.event.borrow().clone();
        event.slice(BEFORE.len()..event.len() - AFTER.len())
    }

    pub fn history(&self) -> Bytes {
        self.history.borrow().clone()
    }

    fn publish(&self, parts: &mut Parts) {
        parts.now = now_millis();
        self.event.send_replace(framed(parts));
    }

    fn parts(&self) -> MutexGuard<'_, (Parts, History)> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text before and after the state in an event.
const BEFORE: &[u8] = b"data: ";
const AFTER: &[u8] = b"\n\n";

/// The state as an event that is sent to each viewer.
fn framed(value: &impl Serialize) -> Bytes {
    [BEFORE, &json(value), AFTER].concat().into()
}

/// JSON on one line, as an event needs it.
fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

pub fn now_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_stays_with_the_reason_why_it_is_old() {
        let mut part = Part::default();
        part.put(Ok(1), 10);
        part.put(Err("away".to_owned()), 20);
        part.put(Err("still away".to_owned()), 30);
        assert_eq!(
            (part.at, part.data, part.since),
            (Some(10), Some(1), Some(20))
        );
        assert_eq!(part.error.as_deref(), Some("still away"));
        assert_eq!(part.current(), None);
        part.put(Ok(2), 40);
        assert_eq!(
            (part.at, part.current(), part.since),
            (Some(40), Some(&2), None)
        );
    }
}
