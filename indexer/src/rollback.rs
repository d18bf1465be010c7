//! Rollback: points an alias to the generation before, at once, and takes along what was written since.
//!
//! The generation before has everything up to the switch. What live writes have brought since lies in the one that is
//! left; it is carried over after the alias has moved, as a rebuild does it in the other direction. Attached vectors that
//! points lack then are filled in.
//!
//! The record of the run that is rolled back says so before the alias moves, so that whoever comes later ends
//! what was begun: a rollback that is run again goes on with the first, and goes no generation further back.
//!
//! Where to: to the collection that the run has recorded as serving when it began. It was behind the alias, and a
//! recorded switch has left it; nothing else is ever a target. One without any document is refused, as the collection
//! of a new installation before its first rebuild: to point people at nothing is no way back.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use contract::names::CollectionName;
use contract::topology::JOBS;
use points::attachment;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Servers;
use crate::generation::alias;
use crate::generation::collection::{documents, look_up};
use crate::generation::lock::{Lock, Purpose, silence_fault, skew_fault};
use crate::generation::move_alias::{Move, MovedBy, next_time};
use crate::generation::record::{Phase, Rollback, RunRecord, Runs, StoredRun, key_fault};
use crate::generation::retire::run_of;
use crate::generation::{AliasContext, TimeLimits};
use crate::outcome::Outcome;
use crate::progress::note;
use crate::streams::stream;

#[derive(Args, Clone, Debug)]
pub struct RollbackConfig {
    /// Alias to point back
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub alias: CollectionName,
    /// How far the clocks of workers may be behind this one
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub clock_skew: Duration,
    /// How long another process may be silent before its lease is taken over
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub lease: Duration,
    /// Longest time without any progress of the workers, after the alias is moved
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    pub stall_limit: Duration,
    /// Change nothing, only say where the alias would point
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub servers: Servers,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct RolledBack {
    pub alias: CollectionName,
    pub from: CollectionName,
    pub to: CollectionName,
    /// Whether an earlier rollback had moved the alias, and this one has ended it.
    pub resumed: bool,
    /// Whether nothing was changed, because that was asked for.
    pub dry_run: bool,
    /// Points that were carried over.
    pub carried: u64,
    /// Texts that the model of the collection had to embed again.
    pub embedded: u64,
    /// Attached vectors that the collection does not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_attached: Vec<String>,
    /// Points that were published for the workers of attached models.
    pub attaching: u64,
    /// Texts that it could not embed: they are dead letters of the run `carried-<run>`.
    pub left: u64,
}

impl Outcome for RolledBack {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (alias, from, to) = (&self.alias, &self.from, &self.to);
        let (carried, embedded) = (self.carried, self.embedded);
        if self.dry_run {
            return writeln!(out, "alias `{alias}` would go: {from} -> {to}");
        }
        writeln!(
            out,
            "alias `{alias}`: {from} -> {to}, {carried} points carried over, {embedded} texts embedded again"
        )
    }

    /// Texts that became dead letters do not make it a failure: the rollback is done, and doing it again would go a
    /// generation further back.
    fn complaints(&self) -> Vec<String> {
        let (from, to, left) = (&self.from, &self.to, self.left);
        let lost = self.not_attached.iter().map(|name| {
            format!(
                "`{to}` does not have vector `{name}`, which was attached to `{from}`; `indexer attach` computes it again"
            )
        });
        let complaint = format!(
            "{left} texts of `{from}` were written since and are not in `{to}`, whose model could not embed them; they \
             are dead letters, see `indexer dlq ls`"
        );
        (left > 0)
            .then_some(complaint)
            .into_iter()
            .chain(lost)
            .collect()
    }
}

impl RollbackConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(key_fault("--alias", self.alias.as_str()));
        faults.extend(silence_fault(self.lease));
        faults.extend(skew_fault(self.clock_skew));
        faults
    }
}

/// Rolls back. When it fails after the alias was moved, running it again goes on; so does any later rebuild or sync.
///
/// # Errors
/// If there is no previous generation, or a server refuses.
pub async fn rollback(config: &RollbackConfig) -> anyhow::Result<RolledBack> {
    let jetstream = config.servers.jetstream().await?;
    let context = AliasContext {
        alias: &config.alias,
        qdrant: &config.servers.qdrant_to_write().await?,
        jetstream: &jetstream,
        jobs: &stream(&jetstream, JOBS).await?,
        runs: &Runs::open(&jetstream).await?,
        lock: None,
        limits: TimeLimits {
            clock_skew: config.clock_skew,
            silence: config.lease,
            stall: config.stall_limit,
        },
    };
    if config.dry_run {
        let (stored, resumed) = found(context).await?;
        return Ok(rolled_back(stored.record, resumed, true));
    }
    let (bucket, silence) = (context.runs.bucket(), config.lease);
    let begin = async |lock: &Lock| begin(context, lock).await;
    let moved = Lock::holding(bucket, Purpose::Change, &config.alias, silence, begin);
    let RollbackMove {
        stored,
        resumed,
        not_attached,
    } = moved.await?;
    let mut report = rolled_back(stored.record.clone(), resumed, false);
    report.not_attached = not_attached;
    let ended = context.end_rollback(stored).await;
    let ended = ended.with_context(|| {
        format!(
            "alias `{}` points to `{}`, but not all was carried over from `{}`; run it again to go on",
            report.alias, report.to, report.from
        )
    })?;
    let serves = context.target().await?;
    anyhow::ensure!(
        serves == report.to,
        "alias `{}` points to `{serves}` again",
        report.alias
    );
    let carried = ended.carried;
    (report.carried, report.left) = (carried.carried, carried.left);
    (report.embedded, report.attaching) = (carried.published, ended.attaching);
    Ok(report)
}

