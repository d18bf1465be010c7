//! Report: what a rebuild did, phase by phase, and what its gates found.

use std::fmt;
use std::io::{self, Write};

use contract::names::CollectionName;
use serde::Serialize;

use crate::generation::record::{Gate, Phase, PhaseReport, RunRecord};
use crate::outcome::Outcome;
use crate::progress::as_double;

/// All of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub run: String,
    pub alias: CollectionName,
    /// The collection that the run filled.
    pub generation: CollectionName,
    /// The collection that it replaces.
    pub previous: CollectionName,
    /// How far the run has come.
    pub phase: Phase,
    pub done: bool,
    /// Why it stopped, if a gate stopped it.
    pub failed: Option<String>,
    /// Version of the source's documents.
    pub version: u64,
    pub documents: u64,
    pub chunks: u64,
    /// Documents, records and files that could not be read.
    pub refused: u64,
    /// Chunks whose vectors were copied.
    pub reused: u64,
    /// Chunks that were published to be embedded.
    pub published: u64,
    /// Published chunks of the source to chunks of the source.
    pub published_share: f64,
    /// Tokens that were embedded to tokens that were computed for it, padding included, as far as workers were heard;
    /// nothing where nothing was.
    pub useful_token_ratio: Option<f64>,
    pub phases: Vec<PhaseReport>,
    pub gates: Vec<Gate>,
    /// Generations that were dropped at the end.
    pub dropped: Vec<CollectionName>,
}

impl Report {
    /// The report of a run as it is recorded.
    pub fn of(record: &RunRecord, dropped: Vec<CollectionName>) -> Self {
        let copied = record.phases.iter();
        let copied = copied.filter(|report| report.phase == Phase::Copied);
        let sum = |of: fn(&PhaseReport) -> u64| copied.clone().map(of).sum::<u64>();
        let published = sum(|report| report.published);
        Self {
            run: record.run.clone(),
            alias: record.alias.clone(),
            generation: record.generation.clone(),
            previous: record.serving.clone(),
            phase: record.phase,
            done: record.phase == Phase::Done,
            failed: record.failed.clone(),
            version: record.version,
            documents: record.documents,
            chunks: record.expected,
            refused: record.refused,
            reused: sum(|report| report.reused),
            published,
            published_share: as_double(published) / as_double(record.expected.max(1)),
            useful_token_ratio: useful_token_ratio(&record.phases),
            phases: record.phases.clone(),
            gates: record.gates.clone(),
            dropped,
        }
    }
}

impl Outcome for Report {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{self}")
    }

    fn complaints(&self) -> Vec<String> {
        let failed = |reason| format!("run {} failed: {reason}", self.run);
        self.failed.iter().map(failed).collect()
    }

    fn is_failure(&self) -> bool {
        !self.done
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "run {} of `{}`: {} -> {}",
            self.run, self.alias, self.previous, self.generation
        )?;
        writeln!(
            f,
            "{:<10} {:>9} {:>9} {:>11} {:>9} {:>9} {:>9} {:>6} {:>9} {:>9} {:>9}",
            "phase",
            "documents",
            "chunks",
            "tokens",
            "reused",
            "present",
            "published",
            "dead",
            "truncated",
            "seconds",
            "tokens/s"
        )?;
        for phase in &self.phases {
            write!(f, "{phase}")?;
        }
        for gate in &self.gates {
            let verdict = if gate.passed { "passed" } else { "FAILED" };
            writeln!(f, "{verdict}  {}: {}", gate.name, gate.finding)?;
        }
        for dropped in &self.dropped {
            writeln!(f, "dropped {dropped}")?;
        }
        self.last_line(f)
    }
}

impl Report {
    fn last_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(reason) = &self.failed {
            return writeln!(f, "failed: {reason}");
        }
        if !self.done {
            return writeln!(
                f,
                "not done: the last phase that ended is `{}`",
                self.phase.name()
            );
        }
        writeln!(
            f,
            "done: {} documents, {} chunks, {} reused, {} published to be embedded ({:.2} %)",
            self.documents,
            self.chunks,
            self.reused,
            self.published,
            self.published_share * 100.0
        )?;
        match self.useful_token_ratio {
            Some(ratio) => writeln!(
                f,
                "{:.1} % of the computed tokens were useful",
                ratio * 100.0
            ),
            None => Ok(()),
        }
    }
}

fn useful_token_ratio(phases: &[PhaseReport]) -> Option<f64> {
    let sum = |of: fn(&PhaseReport) -> u64| phases.iter().map(of).sum::<u64>();
    let padded = sum(|phase| phase.padded_tokens);
    (padded > 0).then(|| as_double(sum(|phase| phase.useful_tokens)) / as_double(padded))
}

impl fmt::Display for PhaseReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:>9} {:>9} {:>11} {:>9} {:>9} {:>9} {:>6} {:>9} {:>9.1} {:>9.0}",
            self.phase.name(),
            self.documents,
            self.chunks,
            self.tokens,
            self.reused,
            self.present,
            self.published,
            self.dead_lettered,
            self.truncated,
            self.seconds,
            self.tokens_per_second
        )
    }
}
