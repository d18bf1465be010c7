//! Upsert: the last stage. Answers queries, writes points, scores and attached vectors, hands on what others have to do
//! with it, acknowledges.
//!
//! A write that may succeed later is repeated in place for a while, with the jobs kept. Then the stage waits for the end
//! of the outage, so that it does not spend the deliveries of the backlog. Where Qdrant refuses for what somebody has set, like
//! a limit, the jobs are kept and the write is repeated until that is changed: they are not to blame, and no delivery is
//! spent on it. That is said in the log and in a metric.
//!
//! A batch is written in steps that wait for each other, and most of that time is spent waiting for answers. So a few
//! batches are written side by side, as several workers would: versions decide between them, not their order.

mod additions;
mod hand_on;
mod outage;
mod upserter;

use std::time::{Duration, Instant};

use contract::names::CollectionName;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use runtime::failpoint::{self, Verdict};
use tokio::sync::{mpsc, watch};

use super::Context;
use super::answer::answer;
use crate::batch::Vectors;
use crate::error::{Outcome, chain};
use crate::health::Stage;
use crate::inflight::{Deliveries, InFlight};
use crate::metrics::{self, HeldGauge};
use crate::shutdown::Phase;
pub use outage::Outages;
pub use upserter::Upserter;

/// How long a failing write is repeated in place, with the jobs kept, before they are given back.
const RETRY_IN_PLACE: Duration = Duration::from_secs(30);
/// Batches that are written side by side: enough that one of them always has a request for Qdrant to work on.
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

/// What becomes of a batch that was not written.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// End the process.
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

/// Whether another batch may be written beside those that are. During an outage, only those find out when it is over:
/// others would spend a delivery of their jobs, and not leave Qdrant the pause that it asked for.
fn has_room(batches: usize, is_outage: bool) -> bool {
    batches == 0 || batches < CONCURRENT_BATCHES && !is_outage
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
        mut input: mpsc::Receiver<InFlight<Vectors>>,
    ) -> anyhow::Result<()> {
        let (mut next, mut writing) = (None, FuturesUnordered::new());
        let has_room = |batches| has_room(batches, self.outages.are_on());
        loop {
            if has_room(writing.len())
                && let Some(work) = next.take()
            {
                self.context.health.busy(Stage::Upsert);
                writing.push(self.upsert(work));
            }
            tokio::select! {
                // The batch waits in `next` if those before it have begun to fail meanwhile.
                Some(work) = input.recv(), if next.is_none() && has_room(writing.len()) => next = Some(work),
                Some(written) = writing.next() => written?,
                else => return Ok(()),
            }
            if next.is_none() && writing.is_empty() {
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
        let (written, handed) = written.map_err(|error| Failure {
            outcome: error.outcome(&self.collections, delivery_count),
            reason: chain(&error),
        })?;
        failpoint::pass("after-upsert");
        let handed = hand_on::hand_on(&self.context, handed).await;
        handed.map_err(|error| retry(chain(&error)))?;
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

    #[test]
    fn batches_are_written_side_by_side_until_writes_fail() {
        let batches_with_room = |is_outage| {
            let batches = 0..=CONCURRENT_BATCHES;
            batches.filter(|it| has_room(*it, is_outage)).collect()
        };
        let (calm, outage): (Vec<_>, Vec<_>) = (batches_with_room(false), batches_with_room(true));
        assert_eq!(calm, [0, 1, 2]);
        assert_eq!(outage, [0], "one batch finds out when the outage is over");
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
