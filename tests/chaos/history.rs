//! History: what was published, and what JetStream said to it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::message::Message;

/// One attempt to publish a message.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// When it ended, from the start of the run.
    pub(crate) at: Duration,
    /// Message id.
    pub(crate) id: String,
    /// What came of it.
    pub(crate) outcome: Outcome,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// JetStream has it, at this sequence.
    Stored(u64),
    /// JetStream has it already, at this sequence.
    Repeated(u64),
    /// Nobody knows: a publish that was not answered may have been stored all the same.
    Unknown(String),
}

/// A message with all attempts to publish it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) message: Arc<Message>,
    pub(crate) attempts: Vec<Attempt>,
}

/// All messages, by number; those that were never tried are not there.
#[derive(Debug)]
pub(crate) struct History {
    start: Instant,
    records: Mutex<Vec<Option<Record>>>,
}

impl Record {
    /// Whether JetStream has acknowledged it at least once.
    pub(crate) fn is_acknowledged(&self) -> bool {
        !self.sequences().is_empty()
    }

    /// Where JetStream says that it is.
    pub(crate) fn sequences(&self) -> BTreeSet<u64> {
        let sequence = |attempt: &Attempt| match attempt.outcome {
            Outcome::Stored(sequence) | Outcome::Repeated(sequence) => Some(sequence),
            Outcome::Unknown(_) => None,
        };
        self.attempts.iter().filter_map(sequence).collect()
    }

    /// Whether it may be stored at places that nobody knows.
    pub(crate) fn has_unknown(&self) -> bool {
        let unknown = |attempt: &Attempt| matches!(attempt.outcome, Outcome::Unknown(_));
        self.attempts.iter().any(unknown)
    }
}

impl History {
    /// An empty one that begins now.
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            records: Mutex::default(),
        }
    }

    /// Time since its begin.
    pub(crate) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// Adds what came of an attempt.
    pub(crate) fn add(&self, message: &Arc<Message>, id: &str, outcome: Outcome) {
        let mut records = self.lock();
        if records.len() <= message.id {
            records.resize(message.id + 1, None);
        }
        let attempt = Attempt {
            at: self.elapsed(),
            id: id.to_owned(),
            outcome,
        };
        let record = records[message.id].get_or_insert_with(|| Record {
            message: message.clone(),
            attempts: Vec::new(),
        });
        record.attempts.push(attempt);
    }

    /// All that was tried so far.
    pub(crate) fn records(&self) -> Vec<Record> {
        self.lock().iter().flatten().cloned().collect()
    }

    /// Documents of the last `count` messages.
    pub(crate) fn recent_documents(&self, count: usize) -> BTreeSet<String> {
        let records = self.lock();
        let recent = records.iter().rev().take(count).flatten();
        let changes = recent.flat_map(|record| &record.message.changes);
        changes.map(|change| change.document.clone()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Option<Record>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
