//! Write: the last stage. Answers queries, writes points, acknowledges.
//!
//! A write that may succeed later is repeated in place for a while, with the leases kept. Then the outage is sat out
//! (`outage`), so that it does not spend the deliveries of the backlog.
//!
//! A batch is written in steps that wait for each other, and most of that time is spent waiting for answers. So a few
//! batches are written side by side, as several workers would: versions decide between them, not their order.

mod outage;

use std::time::{Duration, Instant};

use contract::names::CollectionName;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

use crate::answer::answer;
use crate::batch::Vectors;
use crate::error::{Outcome, chain};
use crate::failpoint::{self, Verdict};
use crate::health::Stage;
use crate::inflight::{InFlight, Leases};
use crate::metrics;
use crate::pipeline::Context;
use crate::shutdown::Phase;
use crate::upsert::Upserter;
pub use outage::Outages;

/// How long a failing write is repeated in place, with the leases kept, before its jobs are given back.
const RETRY_IN_PLACE: Duration = Duration::from_secs(30);
/// Batches that are written side by side: enough that one of them always has a request for Qdrant to work on.
pub const CONCURRENT_BATCHES: usize = 3;
/// First and longest pause between attempts and between probes.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// The stage.
#[derive(Debug)]
pub struct WriteStage {
    /// What all stages share.
    pub context: Context,
    /// Writes points.
    pub upserter: Upserter,
    /// Collections that the installation names.
    pub collections: Vec<CollectionName>,
    /// Set while writes fail, so that nothing more is pulled.
    pub breaker: watch::Sender<bool>,
    /// What is known about the outage that is on.
    pub outages: Outages,
}

impl WriteStage {
    /// Runs to the end of its input.
    ///
    /// # Errors
    /// If the process must not go on.
    pub async fn run(self, mut input: mpsc::Receiver<InFlight<Vectors>>) -> anyhow::Result<()> {
        let (mut next, mut writing) = (None, FuturesUnordered::new());
        loop {
            if self.has_room(writing.len())
                && let Some(work) = next.take()
            {
                self.context.health.works(Stage::Write);
                writing.push(self.settle(work));
            }
            tokio::select! {
                // Held back where those before it have begun to fail since this waited for it.
                Some(work) = input.recv(), if next.is_none() && self.has_room(writing.len()) => next = Some(work),
                Some(written) = writing.next() => written?,
                else => return Ok(()),
            }
            if next.is_none() && writing.is_empty() {
                self.context.health.rests(Stage::Write);
            }
        }
    }

    /// Whether another batch may be written beside those that are. While writes fail, those alone find out that they do
    /// not any more: others would spend a delivery of their jobs, and not leave Qdrant the pause that it asked for.
    fn has_room(&self, batches: usize) -> bool {
        batches == 0 || batches < CONCURRENT_BATCHES && !self.outages.are_on()
    }

    async fn settle(&self, work: InFlight<Vectors>) -> anyhow::Result<()> {
        let InFlight { payload, leases } = work;
        let started = Instant::now();
        let mut shutdown = self.context.shutdown.clone();
        let result = tokio::select! {
            biased;
            () = shutdown.reached(Phase::Expired) => {
                leases.release().await;
                return Ok(());
            }
            result = self.write_with_retries(&payload, leases.deliveries()) => result,
        };
        leases.stage_done("upsert", started);
        match result {
            Ok(()) => {
                self.outages.end();
                leases.ack().await;
                Ok(())
            }
            Err(failure) => self.settle_failure(payload, leases, failure).await,
        }
    }

    /// Writes, and repeats what may succeed later for as long as the process is not to end.
    async fn write_with_retries(&self, vectors: &Vectors, deliveries: i64) -> Result<(), Failure> {
        let deadline = Instant::now() + RETRY_IN_PLACE;
        let mut pause = PAUSES.0;
        let mut trouble = None;
        loop {
            let failure = match self.write(vectors, deliveries).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let Outcome::Retry { after } = failure.outcome else {
                return Err(failure);
            };
            let wait = after.unwrap_or(pause);
            let late = Instant::now() + wait > deadline;
            if late || self.context.shutdown.phase() >= Phase::Draining {
                return Err(failure);
            }
            tracing::warn!(error = failure.reason, "write failed, trying again");
            trouble.get_or_insert_with(|| self.outages.trouble());
            let mut shutdown = self.context.shutdown.clone();
            tokio::select! {
                () = shutdown.reached(Phase::Draining) => return Err(failure),
                () = tokio::time::sleep(wait) => {}
            }
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    async fn write(&self, vectors: &Vectors, deliveries: i64) -> Result<(), Failure> {
        let queue = &self.context.queue;
        answer(queue, &self.context.manifest, vectors)
            .await
            .map_err(|error| Failure {
                outcome: Outcome::Retry { after: None },
                reason: chain(&error),
            })?;
        match failpoint::reached("upsert") {
            Verdict::Go => {}
            Verdict::Skip => return Ok(()),
            Verdict::Fail => {
                return Err(Failure {
                    outcome: Outcome::Retry { after: None },
                    reason: "failpoint".to_owned(),
                });
            }
        }
        failpoint::pass("before-upsert");
        let written = self.upserter.write(vectors).await;
        self.context.health.works(Stage::Write);
        let written = written.map_err(|error| Failure {
            outcome: error.outcome(&self.collections, deliveries),
            reason: chain(&error),
        })?;
        failpoint::pass("after-upsert");
        metrics::batch_written(written.points, written.superseded);
        Ok(())
    }

    async fn settle_failure(
        &self,
        vectors: Vectors,
        leases: Leases,
        failure: Failure,
    ) -> anyhow::Result<()> {
        tracing::error!(
            error = failure.reason,
            jobs = leases.len(),
            "batch not written"
        );
        match failure.outcome {
            Outcome::Exit => anyhow::bail!(failure.reason),
            Outcome::DeadLetter { .. } | Outcome::GiveBack if leases.len() > 1 => {
                // One of them is to blame: each by itself, the others pass.
                for (payload, leases) in vectors
                    .into_singles()
                    .into_iter()
                    .zip(leases.into_singles())
                {
                    Box::pin(self.settle(InFlight { payload, leases })).await?;
                }
                Ok(())
            }
            Outcome::DeadLetter { .. } | Outcome::GiveBack | Outcome::Terminate => {
                leases.settle(failure.outcome, &failure.reason).await;
                Ok(())
            }
            Outcome::Retry { .. } if self.context.shutdown.phase() >= Phase::Draining => {
                leases.release().await;
                Ok(())
            }
            Outcome::Retry { .. } => {
                self.sit_out(leases, failure).await;
                Ok(())
            }
        }
    }
}

/// Why a batch is not written, and whose turn it is.
struct Failure {
    outcome: Outcome,
    reason: String,
}
