//! Provision: makes NATS and Qdrant be what the contract says. The only program that creates anything.
//!
//! Each thing is looked up, compared with what it should be, and created or updated if it differs. Running it twice
//! changes nothing; with `--check` it never changes anything and only reports.

mod await_replicas;
pub(crate) mod collections;
pub(crate) mod streams;

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use contract::names::CollectionName;
use contract::topology::{DEFAULT_BATCH_JOBS, MIN_ACK_WAIT, Task};
use points::limits::UnfitSetting;
use points::options::OptionArgs;
use queue::streams::{ConsumerSizes, Sizes};
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::{ModelDir, Servers};
use crate::outcome::Outcome;
use crate::retrieval::options::{Bm25Choice, SearchChoice};
use crate::{decisions, fleet};

#[derive(Args, Clone, Debug)]
pub struct ProvisionConfig {
    /// Change nothing; exit with 1 if anything would change
    #[arg(long)]
    pub check: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub installation: Installation,
    #[command(flatten)]
    pub bm25: Bm25Choice,
    #[command(flatten)]
    pub search: SearchChoice,
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

/// The streams, consumers, buckets and collections that are to be there, and their sizes.
#[derive(Args, Clone, Debug)]
pub struct Installation {
    /// Aliases that are to be there, separated by commas; `provision` makes a missing one, with an empty collection behind
    /// it
    #[arg(
        long,
        env = "EBB_COLLECTIONS",
        default_value = "docs",
        value_delimiter = ','
    )]
    pub collections: Vec<CollectionName>,
    /// The streams and the lanes of the model alone, and no collection: for a model that is attached, or to be attached, to
    /// the collections of another one
    #[arg(long, env = "EBB_LANES")]
    pub lanes: bool,
    /// Replicas of each stream: 1 on a single server, 3 in a cluster
    #[arg(long, env = "EBB_REPLICAS", default_value_t = 1)]
    pub replicas: usize,
    /// Largest backlog in bytes; publishing beyond it is refused
    #[arg(long, env = "EBB_JOBS_MAX_BYTES", default_value_t = 20 << 30)]
    pub jobs_max_bytes: i64,
    /// Most workers that will pull at the same time; with --batch-jobs it bounds the jobs in flight
    #[arg(long, env = "EBB_MAX_WORKERS", default_value_t = decisions::MAX_WORKERS)]
    pub max_workers: u32,
    /// How long a worker may be silent about a job before another one gets it; above the workers' --grace
    #[arg(long, env = "EBB_ACK_WAIT", default_value = "60s", value_parser = humantime::parse_duration)]
    pub ack_wait: Duration,
    /// Most jobs of a worker's pull, as its --batch-jobs
    #[arg(long, env = "EBB_BATCH_JOBS", default_value_t = DEFAULT_BATCH_JOBS)]
    pub batch_jobs: u16,
    #[command(flatten)]
    pub options: OptionArgs,
}

/// The result for one thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Step {
    /// What it is, like stream `JOBS`.
    pub subject: String,
    /// How it differs from what it should be.
    pub change: Change,
}

/// How a thing differs from what it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Change {
    /// Nothing differs.
    None,
    /// The thing is not there.
    Create,
    /// These fields differ: name, found, wanted.
    Update(Vec<(String, String, String)>),
    /// These settings leave no room for what Ebb does, and are for the operator to change.
    Unfit(Vec<UnfitSetting>),
    /// These fields differ, and only a rebuild changes them: name, found, wanted.
    Rebuild(Vec<(String, String, String)>),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.change {
            Change::None => write!(f, "  {}", self.subject),
            Change::Create => write!(f, "+ {}", self.subject),
            Change::Update(fields) => {
                write!(f, "~ {}", self.subject)?;
                write_fields(f, fields)
            }
            Change::Rebuild(fields) => {
                write!(f, "! {}; `indexer rebuild` changes them", self.subject)?;
                write_fields(f, fields)
            }
            Change::Unfit(unfit) => {
                write!(f, "! {}", self.subject)?;
                unfit
                    .iter()
                    .try_for_each(|unfit| write!(f, "\n      {unfit}"))
            }
        }
    }
}

