//! The envelope: work taken from the queue, with the leases that are settled when it is done.
//!
//! Nothing else in the worker acknowledges. A lease is settled once, by value; dropping it settles nothing, and
//! JetStream redelivers the job after the ack wait. While an [`InFlight`] lives and the stages move on, its jobs keep
//! their leases by progress acknowledgements. A lease that has lapsed all the same is let go: another worker may
//! have the job, and only a true acknowledgement still helps.

mod lease;
mod progress;

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::batch::Batch;
use crate::error::Outcome;
use crate::metrics::{self, InFlightGauge};
pub use lease::{Lease, Queue};
use progress::Progress;

/// From this delivery on a job travels alone, so that it cannot take others with it.
const ALONE_FROM_DELIVERY: i64 = 3;

/// The leases of a batch, in the order of its jobs.
#[derive(Debug)]
#[must_use = "jobs that are not settled are redelivered"]
pub struct Leases {
    leases: Vec<Lease>,
    _progress: Progress,
    _gauge: InFlightGauge,
}

/// Work with the leases of its jobs.
#[derive(Debug)]
#[must_use = "work that is not settled is redelivered"]
pub struct InFlight<T> {
    /// The work.
    pub payload: T,
    /// The leases of its jobs.
    pub leases: Leases,
}

impl InFlight<Batch> {
    /// Makes batches of the jobs that travel together, of about `tokens` each, and one of each that travels alone. A
    /// pull may bring more than it aimed at, where large jobs follow small ones.
    pub fn batches(leases: Vec<Lease>, tokens: usize) -> Vec<Self> {
        let (alone, together): (Vec<_>, Vec<_>) = leases
            .into_iter()
            .partition(|lease| lease.deliveries() >= ALONE_FROM_DELIVERY);
        let mut batches = Vec::new();
        let (mut batch, mut filled) = (Vec::new(), 0_usize);
        for lease in together {
            filled = filled.saturating_add(lease.tokens());
            batch.push(lease);
            if filled >= tokens {
                batches.push(std::mem::take(&mut batch));
                filled = 0;
            }
        }
        batches.push(batch);
        batches.extend(alone.into_iter().map(|lease| vec![lease]));
        batches.retain(|batch| !batch.is_empty());
        batches.into_iter().map(Self::new).collect()
    }

    fn new(leases: Vec<Lease>) -> Self {
        Self {
            payload: leases.iter().map(Lease::delivery).collect(),
            leases: Leases::new(leases),
        }
    }
}

impl Leases {
    fn new(leases: Vec<Lease>) -> Self {
        Self {
            _progress: Progress::start(&leases),
            _gauge: InFlightGauge::new(leases.len()),
            leases,
        }
    }

    /// How many jobs are leased.
    #[must_use]
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether no job is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// The most deliveries that any of the jobs has had.
    #[must_use]
    pub fn deliveries(&self) -> i64 {
        self.leases.iter().map(Lease::deliveries).max().unwrap_or(0)
    }

    /// The job, if it is one that travels alone.
    #[must_use]
    pub fn suspect(&self) -> Option<&Lease> {
        let first = self.leases.first();
        first.filter(|lease| lease.deliveries() >= ALONE_FROM_DELIVERY)
    }

    /// Takes the leases at `positions`, which are in ascending order, out of the batch.
    pub fn remove(&mut self, positions: &[usize]) -> Vec<Lease> {
        let mut removed: Vec<_> = positions
            .iter()
            .rev()
            .map(|position| self.leases.remove(*position))
            .collect();
        removed.reverse();
        removed
    }

    /// Each job by itself.
    #[must_use]
    pub fn into_singles(self) -> Vec<Self> {
        self.leases
            .into_iter()
            .map(|lease| Self::new(vec![lease]))
            .collect()
    }

    /// The batch has left a stage that it was in since `started`.
    pub fn stage_done(&self, stage: &'static str, started: Instant) {
        let elapsed = started.elapsed();
        metrics::stage_done(stage, elapsed);
        for lease in &self.leases {
            lease.stage_done(stage, elapsed, self.len());
        }
    }

    /// Acknowledges all jobs. To be called when their points are durable, by nobody else.
    pub async fn ack(self) {
        let started = Instant::now();
        join_all(self.leases.into_iter().map(Lease::ack)).await;
        metrics::stage_done("ack", started.elapsed());
    }

    /// Gives all jobs back at once: they were not tried.
    pub async fn release(self) {
        let released = self.leases.into_iter();
        join_all(released.map(|lease| lease.nak(Duration::ZERO))).await;
    }

    /// Settles all jobs of a failed batch. [`Outcome::Exit`] settles nothing.
    pub async fn settle(self, outcome: Outcome, reason: &str) {
        let settled = self.leases.into_iter();
        join_all(settled.map(|lease| lease.settle(outcome, reason))).await;
    }
}
