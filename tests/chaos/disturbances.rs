//! Disturbances: for how long a worker has had no excuse.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Disturbances that are over, and those that last.
#[derive(Debug, Default)]
pub(crate) struct Disturbances(Mutex<Vec<Disturbance>>);

#[derive(Clone, Copy, Debug)]
struct Disturbance {
    /// The worker it meets, or all.
    worker: Option<usize>,
    end: Option<Instant>,
}

impl Disturbances {
    /// A disturbance begins; gives its number.
    pub(crate) fn begin(&self, worker: Option<usize>) -> usize {
        let mut disturbances = self.lock();
        disturbances.push(Disturbance { worker, end: None });
        disturbances.len() - 1
    }

    /// A disturbance ends.
    pub(crate) fn end(&self, number: usize) {
        if let Some(disturbance) = self.lock().get_mut(number) {
            disturbance.end = Some(Instant::now());
        }
    }

    /// For how long a worker has had no disturbance. `None` if it never had any.
    pub(crate) fn calm_for(&self, worker: usize) -> Option<Duration> {
        let disturbances = self.lock();
        let mine = disturbances
            .iter()
            .filter(|disturbance| disturbance.worker.is_none_or(|met| met == worker));
        let calm =
            mine.map(|disturbance| disturbance.end.map_or(Duration::ZERO, |end| end.elapsed()));
        calm.min()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Disturbance>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
