//! Upsert: the last stage. Answers queries, writes points, scores and attached vectors, publishes the attach jobs for
//! what was written, acknowledges.
//!
//! A write that may succeed later is repeated in place for a while, with the jobs kept. Then the stage waits for the end
//! of the outage, so that it does not spend the deliveries of the backlog. Where Qdrant refuses for what somebody has set, like
//! a limit, the jobs are kept and the write is repeated until that is changed: they are not to blame, and no delivery is
//! spent on it. That is said in the log and in a metric.
//!
//! A batch is written in steps that wait for each other, and most of that time is spent waiting for answers. So a few
//! batches are written side by side, as several workers would: versions decide between them, not their order. One of live
//! work finds room beside those of bulk work, unless writes fail.

mod additions;
mod attach_jobs;
mod kept;
mod outage;
mod upserter;

use std::time::{Duration, Instant};

use contract::names::CollectionName;
use contract::topology::Priority;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use queue::room::Room;
use runtime::failpoint::{self, Verdict};
use tokio::sync::{mpsc, watch};

use super::Context;
use super::answer::answer;
use super::lanes::Lanes;
use crate::batch::Vectors;
use crate::error::chain;
use crate::health::Stage;
use crate::inflight::{Deliveries, InFlight};
use crate::metrics::{self, HeldGauge};
use crate::outcome::Outcome;
use crate::shutdown::Phase;
use attach_jobs::publish_attach_jobs;
pub use outage::Outages;
pub use upserter::Upserter;

/// How long a failing write is repeated in place, with the jobs kept, before they are given back.
const RETRY_IN_PLACE: Duration = Duration::from_secs(30);
/// Batches of a lane that are written side by side: enough that one of them always has a request for Qdrant to work on.
pub const CONCURRENT_BATCHES: usize = 3;
/// First pause between attempts and between probes; each further one doubles it.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(10);
/// The same while somebody has to change the installation; a stage that is silent for twice as long counts as hung.
const LONGEST_HOLD_PAUSE: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct UpsertStage {
    pub context: Context,
    pub upserter: Upserter,
    /// Collections that the installation names.
    pub collections: Vec<CollectionName>,
    /// Set while writes fail, so that nothing more is pulled.
    pub breaker: watch::Sender<bool>,
    pub outages: Outages,
    pub room: Room,
}

/// Why a batch was not written, and what is to be done about it.
struct Failure {
    outcome: Outcome,
    reason: String,
}

impl Failure {
    /// Says why the batch is kept, and counts it where that is for somebody to change. `before` counted it until now.
    fn held(&self, before: Option<HeldGauge>) -> Option<HeldGauge> {
        drop(before);
        if let Outcome::Hold { refusal } = self.outcome {
            let advice = refusal.advice();
            tracing::error!(
                error = self.reason,
                advice,
                "qdrant refuses writes for how it is set up; jobs are kept"
            );
            return Some(HeldGauge::new(refusal.name()));
        }
        tracing::warn!(error = self.reason, "write failed, trying again");
        None
    }
}

/// What is done with a batch that was not written.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    Exit,
    /// Write each job by itself, because one of them is to blame.
    Separate,
    /// Settle the jobs as the outcome says.
    Settle,
    /// Give the jobs back at once, because the process is to end.
    GiveBack,
    /// Give the jobs back later, and wait for the end of the outage.
    WaitOut,
}

impl Decision {
    fn on(outcome: Outcome, jobs: usize, is_draining: bool) -> Self {
        match outcome {
            Outcome::Exit => Self::Exit,
            Outcome::DeadLetter { .. } | Outcome::GiveBack if jobs > 1 => Self::Separate,
            Outcome::DeadLetter { .. } | Outcome::GiveBack | Outcome::Terminate => Self::Settle,
            Outcome::Retry { .. } | Outcome::Hold { .. } if is_draining => Self::GiveBack,
            Outcome::Retry { .. } | Outcome::Hold { .. } => Self::WaitOut,
        }
    }
}

/// Whether another batch of a lane may be written beside those that are. During an outage, only those find out when it is
/// over: others would spend a delivery of their jobs, and not leave Qdrant the pause that it asked for.
fn has_room(lane: Priority, batches: Lanes<usize>, is_outage: bool) -> bool {
    let all = batches.live + batches.bulk;
    let is_kept_for_it = lane == Priority::Live && batches.live == 0;
    all == 0 || !is_outage && (all < CONCURRENT_BATCHES || is_kept_for_it)
}

/// How long to wait before a failed write is repeated in place, if it is worth it in the time that is `left`: as long as
/// the server has asked for, else the `pause`. What waits for somebody to change the installation is always worth it.
fn wait_before_retry(outcome: Outcome, pause: Duration, left: Duration) -> Option<Duration> {
    match outcome {
        Outcome::Hold { .. } => Some(pause),
        Outcome::Retry { after } => Some(after.unwrap_or(pause)).filter(|wait| *wait <= left),
        Outcome::DeadLetter { .. } | Outcome::GiveBack | Outcome::Terminate | Outcome::Exit => None,
    }
}

