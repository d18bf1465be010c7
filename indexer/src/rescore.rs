//! Rescore: scores the points of a collection with a cross-encoder or a classifier.
//!
//! Points are read page by page and published as jobs on the bulk lane of the model; workers write the scores into
//! their payload. A run keeps its cursor, so that one that was interrupted goes on with `--run-id`: what it publishes
//! again is the same, byte by byte, and JetStream recognises it.

mod pack;
mod publish;
mod record;
mod report;
mod scroll;

use std::io::Write as _;

use clap::Args;
use contract::digest::Digest;
use contract::model::{Manifest, TOKENIZER};
use contract::names::{CollectionName, ReplyId};
use contract::score::ScoreField;
use contract::tokenizer::Tokenizer;
use contract::topology::Task;
use qdrant_client::Qdrant;
use runtime::failpoint;
use runtime::settings::ConfigFault;
use tokio::sync::mpsc;

use crate::clock::now_micros;
use crate::config::{ModelDir, Servers};
use crate::filter::PointFilter;
use crate::generation::alias;
use crate::jobs::JOB_TOKENS;
use crate::progress::Progress;
use pack::{Limits, RowPacker, Template};
use publish::publish;
use record::Purpose;
pub use report::{Counts, Rescored};
use scroll::{Measure, Ready, Scroll, Selection};

/// Jobs between the reader and the publisher.
const READ_AHEAD: usize = 8;

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
        if self
            .query
            .as_ref()
            .is_some_and(|query| query.trim().is_empty())
        {
            faults.push(ConfigFault::new("--query", "has no text"));
        }
        if self.job_tokens == 0 {
            faults.push(ConfigFault::new("--job-tokens", "must be at least 1"));
        }
        if let Err(problem) = failpoint::check() {
            faults.push(ConfigFault::new("EBB_FAILPOINTS", problem));
        }
        faults
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
    let qdrant = config.servers.qdrant.client()?;
    if config.dry_run {
        return count(config, &manifest, qdrant).await;
    }
    let run = config.run_id.clone().map_or_else(new_run, String::from);
    publish(config, &manifest, qdrant, run).await
}

/// The name of a run is needed to go on with it, even if the process is killed in the next moment.
fn new_run() -> String {
    let run = now_micros().to_string();
    // Nobody may be listening.
    drop(writeln!(
        std::io::stderr(),
        "run {run}; to go on with it if it is interrupted, add --run-id {run}"
    ));
    run
}

async fn count(
    config: &RescoreConfig,
    manifest: &Manifest,
    qdrant: Qdrant,
) -> anyhow::Result<Rescored> {
    let generation = alias::resolved(&qdrant, &config.collection).await?;
    let scroll = scroll(config, manifest, &generation, None)?;
    let progress = Progress::new("points", scroll.selection.count(&qdrant).await?);
    let (jobs, mut incoming) = mpsc::channel(READ_AHEAD);
    let reading = tokio::spawn(scroll.run(qdrant, jobs));
    let mut counts = Counts::default();
    while let Some(ready) = incoming.recv().await {
        counts.add(&counts_of(&ready));
        counts.jobs += 1;
        progress.set(counts.points);
    }
    counts.add(&reading.await??);
    progress.finish();
    Ok(rescored(
        config,
        manifest,
        (String::new(), generation),
        counts,
    ))
}

fn counts_of((packed, passed): &Ready) -> Counts {
    Counts {
        points: packed.points,
        tokens: packed.tokens,
        too_long: packed.too_long,
        ..*passed
    }
}

fn purpose(config: &RescoreConfig, manifest: &Manifest) -> Purpose {
    let query = config.query.as_ref();
    Purpose {
        collection: config.collection.clone(),
        fingerprint: manifest.fingerprint.clone(),
        query: query.map(|query| Digest::of(query.as_bytes())),
        filter: config.filter.as_ref().map(|filter| filter.text.clone()),
        field: field(config, manifest),
        job_tokens: config.job_tokens,
    }
}

fn field(config: &RescoreConfig, manifest: &Manifest) -> String {
    let default = || ScoreField::of(&manifest.name);
    config.field.clone().unwrap_or_else(default).to_string()
}

fn scroll(
    config: &RescoreConfig,
    manifest: &Manifest,
    generation: &CollectionName,
    run_and_cursor: Option<(String, Option<String>)>,
) -> anyhow::Result<Scroll> {
    let (run, cursor) = run_and_cursor.unzip();
    let template = Template {
        run,
        collection: generation.clone(),
        field: config.field.clone(),
    };
    let limits = Limits {
        job_tokens: config.job_tokens,
        row_tokens: manifest.identity.max_tokens,
    };
    Ok(Scroll {
        selection: Selection {
            collection: generation.clone(),
            filter: config.filter.as_ref().map(|filter| filter.filter.clone()),
        },
        measure: Measure {
            tokenizer: Tokenizer::load(&config.model.model.join(TOKENIZER))?,
            prefixes: manifest.identity.prefixes.clone(),
            max_tokens: manifest.identity.max_tokens,
            query: config.query.clone(),
        },
        packer: RowPacker::new(template, limits),
        cursor: cursor.flatten(),
    })
}

fn rescored(
    config: &RescoreConfig,
    manifest: &Manifest,
    (run, collection): (String, CollectionName),
    counts: Counts,
) -> Rescored {
    Rescored {
        run,
        collection,
        field: field(config, manifest),
        dry_run: config.dry_run,
        counts,
    }
}
