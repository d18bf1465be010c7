//! Settings of a sync, and those that a plan shares with it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use contract::names::CollectionName;
use contract::topology::Priority;
use points::options::OptionArgs;
use runtime::settings::{ConfigFault, identifier};

use crate::config::{ModelDir, Servers, report_fault};
use crate::corpus::{Chunking, source_faults};
use crate::filter::PointFilter;
use crate::generation::lock::{silence_fault, skew_fault};
use crate::generation::record::{key_fault, run_id_fault};
use crate::plan::Sizing;
use documents::extract::ExtractOptions;
use documents::source::Format;

/// What is compared with what, and what may become of it.
#[derive(Args, Clone, Debug)]
pub struct Comparison {
    /// Files, directories, globs, and URLs of objects or prefixes: all that the alias is to hold
    #[arg(required = true)]
    pub sources: Vec<String>,
    /// Alias that is to hold it
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub alias: CollectionName,
    /// Points that the sources stand for, as a filter of Qdrant in JSON; no document outside of it is deleted
    #[arg(long)]
    pub filter: Option<PointFilter>,
    /// Most documents in percent that may be deleted
    #[arg(long, default_value_t = 20.0)]
    pub max_shrink: f64,
    /// Most documents, records and files that cannot be read; beyond it nothing is deleted
    #[arg(long, default_value_t = 0)]
    pub max_refused: u64,
    /// How far the clocks of publishers may be behind this one: what was written so shortly before the start counts as
    /// written since
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub clock_skew: Duration,
    /// Most bytes of a document's chunks to hold; a larger document is compared in one reading of its source and
    /// published in another
    #[arg(long, default_value_t = 16 << 20)]
    pub hold_bytes: usize,
    #[command(flatten)]
    pub chunking: Chunking,
    #[command(flatten)]
    pub extract: ExtractOptions,
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

#[derive(Args, Clone, Debug)]
pub struct SyncConfig {
    /// Lane of the jobs
    #[arg(long, value_enum, default_value_t = Priority::Bulk)]
    pub lane: Priority,
    /// Id of the run; by default made of the time. A run that is done is not done again
    #[arg(long, env = "EBB_RUN_ID", value_parser = identifier)]
    pub run_id: Option<String>,
    /// Change nothing; say what would be done, and what it would cost
    #[arg(long, conflicts_with = "report")]
    pub dry_run: bool,
    /// End when all jobs are published instead of when they are settled
    #[arg(long)]
    pub no_wait: bool,
    /// Most chunks and deletions in dead letters of the run
    #[arg(long, default_value_t = 0)]
    pub max_dead_letters: u64,
    /// How long another process may be silent before its lease is taken over
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub lease: Duration,
    /// Longest time without any progress of the workers
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    pub stall_limit: Duration,
    /// File for the report as JSON
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub comparison: Comparison,
    #[command(flatten)]
    pub sizing: Sizing,
}

#[derive(Args, Clone, Debug)]
pub struct PlanConfig {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub comparison: Comparison,
    #[command(flatten)]
    pub options: OptionArgs,
    #[command(flatten)]
    pub sizing: Sizing,
}

impl Comparison {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        faults.extend(self.chunking.faults());
        if !(0.0..=100.0).contains(&self.max_shrink) {
            faults.push(ConfigFault::new("--max-shrink", "must be 0 to 100 percent"));
        }
        if self.sources.iter().any(|source| source == "-") {
            let problem = "standard input cannot be read twice; give files";
            faults.push(ConfigFault::new("SOURCE", problem));
        }
        faults.extend(source_faults(&self.sources, Format::Jsonl));
        faults
    }
}

impl SyncConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.comparison.faults();
        faults.extend(self.sizing.faults());
        faults.extend(silence_fault(self.lease));
        faults.extend(skew_fault(self.comparison.clock_skew));
        let alias = &self.comparison.alias;
        faults.extend(key_fault("--alias", alias.as_str()));
        let run_id = self.run_id.as_ref();
        faults.extend(run_id.and_then(|run| run_id_fault(alias, run)));
        faults.extend(report_fault(self.report.as_deref()));
        faults
    }
}

impl PlanConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.comparison.faults();
        faults.extend(self.options.faults());
        faults.extend(self.sizing.faults());
        faults
    }
}
