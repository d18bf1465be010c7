//! Fleet: the numbers that belong together in a running system, how they follow from decisions, and the rules that they
//! must keep, whoever chose them.
//!
//! `indexer render` derives a fleet and refuses one that breaks a rule; `indexer doctor` reads one from manifests or
//! from a running system and names the rules that it breaks. The rules are the same.

pub mod derive;
pub mod rules;

use std::fmt;
use std::time::Duration;

use contract::topology::BATCHES_PER_WORKER;

pub use derive::{Derived, derive};
pub use rules::{Broken, broken};

/// Something that is set to a value somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// Where, like `ScaledObject worker: spec.maxReplicaCount`.
    pub at: String,
    pub value: T,
}

/// The numbers that rules are about. What is not known is left out, and no rule asks for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fleet {
    pub max_workers: Option<Setting<u64>>,
    /// Workers while there is anything to do.
    pub min_workers: Option<Setting<u64>>,
    /// Workers while there is nothing to do.
    pub idle_workers: Option<Setting<u64>>,
    /// Workers while the autoscaler cannot see the lag.
    pub fallback_workers: Option<Setting<u64>>,
    /// Jobs that one worker may hold.
    pub in_flight: Option<Setting<u64>>,
    /// Deliveries in flight of all workers together.
    pub max_ack_pending: Option<Setting<u64>>,
    /// Jobs per worker that the autoscaler aims at, of each lane.
    pub lag_thresholds: Vec<Setting<u64>>,
    /// Jobs that may wait without waking a worker, of each lane.
    pub activation: Vec<Setting<u64>>,
    /// How long a worker may be silent about a job.
    pub ack_wait: Option<Setting<Duration>>,
    /// Time from SIGTERM until a worker gives back what it has not finished.
    pub grace: Option<Setting<Duration>>,
    /// Time from SIGTERM to SIGKILL.
    pub pod_grace: Option<Setting<Duration>>,
    /// Time from the start of a container until it is given up, if its model is not loaded.
    pub startup: Option<Setting<Duration>>,
    /// Time from the last job to no worker.
    pub cooldown: Option<Setting<Duration>>,
    /// Time from the decision to start a worker to its first pull.
    pub start_time: Option<Setting<Duration>>,
    /// Time in which a backlog is to be worked off.
    pub drain_target: Option<Setting<Duration>>,
}

impl<T> Setting<T> {
    pub fn new(at: impl Into<String>, value: T) -> Self {
        let at = at.into();
        Self { at, value }
    }
}

/// Jobs that one worker may hold: a pull for each batch that is on its way.
pub fn in_flight(batch_jobs: u64) -> u64 {
    batch_jobs.saturating_mul(BATCHES_PER_WORKER)
}

/// Deliveries in flight of all workers together. Half more than they can hold, because those of a worker that died
/// count until their ack wait is over, and must not starve the others.
pub fn max_ack_pending(workers: u64, in_flight: u64) -> u64 {
    workers
        .saturating_mul(in_flight)
        .saturating_mul(3)
        .div_ceil(2)
}

/// A duration for people: `30m`, not `1800s`.
pub fn span(duration: Duration) -> impl fmt::Display {
    humantime::format_duration(duration)
}

#[cfg(test)]
mod tests;