/// Acknowledges the jobs of a batch that is written. Those of which a part could not be embedded become dead letters.
async fn settle_written(batch: &Vectors, mut deliveries: Deliveries) {
    let jobs = batch.jobs.iter().enumerate();
    let incomplete: Vec<_> = jobs
        .filter_map(|(position, job)| Some((position, job.incomplete.as_ref()?)))
        .collect();
    let positions: Vec<_> = incomplete.iter().map(|(position, _)| *position).collect();
    let removed = deliveries.remove(&positions);
    for (delivery, (_, refusal)) in removed.into_iter().zip(incomplete) {
        let outcome = Outcome::DeadLetter {
            cause: refusal.cause(),
        };
        let reason = format!("{refusal}; the rest of the job is written");
        delivery.settle(outcome, &reason).await;
    }
    deliveries.ack().await;
}

impl UpsertStage {
    /// Runs to the end of its input.
    ///
    /// # Errors
    /// If the process must not go on.
    pub(super) async fn run(
        self,
        mut inputs: Lanes<mpsc::Receiver<InFlight<Vectors>>>,
    ) -> anyhow::Result<()> {
        let mut next = Lanes::<Option<InFlight<Vectors>>>::default();
        let (mut batches, mut writing) = (Lanes::<usize>::default(), FuturesUnordered::new());
        let mut shutdown = self.context.shutdown.clone();
        let mut is_over = false;
        loop {
            // When the time is over each is given back, all at once: NATS may not answer either.
            let room = |lane| is_over || has_room(lane, batches, self.outages.are_on());
            let lane = Priority::ALL
                .into_iter()
                .find(|lane| next.of(*lane).is_some() && room(*lane));
            if let Some(lane) = lane
                && let Some(work) = next.of_mut(lane).take()
            {
                self.context.health.busy(Stage::Upsert);
                *batches.of_mut(lane) += 1;
                writing.push(self.upsert(work).map(move |written| (lane, written)));
                continue;
            }
            // A batch waits in `next` if those before it have begun to fail meanwhile.
            let [live, bulk] = Priority::ALL.map(|lane| next.of(lane).is_none() && room(lane));
            tokio::select! {
                biased;
                Some((lane, written)) = writing.next() => {
                    *batches.of_mut(lane) -= 1;
                    written?;
                }
                Some(work) = inputs.live.recv(), if live => next.live = Some(work),
                Some(work) = inputs.bulk.recv(), if bulk => next.bulk = Some(work),
                () = shutdown.reached(Phase::Expired), if !is_over && !writing.is_empty() => is_over = true,
                else => return Ok(()),
            }
            if next.live.is_none() && next.bulk.is_none() && writing.is_empty() {
                self.context.health.idle(Stage::Upsert);
            }
        }
    }

    /// Writes a batch and settles its jobs.
    async fn upsert(&self, work: InFlight<Vectors>) -> anyhow::Result<()> {
        let InFlight { batch, deliveries } = work;
        let started = Instant::now();
        let mut shutdown = self.context.shutdown.clone();
        let result = tokio::select! {
            biased;
            () = shutdown.reached(Phase::Expired) => {
                deliveries.release().await;
                return Ok(());
            }
            result = self.write_with_retries(&batch, deliveries.delivery_count()) => result,
        };
        deliveries.stage_done("upsert", started);
        match result {
            Ok(()) => {
                self.outages.end();
                settle_written(&batch, deliveries).await;
                Ok(())
            }
            Err(failure) => self.settle_failed(batch, deliveries, failure).await,
        }
    }

    /// Writes, and repeats what may succeed later for as long as the process is not to end.
    async fn write_with_retries(
        &self,
        vectors: &Vectors,
        delivery_count: i64,
    ) -> Result<(), Failure> {
        let deadline = Instant::now() + RETRY_IN_PLACE;
        let mut pause = FIRST_RETRY_PAUSE;
        let (mut trouble, mut held) = (None, None::<HeldGauge>);
        loop {
            let failure = match self.write(vectors, delivery_count).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(wait) = wait_before_retry(failure.outcome, pause, left) else {
                return Err(failure);
            };
            if self.context.shutdown.phase() >= Phase::Draining {
                return Err(failure);
            }
            held = failure.held(held);
            trouble.get_or_insert_with(|| self.outages.trouble());
            let mut shutdown = self.context.shutdown.clone();
            tokio::select! {
                () = shutdown.reached(Phase::Draining) => return Err(failure),
                () = tokio::time::sleep(wait) => {}
            }
            let longest = match held {
                Some(_) => LONGEST_HOLD_PAUSE,
                None => LONGEST_RETRY_PAUSE,
            };
            pause = (pause * 2).min(longest);
        }
    }

