//! Rescore: scores the points of a collection with a cross-encoder or a classifier.
//!
//! Points are read page by page and published as jobs on the bulk lane of the model; workers write the scores into
//! their payload (`additions`). A run that was interrupted goes on with `--run-id`.

use std::io::{self, Write};

use clap::Args;
use contract::names::{CollectionName, ReplyId};
use contract::score::ScoreField;
use contract::topology::Task;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

pub use crate::additions::Counts;
use crate::additions::Order;
use crate::additions::pack::Destination;
use crate::additions::record::HeldRecord;
use crate::clock::now_micros;
use crate::config::{ModelDir, Servers};
use crate::filter::PointFilter;
use crate::generation::alias;
use crate::jobs::JOB_TOKENS;
use crate::outcome::{Outcome, write_counts};
use crate::progress::note;

#[derive(Args, Clone, Debug)]
pub struct RescoreConfig {
    /// Alias or collection whose points are scored
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub collection: CollectionName,
    /// Query of each pair; left out for a classifier
    #[arg(long)]
    pub query: Option<String>,
    /// Points to score, in the JSON of Qdrant's filters: must, should, must_not; match, range, is_empty, is_null, has_id
    #[arg(long)]
    pub filter: Option<PointFilter>,
    /// Payload field that takes the scores; by default `scores.` with the name of the model
    #[arg(long)]
    pub field: Option<ScoreField>,
    /// Name of the run; that of an interrupted run goes on with it
    #[arg(long)]
    pub run_id: Option<ReplyId>,
    /// Tokens of a job
    #[arg(long, default_value_t = JOB_TOKENS)]
    pub job_tokens: usize,
    /// Read and count, publish nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

impl RescoreConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        let query = self.query.as_ref();
        if query.is_some_and(|query| query.trim().is_empty()) {
            faults.push(ConfigFault::new("--query", "has no text"));
        }
        if self.job_tokens == 0 {
            faults.push(ConfigFault::new("--job-tokens", "must be at least 1"));
        }
        faults
    }
}

/// What a run did, from its start on.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Rescored {
    pub run: String,
    pub collection: CollectionName,
    /// Field that takes the scores.
    pub field: String,
    pub dry_run: bool,
    #[serde(flatten)]
    pub counts: Counts,
}

impl Outcome for Rescored {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Counts {
            points,
            tokens,
            jobs,
            ..
        } = self.counts;
        let verb = match self.dry_run {
            true => "would publish",
            false => "published",
        };
        let (collection, field) = (&self.collection, &self.field);
        writeln!(
            out,
            "{verb} {points} points of {collection} for {field}: {tokens} tokens, {jobs} jobs"
        )?;
        write_counts(&self.counts.remarks(), out)
    }

    fn is_failure(&self) -> bool {
        self.counts.too_large > 0
    }
}

/// Publishes the points of a collection as jobs, or only counts them.
///
/// # Errors
/// If a server cannot be reached, the model is no rescorer, or the run was started for something else.
pub async fn rescore(config: &RescoreConfig) -> anyhow::Result<Rescored> {
    let manifest = config.model.manifest()?;
    anyhow::ensure!(
        manifest.identity.task == Task::Rescore,
        "model `{}` is an embedding model; scores need a rescorer",
        manifest.name
    );
    let qdrant = config.servers.qdrant_to_read().await?;
    let current = alias::resolved(&qdrant, &config.collection).await?;
    let mut order = Order {
        manifest: &manifest,
        model: &config.model,
        addressed: current.clone(),
        filter: config.filter.as_ref().map(|filter| filter.filter.clone()),
        query: config.query.clone(),
        place: Destination::Score(config.field.clone()),
        job_tokens: config.job_tokens,
    };
    let field = order.place.name(&manifest.name);
    let rescored = |run, collection, counts| Rescored {
        run,
        collection,
        field,
        dry_run: config.dry_run,
        counts,
    };
    if config.dry_run {
        let counts = order.count(&qdrant, &current).await?;
        return Ok(rescored(String::new(), current, counts));
    }
    let run = config.run_id.clone().map_or_else(new_run, String::from);
    let jetstream = config.servers.jetstream().await?;
    let filter = config.filter.as_ref().map(|filter| filter.text.clone());
    let purpose = order.purpose(&config.collection, filter);
    let mut held = HeldRecord::open(&jetstream, &run, purpose, current).await?;
    let generation = held.record().generation.clone();
    order.addressed = generation.clone();
    let again = format!("to go on with it, add --run-id {run}");
    let counts = order
        .publish(&qdrant, &jetstream, &mut held, &again)
        .await?;
    Ok(rescored(run, generation, counts))
}

/// The name of a run is needed to go on with it, even if the process is killed in the next moment.
fn new_run() -> String {
    let run = now_micros().to_string();
    note(&format!(
        "run {run}; to go on with it if it is interrupted, add --run-id {run}"
    ));
    run
}
