//! Gc: drops the generations that nobody needs.

use std::time::Duration;

use clap::Args;
use contract::names::CollectionName;
use runtime::settings::ConfigFault;

use crate::config::Servers;
use crate::generation::lock::{Lock, Purpose, silence_fault};
use crate::generation::record::{Runs, key_fault};
pub use crate::generation::retire::{Fate, Generation};
use crate::generation::retire::{all_with_fate, retire};

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
    pub servers: Servers,
}

impl GcConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(key_fault("--alias", self.alias.as_str()));
        faults.extend(silence_fault(self.lease));
        faults
    }
}

/// Drops the generations of an alias that nobody needs; gives all of them with their fate.
pub async fn gc(config: &GcConfig) -> anyhow::Result<Vec<Generation>> {
    let jetstream = config.servers.jetstream().await?;
    let qdrant = config.servers.qdrant_to_write().await?;
    let runs = Runs::open(&jetstream).await?;
    if config.dry_run {
        return all_with_fate(&qdrant, &runs, &config.alias, config.keep).await;
    }
    let (bucket, silence) = (runs.bucket(), config.lease);
    Lock::holding(
        bucket,
        Purpose::Change,
        &config.alias,
        silence,
        async |lock| retire(&qdrant, &runs, &config.alias, config.keep, lock).await,
    )
    .await
}