fn write_fields(f: &mut fmt::Formatter<'_>, fields: &[(String, String, String)]) -> fmt::Result {
    fields
        .iter()
        .try_for_each(|(name, found, wanted)| write!(f, "\n      {name}: {found} -> {wanted}"))
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Provisioned {
    pub steps: Vec<Step>,
    /// Whether nothing was changed, because that was asked for.
    pub check: bool,
}

impl Provisioned {
    /// Things that differ and that provisioning changes.
    fn changed(&self) -> usize {
        let changes = self.steps.iter().map(|step| &step.change);
        let changed = changes.filter(|it| matches!(it, Change::Create | Change::Update(_)));
        changed.count()
    }

    /// Things that only the operator can change.
    fn unfit(&self) -> usize {
        let changes = self.steps.iter().map(|step| &step.change);
        changes.filter(|it| matches!(it, Change::Unfit(_))).count()
    }

    fn takes_rebuild(&self) -> bool {
        let mut changes = self.steps.iter().map(|step| &step.change);
        changes.any(|it| matches!(it, Change::Rebuild(_)))
    }
}

impl Outcome for Provisioned {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for step in &self.steps {
            writeln!(out, "{step}")?;
        }
        let unfit = self.unfit();
        if unfit > 0 {
            writeln!(out, "{unfit} must be changed by hand: see the lines with !")?;
        }
        match (self.changed(), self.check) {
            (0, _) if unfit > 0 => Ok(()),
            (0, _) if self.takes_rebuild() => {
                writeln!(out, "everything else is as it should be")
            }
            (0, _) => writeln!(out, "everything is as it should be"),
            (changed, true) => writeln!(out, "{changed} differ; run `indexer provision`"),
            (changed, false) => writeln!(out, "{changed} changed"),
        }
    }

    fn is_failure(&self) -> bool {
        self.check && (self.changed() + self.unfit() > 0 || self.takes_rebuild())
    }
}

impl ProvisionConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        faults.extend(self.installation.faults());
        faults.extend(self.bm25.faults());
        faults.extend(self.search.faults(&self.bm25));
        faults
    }
}

impl Installation {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let positive = [
            ("--jobs-max-bytes", self.jobs_max_bytes),
            ("--max-workers", i64::from(self.max_workers)),
            ("--batch-jobs", i64::from(self.batch_jobs)),
        ];
        let bad = positive.into_iter().filter(|(_, value)| *value < 1);
        let mut faults: Vec<_> = bad
            .map(|(setting, _)| ConfigFault::new(setting, "must be at least 1"))
            .collect();
        faults.extend(self.options.faults());
        if ![1, 3, 5].contains(&self.replicas) {
            faults.push(ConfigFault::new("--replicas", "must be 1, 3 or 5"));
        }
        if self.ack_wait < MIN_ACK_WAIT {
            let problem = format!("must be at least {MIN_ACK_WAIT:?}");
            faults.push(ConfigFault::new("--ack-wait", problem));
        }
        faults
    }

    fn sizes(&self) -> Sizes {
        Sizes {
            replicas: self.replicas,
            jobs_max_bytes: self.jobs_max_bytes,
        }
    }

    fn consumer_sizes(&self) -> ConsumerSizes {
        let in_flight = fleet::in_flight(u64::from(self.batch_jobs));
        let pending = fleet::max_ack_pending(u64::from(self.max_workers), in_flight);
        ConsumerSizes {
            ack_wait: self.ack_wait,
            max_ack_pending: i64::try_from(pending).unwrap_or(i64::MAX).max(1),
            replicas: self.replicas,
        }
    }
}

/// Compares, and unless `--check` is given, creates and updates.
pub async fn provision(config: &ProvisionConfig) -> anyhow::Result<Provisioned> {
    let manifest = config.model.manifest()?;
    if manifest.identity.task == Task::Embed && !config.installation.lanes {
        manifest.check_primary()?;
    }
    let jetstream = config.servers.jetstream().await?;
    let mut steps = streams::provision(config, &jetstream, &manifest).await?;
    // A rescorer has no vectors: its scores go to the points of others.
    if manifest.identity.task != Task::Rescore && !config.installation.lanes {
        config.installation.options.options().suit(&manifest)?;
        let qdrant = config.servers.qdrant_to_write().await?;
        config.search.check_server(&qdrant).await?;
        steps.extend(collections::provision(config, &qdrant, &manifest).await?);
    }
    let check = config.check;
    Ok(Provisioned { steps, check })
}
