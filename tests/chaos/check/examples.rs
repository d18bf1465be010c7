//! Examples: publishes and what may come of them, for the tests of the checker.

use std::sync::Arc;
use std::time::Duration;

use contract::topology::Priority;
use points::point_id;

use super::{Rules, check};
use crate::final_state::{FinalState, Letter, Point};
use crate::history::{Attempt, Outcome, Record};
use crate::message::{Action, Change, Message, Poison, run_name};
use crate::violation::Kind;

const FINGERPRINT: &str = "f";

/// A publish of one change that was stored at the sequence of its number.
fn record(id: usize, version: u64, action: Action) -> Record {
    let change = Change {
        document: "d1".to_owned(),
        version,
        label: "update",
        action,
    };
    let message = Message {
        id,
        lane: Priority::Live,
        changes: vec![change],
        poison: None,
        persistent: true,
        payload: id.to_string().into_bytes(),
    };
    let outcome = Outcome::Stored(u64::try_from(id).unwrap());
    let attempt = Attempt {
        at: Duration::ZERO,
        id: run_name(id),
        outcome,
    };
    Record {
        message: Arc::new(message),
        attempts: vec![attempt],
    }
}

pub(super) fn write(id: usize, version: u64, chunks: u32) -> Record {
    slice(id, version, 0..chunks, chunks)
}

pub(super) fn slice(id: usize, version: u64, chunks: std::ops::Range<u32>, total: u32) -> Record {
    let chunks = chunks.map(|chunk| (chunk, text(version, chunk))).collect();
    record(id, version, Action::Write { total, chunks })
}

pub(super) fn delete(id: usize, version: u64) -> Record {
    record(id, version, Action::Delete)
}

pub(super) fn poison(id: usize, version: u64, poison: Poison) -> Record {
    let mut record = write(id, version, 1);
    Arc::make_mut(&mut record.message).poison = Some(poison);
    record
}

pub(super) fn unknown(mut record: Record) -> Record {
    record.attempts[0].outcome = Outcome::Unknown("no answer".to_owned());
    record
}

fn text(version: u64, chunk: u32) -> String {
    format!("version {version} chunk {chunk}")
}

pub(super) fn point(id: usize, version: u64, chunk: u32, chunks: u32) -> Point {
    Point {
        id: point_id("d1", chunk).to_string(),
        document: "d1".to_owned(),
        chunk,
        version,
        chunks,
        deleted: false,
        text: text(version, chunk),
        fingerprint: FINGERPRINT.to_owned(),
        run: run_name(id),
        vector: Some(vec![0.6, 0.8]),
        attached: Some(vec![0.6, 0.8]),
        has_words: true,
    }
}

pub(super) fn points(id: usize, version: u64, chunks: u32) -> Vec<Point> {
    (0..chunks)
        .map(|chunk| point(id, version, chunk, chunks))
        .collect()
}

pub(super) fn tombstone(version: u64) -> Point {
    let run = String::new();
    Point {
        deleted: true,
        chunks: 0,
        text: String::new(),
        run,
        vector: None,
        attached: None,
        has_words: false,
        ..point(0, version, 0, 0)
    }
}

pub(super) fn letter(record: &Record) -> Letter {
    Letter {
        message: Some(record.message.id),
        sequence: u64::try_from(record.message.id).unwrap(),
        cause: record
            .message
            .poison
            .map_or("invalid", Poison::cause)
            .to_owned(),
        reason: "it cannot be done".to_owned(),
        payload: record.message.payload.clone(),
    }
}

/// Kinds of the violations.
pub(super) fn kinds(records: &[Record], points: Vec<Point>, letters: Vec<Letter>) -> Vec<Kind> {
    let found = FinalState {
        points,
        letters,
        ..FinalState::default()
    };
    checked(records, &found)
}

pub(super) fn checked(records: &[Record], found: &FinalState) -> Vec<Kind> {
    let mut rules = Rules {
        fingerprint: FINGERPRINT,
        dimensions: 2,
        attached: true,
        reference: &mut |_text| vec![0.6, 0.8],
    };
    check(records, found, &mut rules)
        .into_iter()
        .map(|violation| violation.kind)
        .collect()
}
