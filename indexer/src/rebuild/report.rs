//! Report: what a rebuild did, phase by phase, and what its gates found.

use std::io::{self, Write};

use contract::names::CollectionName;
use schemars::JsonSchema;
use serde::Serialize;

use crate::generation::record::{Gate, Phase, PhaseReport, RunRecord, SettingsReport};
use crate::outcome::{Failure, Outcome, many};
use crate::progress::as_double;

#[derive(Clone, Debug, Serialize, JsonSchema)]
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
    /// Jobs that a run which a gate has stopped leaves in the queue: workers go on with them, and the next attempt of the run
    /// finds what they write. One that begins anew, by --fresh, removes them.
    pub queued: u64,
    /// Published chunks of the source to chunks of the source.
    pub published_share: f64,
    /// Settings of the generation, beside those of the previous one.
    pub settings: SettingsReport,
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
            queued: 0,
            published_share: as_double(published) / as_double(record.expected.max(1)),
            settings: record.settings.clone(),
            phases: record.phases.clone(),
            gates: record.gates.clone(),
            dropped,
        }
    }
}

impl Outcome for Report {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (run, alias) = (&self.run, &self.alias);
        let (previous, generation) = (&self.previous, &self.generation);
        writeln!(out, "run {run} of `{alias}`: {previous} -> {generation}")?;
        writeln!(
            out,
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
        self.phases.iter().try_for_each(|it| write_phase(it, out))?;
        for gate in &self.gates {
            let verdict = if gate.passed { "passed" } else { "FAILED" };
            writeln!(out, "{verdict}  {}: {}", gate.name, gate.finding)?;
        }
        for it in &self.settings.changed {
            writeln!(out, "changed {}: {} -> {}", it.name, it.found, it.wanted)?;
        }
        for sentence in &self.settings.not_kept {
            writeln!(out, "not kept: {sentence}")?;
        }
        for dropped in &self.dropped {
            writeln!(out, "dropped {dropped}")?;
        }
        self.write_end(out)
    }

    fn complaints(&self) -> Vec<String> {
        let failed = |reason| format!("run {} failed: {reason}", self.run);
        self.failed.iter().map(failed).collect()
    }

    fn is_failure(&self) -> bool {
        !self.done
    }

    fn failure(&self) -> Failure {
        Failure::Gate
    }
}

impl Report {
    fn write_end(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(reason) = &self.failed {
            writeln!(out, "failed: {reason}")?;
            if self.queued > 0 {
                let jobs = many(self.queued, "job");
                writeln!(
                    out,
                    "left in the queue: {jobs} of the run; the same command goes on with it, and with --fresh gives it up \
                     and removes them"
                )?;
            }
            return Ok(());
        }
        if !self.done {
            let phase = self.phase.name();
            return writeln!(out, "not done: the last phase that ended is `{phase}`");
        }
        writeln!(
            out,
            "done: {}, {}, {} reused, {} published to be embedded ({:.2} %)",
            many(self.documents, "document"),
            many(self.chunks, "chunk"),
            self.reused,
            self.published,
            self.published_share * 100.0
        )
    }
}

fn write_phase(phase: &PhaseReport, out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{:<10} {:>9} {:>9} {:>11} {:>9} {:>9} {:>9} {:>6} {:>9} {:>9.1} {:>9.0}",
        phase.phase.name(),
        phase.documents,
        phase.chunks,
        phase.tokens,
        phase.reused,
        phase.present,
        phase.published,
        phase.dead_lettered,
        phase.truncated,
        phase.seconds,
        phase.tokens_per_second
    )
}
