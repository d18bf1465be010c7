//! Progress: keeps the jobs of a batch from redelivery while it lives and the stages move on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::Subject;
use async_nats::connection::State;
use bytes::Bytes;
use tokio::task::AbortHandle;

use super::delivery::{Delivery, Queue};

/// When the ack wait of a delivery last began anew.
#[derive(Debug)]
pub(super) struct Renewal {
    delivered: Instant,
    /// Milliseconds from the delivery to the last renewal.
    renewed: AtomicU64,
    ack_wait: Duration,
}

impl Renewal {
    pub(super) fn new(ack_wait: Duration) -> Self {
        Self {
            delivered: Instant::now(),
            renewed: AtomicU64::new(0),
            ack_wait,
        }
    }

    /// Whether the ack wait has run out, so that another worker may have the job.
    pub(super) fn has_lapsed(&self) -> bool {
        let renewed = Duration::from_millis(self.renewed.load(Ordering::Acquire));
        self.delivered.elapsed().saturating_sub(renewed) >= self.ack_wait
    }

    fn renew(&self) {
        let millis = u64::try_from(self.delivered.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.renewed.store(millis, Ordering::Release);
    }
}

/// Tells JetStream that the jobs are still being worked on: until dropped, and for as long as the process moves on, so
/// that a hung stage does not keep a job for ever.
#[derive(Debug)]
pub(super) struct Progress(Option<AbortHandle>);

impl Progress {
    pub(super) fn start(deliveries: &[Delivery]) -> Self {
        let Some(queue) = deliveries.first().map(Delivery::queue).cloned() else {
            return Self(None);
        };
        let mut renewals: Vec<_> = deliveries.iter().filter_map(Delivery::renewal).collect();
        let task = tokio::spawn(async move {
            // A second tick may be lost before the ack wait is over.
            let mut ticks = tokio::time::interval(queue.ack_wait / 3);
            ticks.tick().await;
            while !renewals.is_empty() {
                ticks.tick().await;
                // A job whose delivery has lapsed may be another worker's.
                renewals.retain(|(_, renewal)| !renewal.has_lapsed());
                if !queue.health.is_stalled() {
                    renew(&queue, &renewals).await;
                }
            }
        });
        Self(Some(task.abort_handle()))
    }
}

/// Does nothing without a connection: the client would keep the messages, and send them when they mean nothing any more.
async fn renew(queue: &Queue, renewals: &[(Subject, Arc<Renewal>)]) {
    if queue.client.connection_state() != State::Connected {
        return;
    }
    for (reply, renewal) in renewals {
        let sent = queue
            .client
            .publish(reply.clone(), Bytes::from_static(b"+WPI"));
        if let Ok(Ok(())) = tokio::time::timeout(queue.ack_wait / 3, sent).await {
            renewal.renew();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A delivery of a hundred seconds ago.
    fn delivered(ack_wait: Duration) -> Renewal {
        let delivered = Instant::now().checked_sub(Duration::from_secs(100));
        Renewal {
            delivered: delivered.expect("the machine runs for longer"),
            ..Renewal::new(ack_wait)
        }
    }

    #[test]
    fn a_delivery_lapses_one_ack_wait_after_its_last_renewal() {
        assert!(!delivered(Duration::from_secs(3_600)).has_lapsed());
        let short = delivered(Duration::from_secs(60));
        assert!(short.has_lapsed());
        short.renew();
        assert!(!short.has_lapsed());
        // Renewed seventy seconds ago.
        short.renewed.store(30_000, Ordering::Release);
        assert!(short.has_lapsed());
    }
}
