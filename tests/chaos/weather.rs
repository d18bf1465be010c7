//! Weather: for how long a worker has had no excuse.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Troubles that were, and are.
#[derive(Debug, Default)]
pub(crate) struct Weather(Mutex<Vec<Storm>>);

#[derive(Clone, Copy, Debug)]
struct Storm {
    /// The worker it meets, or all.
    worker: Option<usize>,
    end: Option<Instant>,
}

impl Weather {
    /// A trouble begins; gives its number.
    pub(crate) fn begin(&self, worker: Option<usize>) -> usize {
        let mut storms = self.lock();
        storms.push(Storm { worker, end: None });
        storms.len() - 1
    }

    /// A trouble ends.
    pub(crate) fn end(&self, number: usize) {
        if let Some(storm) = self.lock().get_mut(number) {
            storm.end = Some(Instant::now());
        }
    }

    /// For how long a worker has had none. `None` if it never had any.
    pub(crate) fn calm_for(&self, worker: usize) -> Option<Duration> {
        let storms = self.lock();
        let mine = storms
            .iter()
            .filter(|storm| storm.worker.is_none_or(|met| met == worker));
        let calm = mine.map(|storm| storm.end.map_or(Duration::ZERO, |end| end.elapsed()));
        calm.min()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Storm>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
