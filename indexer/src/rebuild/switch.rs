//! Switch: catches up as far as it can, then points the alias to the generation, in one request that is read back.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use contract::topology::{DLQ_MAX_AGE, Priority};
use points::collection;
use runtime::failpoint;

use super::balance::DeadPoints;
use super::catch_up::{CatchUp, Scan};
use super::report::PhaseReport;
use super::{Rebuild, Stopped, create};
use crate::alias;
use crate::carry_over::Space;
use crate::intent;
use crate::lease::{Lease, Purpose};
use crate::run::{Phase, as_time};

/// Scans in a row before the switch. While live writes go on none may be clean; what is left is carried over after it.
const ROUNDS: u32 = 5;

impl Rebuild {
    /// Carries over what has changed in the serving collection.
    pub(super) async fn catch_up(&mut self) -> anyhow::Result<PhaseReport> {
        let scan = self.catch_up_rounds().await?;
        Ok(report_of(Phase::CaughtUp, scan))
    }

    pub(super) async fn switch(&mut self) -> anyhow::Result<PhaseReport> {
        let scan = self.catch_up_rounds().await?;
        self.lease.check()?;
        let (bucket, silence) = (self.runs.bucket(), self.config.lease);
        let lock = Lease::take(bucket, Purpose::Change, &self.config.alias, silence).await?;
        let switched = self.point_alias(&lock).await;
        lock.release().await;
        switched?;
        let record = self.record();
        tracing::info!(alias = %record.alias, to = %record.generation, "switched");
        Ok(report_of(Phase::Switched, scan))
    }

    /// Records the intent, then moves the alias.
    async fn point_alias(&mut self, lock: &Lease) -> anyhow::Result<()> {
        let record = self.record();
        let found = alias::target(&self.qdrant, &record.alias).await?;
        if found != record.serving && found != record.generation {
            return Err(Stopped(format!(
                "alias `{}` points to `{found}`, it pointed to `{}` when the run began; give --fresh to start anew",
                record.alias, record.serving
            ))
            .into());
        }
        self.lease.check()?;
        let records = intent::records(&self.runs, &record.alias).await?;
        self.stored.record.switched = Some(intent::next_time(&records));
        self.runs.save(&mut self.stored).await?;
        let step = intent::Move {
            qdrant: &self.qdrant,
            runs: &self.runs,
            lock,
            to: &self.stored.record.generation,
            points: ["rebuild-before-switch", "rebuild-after-switch"],
        };
        step.perform(&self.stored).await
    }

    async fn catch_up_rounds(&mut self) -> anyhow::Result<Scan> {
        let mut sum = Scan::default();
        for _ in 0..ROUNDS {
            let scan = self.catch_up_once().await?;
            sum.add(scan);
            if scan.is_clean() {
                break;
            }
        }
        Ok(sum)
    }

    /// One scan; what it published is settled when this returns.
    pub(super) async fn catch_up_once(&mut self) -> anyhow::Result<Scan> {
        self.lease.check()?;
        failpoint::pass("rebuild-catching-up");
        let record = self.record();
        let serving = create::look_up(&self.qdrant, record.serving.as_str()).await?;
        let info = serving.unwrap_or_default();
        let same_model = collection::check(&record.serving, &info, &self.manifest).is_ok();
        // Within one model nothing is published, so that nothing can have died.
        let dead = if same_model {
            HashMap::new()
        } else {
            self.own_jobs_settled().await?;
            self.dead_points().await?
        };
        let mut publisher = self.publisher(Priority::Live);
        let catch_up = self.catching_up(same_model, &dead);
        let scan = catch_up.scan(&mut publisher).await?;
        publisher.finish().await?;
        if scan.published > 0 {
            self.own_jobs_settled().await?;
            let dead = self.missing(&self.dead_points().await?).await?;
            self.judge_dead_letters(dead)?;
        }
        Ok(scan)
    }

    fn catching_up<'a>(&'a self, same_model: bool, dead: &'a DeadPoints) -> CatchUp<'a> {
        let record = self.record();
        let started = as_time(record.started);
        CatchUp {
            from: self.serving(),
            to: self.target(),
            space: Space {
                model: self.manifest.name.clone(),
                fingerprint: self.manifest.fingerprint.to_string(),
            },
            same_model,
            floor: record.version,
            // Points say when they were written in whole seconds.
            since: started - self.config.clock_skew - Duration::from_secs(1),
            except: maker(record),
            tombstones_since: started
                .checked_sub(DLQ_MAX_AGE)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            dead,
            again: Some((&self.manifest, &self.tokenizer)),
        }
    }
}

/// What scans did, as the report of a phase.
pub(super) fn report_of(phase: Phase, scan: Scan) -> PhaseReport {
    let mut report = PhaseReport::new(phase);
    report.documents = scan.documents;
    report.chunks = scan.carried + scan.published;
    report.reused = scan.carried;
    report.published = scan.published;
    report.published_tokens = scan.tokens;
    report.tokens = scan.tokens;
    report.truncated = scan.truncated;
    report
}

/// The run that made the serving collection: what it wrote is no live write.
pub(crate) fn maker(record: &crate::run::RunRecord) -> Option<&str> {
    let rest = record
        .serving
        .as_str()
        .strip_prefix(record.alias.as_str())?;
    rest.strip_prefix("--")
}
