//! Rescore: scores the points of a collection with a cross-encoder or a classifier.
//!
//! Points are read page by page and published as jobs on the bulk lane of the model; workers write the scores into
//! their payload. A run keeps its cursor, so that one that was interrupted goes on with `--run-id`: what it publishes
//! again is the same, byte by byte, and JetStream recognises it.

mod pack;
mod record;
mod scroll;

use std::collections::VecDeque;
use std::io::{self, Write};

use anyhow::Context as _;
use async_nats::jetstream;
use clap::Args;
use contract::digest::Digest;
use contract::model::Manifest;
use contract::names::{CollectionName, ReplyId};
use contract::score::ScoreField;
use contract::topology::{Lane, Priority, Task};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use points::Qdrant;
use runtime::failpoint;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::clock::now_micros;
use crate::config::{ModelDir, Servers, failpoint_fault};
use crate::filter::PointFilter;
use crate::generation::alias;
use crate::jobs::JOB_TOKENS;
use crate::jobs::store::{NotStored, store};
use crate::outcome::{Outcome, write_counts};
use crate::progress::{Progress, note};
use pack::{Limits, RowPacker, Template};
use record::{HeldRecord, Purpose};
use scroll::{Measure, Ready, Scroll, Selection};

/// Jobs between the reader and the publisher.
const READ_AHEAD: usize = 8;
/// Jobs that wait for their acknowledgement at any time.
const WINDOW: usize = 64;
/// Jobs between two saved cursors.
const JOBS_PER_SAVE: u64 = 16;

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
        faults.extend(failpoint_fault());
        faults
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Points in jobs.
    pub points: u64,
    /// Tokens of their texts or pairs.
    pub tokens: u64,
    /// Jobs that JetStream has stored.
    pub jobs: u64,
    /// Jobs that it had stored before.
    pub duplicates: u64,
    /// Points with more tokens than the model takes, each in a job of its own.
    pub too_long: u64,
    /// Points without text.
    pub without_text: u64,
    /// Points that fit no job.
    pub too_large: u64,
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

impl Counts {
    fn add(&mut self, other: &Self) {
        self.points += other.points;
        self.tokens += other.tokens;
        self.jobs += other.jobs;
        self.duplicates += other.duplicates;
        self.too_long += other.too_long;
        self.without_text += other.without_text;
        self.too_large += other.too_large;
    }
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

impl Counts {
    fn remarks(&self) -> [(u64, &'static str); 4] {
        [
            (self.duplicates, "jobs were stored already"),
            (
                self.too_long,
                "points have more tokens than the model takes; workers refuse or cut them, by their --too-long",
            ),
            (
                self.without_text,
                "points have no text and were passed over",
            ),
            (self.too_large, "points fit no job and were refused"),
        ]
    }
}

struct Rescoring<'a> {
    config: &'a RescoreConfig,
    manifest: Manifest,
    qdrant: Qdrant,
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
    let rescoring = Rescoring {
        config,
        manifest,
        qdrant: config.servers.qdrant_to_read().await?,
    };
    if config.dry_run {
        return rescoring.count().await;
    }
    let run = config.run_id.clone().map_or_else(new_run, String::from);
    rescoring.publish(run).await
}

/// The name of a run is needed to go on with it, even if the process is killed in the next moment.
fn new_run() -> String {
    let run = now_micros().to_string();
    note(&format!(
        "run {run}; to go on with it if it is interrupted, add --run-id {run}"
    ));
    run
}

impl Rescoring<'_> {
    async fn count(self) -> anyhow::Result<Rescored> {
        let generation = alias::resolved(&self.qdrant, &self.config.collection).await?;
        let scroll = self.scroll(&generation)?;
        let progress = Progress::new("points", scroll.selection.count(&self.qdrant).await?);
        let (jobs, mut incoming) = mpsc::channel(READ_AHEAD);
        let reading = tokio::spawn(scroll.run(self.qdrant.clone(), jobs));
        let mut counts = Counts::default();
        while let Some(ready) = incoming.recv().await {
            counts.add(&counts_of(&ready));
            counts.jobs += 1;
            progress.set(counts.points);
        }
        counts.add(&reading.await??);
        progress.finish();
        Ok(self.rescored(String::new(), generation, counts))
    }

