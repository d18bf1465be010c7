//! Pull: takes jobs from both lanes, live before bulk.
//!
//! A slot downstream is reserved before anything is pulled, so that the backlog stays in NATS, where the autoscaler sees
//! it. Failures to pull are transient and retried.
//!
//! A pull request that is dropped may still be answered, into an inbox that nobody reads. Requests are therefore read
//! to their end: most are short, and one that waits is a task of its own, whose result is taken when it has ended.

mod size;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use futures::{StreamExt, future};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

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
/// Pause after a failed pull.
const PAUSE: Duration = Duration::from_millis(500);
/// Batches that one pull has brought.
type Pulled = Vec<InFlight<Batch>>;

/// One lane as a source of batches.
struct LaneSource {
    queue: Arc<Queue>,
    consumer: PullConsumer,
    /// A request that waits for one job, if one is out. It is a task of its own, so that the job that it brings is kept
    /// from redelivery at once.
    waiting: Option<JoinHandle<Pulled>>,
    jobs: JobSize,
}

pub struct PullStage {
    live: LaneSource,
    bulk: LaneSource,
    size: PullSize,
    controls: Controls,
    /// What was pulled and has not been sent on: more than one batch if some jobs travel alone.
    ready: VecDeque<InFlight<Batch>>,
    /// When the process began, until it has asked for its first job.
    began: Option<Instant>,
}

impl std::fmt::Debug for PullStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullStage")
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

/// What tells the stage to stop or to wait.
#[derive(Debug)]
pub struct Controls {
    pub shutdown: Shutdown,
    /// `true` while pulling is pointless because writes fail.
    pub breaker: watch::Receiver<bool>,
    /// Whether a stage hangs, so that pulling is pointless, too.
    pub health: Health,
    /// Starts the shutdown when both lanes are empty, if this is a run that drains.
    pub drain: Option<Trigger>,
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
        let jobs = JobSize::unknown(size);
        let source = |consumer| LaneSource {
            queue: queue.clone(),
            consumer,
            waiting: None,
            jobs,
        };
        Self {
            live: source(live),
            bulk: source(bulk),
            size,
            controls,
            ready: VecDeque::new(),
            began: Some(began),
        }
    }

    /// Runs until shutdown; then gives back whatever was pulled and not sent on.
    pub(super) async fn run(mut self, output: mpsc::Sender<InFlight<Batch>>) {
        while self.controls.shutdown.phase() == Phase::Running {
            let Some(slot) = self.controls.slot(&output).await else {
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
        self.give_back().await;
    }

    /// Pulls what is there; waits for a job if nothing is.
    async fn gather(&mut self) {
        if let Some(began) = self.began.take() {
            metrics::startup_phase("first_pull", began.elapsed());
        }
        let mut pulled = self.live.take(self.size).await;
        // Live jobs go at once, so that bulk work does not make their batch longer.
        if pulled.is_empty() {
            pulled = self.bulk.take(self.size).await;
        }
        if pulled.is_empty() {
            pulled = self.wait().await;
        }
        self.ready.extend(pulled);
    }

    /// Waits for a job on either lane. The request on the other lane goes on waiting.
    async fn wait(&mut self) -> Pulled {
        let (live, bulk) = (self.live.waiting(), self.bulk.waiting());
        let (lane, pulled) = tokio::select! {
            biased;
            pulled = live => (&mut self.live, pulled),
            pulled = bulk => (&mut self.bulk, pulled),
            () = self.controls.shutdown.reached(Phase::Draining) => return Vec::new(),
        };
        lane.waiting = None;
        pulled.unwrap_or_default()
    }

    /// Ends a run that drains once both lanes are empty.
    async fn drain_if_empty(&mut self) {
        if self.controls.drain.is_none() || !self.lanes_are_empty().await {
            return;
        }
        tracing::info!("both lanes are empty");
        self.controls.drain.iter().for_each(Trigger::drain);
    }

    /// Whether nothing is left to do on either lane, by this worker or any other.
    async fn lanes_are_empty(&mut self) -> bool {
        for lane in [&mut self.live, &mut self.bulk] {
            match lane.consumer.get_info().await {
                Ok(info) if info.num_pending == 0 && info.num_ack_pending == 0 => {}
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    /// Gives back everything that was pulled, requests that are still out included.
    async fn give_back(mut self) {
        let (live, bulk) = future::join(self.live.last_wait(), self.bulk.last_wait()).await;
        let left = self.ready.into_iter().chain(live).chain(bulk);
        future::join_all(left.map(|batch| batch.deliveries.release())).await;
    }
}

impl Controls {
    /// Reserves the slot for the next batch, once pulling makes sense. `None` at shutdown.
    async fn slot<'a>(
        &mut self,
        batches: &'a mpsc::Sender<InFlight<Batch>>,
    ) -> Option<mpsc::Permit<'a, InFlight<Batch>>> {
        let reserve = async {
            self.breaker.wait_for(|open| !open).await.ok()?;
            while self.health.is_stalled() {
                tokio::time::sleep(PAUSE).await;
            }
            batches.reserve().await.ok()
        };
        tokio::select! {
            biased;
            () = self.shutdown.reached(Phase::Draining) => None,
            slot = reserve => slot,
        }
    }
}

impl LaneSource {
    /// Takes the jobs that are there now, up to a size.
    async fn take(&mut self, size: PullSize) -> Pulled {
        let mut pulled = self.arrived().await;
        let consumer = self.consumer.clone();
        let deliveries = pull(&self.queue, consumer, self.jobs.fit(size), None).await;
        let sizes = deliveries
            .iter()
            .map(|it| (it.tokens(), it.payload().len()));
        self.jobs.learn(sizes);
        pulled.extend(InFlight::batches(deliveries, size.tokens));
        pulled
    }

    /// What the waiting request has brought, if it has ended.
    async fn arrived(&mut self) -> Pulled {
        if self.waiting.as_ref().is_some_and(JoinHandle::is_finished) {
            return self.last_wait().await;
        }
        Vec::new()
    }

    /// The waiting request; sends one if none is out.
    fn waiting(&mut self) -> &mut JoinHandle<Pulled> {
        let (queue, consumer) = (&self.queue, &self.consumer);
        self.waiting.get_or_insert_with(|| {
            let (queue, consumer) = (queue.clone(), consumer.clone());
            tokio::spawn(async move {
                let deliveries = pull(&queue, consumer, 1, Some(IDLE_WAIT)).await;
                InFlight::batches(deliveries, 1)
            })
        })
    }

    /// Waits for the end of the waiting request.
    async fn last_wait(&mut self) -> Pulled {
        match self.waiting.take() {
            Some(waiting) => waiting.await.unwrap_or_default(),
            None => Vec::new(),
        }
    }
}

/// Sends one pull request, and takes what JetStream delivers for it.
async fn pull(
    queue: &Arc<Queue>,
    consumer: PullConsumer,
    jobs: usize,
    wait: Option<Duration>,
) -> Vec<Delivery> {
    let (name, started) = (consumer.cached_info().name.clone(), Instant::now());
    let messages = fetch(consumer, jobs, wait).await;
    let receive = Receive::ended(&name, &messages, started.elapsed());
    let taken = messages.into_iter();
    taken
        .filter_map(|message| Delivery::take(queue.clone(), message, &receive))
        .collect()
}

/// One pull request, read to its end before anything is done with its messages: the client drops what is not read
/// in time. Failures end it early, and are retried by the next request.
async fn fetch(consumer: PullConsumer, jobs: usize, wait: Option<Duration>) -> Vec<Message> {
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
    let problem = match tokio::time::timeout(limit, read).await {
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
