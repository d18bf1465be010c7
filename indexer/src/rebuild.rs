//! Rebuild: fills a new generation of an alias from its sources, proves it, and switches the alias to it.
//!
//! ```text
//! planned -> created -> copied -> balanced -> caught up -> indexed -> verified -> switched -> done
//! ```
//! Each phase ends with a write to the run's record; a process that dies at any point is followed by one that goes on
//! after the last phase that ended. Every phase may therefore be run again, and changes nothing the second time:
//! - jobs of the run are awaited before the source is read again, so that no chunk is published while it is in flight;
//!   it is read again by every process that goes on before the switch, because it alone says what must be there;
//! - writes to the generation follow the workers' protocol: conditional on the version, then a look at the heads;
//! - before the switch, whatever may be stale after a pause (catch-up, gates) is done again; after it, nothing of it
//!   is, because the alias has moved and only what the last collection still has is left to do (see `intent`).
//!
//! Live writes go to the alias all the time. Before the switch they land in the serving collection and are carried
//! over; what lands there after the last look, because a worker was in the middle of a write, is carried over when the
//! jobs that were in flight at the switch are settled (`finish`).

use std::time::Instant;

use anyhow::Context as _;
use async_nats::jetstream::{self, stream::Stream};
use contract::model::{Manifest, TOKENIZER};
use contract::names::CollectionName;
use contract::tokenizer::Tokenizer;
use contract::topology::JOBS;
use qdrant_client::Qdrant;
use runtime::failpoint;

use crate::dlq::stream;
use crate::lease::{Lease, Purpose};
use crate::once::Chunks;
use crate::run::{Phase, Runs, Stored};
pub(crate) use config::report_fault;
pub use config::{Chunking, Golden, Limits, RebuildConfig};
pub use dry_run::dry_run;
use report::{Gate, PhaseReport, Report};
use usage::Ear;

pub(crate) mod balance;
pub(crate) mod catch_up;
mod config;
mod copy;
pub(crate) mod create;
mod discard;
mod dry_run;
pub(crate) mod finish;
pub(crate) mod in_flight;
mod index;
pub(crate) mod look_up;
pub(crate) mod plan;
pub(crate) mod publish;
pub mod report;
pub(crate) mod switch;
mod usage;
pub(crate) mod verify;

/// A rebuild under way: its record, its lease, and what it works with.
pub(crate) struct Rebuild {
    pub(crate) config: RebuildConfig,
    pub(crate) manifest: Manifest,
    pub(crate) tokenizer: Tokenizer,
    pub(crate) jetstream: jetstream::Context,
    pub(crate) jobs: Stream,
    pub(crate) qdrant: Qdrant,
    pub(crate) runs: Runs,
    pub(crate) lease: Lease,
    pub(crate) stored: Stored,
    ear: Ear,
    /// Chunks of each document of the source; known in the process that has read it.
    pub(crate) source: Option<Chunks>,
    pub(crate) dropped: Vec<CollectionName>,
}

/// A gate that stops the run. Not an accident: repeating it changes nothing until somebody has looked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stopped(pub(crate) String);

/// Rebuilds an alias. A run that a gate stopped is reported as failed; it is no `Err`.
///
/// # Errors
/// If something fails that is not about the content. The run can be resumed.
pub async fn rebuild(config: &RebuildConfig) -> anyhow::Result<Report> {
    let manifest = config.model.embedding()?;
    let tokenizer = Tokenizer::load(&config.model.model.join(TOKENIZER))?;
    let jetstream = config.servers.jetstream().await?;
    let qdrant = config.servers.qdrant.client_to_write().await?;
    let runs = Runs::open(&jetstream).await?;
    let jobs = stream(&jetstream, JOBS).await?;
    let ear = Ear::open(&jetstream).await?;
    let lease = Lease::take(runs.bucket(), Purpose::Rebuild, &config.alias, config.lease).await?;
    let planning = plan::Planning {
        config,
        manifest: &manifest,
        qdrant: &qdrant,
        runs: &runs,
        jetstream: &jetstream,
        jobs: &jobs,
        lease: &lease,
    };
    let opened = planning.open().await;
    let plan::Planned { stored, wanted } = match opened {
        Ok(planned) => planned,
        Err(error) => {
            lease.release().await;
            return Err(error);
        }
    };
    let mut rebuild = Rebuild {
        config: config.clone(),
        manifest,
        tokenizer,
        jetstream,
        jobs,
        qdrant,
        runs,
        lease,
        stored,
        ear,
        source: None,
        dropped: Vec::new(),
    };
    let ended = rebuild.perform_all(wanted).await;
    let report = Report::of(&rebuild.stored.record, rebuild.dropped);
    rebuild.lease.release().await;
    if let Some(path) = &config.report {
        let json = serde_json::to_vec_pretty(&report)?;
        std::fs::write(path, json)
            .with_context(|| format!("failed to write the report `{}`", path.display()))?;
    }
    ended.map(|()| report)
}

