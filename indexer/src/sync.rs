//! Sync: makes the serving collection of an alias equal to its sources.
//!
//! ```text
//! earlier jobs settled -> claim -> shrink limit -> compare, publish -> delete -> jobs settled -> balance
//! ```
//! Nothing is kept between two attempts: what remains to be done is the difference between source and collection, and
//! whoever runs it again after a crash finds that. An attempt waits for the jobs of the one before it, so that it does
//! not publish again what is in flight.
//!
//! - Versions are the start of the sync. What publishers have written or deleted since is newer, and stays.
//! - A document is compared and published as a whole, because its chunks are of one version. Chunks whose text the
//!   collection has already travel with their vectors (`compare`), and are not embedded again.
//! - The ids that the source claims are known before anything is published (`claim`): a source that lacks too
//!   many documents stops the sync before it has changed anything. Where something cannot be read behind which there
//!   may be documents, nothing is deleted at all.
//! - One sync of an alias runs at a time. A rebuild or a rollback may go on meanwhile and carries over what a sync writes;
//!   but what was compared was compared with the collection that it leaves, so that the sync starts over when the alias
//!   has moved. What an earlier move has left behind is carried over before anything is compared.

use std::time::Instant;

use contract::names::CollectionName;
use contract::topology::JOBS;
use runtime::failpoint;
use serde::{Deserialize, Serialize};

use crate::bucket::FORMAT;
use crate::config::save_report;
use crate::generation::lock::{Lock, Purpose};
use crate::generation::record::Runs;
use crate::generation::{AliasContext, Stopped, TimeLimits};
use crate::progress::note;
use crate::streams::stream;
use attempt::Attempt;
pub use config::{Comparison, PlanConfig, SyncConfig};
pub use dry_run::dry_run;
pub use report::Report;

mod attempt;
mod claim;
mod compare;
mod comparer;
mod config;
mod dry_run;
mod gather;
mod read;
mod remove;
mod report;

/// Attempts, each because the alias has moved, before it is an error.
const MOVES: u32 = 5;

/// What is recorded of a run that is done, so that a run with an id is not done again. Nothing is recorded of a run that
/// is not done: what remains is the difference between source and collection, and whoever runs it again finds that.
#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    /// What records of all verbs tell: always true here.
    finished: bool,
    report: Report,
}

/// Makes the collection behind an alias equal to its sources. A sync that a limit stopped is reported as failed; it is
/// no `Err`.
///
/// # Errors
/// If something fails that is not about the content. Running it again goes on.
pub async fn sync(config: &SyncConfig) -> anyhow::Result<Report> {
    let (servers, alias) = (&config.comparison.servers, &config.comparison.alias);
    let jetstream = servers.jetstream().await?;
    let qdrant = servers.qdrant_to_write().await?;
    let runs = Runs::open(&jetstream).await?;
    let jobs = stream(&jetstream, JOBS).await?;
    let (bucket, silence) = (runs.bucket(), config.lease);
    let synced = Lock::holding(bucket, Purpose::Sync, alias, silence, async |lock| {
        lock.check_clock(config.comparison.clock_skew)?;
        let context = AliasContext {
            alias,
            qdrant: &qdrant,
            jetstream: &jetstream,
            jobs: &jobs,
            runs: &runs,
            lock: Some(lock),
            limits: TimeLimits {
                clock_skew: config.comparison.clock_skew,
                silence,
                stall: config.stall_limit,
            },
        };
        attempts(config, context).await
    });
    let report = synced.await?;
    save_report(config.report.as_deref(), &report)?;
    Ok(report)
}

async fn attempts(config: &SyncConfig, context: AliasContext<'_>) -> anyhow::Result<Report> {
    let (bucket, alias) = (context.runs.bucket(), context.alias);
    if let Some(run) = &config.run_id
        && let Some(done) = bucket.find::<Record>(&key(alias, run)).await?
    {
        return Ok(done.record.report);
    }
    for _ in 1..MOVES {
        if let Some(report) = attempt(config, context).await? {
            return Ok(report);
        }
    }
    anyhow::bail!("alias `{alias}` has moved {MOVES} times during the sync; run it again")
}

/// Makes one attempt; `None` if the alias has moved meanwhile.
async fn attempt(config: &SyncConfig, context: AliasContext<'_>) -> anyhow::Result<Option<Report>> {
    let started = Instant::now();
    let mut attempt = Attempt::open(config, context).await?;
    attempt.recover().await?;
    let ended = attempt.perform().await;
    if let Some(found) = attempt.moved_to().await? {
        note(&format!(
            "alias `{}` points to `{found}` since: starting over",
            context.alias
        ));
        return Ok(None);
    }
    let mut report = attempt.report;
    report.seconds = started.elapsed().as_secs_f64();
    match ended {
        Err(error) if error.is::<Stopped>() => report.failed = Some(error.to_string()),
        other => other?,
    }
    failpoint::pass("sync-done");
    if report.done && config.run_id.is_some() {
        let record = Record {
            format: FORMAT,
            finished: true,
            report: report.clone(),
        };
        let key = key(&report.alias, &report.run);
        // One that is there says the same: the run was done while this process was taken for dead.
        drop(context.runs.bucket().create(&key, record).await?);
    }
    Ok(Some(report))
}

fn key(alias: &CollectionName, run: &str) -> String {
    format!("sync.{alias}/{run}")
}
