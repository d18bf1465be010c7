//! Switch: catches up as far as it can, then points the alias to the generation, in one request that is read back.

use contract::topology::Priority;
use points::collection;
use runtime::failpoint;

use super::Rebuild;
use crate::generation::Stopped;
use crate::generation::carry_over::maker;
use crate::generation::catch_up::{CatchUp, Scan};
use crate::generation::collection::{CollectionModel, look_up};
use crate::generation::ledger::DeadPoints;
use crate::generation::lock::{Lock, Purpose};
use crate::generation::move_alias::{self, Move, MovedBy};
use crate::generation::record::{Phase, PhaseReport, StoredRun};

/// Scans in a row before the switch. While live writes go on none may be clean; what is left is carried over after it.
const ROUNDS: u32 = 5;

impl Rebuild<'_> {
    /// Carries over what has changed in the serving collection.
    pub async fn catch_up(&mut self) -> anyhow::Result<PhaseReport> {
        let scan = self.catch_up_rounds().await?;
        Ok(report_of(Phase::CaughtUp, scan))
    }

    pub async fn switch(&mut self) -> anyhow::Result<PhaseReport> {
        let scan = self.catch_up_rounds().await?;
        self.context.check()?;
        let (bucket, silence) = (self.context.runs.bucket(), self.config.lease);
        let moving = async |lock: &Lock| self.move_alias(lock).await;
        let moved = Lock::holding(bucket, Purpose::Change, &self.config.alias, silence, moving);
        self.stored = moved.await?;
        let record = self.record();
        tracing::info!(alias = %record.alias, to = %record.generation, "switched");
        Ok(report_of(Phase::Switched, scan))
    }

    /// Records the move, then moves the alias. Gives the record.
    async fn move_alias(&self, lock: &Lock) -> anyhow::Result<StoredRun> {
        let record = self.record();
        let found = self.context.target().await?;
        if found != record.serving && found != record.generation {
            return Err(Stopped(format!(
                "alias `{}` points to `{found}`, it pointed to `{}` when the run began; give --fresh to start anew",
                record.alias, record.serving
            ))
            .into());
        }
        self.context.check()?;
        let records = move_alias::records(self.context.runs, &record.alias).await?;
        let mut stored = self.stored.clone();
        stored.record.switched = Some(move_alias::next_time(&records));
        self.context.runs.save(&mut stored).await?;
        let step = Move {
            context: self.context,
            lock,
            to: &stored.record.generation,
            verb: MovedBy::Rebuild,
        };
        step.perform(&stored).await?;
        Ok(stored)
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

    /// One scan. When it returns, the jobs that it published are settled.
    pub async fn catch_up_once(&mut self) -> anyhow::Result<Scan> {
        self.context.check()?;
        failpoint::pass("rebuild-catching-up");
        let record = self.record();
        let serving = look_up(self.context.qdrant, &record.serving).await?;
        let info = serving.unwrap_or_default();
        let same_model = collection::check(&record.serving, &info, self.manifest).is_ok();
        // Within one model nothing is published, so that nothing can have died.
        let dead = if same_model {
            DeadPoints::new()
        } else {
            self.await_own_jobs().await?;
            self.dead_points().await?
        };
        let mut publisher = self.publisher(Priority::Live);
        let catch_up = self.catching_up(same_model, &dead);
        let scan = catch_up.scan(&mut publisher).await?;
        publisher.finish().await?;
        if scan.published > 0 {
            self.await_own_jobs().await?;
            let dead = self.missing(&self.dead_points().await?).await?;
            self.judge_dead_letters(dead)?;
        }
        Ok(scan)
    }

    fn catching_up<'a>(&'a self, same_model: bool, dead: &'a DeadPoints) -> CatchUp<'a> {
        let record = self.record();
        CatchUp {
            from: self.serving(),
            to: self.target(),
            model: CollectionModel {
                model: self.manifest.name.clone(),
                fingerprint: self.manifest.fingerprint.to_string(),
            },
            same_model,
            floor: record.version,
            began: record.started,
            clock_skew: self.config.clock_skew,
            except: maker(record),
            dead,
            tokenizing: Some((self.manifest, self.tokenizer)),
        }
    }
}

/// The work of scans as the report of a phase.
pub fn report_of(phase: Phase, scan: Scan) -> PhaseReport {
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
