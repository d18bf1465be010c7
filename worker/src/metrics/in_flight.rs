//! Jobs in flight.

use metrics::gauge;

use super::IN_FLIGHT;

/// Counts jobs in flight for as long as it lives, so that no stage can forget to.
#[derive(Debug)]
pub struct InFlightGauge(f64);

impl InFlightGauge {
    /// Adds `jobs` to the jobs in flight.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a batch has far fewer than 2^52 jobs"
    )]
    pub fn new(jobs: usize) -> Self {
        let jobs = jobs as f64;
        gauge!(IN_FLIGHT).increment(jobs);
        Self(jobs)
    }
}

impl Drop for InFlightGauge {
    fn drop(&mut self) {
        gauge!(IN_FLIGHT).decrement(self.0);
    }
}