impl Rebuild {
    /// Ends the run at hand, and unless that is what is wanted, goes on with the one that is.
    async fn perform_all(&mut self, mut wanted: bool) -> anyhow::Result<()> {
        self.perform().await?;
        while !wanted && self.record().phase == Phase::Done {
            let planned = self.planning().open().await?;
            (self.stored, wanted) = (planned.stored, planned.wanted);
            self.perform().await?;
        }
        Ok(())
    }

    fn planning(&self) -> plan::Planning<'_> {
        plan::Planning {
            config: &self.config,
            manifest: &self.manifest,
            qdrant: &self.qdrant,
            runs: &self.runs,
            jetstream: &self.jetstream,
            jobs: &self.jobs,
            lease: &self.lease,
        }
    }

    /// Runs all phases that are left.
    async fn perform(&mut self) -> anyhow::Result<()> {
        while self.record().is_unfinished() {
            let started = Instant::now();
            let before = self.record().phase;
            match self.next().await {
                Ok((phase, report)) => {
                    let (docs, chunks) = (report.documents, report.chunks);
                    self.advance(phase, report.after(started.elapsed())).await?;
                    let name = report::name(phase);
                    say(&format!("{name}: {docs} documents, {chunks} chunks"));
                    failpoint::pass(boundary(phase));
                }
                Err(error) => return self.stop(error).await,
            }
            anyhow::ensure!(
                self.record().phase != before,
                "phase {before:?} did not end"
            );
        }
        Ok(())
    }

    /// Runs the next phase; gives the phase that it ends.
    async fn next(&mut self) -> anyhow::Result<(Phase, PhaseReport)> {
        self.lease.check()?;
        match self.record().phase {
            Phase::Planned => Ok((Phase::Created, self.create().await?)),
            Phase::Created => Ok((Phase::Copied, self.copy().await?)),
            Phase::Copied => self.balance().await,
            Phase::Balanced => Ok((Phase::CaughtUp, self.catch_up().await?)),
            Phase::CaughtUp => Ok((Phase::Indexed, self.index().await?)),
            Phase::Indexed => Ok((Phase::Verified, self.verify().await?)),
            Phase::Verified => Ok((Phase::Switched, self.switch().await?)),
            Phase::Switched => Ok((Phase::Done, self.finish().await?)),
            Phase::Done | Phase::Abandoned => anyhow::bail!("the run is over"),
        }
    }

    /// Records why a gate stopped the run; other errors pass through.
    async fn stop(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let Some(Stopped(reason)) = error.downcast_ref() else {
            return Err(error);
        };
        self.stored.record.failed = Some(reason.clone());
        self.runs.save(&mut self.stored).await
    }

    async fn advance(&mut self, phase: Phase, mut report: PhaseReport) -> anyhow::Result<()> {
        self.lease.check()?;
        let usage = self.ear.take(&self.record().run);
        (report.useful_tokens, report.padded_tokens) = (usage.tokens, usage.padded_tokens);
        let record = &mut self.stored.record;
        if let Some(at) = record
            .phases
            .iter()
            .position(|old| old.phase == report.phase)
        {
            let old = record.phases.remove(at);
            report.useful_tokens += old.useful_tokens;
            report.padded_tokens += old.padded_tokens;
            // Reading the source a second time finds what the first time has brought.
            if report.phase == Phase::Copied {
                report.reused += old.reused;
                report.published += old.published;
                report.published_tokens += old.published_tokens;
            }
        }
        record.phases.push(report);
        record.phase = phase;
        record.failed = None;
        self.runs.save(&mut self.stored).await
    }

    /// Notes what a gate found, and stops the run if it does not pass.
    pub(crate) fn judge(&mut self, gate: Gate) -> anyhow::Result<()> {
        let gates = &mut self.stored.record.gates;
        gates.retain(|old| old.name != gate.name);
        gates.push(gate.clone());
        if gate.passed {
            return Ok(());
        }
        Err(Stopped(format!("{}: {}", gate.name, gate.finding)).into())
    }

    pub(crate) fn record(&self) -> &crate::run::RunRecord {
        &self.stored.record
    }
}

/// Name of the failpoint at the end of a phase.
fn boundary(phase: Phase) -> &'static str {
    match phase {
        Phase::Planned => "rebuild-planned",
        Phase::Created => "rebuild-created",
        Phase::Copied => "rebuild-copied",
        Phase::Balanced => "rebuild-balanced",
        Phase::CaughtUp => "rebuild-caught-up",
        Phase::Indexed => "rebuild-indexed",
        Phase::Verified => "rebuild-verified",
        Phase::Switched => "rebuild-switched",
        Phase::Done => "rebuild-done",
        Phase::Abandoned => "rebuild-abandoned",
    }
}

/// Tells people how far it is, apart from the report.
pub(crate) fn say(line: &str) {
    use std::io::Write as _;
    // Nobody reads it any more: no reason to stop.
    drop(writeln!(std::io::stderr(), "· {line}"));
}
