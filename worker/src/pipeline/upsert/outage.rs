//! The outage: what the stage does while Qdrant, or the stream of answers, takes no writes.
//!
//! The jobs of the batch are given back, because others may still reach the server, and the breaker opens: nothing is
//! pulled until a write that changes nothing has succeeded. That reads succeed would say little: a server whose disk is
//! full answers them. Where the next batch fails all the same, the pause before the next attempt grows, so that even an
//! outage that no probe can see does not spend the deliveries of the backlog.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use contract::topology::RESULTS;

use super::{FIRST_RETRY_PAUSE, Failure, LONGEST_RETRY_PAUSE, UpsertStage};
use crate::error::{UpsertError, chain};
use crate::inflight::Deliveries;
use crate::metrics;
use crate::outcome::Outcome;
use crate::shutdown::Phase;

/// Longest pause before the next batch is tried, while one after the other fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Pause after the second failure in a row; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// Counts of the writes that fail at the moment.
#[derive(Debug, Default)]
pub struct Outages {
    /// Batches in a row that could not be written.
    failed: AtomicU32,
    /// Batches that are being tried again.
    troubled: AtomicU32,
}

/// Counts a batch as one that is being tried again, until it is dropped.
pub(super) struct FailingBatch<'a>(&'a AtomicU32);

impl Drop for FailingBatch<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Outages {
    /// Ends the outage, because a batch was written.
    pub(super) fn end(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    pub(super) fn trouble(&self) -> FailingBatch<'_> {
        self.troubled.fetch_add(1, Ordering::Relaxed);
        FailingBatch(&self.troubled)
    }

    /// Whether the last batch could not be written, or one is being tried again.
    pub(super) fn are_on(&self) -> bool {
        let counts = [&self.failed, &self.troubled];
        counts.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// Counts a batch that was not written, and returns how long to wait at least.
    fn failed_again(&self) -> Duration {
        match self.failed.fetch_add(1, Ordering::Relaxed) {
            0 => Duration::ZERO,
            before => (FIRST_PAUSE * 2_u32.pow((before - 1).min(6))).min(LONGEST_PAUSE),
        }
    }
}

impl UpsertStage {
    /// Gives the jobs of a batch back and waits for the end of the outage, or of the process. If another batch waits
    /// already, that is enough.
    pub(super) async fn wait_out(&self, deliveries: Deliveries, failure: Failure) {
        // Opened before the jobs are given back, so that they do not come straight back here.
        let was_open = self.set_breaker(true);
        let pause = (!was_open).then(|| self.outages.failed_again());
        deliveries.settle(failure.outcome, &failure.reason).await;
        let Some(pause) = pause else {
            return;
        };
        let mut at_least = pause;
        if let Outcome::Retry { after: Some(after) } = failure.outcome {
            at_least = at_least.max(after);
        }
        let mut shutdown = self.context.shutdown.clone();
        tokio::select! {
            () = shutdown.reached(Phase::Draining) => {}
            () = self.probe_until_written(at_least) => {}
        }
        self.set_breaker(false);
    }

    /// While the breaker is open nothing is pulled, so that an outage does not spend the deliveries of the backlog.
    /// Returns whether it was open before.
    fn set_breaker(&self, open: bool) -> bool {
        metrics::breaker(open);
        self.breaker.send_replace(open)
    }

    async fn probe_until_written(&self, at_least: Duration) {
        tokio::time::sleep(at_least).await;
        let mut pause = FIRST_RETRY_PAUSE;
        while let Err(error) = self.probe().await {
            tracing::warn!(error, "waiting for the end of the outage");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
        }
    }

    /// Whether the collections of the installation, and the stream of answers, take writes.
    async fn probe(&self) -> Result<(), String> {
        for collection in &self.collections {
            match self.upserter.probe(collection).await {
                // A collection of another model ends the process when the next batch is written.
                Ok(()) | Err(UpsertError::Mismatch(_)) => {}
                Err(error) => return Err(chain(&error)),
            }
        }
        let answers = self.context.queue.jetstream.get_stream(RESULTS).await;
        answers.map(drop).map_err(|error| chain(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_while_one_batch_after_the_other_fails() {
        let outages = Outages::default();
        let seconds: Vec<_> = (0..9).map(|_| outages.failed_again().as_secs()).collect();
        assert_eq!(seconds, [0, 5, 10, 20, 40, 80, 160, 300, 300]);
        outages.end();
        assert_eq!(outages.failed_again(), Duration::ZERO);
    }

    #[test]
    fn writes_fail_from_the_first_attempt_until_one_batch_is_written() {
        let outages = Outages::default();
        let trouble = outages.trouble();
        assert!(outages.are_on());
        outages.failed_again();
        drop(trouble);
        assert!(outages.are_on());
        outages.end();
        assert!(!outages.are_on());
    }
}
