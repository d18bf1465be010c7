//! Dead letters: exactly one for each job that cannot be done, none for others.

use std::collections::{BTreeMap, BTreeSet};

use crate::final_state::Letter;
use crate::history::Record;
use crate::message::SECRET;
use crate::violation::{Kind, Violation};

pub(super) fn check(records: &[Record], letters: &[Letter]) -> Vec<Violation> {
    let by_number: BTreeMap<_, _> = records
        .iter()
        .map(|record| (record.message.id, record))
        .collect();
    let mut violations = Vec::new();
    let mut stored: BTreeMap<usize, BTreeSet<u64>> = BTreeMap::new();
    for letter in letters {
        let record = letter
            .message
            .and_then(|number| by_number.get(&number).copied());
        let Some(record) = record else {
            violations.push(about(letter, Kind::Invented, "nobody has published it"));
            continue;
        };
        violations.extend(check_letter(record, letter));
        if !stored
            .entry(record.message.id)
            .or_default()
            .insert(letter.sequence)
        {
            violations.push(about(letter, Kind::Duplicated, "its job has another one"));
        }
    }
    let nothing = BTreeSet::new();
    for record in records {
        let stored = stored.get(&record.message.id).unwrap_or(&nothing);
        violations.extend(check_count(record, stored));
    }
    violations
}

fn check_letter(record: &Record, letter: &Letter) -> Vec<Violation> {
    let mut violations = Vec::new();
    match record.message.poison.map(|poison| poison.cause()) {
        None => violations.push(about(
            letter,
            Kind::WronglyDeadLettered,
            "nothing is wrong with its job",
        )),
        Some(cause) if cause != letter.cause => {
            let problem = format!("its cause should be `{cause}`");
            violations.push(about(letter, Kind::WronglyDeadLettered, &problem));
        }
        Some(_) => {}
    }
    if letter.payload != record.message.payload {
        violations.push(about(
            letter,
            Kind::Invented,
            "its job is not what was published",
        ));
    }
    if letter.reason.contains(SECRET) {
        violations.push(about(
            letter,
            Kind::Leaked,
            "its reason repeats the document",
        ));
    }
    violations
}

/// A job that cannot be done has a dead letter for each place at which it is known to have been stored, and no others
/// unless it may have been stored at others too.
fn check_count(record: &Record, stored: &BTreeSet<u64>) -> Vec<Violation> {
    if record.message.poison.is_none() {
        return Vec::new();
    }
    let known = record.sequences();
    let violation = |kind, evidence| Violation {
        kind,
        document: None,
        message: Some(record.message.id),
        evidence,
    };
    let mut violations = Vec::new();
    for sequence in known.difference(stored) {
        let evidence = format!("job {sequence} cannot be done and has no dead letter");
        violations.push(violation(Kind::Lost, evidence));
    }
    if !record.has_unknown()
        && let Some(sequence) = stored.difference(&known).next()
    {
        let evidence = format!("a dead letter names job {sequence}, which was never stored");
        violations.push(violation(Kind::Invented, evidence));
    }
    violations
}

fn about(letter: &Letter, kind: Kind, problem: &str) -> Violation {
    let evidence = format!(
        "dead letter of job {} with cause `{}`: {problem}; its reason is `{}`",
        letter.sequence, letter.cause, letter.reason
    );
    Violation {
        kind,
        document: None,
        message: letter.message,
        evidence,
    }
}
