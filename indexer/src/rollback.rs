//! Rollback: points an alias to the generation before, at once, and takes along what was written since.
//!
//! The generation before has everything up to the switch. What live writes have brought since lies in the one that is
//! left; it is carried over after the alias has moved, as a rebuild does it in the other direction.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_nats::jetstream::stream::Stream;
use clap::Args;
use contract::collection;
use contract::connect::ConfigFault;
use contract::failpoint;
use contract::model::{Manifest, TOKENIZER};
use contract::names::{CollectionName, ModelName};
use contract::tokenizer::Tokenizer;
use contract::topology::JOBS;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::CollectionInfo;
use serde::Serialize;

use crate::alias;
use crate::config::{ModelDir, Servers};
use crate::dlq::stream;
use crate::gc::run_of;
use crate::lease::{Lease, Purpose};
use crate::rebuild::balance::DeadPoints;
use crate::rebuild::catch_up::{CatchUp, Scan};
use crate::rebuild::create::look_up;
use crate::rebuild::finish::model_of;
use crate::rebuild::in_flight::InFlight;
use crate::rebuild::switch::TOMBSTONES;
use crate::rebuild::write::Target;
use crate::run::{RunRecord, Runs, as_time};

/// Scans that may find something after the last worker has left.
const MOST_SCANS: u32 = 1000;

/// Settings of `indexer rollback`.
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
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub model: ModelDir,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub servers: Servers,
}

/// What a rollback did.
#[derive(Clone, Debug, Serialize)]
pub struct RolledBack {
    /// The alias.
    pub alias: CollectionName,
    /// What it pointed to.
    pub from: CollectionName,
    /// What it points to.
    pub to: CollectionName,
    /// Points that were carried over.
    pub carried: u64,
    /// Points that were not, because they were embedded by another model than the generation's.
    pub left: u64,
}

impl RollbackConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        if let Err(problem) = failpoint::check() {
            faults.push(ConfigFault::new("EBB_FAILPOINTS", problem));
        }
        faults
    }
}

/// Rolls back. When it fails after the alias was moved, running it again would go back one generation more; the error
/// says so.
///
/// # Errors
/// If there is no previous generation, or a server refuses.
pub async fn rollback(config: &RollbackConfig) -> anyhow::Result<RolledBack> {
    let manifest = config.model.manifest()?;
    let jetstream = config.servers.jetstream().await?;
    let qdrant = config.servers.qdrant.client()?;
    let runs = Runs::open(&jetstream).await?;
    let lock = Lease::take(runs.bucket(), Purpose::Change, &config.alias, config.lease).await?;
    let moved = move_alias(&qdrant, &runs, &config.alias).await;
    lock.release().await;
    let run = moved?;
    let jobs = stream(&jetstream, JOBS).await?;
    let carried = carry_over(config, &qdrant, &manifest, &run, &jobs).await;
    let carried = carried.with_context(|| {
        format!(
            "alias `{}` points to `{}`, but not all was carried over from `{}`",
            config.alias, run.serving, run.generation
        )
    })?;
    Ok(RolledBack {
        alias: run.alias,
        from: run.generation,
        to: run.serving,
        carried: carried.carried,
        left: carried.left,
    })
}

/// Points the alias to the generation that the present one has replaced; gives the run that had done that.
async fn move_alias(
    qdrant: &Qdrant,
    runs: &Runs,
    alias: &CollectionName,
) -> anyhow::Result<RunRecord> {
    let current = alias::target(qdrant, alias).await?;
    let records = runs.of(alias).await?.into_iter();
    let records: Vec<_> = records.map(|stored| stored.record).collect();
    let run = run_of(&records, &current).with_context(|| {
        format!("alias `{alias}` points to `{current}`, which no rebuild has put there; there is nothing before it")
    })?;
    let previous = &run.serving;
    let there = look_up(qdrant, previous.as_str()).await?;
    anyhow::ensure!(
        there.is_some(),
        "collection `{previous}`, which was behind alias `{alias}` before `{current}`, was dropped; rebuild instead"
    );
    alias::point(qdrant, alias, previous).await?;
    failpoint::pass("rollback-after-switch");
    Ok(run.clone())
}

/// Both collections as a rollback finds them.
struct Pair {
    left: CollectionInfo,
    serving: CollectionInfo,
}

impl Pair {
    async fn of(qdrant: &Qdrant, run: &RunRecord) -> anyhow::Result<Self> {
        let left = look_up(qdrant, run.generation.as_str()).await?;
        let serving = look_up(qdrant, run.serving.as_str()).await?;
        Ok(Self {
            left: left.unwrap_or_default(),
            serving: serving.unwrap_or_default(),
        })
    }

    fn models(&self) -> Vec<ModelName> {
        let models = [&self.left, &self.serving].into_iter().filter_map(model_of);
        let mut models: Vec<_> = models.collect();
        models.dedup();
        models
    }

    /// Whether vectors of the one may be written to the other.
    fn is_one_model(&self, run: &RunRecord, manifest: &Manifest) -> bool {
        collection::check(&run.generation, &self.left, manifest).is_ok()
            && collection::check(&run.serving, &self.serving, manifest).is_ok()
    }
}

async fn carry_over(
    config: &RollbackConfig,
    qdrant: &Qdrant,
    manifest: &Manifest,
    run: &RunRecord,
    jobs: &Stream,
) -> anyhow::Result<Scan> {
    let pair = Pair::of(qdrant, run).await?;
    let in_flight = InFlight {
        jobs,
        alias: &config.alias,
        stall_limit: config.stall_limit,
    };
    in_flight.settled(&pair.models(), || Ok(())).await?;
    let tokenizer = Tokenizer::load(&config.model.model.join(TOKENIZER))?;
    let switched = as_time(run.switched.unwrap_or(run.started));
    let target = |collection| Target { qdrant, collection };
    let catch_up = CatchUp {
        from: target(&run.generation),
        to: target(&run.serving),
        manifest,
        same_model: pair.is_one_model(run, manifest),
        floor: run.version,
        since: switched - config.clock_skew - Duration::from_secs(1),
        except: Some(&run.run),
        tombstones_since: switched
            .checked_sub(TOMBSTONES)
            .unwrap_or(SystemTime::UNIX_EPOCH),
        dead: &DeadPoints::new(),
        tokenizer: &tokenizer,
    };
    let mut sum = Scan::default();
    for _ in 0..MOST_SCANS {
        let scan = catch_up.scan(None).await?;
        sum.add(scan);
        if scan.is_clean() {
            return Ok(sum);
        }
    }
    anyhow::bail!(
        "something still writes to `{}`; jobs must name the alias",
        run.generation
    )
}
