//! In flight: work taken from the queue, with the deliveries of its jobs, which are settled when it is done.
//!
//! Nothing else in the worker acknowledges. A delivery is settled once, by value; dropping it settles nothing, and
//! JetStream redelivers the job after the ack wait. While an [`InFlight`] lives and the stages move on, progress
//! acknowledgements begin the ack wait of its jobs anew. A delivery whose ack wait is over all the same has lapsed: another
//! worker may have the job, and only a true acknowledgement still helps.

mod delivery;
mod progress;

use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::batch::Batch;
use crate::metrics::{self, InFlightGauge};
use crate::outcome::Outcome;
pub use delivery::{Delivery, Queue};
use progress::Progress;

/// From this delivery on a job travels alone, so that it cannot take others with it.
pub(crate) const ALONE_FROM_DELIVERY: i64 = 3;

/// The deliveries of a batch, in the order of its jobs.
#[derive(Debug)]
#[must_use = "jobs that are not settled are redelivered"]
pub struct Deliveries {
    deliveries: Vec<Delivery>,
    _progress: Progress,
    _gauge: InFlightGauge,
}

/// Work with the deliveries of its jobs.
#[derive(Debug)]
#[must_use = "work that is not settled is redelivered"]
pub struct InFlight<T> {
    pub batch: T,
    pub deliveries: Deliveries,
}

impl InFlight<Batch> {
    /// Makes batches of about `tokens` each, and one of each job that travels alone.
    pub fn batches(deliveries: Vec<Delivery>, tokens: usize) -> Vec<Self> {
        let size = |it: &Delivery| (it.delivery_count(), it.tokens());
        let batches = group(deliveries, size, tokens).into_iter();
        batches.map(Self::new).collect()
    }

    fn new(deliveries: Vec<Delivery>) -> Self {
        Self {
            batch: deliveries.iter().map(Delivery::raw_job).collect(),
            deliveries: Deliveries::new(deliveries),
        }
    }
}

/// Groups the jobs that travel together into batches of about `tokens` each, and each job that travels alone into one of
/// its own. A pull may bring more than it aimed at, where large jobs follow small ones. `size` tells how often a job was
/// delivered, and its tokens.
fn group<T>(jobs: Vec<T>, size: impl Fn(&T) -> (i64, usize), tokens: usize) -> Vec<Vec<T>> {
    let (alone, together): (Vec<_>, Vec<_>) = jobs
        .into_iter()
        .partition(|job| size(job).0 >= ALONE_FROM_DELIVERY);
    let mut batches = Vec::new();
    let (mut batch, mut filled) = (Vec::new(), 0_usize);
    for job in together {
        filled = filled.saturating_add(size(&job).1);
        batch.push(job);
        if filled >= tokens {
            batches.push(std::mem::take(&mut batch));
            filled = 0;
        }
    }
    batches.push(batch);
    batches.extend(alone.into_iter().map(|job| vec![job]));
    batches.retain(|batch| !batch.is_empty());
    batches
}

impl Deliveries {
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self::new(Vec::new())
    }

    fn new(deliveries: Vec<Delivery>) -> Self {
        Self {
            _progress: Progress::start(&deliveries),
            _gauge: InFlightGauge::new(deliveries.len()),
            deliveries,
        }
    }

    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// How often the job was delivered that was delivered most often.
    pub fn delivery_count(&self) -> i64 {
        self.deliveries
            .iter()
            .map(Delivery::delivery_count)
            .max()
            .unwrap_or(0)
    }

    /// How often each job was delivered.
    pub fn delivery_counts(&self) -> Vec<i64> {
        self.deliveries
            .iter()
            .map(Delivery::delivery_count)
            .collect()
    }

    /// The job, if it is one that travels alone because it may have crashed a worker.
    pub fn suspect(&self) -> Option<&Delivery> {
        let first = self.deliveries.first();
        first.filter(|delivery| delivery.delivery_count() >= ALONE_FROM_DELIVERY)
    }

    /// Takes the deliveries at `positions`, which are in ascending order, out of the batch.
    pub fn remove(&mut self, positions: &[usize]) -> Vec<Delivery> {
        let mut removed: Vec<_> = positions
            .iter()
            .rev()
            .map(|position| self.deliveries.remove(*position))
            .collect();
        removed.reverse();
        removed
    }

    /// Takes all deliveries out of the batch.
    pub fn into_all(self) -> Vec<Delivery> {
        self.deliveries
    }

    /// Each job as a batch of its own.
    pub fn into_singles(self) -> Vec<Self> {
        self.deliveries
            .into_iter()
            .map(|delivery| Self::new(vec![delivery]))
            .collect()
    }

    /// Records that the batch has left a stage that it was in since `started`.
    pub fn stage_done(&self, stage: &'static str, started: Instant) {
        let elapsed = started.elapsed();
        metrics::stage_done(stage, elapsed);
        for delivery in &self.deliveries {
            delivery.stage_done(stage, elapsed, self.len());
        }
    }

    /// Acknowledges all jobs. Only the upsert stage may call this, when their points are durable.
    pub async fn ack(self) {
        let started = Instant::now();
        join_all(self.deliveries.into_iter().map(Delivery::ack)).await;
        metrics::stage_done("ack", started.elapsed());
    }

    /// Gives all jobs back at once: they were not tried.
    pub async fn release(self) {
        let released = self.deliveries.into_iter();
        join_all(released.map(|delivery| delivery.nak(Duration::ZERO))).await;
    }

    /// Settles all jobs of a failed batch. [`Outcome::Exit`] settles nothing.
    pub async fn settle(self, outcome: Outcome, reason: &str) {
        let settled = self.deliveries.into_iter();
        join_all(settled.map(|delivery| delivery.settle(outcome, reason))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_travel_together_up_to_the_tokens_of_a_batch_and_suspects_alone() {
        let jobs = vec![(1, 40), (3, 10), (2, 70), (1, 5), (9, 900)];
        let batches = group(jobs, |job| *job, 100);
        let expected = [
            vec![(1, 40), (2, 70)],
            vec![(1, 5)],
            vec![(3, 10)],
            vec![(9, 900)],
        ];
        assert_eq!(batches, expected);
    }

    #[test]
    fn a_job_that_fills_a_batch_is_sent_on_with_those_before_it() {
        let batches = group(vec![(1, 1), (1, usize::MAX), (1, 2)], |job| *job, 100);
        assert_eq!(batches, [vec![(1, 1), (1, usize::MAX)], vec![(1, 2)]]);
        assert!(group(Vec::<(i64, usize)>::new(), |job| *job, 100).is_empty());
    }
}
