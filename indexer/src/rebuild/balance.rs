//! Balance: waits for the jobs of the run, then compares what must be there with what is.
//!
//! expected = present + dead-lettered + superseded, each chunk counted once. Nothing is concluded while a job of the run
//! is left. Superseded are chunks of documents that a live write had replaced in the generation when the source was read:
//! none, unless an earlier process had come as far as the catch-up.

use points::Points;
use std::collections::HashMap;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use contract::field;
use contract::job::{Document, Job, Removal};
use contract::topology::{DLQ, Task};
use points::payload::number;
use points::point_id;
use qdrant_client::qdrant::{Condition, Filter};

use super::report::{Gate, PhaseReport, as_double};
use super::{Rebuild, say};
use crate::dlq::read::message_at;
use crate::dlq::select::{Selected, Selection};
use crate::dlq::stream;
use crate::progress::Progress;
use crate::run::Phase;
use crate::settle::{Awaited, Of};

/// Chunks that dead letters of a run were to make, by the ids of their points.
pub(crate) type DeadPoints = HashMap<String, DeadChunk>;

/// A chunk in a dead letter.
#[derive(Clone, Debug)]
pub(crate) struct DeadChunk {
    pub(crate) doc_id: String,
    pub(crate) version: u64,
}

/// Time between two counts of what is there.
const BETWEEN_COUNTS: Duration = Duration::from_secs(2);

impl Rebuild {
    /// Ends with the phase before it when jobs were lost with their stream: the source is read again then, once.
    pub(super) async fn balance(&mut self) -> anyhow::Result<(Phase, PhaseReport)> {
        self.own_jobs_settled_in_sight().await?;
        let dead = self.missing(&self.dead_points().await?).await?;
        self.judge_dead_letters(dead)?;
        let present = self.present().await?;
        let (expected, superseded) = (self.record().expected, self.record().superseded);
        let found = present + dead + superseded;
        let mut report = PhaseReport::new(Phase::Balanced);
        (report.chunks, report.dead_lettered) = (present, dead);
        report.tokens = self.published_tokens();
        let gate = Gate {
            name: "ledger".to_owned(),
            value: as_double(found),
            limit: as_double(expected),
            passed: found == expected,
            finding: format!(
                "{present} chunks present, {dead} dead-lettered and {superseded} superseded, {expected} expected"
            ),
        };
        if found < expected && !self.record().repeated {
            say(&format!("{}: reading the source again", gate.finding));
            self.stored.record.repeated = true;
            return Ok((Phase::Created, report));
        }
        self.judge(gate)?;
        Ok((Phase::Balanced, report))
    }

    /// Waits for the jobs of the run and shows how many chunks are there.
    async fn own_jobs_settled_in_sight(&self) -> anyhow::Result<()> {
        let progress = Progress::new("chunks present", self.record().expected);
        let mut settled = std::pin::pin!(self.own_jobs_settled());
        loop {
            tokio::select! {
                settled = &mut settled => {
                    progress.finish();
                    return settled;
                }
                () = tokio::time::sleep(BETWEEN_COUNTS) => progress.set(self.present().await?),
            }
        }
    }

    fn published_tokens(&self) -> u64 {
        let copied = self.record().phases.iter();
        copied
            .filter(|report| report.phase == Phase::Copied)
            .map(|report| report.published_tokens)
            .sum()
    }

    pub(super) fn judge_dead_letters(&mut self, dead: u64) -> anyhow::Result<()> {
        let limit = self.config.limits.max_dead_letters;
        let run = self.record().run.clone();
        self.judge(Gate {
            name: "dead letters".to_owned(),
            value: as_double(dead),
            limit: as_double(limit),
            passed: dead <= limit,
            finding: format!(
                "{dead} chunks are in dead letters, {limit} are allowed (--max-dead-letters); see `indexer dlq ls \
                 --run {run}`, replay them and run the rebuild again"
            ),
        })
    }

    /// Waits until no job of this run is left.
    pub(super) async fn own_jobs_settled(&self) -> anyhow::Result<()> {
        let state = self.jobs.get_info().await;
        let last = state
            .context("failed to look at the jobs")?
            .state
            .last_sequence;
        let awaited = Awaited {
            stream: &self.jobs,
            subject: &format!("jobs.{}.{}.*", Task::Embed.as_str(), self.manifest.name),
            first: self.record().first_sequence + 1,
            last,
            of: Of::Run(&self.record().run),
            stall_limit: self.config.stall_limit,
        };
        awaited.settled(|| self.lease.check()).await
    }

    /// The points that dead letters of this run were to make.
    pub(super) async fn dead_points(&self) -> anyhow::Result<DeadPoints> {
        dead_points(&self.jetstream, &self.record().run).await
    }

    /// How many of these points the generation does not have.
    pub(super) async fn missing(&self, points: &DeadPoints) -> anyhow::Result<u64> {
        missing(self.target(), self.record().version, points).await
    }

    /// Exact number of points of the source that this run has brought. What it has embedded of live writes has their
    /// versions.
    async fn present(&self) -> anyhow::Result<u64> {
        let run = Condition::matches(field::RUN, self.record().run.clone());
        let version = i64::try_from(self.record().version)?;
        let version = Condition::matches(field::VERSION, version);
        Ok(self.target().count(Filter::must([run, version])).await?)
    }
}

/// The points that dead letters of a run were to make, or to make tombstones.
pub(crate) async fn dead_points(
    jetstream: &jetstream::Context,
    run: &str,
) -> anyhow::Result<DeadPoints> {
    let dlq = stream(jetstream, DLQ).await?;
    let selection = Selection {
        run: Some(run.to_owned()),
        ..Selection::default()
    };
    let mut selected = Selected::open(dlq.clone(), selection).await?;
    let mut points = DeadPoints::new();
    while let Some(letter) = selected.next().await? {
        // Replayed or dropped meanwhile.
        let Some(message) = message_at(&dlq, letter.id).await? else {
            continue;
        };
        let job = Job::decode(&message.payload);
        match job.with_context(|| format!("dead letter {} is not a job", letter.id))? {
            Job::Embed(job) => points.extend(job.documents.iter().flat_map(chunks)),
            Job::Delete(job) => points.extend(job.documents.iter().map(head)),
            Job::Rescore(_) => {}
        }
    }
    Ok(points)
}

/// How many of these points a collection does not have at `version` or newer. A job may have died after some of its
/// points were written.
pub(crate) async fn missing(
    target: Points<'_>,
    version: u64,
    points: &DeadPoints,
) -> anyhow::Result<u64> {
    let ids = points.keys().map(String::as_str);
    let found = target.get(ids, &[field::VERSION], false).await?;
    let there = found
        .iter()
        .filter(|point| number(point, field::VERSION) >= version);
    Ok((points.len() - there.count()) as u64)
}

fn head(removal: &Removal) -> (String, DeadChunk) {
    let dead = DeadChunk {
        doc_id: removal.id.clone(),
        version: removal.version.unwrap_or(0),
    };
    (point_id(&removal.id, 0).to_string(), dead)
}

fn chunks(document: &Document) -> impl Iterator<Item = (String, DeadChunk)> {
    document.chunks.iter().map(|chunk| {
        let id = point_id(&document.id, chunk.index.unwrap_or(0)).to_string();
        let dead = DeadChunk {
            doc_id: document.id.clone(),
            version: document.version.unwrap_or(0),
        };
        (id, dead)
    })
}
