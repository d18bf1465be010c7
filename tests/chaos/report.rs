//! Report: what a run has shown, for people and for programs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::history::{Outcome, Record};
use crate::logs;
use crate::message::Action;
use crate::settings::Settings;
use crate::tally::Counts;
use crate::violation::{Kind, Violation};

/// Violations that are shown with all evidence.
const SHOWN: usize = 10;
const MIB: u64 = 1 << 20;

/// What a run has shown.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) settings: Settings,
    pub(crate) faults: Counts,
    pub(crate) operations: Counts,
    pub(crate) violations: Vec<Violation>,
    pub(crate) drained_in: Duration,
    pub(crate) peak_memory: u64,
    /// Points, dead letters.
    pub(crate) found: (usize, usize),
    pub(crate) records: Vec<Record>,
    pub(crate) directory: PathBuf,
}

impl Report {
    pub(crate) fn text(&self) -> String {
        let total = |counts: &Counts| counts.values().sum::<u64>();
        let list = |counts: &Counts| {
            let each = counts
                .iter()
                .map(|(name, count)| format!("  {name:<24}{count}\n"));
            each.collect::<String>()
        };
        let (points, letters) = self.found;
        let messages = self.records.len();
        let acknowledged = self
            .records
            .iter()
            .filter(|record| record.is_acknowledged())
            .count();
        let text = format!(
            "faults {}\n{}operations {}\n{}messages {messages}, of which {acknowledged} acknowledged; \
             {points} points, {letters} dead letters\n\
             drained in {:.1} s; most memory of a worker {} MiB\nviolations {}\n",
            total(&self.faults),
            list(&self.faults),
            total(&self.operations),
            list(&self.operations),
            self.drained_in.as_secs_f64(),
            self.peak_memory / MIB,
            self.violations.len(),
        );
        text + &self.evidence()
    }

    fn evidence(&self) -> String {
        if self.violations.is_empty() {
            return String::new();
        }
        let mut text = format!("seed {}\n", self.settings.seed);
        for violation in self.violations.iter().take(SHOWN) {
            text.push_str(&self.shown(violation));
        }
        let more = self.violations.len().saturating_sub(SHOWN);
        if more > 0 {
            text.push_str(&format!("and {more} more\n"));
        }
        text + &format!("data and logs are in {}\n", self.directory.display())
    }

    /// A violation with the history of its document.
    fn shown(&self, violation: &Violation) -> String {
        let Violation {
            kind,
            document,
            message,
            evidence,
        } = violation;
        let subject = document.as_deref().unwrap_or_default();
        let mut text = format!("\n{} {subject}: {evidence}\n", kind.name());
        let records: Vec<_> = self
            .records
            .iter()
            .filter(|record| {
                let changes = &record.message.changes;
                let about = |id: &String| changes.iter().any(|change| change.document == *id);
                *message == Some(record.message.id) || document.as_ref().is_some_and(about)
            })
            .collect();
        records
            .iter()
            .for_each(|record| text.push_str(&publish(record)));
        let sequences: Vec<_> = records
            .iter()
            .flat_map(|record| record.sequences())
            .collect();
        let logs = logs::logs(&self.directory, self.settings.processes());
        for line in logs::about(&logs, &sequences, document.as_deref()) {
            text.push_str(&format!("  {line}\n"));
        }
        text
    }

    pub(crate) fn json(&self) -> Value {
        let count = |name| self.faults.get(name).copied().unwrap_or(0);
        let mut json = json!({
            "seed": self.settings.seed,
            "minutes": self.settings.minutes,
            "workers": self.settings.workers,
            "faults": self.faults,
            "operations": self.operations,
            "messages": self.records.len(),
            "points": self.found.0,
            "dead_letters": self.found.1,
            "attached": self.settings.attached,
            "violations": self.violations.len(),
            "process_kills": count("kill") + count("failpoint_kill"),
            "nats_restarts": count("nats_restart"),
            "qdrant_restarts": count("qdrant_restart"),
            "drain_seconds": self.drained_in.as_secs_f64(),
            "peak_memory_bytes": self.peak_memory,
            "directory": self.directory,
        });
        let mut kinds: BTreeMap<_, u64> = Kind::ALL.iter().map(|kind| (kind.name(), 0)).collect();
        for violation in &self.violations {
            *kinds.entry(violation.kind.name()).or_default() += 1;
        }
        for (name, count) in kinds {
            json[name] = json!(count);
        }
        json
    }
}

/// A message and all attempts to publish it.
fn publish(record: &Record) -> String {
    let message = &record.message;
    let mut text = format!("  {} on the {} lane", message.run(), message.lane.as_str());
    if let Some(poison) = message.poison {
        text.push_str(&format!(", {poison:?}"));
    }
    text.push('\n');
    for change in &message.changes {
        let (document, version) = (&change.document, change.version);
        let line = match &change.action {
            Action::Delete => format!("    delete {document} at {version}\n"),
            Action::Write { total, chunks } => {
                let chunks: Vec<_> = chunks.iter().map(|(index, _)| index).collect();
                format!("    write {document} at {version}: chunks {chunks:?} of {total}\n")
            }
        };
        text.push_str(&line);
    }
    for attempt in &record.attempts {
        let outcome = match &attempt.outcome {
            Outcome::Stored(sequence) => format!("stored at {sequence}"),
            Outcome::Repeated(sequence) => format!("was there at {sequence}"),
            Outcome::Unknown(why) => format!("unknown: {why}"),
        };
        let at = attempt.at.as_secs_f64();
        text.push_str(&format!("    {at:7.2} s as {}: {outcome}\n", attempt.id));
    }
    text
}
