//! Gc: drops the generations that nobody needs.
//!
//! Needed are: what an alias points to; what an unfinished run fills or copies from, or an unfinished rollback takes
//! along, of whichever alias it is; and as many previous generations as are to be kept for a rollback. Which run put a generation there is known
//! from its intent, recorded before the alias moved, so that a crash in between hides none. Collections that no run knows are none of ours and stay.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use contract::names::CollectionName;
use qdrant_client::Qdrant;
use runtime::settings::ConfigFault;
use serde::Serialize;

use crate::alias;
use crate::config::Servers;
use crate::lease::{Lease, Purpose, silence_fault};
use crate::run::{RunRecord, Runs};
use crate::run_id::key_fault;

/// Settings of `indexer gc`.
#[derive(Args, Clone, Debug)]
pub struct GcConfig {
    /// Alias whose generations are looked at
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub alias: CollectionName,
    /// Generations to keep for a rollback
    #[arg(long, default_value_t = 2)]
    pub keep: usize,
    /// Drop nothing, only say what would be dropped
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object per collection
    #[arg(long)]
    pub json: bool,
    /// How long another process may be silent before its lease is taken over
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub lease: Duration,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub servers: Servers,
}

/// What becomes of a generation, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// An alias points to it.
    Serving,
    /// It is kept for a rollback.
    Previous,
    /// An unfinished run needs it.
    InUse,
    /// No run knows it.
    Unknown,
    /// Nobody needs it.
    Drop,
}

/// A collection behind an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Generation {
    /// Its name.
    pub collection: CollectionName,
    /// What becomes of it.
    pub fate: Fate,
}

impl GcConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(key_fault("--alias", self.alias.as_str()));
        faults.extend(silence_fault(self.lease));
        faults
    }
}

/// Drops the generations of an alias that nobody needs; gives all of them with their fate.
///
/// # Errors
/// If a server cannot be asked or refuses.
pub async fn gc(config: &GcConfig) -> anyhow::Result<Vec<Generation>> {
    let jetstream = config.servers.jetstream().await?;
    let qdrant = config.servers.qdrant.client_to_write().await?;
    let runs = Runs::open(&jetstream).await?;
    if config.dry_run {
        return sort(&qdrant, &runs, &config.alias, config.keep).await;
    }
    // The alias must not move between the look at it and the drop.
    let lock = Lease::take(runs.bucket(), Purpose::Change, &config.alias, config.lease).await?;
    let dropped = async {
        let sorted = sort(&qdrant, &runs, &config.alias, config.keep).await?;
        for generation in sorted.iter().filter(|it| it.fate == Fate::Drop) {
            lock.check()?;
            drop_generation(&qdrant, &generation.collection).await?;
        }
        anyhow::Ok(sorted)
    };
    let dropped = dropped.await;
    lock.release().await;
    dropped
}

/// All generations of an alias with their fate.
pub(crate) async fn sort(
    qdrant: &Qdrant,
    runs: &Runs,
    alias: &CollectionName,
    keep: usize,
) -> anyhow::Result<Vec<Generation>> {
    let serving = alias::target(qdrant, alias).await?;
    let targets = alias::targets(qdrant).await?;
    let all = runs.all().await?.into_iter().map(|stored| stored.record);
    let (records, others): (Vec<_>, Vec<_>) = all.partition(|record| record.alias == *alias);
    let mut known = Known::of(&records, &serving, keep);
    let unfinished = others.into_iter().filter(RunRecord::is_unfinished);
    known
        .in_use
        .extend(unfinished.filter_map(|record| record.reads));
    let prefix = format!("{alias}--");
    let all = alias::collections(qdrant).await?;
    Ok(all
        .into_iter()
        .filter(|collection| collection.as_str().starts_with(&prefix))
        .map(|collection| Generation {
            fate: if targets.iter().any(|target| target == collection.as_str()) {
                Fate::Serving
            } else {
                known.fate(&collection)
            },
            collection,
        })
        .collect())
}

/// Drops a collection that no alias points to.
pub(crate) async fn drop_generation(
    qdrant: &Qdrant,
    collection: &CollectionName,
) -> anyhow::Result<()> {
    // Qdrant would drop the alias too.
    let targets = alias::targets(qdrant).await?;
    anyhow::ensure!(
        !targets.iter().any(|target| target == collection.as_str()),
        "an alias points to `{collection}`; it is not dropped"
    );
    let dropped = qdrant.delete_collection(collection.as_str()).await;
    dropped.with_context(|| format!("failed to drop collection `{collection}`"))?;
    Ok(())
}

/// The run that put a collection behind its alias.
pub(crate) fn run_of<'a>(
    records: &'a [RunRecord],
    collection: &CollectionName,
) -> Option<&'a RunRecord> {
    records
        .iter()
        .find(|record| record.generation == *collection && record.switched.is_some())
}

/// What the runs of an alias say about collections.
struct Known {
    all: BTreeSet<CollectionName>,
    in_use: BTreeSet<CollectionName>,
    previous: BTreeSet<CollectionName>,
}

impl Known {
    fn of(records: &[RunRecord], serving: &CollectionName, keep: usize) -> Self {
        let pair = |record: &RunRecord| [record.generation.clone(), record.serving.clone()];
        let unfinished = records
            .iter()
            .filter(|record| record.is_unfinished() || record.is_rolling_back());
        let mut previous = BTreeSet::new();
        let mut current = serving;
        for _ in 0..keep {
            let Some(run) = run_of(records, current) else {
                break;
            };
            current = &run.serving;
            previous.insert(current.clone());
        }
        let in_use =
            unfinished.flat_map(|record| pair(record).into_iter().chain(record.reads.clone()));
        Self {
            all: records.iter().flat_map(pair).collect(),
            in_use: in_use.collect(),
            previous,
        }
    }

    fn fate(&self, collection: &CollectionName) -> Fate {
        if self.in_use.contains(collection) {
            Fate::InUse
        } else if self.previous.contains(collection) {
            Fate::Previous
        } else if self.all.contains(collection) {
            Fate::Drop
        } else {
            Fate::Unknown
        }
    }
}
