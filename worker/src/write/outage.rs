//! Outage: what the stage does while Qdrant, or the stream of answers, takes no writes.
//!
//! The jobs of the batch are given back, because others may still reach the server, and the breaker opens: nothing is
//! pulled until a write that changes nothing has succeeded. That reads succeed would say little: a server whose disk is
//! full answers them. Where the next batch fails all the same, the pause before the next attempt grows, so that even an
//! outage that no probe can see does not spend the deliveries of the backlog.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use contract::topology::RESULTS;

use super::{Failure, PAUSES, WriteStage};
use crate::error::{Outcome, UpsertError, chain};
use crate::inflight::Leases;
use crate::metrics;
use crate::shutdown::Phase;

/// Longest pause before the next batch is tried, while one after the other fails.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// Pause after the second failure in a row; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(5);

/// What is known about failing writes.
#[derive(Debug, Default)]
pub struct Outages {
    /// Batches in a row that could not be written.
    failed: AtomicU32,
    /// Batches that are being tried again.
    troubled: AtomicU32,
}

/// A batch is being tried again for as long as this lives.
pub(super) struct Trouble<'a>(&'a AtomicU32);

impl Drop for Trouble<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Outages {
    /// A batch was written.
    pub(super) fn end(&self) {
        self.failed.store(0, Ordering::Relaxed);
    }

    /// A batch is to be tried again.
    pub(super) fn trouble(&self) -> Trouble<'_> {
        self.troubled.fetch_add(1, Ordering::Relaxed);
        Trouble(&self.troubled)
    }

    /// Whether a batch could not be written lately.
    pub(super) fn are_on(&self) -> bool {
        let counts = [&self.failed, &self.troubled];
        counts.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    /// A batch was not written; gives how long to wait at least.
    fn go_on(&self) -> Duration {
        match self.failed.fetch_add(1, Ordering::Relaxed) {
            0 => Duration::ZERO,
            before => (FIRST_PAUSE * 2_u32.pow((before - 1).min(6))).min(LONGEST_PAUSE),
        }
    }
}

impl WriteStage {
    /// Gives the jobs of a batch back and waits for the end of the outage, or of the process. Where another batch waits
    /// already, that is enough.
    pub(super) async fn sit_out(&self, leases: Leases, failure: Failure) {
        // Opened before the jobs are given back, so that they do not come straight back here.
        let known = self.break_circuit(true);
        let pause = (!known).then(|| self.outages.go_on());
        leases.settle(failure.outcome, &failure.reason).await;
        let Some(pause) = pause else {
            return;
        };
        let asked = match failure.outcome {
            Outcome::Retry { after } => after.unwrap_or_default(),
            Outcome::DeadLetter { .. } | Outcome::GiveBack | Outcome::Terminate | Outcome::Exit => {
                Duration::ZERO
            }
        };
        let at_least = asked.max(pause);
        let mut shutdown = self.context.shutdown.clone();
        tokio::select! {
            () = shutdown.reached(Phase::Draining) => {}
            () = self.probe_until_written(at_least) => {}
        }
        self.break_circuit(false);
    }

    /// While it is open nothing is pulled, so that an outage does not spend the deliveries of the backlog. Gives whether
    /// it was open before.
    fn break_circuit(&self, open: bool) -> bool {
        metrics::breaker(open);
        self.breaker.send_replace(open)
    }

    async fn probe_until_written(&self, at_least: Duration) {
        tokio::time::sleep(at_least).await;
        let mut pause = PAUSES.0;
        while let Err(error) = self.probe().await {
            tracing::warn!(error, "waiting for the end of the outage");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Whether the collections of the installation, and the stream of answers, take writes.
    async fn probe(&self) -> Result<(), String> {
        for collection in &self.collections {
            match self.upserter.probe(collection).await {
                // The next batch meets a collection of another model, and ends the process.
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
        let seconds: Vec<_> = (0..9).map(|_| outages.go_on().as_secs()).collect();
        assert_eq!(seconds, [0, 5, 10, 20, 40, 80, 160, 300, 300]);
        outages.end();
        assert_eq!(outages.go_on(), Duration::ZERO);
    }

    #[test]
    fn writes_fail_from_the_first_attempt_until_one_batch_is_written() {
        let outages = Outages::default();
        let trouble = outages.trouble();
        assert!(outages.are_on());
        outages.go_on();
        drop(trouble);
        assert!(outages.are_on());
        outages.end();
        assert!(!outages.are_on());
    }
}
