//! Settings of a rebuild.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use contract::names::CollectionName;
use points::options::{self, Next, OptionArgs};
use qdrant_client::qdrant::CollectionInfo;
use runtime::settings::{ConfigFault, identifier};

use crate::config::{ModelDir, Servers, report_fault};
use crate::corpus::{Chunking, source_faults};
use crate::generation::lock::{silence_fault, skew_fault};
use crate::generation::record::{key_fault, run_id_fault};
use crate::plan::Sizing;
use crate::retrieval::options::{Bm25Choice, SearchChoice, retrieval};
use documents::extract::ExtractOptions;
use documents::source::Format;

#[derive(Args, Clone, Debug)]
pub struct RebuildConfig {
    /// Files, directories, globs, and URLs of objects or prefixes: all that the alias is to hold
    #[arg(required_unless_present = "from_collection")]
    pub sources: Vec<String>,
    /// Alias or collection to take the documents from instead, with their chunks as they are stored there: to embed
    /// with another model what is not at hand any more
    #[arg(long, value_name = "COLLECTION", conflicts_with = "sources")]
    pub from_collection: Option<CollectionName>,
    /// Alias to rebuild
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub alias: CollectionName,
    /// Id of the run; by default made of the time. A run that is done is not done again
    #[arg(long, env = "EBB_RUN_ID", value_parser = identifier)]
    pub run_id: Option<String>,
    /// Go on with an unfinished run; it is done anyway as long as source and options are the same
    #[arg(long, conflicts_with = "fresh")]
    pub resume: bool,
    /// Give an unfinished run up and start anew
    #[arg(long)]
    pub fresh: bool,
    /// Embed everything again instead of copying the vectors of unchanged chunks
    #[arg(long)]
    pub full: bool,
    /// Generations to keep for a rollback
    #[arg(long, default_value_t = 2)]
    pub keep: usize,
    /// How far the clocks of publishers and workers may be behind this one: what was written so shortly before the
    /// start counts as written since
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub clock_skew: Duration,
    /// How long another process may be silent before its lease is taken over
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub lease: Duration,
    /// Longest time without any progress of the workers or of Qdrant; the run can be resumed afterwards
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    pub stall_limit: Duration,
    /// Pause between two looks at Qdrant while it builds the index; it has to be ready three times in a row
    #[arg(long, default_value = "5s", value_parser = humantime::parse_duration)]
    pub poll: Duration,
    /// File for the report as JSON
    #[arg(long)]
    pub report: Option<PathBuf>,
    /// Print the report as one JSON object
    #[arg(long)]
    pub json: bool,
    /// Change nothing; say what a run that starts anew would do, and what it would cost
    #[arg(long, conflicts_with = "report")]
    pub dry_run: bool,
    #[command(flatten)]
    pub bm25: Bm25Choice,
    #[command(flatten)]
    pub search: SearchChoice,
    #[command(flatten)]
    pub sizing: Sizing,
    #[command(flatten)]
    pub limits: Limits,
    #[command(flatten)]
    pub golden: Golden,
    #[command(flatten)]
    pub options: OptionArgs,
    #[command(flatten)]
    pub chunking: Chunking,
    #[command(flatten)]
    pub extract: ExtractOptions,
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

/// The limits of the gates.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Gates")]
pub struct Limits {
    /// Most chunks in dead letters of the run
    #[arg(long, default_value_t = 0)]
    pub max_dead_letters: u64,
    /// Most documents, records and files that cannot be read
    #[arg(long, default_value_t = 0)]
    pub max_refused: u64,
    /// Most documents in percent that the new generation may have less than the serving one
    #[arg(long, default_value_t = 20.0)]
    pub max_shrink: f64,
    /// Least recall of the index against an exact search, 0 to 1
    #[arg(long, default_value_t = 0.95)]
    pub min_recall: f64,
    /// Points to look at
    #[arg(long, default_value_t = 1000)]
    pub samples: usize,
}

/// Queries whose relevant documents are known.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Golden queries")]
pub struct Golden {
    /// Queries that must not find less than in the serving collection: JSON lines with `_id` and `text`
    #[arg(long, requires = "golden_qrels")]
    pub golden_queries: Option<PathBuf>,
    /// Their judgements: query id, document id and grade, separated by tabs
    #[arg(long, requires = "golden_queries")]
    pub golden_qrels: Vec<PathBuf>,
    /// Directory of the model of the serving collection, where it is another one; a worker must serve it
    #[arg(long, requires = "golden_queries")]
    pub golden_model: Option<PathBuf>,
    /// How much lower the mean nDCG@10 may be, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    pub max_regression: f64,
}

impl RebuildConfig {
    /// What the next generation is to be like, by what the serving collection is like. Without it the server decides.
    pub fn next_generation(
        &self,
        serving: &CollectionName,
        info: Option<&CollectionInfo>,
    ) -> anyhow::Result<Next> {
        let retrieval = retrieval(&self.bm25, &self.search, serving, info)?;
        let info = info.cloned().unwrap_or_default();
        let next = options::next_generation(&info, &self.options.options());
        Ok(next.with_retrieval(&info, &retrieval))
    }

    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        faults.extend(self.limits.faults());
        if !(0.0..=1.0).contains(&self.golden.max_regression) {
            faults.push(ConfigFault::new("--max-regression", "must be 0 to 1"));
        }
        faults.extend(self.options.faults());
        faults.extend(self.bm25.faults());
        faults.extend(self.search.faults(&self.bm25));
        faults.extend(self.chunking.faults());
        faults.extend(self.sizing.faults());
        faults.extend(silence_fault(self.lease));
        faults.extend(skew_fault(self.clock_skew));
        if self.sources.iter().any(|source| source == "-") {
            let problem = "standard input cannot be read again after a crash; give files";
            faults.push(ConfigFault::new("SOURCE", problem));
        }
        faults.extend(key_fault("--alias", self.alias.as_str()));
        let run_id = self.run_id.as_ref();
        faults.extend(run_id.and_then(|run| run_id_fault(&self.alias, run)));
        if self.from_collection.is_some() && self.chunking.is_set() {
            let problem = "chunks are taken as they are stored; leave --chunk-tokens, --overlap-tokens and \
                           --no-context out";
            faults.push(ConfigFault::new("--from-collection", problem));
        }
        faults.extend(source_faults(&self.sources, Format::Jsonl));
        faults.extend(report_fault(self.report.as_deref()));
        faults
    }
}

impl Limits {
    fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        if !(0.0..=100.0).contains(&self.max_shrink) {
            faults.push(ConfigFault::new("--max-shrink", "must be 0 to 100 percent"));
        }
        if !(0.0..=1.0).contains(&self.min_recall) {
            faults.push(ConfigFault::new("--min-recall", "must be 0 to 1"));
        }
        if self.samples == 0 {
            faults.push(ConfigFault::new("--samples", "must be at least 1"));
        }
        faults
    }
}
