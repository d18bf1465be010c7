//! Pull: takes jobs from both lanes, live before bulk.
//!
//! Each lane is pulled by itself: a request for live jobs is out whatever happens to bulk work. Nothing is pulled from the
//! bulk lane while the live lane has work for this worker, because others may do it meanwhile.
//!
//! A slot downstream is reserved before anything is pulled, so that the backlog stays in NATS, where the autoscaler sees
//! it. Failures to pull are transient and retried.
//!
//! A pull request that is dropped may still be answered, into an inbox that nobody reads. Requests are therefore read
//! to their end, at shutdown too: all of them are short.

mod size;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use futures::{StreamExt, future};
use queue::room;
use tokio::sync::{mpsc, watch};

use super::lanes::Lanes;
use crate::batch::Batch;
use crate::health::Health;
use crate::inflight::{Delivery, InFlight, Queue};
use crate::metrics;
use crate::shutdown::{Phase, Shutdown, Trigger};
use crate::trace::Receive;
use size::JobSize;
pub use size::PullSize;

/// How long an idle worker waits for work in one request. It bounds how long an idle worker takes to stop.
const IDLE_WAIT: Duration = Duration::from_secs(2);
/// Time for an answer that should come at once, or right after [`IDLE_WAIT`] is over.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a lane is looked at of which the stream has jobs and its consumer none, before a run that drains ends.
const DRAIN_LOOKS: usize = 4;
/// Pause after a failed pull, and between such looks.
const PAUSE: Duration = Duration::from_millis(500);
/// Batches that one pull has brought.
type Pulled = Vec<InFlight<Batch>>;

#[derive(Debug)]
pub struct PullStage {
    lanes: Lanes<LaneSource>,
    controls: Controls,
    /// When the process began.
    began: Instant,
}

/// The signals by which the stage stops or waits.
#[derive(Clone, Debug)]
pub struct Controls {
    pub shutdown: Shutdown,
    /// `true` while pulling is pointless because writes fail.
    pub breaker: watch::Receiver<bool>,
    /// Whether a stage hangs, so that pulling is pointless, too.
    pub health: Health,
    /// Starts the shutdown when both lanes are empty, if this is a run that drains.
    pub drain: Option<Trigger>,
}

/// One lane as a source of batches.
struct LaneSource {
    queue: Arc<Queue>,
    consumer: PullConsumer,
    size: PullSize,
    jobs: JobSize,
}

/// The loop over one lane.
#[derive(Debug)]
struct LanePull {
    source: LaneSource,
    admission: Admission,
    controls: Controls,
    /// Batches that were pulled and not sent yet: more than one if some jobs travel alone.
    ready: VecDeque<InFlight<Batch>>,
    /// The consumers of both lanes, live first.
    consumers: Arc<[PullConsumer; 2]>,
}

/// Whether both lanes together have anything left to do.
enum Backlog {
    /// Jobs that wait or are in flight.
    Jobs,
    /// Nothing of which a consumer knows, and jobs in the stream: those that had their last delivery, or those that a new leader
    /// of the consumer has not counted yet.
    InStream,
    Nothing,
}

/// When a lane may be pulled.
#[derive(Debug)]
enum Admission {
    /// Always. The sender says whether the live lane is empty.
    Live(watch::Sender<bool>),
    /// While the live lane is empty, as the receiver says.
    Bulk(watch::Receiver<bool>),
}

impl PullStage {
    /// `began` is when the process began, for the metrics of its start.
    pub fn new(
        queue: &Arc<Queue>,
        [live, bulk]: [PullConsumer; 2],
        size: PullSize,
        controls: Controls,
        began: Instant,
    ) -> Self {
        let source = |consumer| LaneSource {
            queue: queue.clone(),
            consumer,
            size,
            jobs: JobSize::unknown(size),
        };
        Self {
            lanes: Lanes {
                live: source(live),
                bulk: source(bulk),
            },
            controls,
            began,
        }
    }

    /// Runs until shutdown; then gives back whatever was pulled and not sent on.
    pub(super) async fn run(self, outputs: Lanes<mpsc::Sender<InFlight<Batch>>>) {
        let Lanes { live, bulk } = self.lanes;
        let consumers = Arc::new([&live, &bulk].map(|lane| lane.consumer.clone()));
        let (is_empty, live_is_empty) = watch::channel(false);
        let pull = |source, admission| LanePull {
            source,
            admission,
            controls: self.controls.clone(),
            ready: VecDeque::new(),
            consumers: consumers.clone(),
        };
        let live = pull(live, Admission::Live(is_empty));
        let bulk = pull(bulk, Admission::Bulk(live_is_empty));
        metrics::startup_phase("first_pull", self.began.elapsed());
        future::join(live.run(outputs.live), bulk.run(outputs.bulk)).await;
    }
}

impl LanePull {
    async fn run(mut self, output: mpsc::Sender<InFlight<Batch>>) {
        while self.controls.shutdown.phase() == Phase::Running {
            let Some(slot) = self.controls.slot(&output, &mut self.admission).await else {
                break;
            };
            if self.ready.is_empty() {
                self.gather().await;
            }
            match self.ready.pop_front() {
                Some(batch) => slot.send(batch),
                None => self.drain_if_empty().await,
            }
        }
        // Whoever waits for this lane ends as well.
        drop(self.admission);
        future::join_all(
            self.ready
                .into_iter()
                .map(|batch| batch.deliveries.release()),
        )
        .await;
    }