    async fn publish(self, run: String) -> anyhow::Result<Rescored> {
        let jetstream = self.config.servers.jetstream().await?;
        let current = alias::resolved(&self.qdrant, &self.config.collection).await?;
        let mut held = HeldRecord::open(&jetstream, &run, self.purpose(), current).await?;
        let generation = held.record().generation.clone();
        if !held.record().finished {
            let interrupted =
                || format!("run {run} was interrupted; to go on with it, add --run-id {run}");
            let mut scroll = self.scroll(&generation)?;
            scroll.packer.begin(&run);
            scroll.cursor.clone_from(&held.record().cursor);
            let progress = Progress::new("points", scroll.selection.count(&self.qdrant).await?);
            let (jobs, incoming) = mpsc::channel(READ_AHEAD);
            let reading = tokio::spawn(scroll.run(self.qdrant.clone(), jobs));
            let stored = self.send_all(&jetstream, &mut held, incoming, &progress);
            let mut counts = stored.await.with_context(interrupted)?;
            counts.add(&reading.await?.with_context(interrupted)?);
            held.save(None, counts, true).await?;
            progress.finish();
        }
        let counts = held.record().counts;
        Ok(self.rescored(run, generation, counts))
    }

    /// Publishes what is read, a window of jobs at a time, and saves the cursor now and then: the first point of the
    /// oldest job that is not known to be stored.
    async fn send_all(
        &self,
        jetstream: &jetstream::Context,
        held: &mut HeldRecord,
        mut incoming: mpsc::Receiver<Ready>,
        progress: &Progress,
    ) -> anyhow::Result<Counts> {
        let lane = Lane::new(Task::Rescore, self.manifest.name.clone(), Priority::Bulk);
        let subject = lane.subject();
        let mut counts = held.record().counts;
        let (mut window, mut firsts) = (FuturesOrdered::new(), VecDeque::new());
        let mut open = true;
        while open || !window.is_empty() {
            tokio::select! {
                Some(stored) = window.next() => {
                    counts.add(&stored?);
                    firsts.pop_front();
                    progress.set(counts.points);
                    failpoint::pass("rescore-stored");
                    let due = (counts.jobs + counts.duplicates).is_multiple_of(JOBS_PER_SAVE);
                    if let (true, Some(first)) = (due, firsts.front()) {
                        held.save(Some(String::clone(first)), counts, false).await?;
                        failpoint::pass("rescore-saved");
                    }
                }
                ready = incoming.recv(), if open && window.len() < WINDOW => match ready {
                    Some(ready) => {
                        firsts.push_back(ready.0.first.clone());
                        window.push_back(send(jetstream, &subject, ready));
                    }
                    None => open = false,
                },
            }
        }
        Ok(counts)
    }

    fn purpose(&self) -> Purpose {
        let config = self.config;
        let query = config.query.as_ref();
        Purpose {
            collection: config.collection.clone(),
            fingerprint: self.manifest.fingerprint.clone(),
            query: query.map(|query| Digest::of(query.as_bytes())),
            filter: config.filter.as_ref().map(|filter| filter.text.clone()),
            field: self.field(),
            job_tokens: config.job_tokens,
        }
    }

    fn field(&self) -> String {
        let default = || ScoreField::of(&self.manifest.name);
        let field = self.config.field.clone();
        field.unwrap_or_else(default).to_string()
    }

    /// From the first point of a collection, for no run.
    fn scroll(&self, generation: &CollectionName) -> anyhow::Result<Scroll> {
        let (config, identity) = (self.config, &self.manifest.identity);
        let template = Template {
            run: None,
            collection: generation.clone(),
            field: config.field.clone(),
        };
        let limits = Limits {
            job_tokens: config.job_tokens,
            row_tokens: identity.max_tokens,
        };
        Ok(Scroll {
            selection: Selection {
                collection: generation.clone(),
                filter: config.filter.as_ref().map(|filter| filter.filter.clone()),
            },
            measure: Measure {
                tokenizer: self.manifest.tokenizer(&config.model.model)?,
                prefixes: identity.prefixes.clone(),
                max_tokens: identity.max_tokens,
                query: config.query.clone(),
            },
            packer: RowPacker::new(template, limits),
            cursor: None,
        })
    }

    fn rescored(&self, run: String, collection: CollectionName, counts: Counts) -> Rescored {
        Rescored {
            run,
            collection,
            field: self.field(),
            dry_run: self.config.dry_run,
            counts,
        }
    }
}

fn counts_of((packed, passed): &Ready) -> Counts {
    Counts {
        points: packed.points,
        tokens: packed.tokens,
        too_long: packed.too_long,
        ..*passed
    }
}

async fn send(
    jetstream: &jetstream::Context,
    subject: &str,
    ready: Ready,
) -> Result<Counts, NotStored> {
    let mut counts = counts_of(&ready);
    let tokens = usize::try_from(counts.tokens).unwrap_or(usize::MAX);
    let duplicate = store(jetstream, subject, &ready.0.job, tokens).await?;
    counts.jobs = u64::from(!duplicate);
    counts.duplicates = u64::from(duplicate);
    Ok(counts)
}
