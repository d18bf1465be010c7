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
//!   is, because the alias has moved and only what the last collection still has is left to do
//!   (`move_alias`).
//!
//! Live writes go to the alias all the time. Before the switch they land in the serving collection and are carried
//! over; what lands there after the last look, because a worker was in the middle of a write, is carried over when the
//! jobs that were in flight at the switch are settled (`finish`).

use std::collections::BTreeMap;
use std::time::Instant;

use contract::model::Manifest;
use contract::names::CollectionName;
use contract::tokenizer::Tokenizer;
use contract::topology::JOBS;
use points::Points;
use runtime::failpoint;

use crate::config::save_report;
use crate::corpus::seen::Chunks;
use crate::corpus::wait_for_stores;
use crate::generation::fill::Filled;
use crate::generation::lock::{Lock, Purpose};
use crate::generation::record::{Gate, Phase, PhaseReport, RunRecord, Runs, StoredRun};
use crate::generation::{AliasContext, Stopped, TimeLimits};
use crate::progress::note;
use crate::streams::stream;
pub use config::{Golden, Limits, RebuildConfig};
use copy::REFUSED;
pub use dry_run::dry_run;
use plan::{Planned, Planning};
pub use report::Report;

mod attached;
mod balance;
mod config;
mod copy;
mod dry_run;
mod finish;
mod index;
mod plan;
mod report;
mod switch;
mod verify;

/// A rebuild under way: its record, and what it works with.
struct Rebuild<'a> {
    config: &'a RebuildConfig,
    manifest: &'a Manifest,
    tokenizer: &'a Tokenizer,
    context: AliasContext<'a>,
    stored: StoredRun,
    /// Chunks of each document of the source; known in the process that has read it.
    source: Option<Chunks>,
    dropped: Vec<CollectionName>,
    /// Counts of what this process has done for each attached vector.
    filled: BTreeMap<String, Filled>,
}

/// Rebuilds an alias. A run that a gate stopped is reported as failed; it is no `Err`.
///
/// # Errors
/// If something fails that is not about the content. The run can be resumed.
pub async fn rebuild(config: &RebuildConfig) -> anyhow::Result<Report> {
    let manifest = config.model.embedding()?;
    config.options.options().suit(&manifest)?;
    let tokenizer = manifest.tokenizer(&config.model.model)?;
    let jetstream = config.servers.jetstream().await?;
    let qdrant = config.servers.qdrant_to_write().await?;
    config.search.check_server(&qdrant).await?;
    wait_for_stores(&config.sources, config.servers.wait.wait()).await;
    let runs = Runs::open(&jetstream).await?;
    let jobs = stream(&jetstream, JOBS).await?;
    let (bucket, alias, silence) = (runs.bucket(), &config.alias, config.lease);
    let rebuilt = Lock::holding(bucket, Purpose::Rebuild, alias, silence, async |lock| {
        let context = AliasContext {
            alias,
            qdrant: &qdrant,
            jetstream: &jetstream,
            jobs: &jobs,
            runs: &runs,
            lock: Some(lock),
            limits: TimeLimits {
                clock_skew: config.clock_skew,
                silence,
                stall: config.stall_limit,
            },
        };
        let planning = Planning {
            config,
            manifest: &manifest,
            context,
        };
        let Planned { stored, wanted } = planning.open().await?;
        let mut rebuild = Rebuild {
            config,
            manifest: &manifest,
            tokenizer: &tokenizer,
            context,
            stored,
            source: None,
            dropped: Vec::new(),
            filled: BTreeMap::new(),
        };
        let ended = rebuild.perform_all(wanted).await;
        let record = &rebuild.stored.record;
        let queued = left_in_the_queue(&context, record).await;
        let mut report = Report::of(record, rebuild.dropped);
        report.queued = queued;
        Ok((ended, report))
    });
    let (ended, report) = rebuilt.await?;
    save_report(config.report.as_deref(), &report)?;
    ended.map(|()| report)
}

/// Jobs that a run leaves in the queue where what it read stops it; every other gate comes when its jobs are done. The
/// report does not depend on an answer.
async fn left_in_the_queue(context: &AliasContext<'_>, record: &RunRecord) -> u64 {
    let is_stopped = |gate: &Gate| gate.name == REFUSED && !gate.passed;
    if record.failed.is_none() || !record.gates.iter().any(is_stopped) {
        return 0;
    }
    let counted = context.count_jobs_of(record).await;
    counted.unwrap_or_else(|error| {
        let error = format!("{error:#}");
        tracing::warn!(error, "the jobs that the run has left are not counted");
        0
    })
}

impl Rebuild<'_> {
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

    fn planning(&self) -> Planning<'_> {
        Planning {
            config: self.config,
            manifest: self.manifest,
            context: self.context,
        }
    }

    /// The points of the generation.
    fn target(&self) -> Points<'_> {
        self.context.points(&self.record().generation)
    }

    /// The points of the collection that served when the run began.
    fn serving(&self) -> Points<'_> {
        self.context.points(&self.record().serving)
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
                    let name = phase.name();
                    note(&format!("{name}: {docs} documents, {chunks} chunks"));
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
        self.context.check()?;
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
        self.context.runs.save(&mut self.stored).await
    }

    async fn advance(&mut self, phase: Phase, report: PhaseReport) -> anyhow::Result<()> {
        self.context.check()?;
        self.keep(report);
        let record = &mut self.stored.record;
        record.phase = phase;
        record.failed = None;
        self.context.runs.save(&mut self.stored).await
    }

    /// Takes note of what a phase did.
    fn keep(&mut self, mut report: PhaseReport) {
        let record = &mut self.stored.record;
        if let Some(at) = record
            .phases
            .iter()
            .position(|old| old.phase == report.phase)
        {
            let old = record.phases.remove(at);
            // Reading the source a second time finds what the first time has brought.
            if report.phase == Phase::Copied {
                report.reused += old.reused;
                report.published += old.published;
                report.published_tokens += old.published_tokens;
            }
        }
        record.phases.push(report);
    }

    /// Notes what a gate found, and stops the run if it does not pass.
    fn judge(&mut self, gate: Gate) -> anyhow::Result<()> {
        let gates = &mut self.stored.record.gates;
        gates.retain(|old| old.name != gate.name);
        gates.push(gate.clone());
        if gate.passed {
            return Ok(());
        }
        Err(Stopped(format!("{}: {}", gate.name, gate.finding)).into())
    }

    fn record(&self) -> &RunRecord {
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