    /// Pulls what is there; waits for a job if nothing is.
    async fn gather(&mut self) {
        let mut pulled = self.source.take().await;
        self.admission.found(&pulled);
        if pulled.is_empty() && self.controls.shutdown.phase() == Phase::Running {
            pulled = self.source.wait().await;
            self.admission.found(&pulled);
        }
        self.ready.extend(pulled);
    }

    /// Ends a run that drains once both lanes are empty.
    async fn drain_if_empty(&self) {
        let Some(drain) = &self.controls.drain else {
            return;
        };
        for _ in 0..DRAIN_LOOKS {
            if self.controls.shutdown.phase() != Phase::Running {
                return;
            }
            match self.left().await {
                Backlog::Jobs => return,
                Backlog::InStream => tokio::time::sleep(PAUSE).await,
                Backlog::Nothing => {
                    tracing::info!("both lanes are empty");
                    return drain.drain();
                }
            }
        }
        tracing::warn!("the stream has jobs that no consumer delivers; this run ends without them");
        drain.drain();
    }

    /// Whether anything is left to do on both lanes, by this worker or any other.
    async fn left(&self) -> Backlog {
        let mut left = Backlog::Nothing;
        for consumer in self.consumers.iter() {
            match consumer.get_info().await {
                Ok(info) if info.num_pending == 0 && info.num_ack_pending == 0 => {
                    let (jetstream, subject) =
                        (&self.source.queue.jetstream, &info.config.filter_subject);
                    match room::waiting(jetstream, subject).await {
                        Ok(0) => {}
                        Ok(_) => left = Backlog::InStream,
                        Err(_) => return Backlog::Jobs,
                    }
                }
                Ok(_) | Err(_) => return Backlog::Jobs,
            }
        }
        left
    }
}

impl Admission {
    /// A pull has brought this.
    fn found(&self, pulled: &Pulled) {
        if let Self::Live(is_empty) = self {
            is_empty.send_replace(pulled.is_empty());
        }
    }

    /// Waits until the lane may be pulled. `None` if it never may again.
    async fn come(&mut self) -> Option<()> {
        match self {
            Self::Live(_) => Some(()),
            Self::Bulk(live_is_empty) => {
                live_is_empty.wait_for(|is_empty| *is_empty).await.ok()?;
                Some(())
            }
        }
    }
}

impl Controls {
    /// Reserves the slot for the next batch, once pulling makes sense. `None` at shutdown.
    async fn slot<'a>(
        &mut self,
        batches: &'a mpsc::Sender<InFlight<Batch>>,
        admission: &mut Admission,
    ) -> Option<mpsc::Permit<'a, InFlight<Batch>>> {
        let reserve = async {
            let slot = batches.reserve().await.ok()?;
            admission.come().await?;
            self.breaker.wait_for(|open| !open).await.ok()?;
            while self.health.is_stalled() {
                tokio::time::sleep(PAUSE).await;
            }
            Some(slot)
        };
        tokio::select! {
            biased;
            () = self.shutdown.reached(Phase::Draining) => None,
            slot = reserve => slot,
        }
    }
}

impl std::fmt::Debug for LaneSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LaneSource")
            .field("consumer", &self.consumer.cached_info().name)
            .finish_non_exhaustive()
    }
}

impl LaneSource {
    /// Takes the jobs that are there now, up to a size.
    async fn take(&mut self) -> Pulled {
        let jobs = self.jobs.fit(self.size);
        let deliveries = pull(&self.queue, &self.consumer, jobs, None).await;
        let sizes = deliveries
            .iter()
            .map(|it| (it.tokens(), it.payload().len()));
        self.jobs.learn(sizes);
        InFlight::batches(deliveries, self.size.tokens)
    }

    /// Waits for one job.
    async fn wait(&self) -> Pulled {
        let deliveries = pull(&self.queue, &self.consumer, 1, Some(IDLE_WAIT)).await;
        InFlight::batches(deliveries, 1)
    }
}

/// Sends one pull request, and takes what JetStream delivers for it.
async fn pull(
    queue: &Arc<Queue>,
    consumer: &PullConsumer,
    jobs: usize,
    wait: Option<Duration>,
) -> Vec<Delivery> {
    let (name, started) = (consumer.cached_info().name.clone(), Instant::now());
    let messages = fetch(consumer, jobs, wait, &queue.health).await;
    let receive = Receive::ended(&name, &messages, started.elapsed());
    let taken = messages.into_iter();
    taken
        .filter_map(|message| Delivery::take(queue.clone(), message, &receive))
        .collect()
}

/// One pull request, read to its end before anything is done with its messages: the client drops what is not read
/// in time. Failures end it early, and are retried by the next request.
async fn fetch(
    consumer: &PullConsumer,
    jobs: usize,
    wait: Option<Duration>,
    health: &Health,
) -> Vec<Message> {
    let mut messages = Vec::new();
    let name = consumer.cached_info().name.clone();
    let limit = wait.unwrap_or_default() + ANSWER_TIMEOUT;
    let read = async {
        let request = consumer.fetch().max_messages(jobs);
        let request = match wait {
            Some(wait) => request.expires(wait),
            None => request,
        };
        let mut answers = request.messages().await?;
        while let Some(message) = answers.next().await {
            messages.push(message?);
        }
        Ok::<(), async_nats::Error>(())
    };
    let outcome = tokio::time::timeout(limit, read).await;
    health.pulled(matches!(outcome, Ok(Ok(()))));
    let problem = match outcome {
        Ok(Ok(())) => return messages,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {limit:?}"),
    };
    tracing::warn!(consumer = name, error = problem, "pull failed");
    metrics::pull_failed();
    if messages.is_empty() {
        tokio::time::sleep(PAUSE).await;
    }
    messages
}
