//! Additions: publishes the points of a collection as jobs for a model that adds something to them, a score or a vector.
//!
//! Points are read page by page and published on a lane of the model; its workers write what they make beside the points,
//! on condition that these still have the version and the text that was read. A run keeps its cursor, so that one that was interrupted
//! goes on from there: what it publishes again is the same, byte by byte, and JetStream recognises it.

pub mod pack;
pub mod record;
pub mod scroll;

use std::collections::VecDeque;

use anyhow::Context as _;
use async_nats::jetstream;
use contract::digest::Digest;
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::topology::{Lane, Priority};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use points::Qdrant;
use qdrant_client::qdrant::Filter;
use runtime::failpoint;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::config::ModelDir;
use crate::jobs::await_room::{LaneRoom, STALL_LIMIT};
use crate::jobs::store::{NotStored, store};
use crate::progress::Progress;
use pack::{Destination, Limits, RowPacker, Template};
use record::{HeldRecord, Purpose};
use scroll::{Measure, Ready, Scroll, Selection};

/// Jobs between the reader and the publisher.
const READ_AHEAD: usize = 8;
/// Jobs that wait for their acknowledgement at any time.
const WINDOW: usize = 64;
/// Jobs between two saved cursors.
const JOBS_PER_SAVE: u64 = 16;

/// Which points are read, by which model, and where the results are written.
#[derive(Clone, Debug)]
pub struct Order<'a> {
    pub manifest: &'a Manifest,
    pub model: &'a ModelDir,
    /// Alias or collection that the jobs name.
    pub addressed: CollectionName,
    /// Which points are read, but for tombstones.
    pub filter: Option<Filter>,
    pub query: Option<String>,
    pub place: Destination,
    pub job_tokens: usize,
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

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.points += other.points;
        self.tokens += other.tokens;
        self.jobs += other.jobs;
        self.duplicates += other.duplicates;
        self.too_long += other.too_long;
        self.without_text += other.without_text;
        self.too_large += other.too_large;
    }

    pub fn remarks(&self) -> [(u64, &'static str); 4] {
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

impl Order<'_> {
    /// Counts what would be published of a collection.
    pub async fn count(
        &self,
        qdrant: &Qdrant,
        generation: &CollectionName,
    ) -> anyhow::Result<Counts> {
        let scroll = self.scroll(generation)?;
        let progress = Progress::new("points", scroll.selection.count(qdrant).await?);
        let (jobs, mut incoming) = mpsc::channel(READ_AHEAD);
        let reading = tokio::spawn(scroll.run(qdrant.clone(), jobs));
        let mut counts = Counts::default();
        while let Some(ready) = incoming.recv().await {
            counts.add(&counts_of(&ready));
            counts.jobs += 1;
            progress.set(counts.points);
        }
        counts.add(&reading.await??);
        progress.finish();
        Ok(counts)
    }

    /// Publishes what is left of a run. `again` says how to go on with it if it is interrupted.
    pub async fn publish(
        &self,
        qdrant: &Qdrant,
        jetstream: &jetstream::Context,
        held: &mut HeldRecord,
        again: &str,
    ) -> anyhow::Result<Counts> {
        if !held.record().finished {
            let interrupted = || format!("the run was interrupted; {again}");
            let mut scroll = self.scroll(&held.record().generation)?;
            scroll.packer.begin(&held.record().run);
            scroll.cursor.clone_from(&held.record().cursor);
            let progress = Progress::new("points", scroll.selection.count(qdrant).await?);
            let (jobs, incoming) = mpsc::channel(READ_AHEAD);
            let reading = tokio::spawn(scroll.run(qdrant.clone(), jobs));
            let stored = self.send_all(jetstream, held, incoming, &progress);
            let mut counts = stored.await.with_context(interrupted)?;
            counts.add(&reading.await?.with_context(interrupted)?);
            held.save(None, counts, true).await?;
            progress.finish();
        }
        Ok(held.record().counts)
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
        let room = LaneRoom::new(self.lane());
        let subject = room.lane().subject();
        let mut counts = held.record().counts;
        let (mut window, mut firsts) = (FuturesOrdered::new(), VecDeque::new());
        let (mut open, mut waiting) = (true, None::<Ready>);
        while open || !window.is_empty() || waiting.is_some() {
            // What was sent is stored before anything is waited for: JetStream knows it for some minutes only.
            if let Some(ready) = waiting.take_if(|_| window.is_empty()) {
                let first = Some(ready.0.first.clone());
                let save = async || held.save(first.clone(), counts, false).await;
                room.wait(jetstream, STALL_LIMIT, save).await?;
                firsts.push_back(ready.0.first.clone());
                window.push_back(send(jetstream, &subject, ready));
                continue;
            }
            tokio::select! {
                Some(stored) = window.next() => {
                    counts.add(&stored?);
                    firsts.pop_front();
                    progress.set(counts.points);
                    failpoint::pass("addition-stored");
                    let due = (counts.jobs + counts.duplicates).is_multiple_of(JOBS_PER_SAVE);
                    if let (true, Some(first)) = (due, firsts.front()) {
                        held.save(Some(String::clone(first)), counts, false).await?;
                        failpoint::pass("addition-saved");
                    }
                }
                ready = incoming.recv(), if open && waiting.is_none() && window.len() < WINDOW => match ready {
                    Some(ready) if !room.is_there(jetstream).await => waiting = Some(ready),
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

    /// The lane on which the jobs are published.
    pub fn lane(&self) -> Lane {
        let identity = &self.manifest.identity;
        Lane::new(identity.task, self.manifest.name.clone(), Priority::Bulk)
    }

    /// What a run of this order is about. `filter` is as it was typed.
    pub fn purpose(&self, collection: &CollectionName, filter: Option<String>) -> Purpose {
        let query = self.query.as_ref();
        Purpose {
            collection: collection.clone(),
            fingerprint: self.manifest.fingerprint.clone(),
            query: query.map(|query| Digest::of(query.as_bytes())),
            filter,
            field: self.place.name(&self.manifest.name),
            job_tokens: self.job_tokens,
        }
    }

    /// A scroll from the first point of a collection, which belongs to no run.
    fn scroll(&self, generation: &CollectionName) -> anyhow::Result<Scroll> {
        let identity = &self.manifest.identity;
        let template = Template {
            run: None,
            collection: self.addressed.clone(),
            place: self.place.clone(),
        };
        let limits = Limits {
            job_tokens: self.job_tokens,
            row_tokens: identity.max_tokens,
        };
        Ok(Scroll {
            selection: Selection {
                collection: generation.clone(),
                filter: self.filter.clone(),
            },
            measure: Measure {
                tokenizer: Some(self.manifest.tokenizer(&self.model.model)?),
                prefixes: identity.prefixes.clone(),
                max_tokens: identity.max_tokens,
                query: self.query.clone(),
                with_heads: matches!(self.place, Destination::Vector { .. }),
            },
            packer: RowPacker::new(template, limits),
            cursor: None,
        })
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