    async fn write(&self, vectors: &Vectors, delivery_count: i64) -> Result<(), Failure> {
        let retry = |reason: String| Failure {
            outcome: Outcome::Retry { after: None },
            reason,
        };
        let answered = answer(&self.context, vectors).await;
        answered.map_err(|error| retry(chain(&error)))?;
        match failpoint::reached("upsert") {
            Verdict::Go => {}
            Verdict::Skip => return Ok(()),
            Verdict::Fail => return Err(retry("failpoint".to_owned())),
        }
        failpoint::pass("before-upsert");
        let written = self.upserter.write(vectors, delivery_count).await;
        self.context.health.busy(Stage::Upsert);
        let (written, attach_jobs) = written.map_err(|error| Failure {
            outcome: error.outcome(&self.collections, delivery_count),
            reason: chain(&error),
        })?;
        failpoint::pass("after-upsert");
        let published = publish_attach_jobs(&self.context, &self.room, &attach_jobs).await;
        published.map_err(|error| retry(chain(&error)))?;
        metrics::batch_written(written.points, written.superseded);
        Ok(())
    }

    async fn settle_failed(
        &self,
        vectors: Vectors,
        deliveries: Deliveries,
        failure: Failure,
    ) -> anyhow::Result<()> {
        tracing::error!(
            error = failure.reason,
            jobs = deliveries.len(),
            "batch not written"
        );
        let is_draining = self.context.shutdown.phase() >= Phase::Draining;
        match Decision::on(failure.outcome, deliveries.len(), is_draining) {
            Decision::Exit => anyhow::bail!(failure.reason),
            Decision::Separate => {
                let singles = vectors.into_singles().into_iter();
                for (batch, deliveries) in singles.zip(deliveries.into_singles()) {
                    let single = InFlight { batch, deliveries };
                    Box::pin(self.upsert(single)).await?;
                }
            }
            Decision::Settle => deliveries.settle(failure.outcome, &failure.reason).await,
            Decision::GiveBack => deliveries.release().await,
            Decision::WaitOut => self.wait_out(deliveries, failure).await,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Outcome = Outcome::Retry { after: None };
    const HOLD: Outcome = Outcome::Hold {
        refusal: points::refusal::Refusal::Limit,
    };
    const DEAD_LETTER: Outcome = Outcome::DeadLetter { cause: "invalid" };

    #[test]
    fn one_job_that_is_to_blame_is_found_by_writing_each_by_itself() {
        for outcome in [DEAD_LETTER, Outcome::GiveBack] {
            assert_eq!(Decision::on(outcome, 2, false), Decision::Separate);
            assert_eq!(Decision::on(outcome, 2, true), Decision::Separate);
            assert_eq!(Decision::on(outcome, 1, false), Decision::Settle);
        }
        assert_eq!(Decision::on(Outcome::Terminate, 2, false), Decision::Settle);
    }

    #[test]
    fn an_outage_is_waited_out_unless_the_process_is_to_end() {
        assert_eq!(Decision::on(RETRY, 1, false), Decision::WaitOut);
        assert_eq!(Decision::on(RETRY, 9, false), Decision::WaitOut);
        assert_eq!(Decision::on(RETRY, 9, true), Decision::GiveBack);
        assert_eq!(Decision::on(HOLD, 1, true), Decision::GiveBack);
        assert_eq!(Decision::on(Outcome::Exit, 9, true), Decision::Exit);
    }

    /// How many batches of a lane are begun beside so many of the other.
    fn begun(lane: Priority, other: usize, is_outage: bool) -> usize {
        let batches = |own| match lane {
            Priority::Live => Lanes {
                live: own,
                bulk: other,
            },
            Priority::Bulk => Lanes {
                live: other,
                bulk: own,
            },
        };
        let mut all = 0..;
        let full = all.find(|own| !has_room(lane, batches(*own), is_outage));
        full.unwrap_or_default()
    }

    #[test]
    fn batches_are_written_side_by_side_until_writes_fail() {
        for lane in Priority::ALL {
            assert_eq!(begun(lane, 0, false), CONCURRENT_BATCHES);
            assert_eq!(
                begun(lane, 0, true),
                1,
                "one finds out when the outage is over"
            );
            assert_eq!(begun(lane, 1, true), 0);
        }
    }

    #[test]
    fn live_work_is_written_beside_bulk_work_and_not_the_other_way_round() {
        assert_eq!(begun(Priority::Live, CONCURRENT_BATCHES, false), 1);
        assert_eq!(begun(Priority::Live, 1, false), CONCURRENT_BATCHES - 1);
        assert_eq!(begun(Priority::Bulk, CONCURRENT_BATCHES, false), 0);
        assert_eq!(begun(Priority::Bulk, 1, false), CONCURRENT_BATCHES - 1);
    }

    #[test]
    fn only_what_may_succeed_in_the_time_that_is_left_is_repeated_in_place() {
        let seconds = Duration::from_secs;
        let wait = |outcome, left| wait_before_retry(outcome, seconds(2), seconds(left));
        assert_eq!(wait(RETRY, 30), Some(seconds(2)));
        assert_eq!(wait(RETRY, 1), None);
        let asked = Outcome::Retry {
            after: Some(seconds(20)),
        };
        assert_eq!(wait(asked, 30), Some(seconds(20)));
        assert_eq!(wait(asked, 19), None);
        for outcome in [DEAD_LETTER, Outcome::GiveBack, Outcome::Exit] {
            assert_eq!(wait(outcome, 30), None);
        }
        assert_eq!(wait(HOLD, 0), Some(seconds(2)), "until somebody acts");
    }
}