/// The attached vectors that the collection does not have. Their names are reserved there, so that workers of their models
/// which still have jobs find nothing to do, and refuse nothing. That is before the alias moves: a worker that starts when it
/// has moved would know nothing of them.
async fn reserve_lost(context: AliasContext<'_>, run: &RunRecord) -> anyhow::Result<Vec<String>> {
    let (from, serving) = (context.points(&run.generation), &run.serving);
    let from = from.confirmed_schema().await?.vectors;
    let mut lost = Vec::new();
    for vector in from.others() {
        let to = context.points(serving).confirmed_schema().await?.vectors;
        if vector.attached().is_none() || to.attached_as(&vector.name).is_some() {
            continue;
        }
        lost.push(vector.name.clone());
        if to.owner(&vector.name).is_none() {
            let request = attachment::reserve(serving, &to, vector);
            let reserved = context.qdrant.update_collection(request).await;
            reserved.with_context(|| format!("failed to reserve vector `{}`", vector.name))?;
        }
    }
    Ok(lost)
}

fn rolled_back(run: RunRecord, resumed: bool, dry_run: bool) -> RolledBack {
    RolledBack {
        alias: run.alias,
        from: run.generation,
        to: run.serving,
        resumed,
        dry_run,
        carried: 0,
        embedded: 0,
        not_attached: Vec::new(),
        attaching: 0,
        left: 0,
    }
}

/// The run to roll back, and whether a rollback of it has moved the alias already.
async fn found(context: AliasContext<'_>) -> anyhow::Result<(StoredRun, bool)> {
    let current = alias::existing(context.qdrant, context.alias).await?;
    let alias = context.alias;
    let all = context.runs.of(alias).await?;
    let is_moved = |run: &&StoredRun| run.record.is_rolling_back() && run.record.serving == current;
    if let Some(moved) = all.iter().find(is_moved) {
        return Ok((moved.clone(), true));
    }
    let records: Vec<_> = all.iter().map(|stored| stored.record.clone()).collect();
    let run = run_of(&records, &current).with_context(|| {
        format!("alias `{alias}` points to `{current}`, which no rebuild has put there; there is nothing before it")
    })?;
    is_worth_it(context, run).await?;
    let stored = all.into_iter().find(|stored| stored.record.run == run.run);
    let stored = stored.context("a run that was found is gone")?;
    Ok((stored, false))
}

/// A collection that is gone, or empty, is no way back.
async fn is_worth_it(context: AliasContext<'_>, run: &RunRecord) -> anyhow::Result<()> {
    let RunRecord {
        alias,
        generation,
        serving,
        ..
    } = run;
    let there = look_up(context.qdrant, serving).await?;
    anyhow::ensure!(
        there.is_some(),
        "collection `{serving}`, which was behind alias `{alias}` before `{generation}`, was dropped; rebuild instead"
    );
    let documents_of = async |name| context.points(name).count(documents()).await;
    anyhow::ensure!(
        documents_of(serving).await? > 0 || documents_of(generation).await? == 0,
        "collection `{serving}`, which was behind alias `{alias}` before `{generation}`, holds no document; rebuild \
         instead"
    );
    Ok(())
}

/// A rollback that has moved the alias.
struct RollbackMove {
    stored: StoredRun,
    /// Whether an earlier one had moved it.
    resumed: bool,
    not_attached: Vec<String>,
}

/// Records the move, reserves what would be unknown after it, then points the alias back. Done already where an earlier rollback came so far.
async fn begin(context: AliasContext<'_>, lock: &Lock) -> anyhow::Result<RollbackMove> {
    let (runs, alias) = (context.runs, context.alias);
    let (mut stored, resumed) = found(context).await?;
    if resumed {
        note(&format!("ending the rollback of run {}", stored.record.run));
        return Ok(RollbackMove {
            not_attached: reserve_lost(context, &stored.record).await?,
            stored,
            resumed,
        });
    }
    let records = void_others(runs, &stored.record).await?;
    let record = &mut stored.record;
    record.rolled_back = Some(Rollback {
        began: next_time(&records),
        finished: false,
    });
    if record.is_unfinished() {
        record.phase = Phase::Abandoned;
        record.failed = Some(format!("alias `{alias}` was rolled back"));
    }
    runs.save(&mut stored).await?;
    let not_attached = reserve_lost(context, &stored.record).await?;
    let step = Move {
        context,
        lock,
        to: &stored.record.serving,
        verb: MovedBy::Rollback,
    };
    step.perform(&stored).await?;
    Ok(RollbackMove {
        stored,
        resumed,
        not_attached,
    })
}

/// Takes back the recorded moves of runs that have not moved the alias: their processes are dead, or find it when they wake.
async fn void_others(runs: &Runs, current: &RunRecord) -> anyhow::Result<Vec<RunRecord>> {
    let mut all = runs.of(&current.alias).await?;
    for stored in &mut all {
        let other = stored.record.run != current.run;
        if other && stored.record.phase < Phase::Switched && stored.record.switched.is_some() {
            stored.record.switched = None;
            runs.save(stored).await?;
        }
    }
    Ok(all.into_iter().map(|stored| stored.record).collect())
}
