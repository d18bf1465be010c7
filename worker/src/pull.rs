//! Pull: takes jobs from both lanes, live before bulk.
//!
//! Takes nothing, gives batches; owns the consumers. A slot downstream is reserved before anything is pulled, so
//! that the backlog stays in NATS, where the autoscaler sees it. Failures to pull are transient and retried.
//!
//! A pull request that is dropped may still be answered, into an inbox that nobody reads. Requests are therefore read
//! to their end: they are short, and one that waits runs by itself until somebody asks for what it has brought.

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
use crate::inflight::{InFlight, Lease, Queue};
use crate::metrics;
use crate::shutdown::{Phase, Shutdown, Trigger};
use crate::trace::Receive;
use size::JobSize;
pub use size::PullSize;

/// How long an idle worker waits for work in one request. It bounds how long an idle worker takes to stop.
const IDLE_WAIT: Duration = Duration::from_secs(2);
/// Time for an answer that should come at once, or right after [`IDLE_WAIT`].
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after a failed pull.
const PAUSE: Duration = Duration::from_millis(500);
/// Batches that one pull has brought.
type Pulled = Vec<InFlight<Batch>>;

/// One lane as a source of batches.
struct LaneSource {
    queue: Arc<Queue>,
    consumer: PullConsumer,
    /// A request that waits for one job, if one is out. It runs by itself, so that what it brings is leased at once.
    waiting: Option<JoinHandle<Pulled>>,
    /// How large the jobs of this lane are.
    jobs: JobSize,
}

/// The pull stage.
pub struct Pull {
    live: LaneSource,
    bulk: LaneSource,
    size: PullSize,
    /// What was pulled and has not been sent on: more than one batch if some jobs travel alone.
    ready: VecDeque<InFlight<Batch>>,
    /// When the process began, until it has asked for its first job.
    began: Option<Instant>,
}

impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull")
            .field("ready", &self.ready.len())
            .finish_non_exhaustive()
    }
}

/// What tells the stage to stop or to wait.
#[derive(Debug)]
pub struct Controls {
    /// Ends the stage.
    pub shutdown: Shutdown,
    /// `true` while pulling is pointless because writes fail.
    pub breaker: watch::Receiver<bool>,
    /// Whether a stage hangs, so that pulling is pointless too.
    pub health: Health,
    /// Ends the input when both lanes are empty, if this is a run that drains.
    pub drain: Option<Trigger>,
}

impl Pull {
    /// Pulls from these consumers.
    #[must_use]
    pub fn new(queue: &Arc<Queue>, live: PullConsumer, bulk: PullConsumer, size: PullSize) -> Self {
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
            ready: VecDeque::new(),
            began: None,
        }
    }

    /// Tells in the metrics how long after `began` the first job is asked for.
    #[must_use]
    pub fn since(self, began: Instant) -> Self {
        Self {
            began: Some(began),
            ..self
        }
    }

    /// Runs until shutdown; then gives back whatever was pulled and not sent on.
    pub async fn run(mut self, batches: mpsc::Sender<InFlight<Batch>>, mut controls: Controls) {
        while controls.shutdown.phase() == Phase::Running {
            let Some(slot) = controls.slot(&batches).await else {
                break;
            };
            if self.ready.is_empty() {
                self.gather(&mut controls).await;
            }
            match self.ready.pop_front() {
                Some(batch) => slot.send(batch),
                None => controls.drain_if_empty(&mut self).await,
            }
        }
        self.give_back().await;
    }

    /// Pulls what is there; waits for a job if nothing is.
    async fn gather(&mut self, controls: &mut Controls) {
        if let Some(began) = self.began.take() {
            metrics::startup_phase("first_pull", began.elapsed());
        }
        let mut pulled = self.live.take(self.size).await;
        // Live jobs go at once, so that bulk work does not make their batch longer.
        if pulled.is_empty() {
            pulled = self.bulk.take(self.size).await;
        }
        if pulled.is_empty() {
            pulled = self.wait(&mut controls.shutdown).await;
        }
        self.ready.extend(pulled);
    }

    /// Waits for a job on either lane. The request on the other lane goes on waiting.
    async fn wait(&mut self, shutdown: &mut Shutdown) -> Pulled {
        let (live, bulk) = (self.live.waiting(), self.bulk.waiting());
        let (lane, pulled) = tokio::select! {
            biased;
            pulled = live => (&mut self.live, pulled),
            pulled = bulk => (&mut self.bulk, pulled),
            () = shutdown.reached(Phase::Draining) => return Vec::new(),
        };
        lane.waiting = None;
        pulled.unwrap_or_default()
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
        future::join_all(left.map(|batch| batch.leases.release())).await;
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

    async fn drain_if_empty(&self, pull: &mut Pull) {
        if let Some(trigger) = &self.drain
            && pull.lanes_are_empty().await
        {
            tracing::info!("both lanes are empty");
            trigger.drain();
        }
    }
}

impl LaneSource {
    /// Takes the jobs that are there now, up to a size.
    async fn take(&mut self, size: PullSize) -> Pulled {
        let mut pulled = self.arrived().await;
        let consumer = self.consumer.clone();
        let leases = lease(&self.queue, consumer, self.jobs.fit(size), None).await;
        self.jobs.learn(&leases);
        pulled.extend(InFlight::batches(leases, size.tokens));
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
                let leases = lease(&queue, consumer, 1, Some(IDLE_WAIT)).await;
                InFlight::batches(leases, 1)
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

/// Pulls, and takes the leases of what was brought.
async fn lease(
    queue: &Arc<Queue>,
    consumer: PullConsumer,
    jobs: usize,
    wait: Option<Duration>,
) -> Vec<Lease> {
    let (name, started) = (consumer.cached_info().name.clone(), Instant::now());
    let messages = fetch(consumer, jobs, wait).await;
    let receive = Receive::ended(&name, &messages, started.elapsed());
    let taken = messages.into_iter();
    taken
        .filter_map(|message| Lease::take(queue.clone(), message, &receive))
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
