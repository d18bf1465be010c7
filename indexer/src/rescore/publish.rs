//! Publish: sends the jobs of a run, and remembers how far it is.

use std::collections::VecDeque;

use anyhow::Context as _;
use async_nats::jetstream;
use contract::model::Manifest;
use contract::topology::{Lane, Priority, Task};
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use qdrant_client::Qdrant;
use runtime::failpoint;
use tokio::sync::mpsc;

use super::record::HeldRecord;
use super::report::{Counts, Rescored};
use super::scroll::Ready;
use super::{READ_AHEAD, RescoreConfig, counts_of, purpose, rescored, scroll};
use crate::generation::alias;
use crate::jobs::store::{NotStored, store};
use crate::progress::Progress;

/// Jobs that wait for their acknowledgement at any time.
const WINDOW: usize = 64;
/// Jobs between two saved cursors.
const JOBS_PER_SAVE: u64 = 16;

pub async fn publish(
    config: &RescoreConfig,
    manifest: &Manifest,
    qdrant: Qdrant,
    run: String,
) -> anyhow::Result<Rescored> {
    let jetstream = config.servers.jetstream().await?;
    let current = alias::resolved(&qdrant, &config.collection).await?;
    let purpose = purpose(config, manifest);
    let mut held = HeldRecord::open(&jetstream, &run, purpose, current).await?;
    let generation = held.record().generation.clone();
    if !held.record().finished {
        let run_and_cursor = Some((run.clone(), held.record().cursor.clone()));
        let scroll = scroll(config, manifest, &generation, run_and_cursor)?;
        let progress = Progress::new("points", scroll.selection.count(&qdrant).await?);
        let (jobs, incoming) = mpsc::channel(READ_AHEAD);
        let reading = tokio::spawn(scroll.run(qdrant, jobs));
        let lane = Lane {
            task: Task::Rescore,
            model: manifest.name.clone(),
            priority: Priority::Bulk,
        };
        let target = (&jetstream, lane.subject());
        let stored = send_all(target, &mut held, incoming, &progress).await;
        let mut counts = stored.with_context(|| interrupted(&run))?;
        counts.add(&reading.await?.with_context(|| interrupted(&run))?);
        held.save(None, counts, true).await?;
        progress.finish();
    }
    let counts = held.record().counts;
    Ok(rescored(config, manifest, (run, generation), counts))
}

fn interrupted(run: &str) -> String {
    format!("run {run} was interrupted; to go on with it, add --run-id {run}")
}

/// Publishes what is read, a window of jobs at a time, and saves the cursor now and then: the first point of the
/// oldest job that is not known to be stored.
async fn send_all(
    (jetstream, subject): (&jetstream::Context, String),
    held: &mut HeldRecord,
    mut incoming: mpsc::Receiver<Ready>,
    progress: &Progress,
) -> anyhow::Result<Counts> {
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
