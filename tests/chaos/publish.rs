//! Publish: sends the workload to JetStream at a steady rate, and writes down what came of it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, message::PublishMessage};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::history::{History, Outcome};
use crate::tally::Tally;
use crate::workload::{Send, Workload};

/// Header that carries the number of a message into its dead letter.
pub(crate) const NUMBER: &str = "Chaos-Message";
/// After this long the outcome of a publish is unknown.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// A publisher that does not try again hardly waits, so that there are publishes of unknown outcome.
const IMPATIENT_LIMIT: Duration = Duration::from_millis(2);
/// Pause before a publish of unknown outcome is repeated.
const PAUSE: Duration = Duration::from_millis(250);
/// Publishes without an answer.
const IN_FLIGHT: usize = 128;

#[derive(Clone, Debug)]
pub(crate) struct Publisher {
    /// JetStream, without a proxy between: publishers have faults of their own in that the server dies.
    pub(crate) jetstream: jetstream::Context,
    /// Subjects of the live and the bulk lane.
    pub(crate) subjects: [String; 2],
    /// What came of it.
    pub(crate) history: Arc<History>,
    /// How many of which kind.
    pub(crate) tally: Arc<Tally>,
}

impl Publisher {
    /// Publishes at a rate until told to stop, then what belongs together with what was published. Returns when every
    /// message that must be acknowledged is.
    pub(crate) async fn run(
        &self,
        workload: &mut Workload,
        per_second: u32,
        stop: watch::Receiver<bool>,
    ) {
        let slots = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut sending = JoinSet::new();
        let mut ticks = interval(Duration::from_secs(1) / per_second.max(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if *stop.borrow() {
                workload.end();
            }
            let Some(send) = workload.next() else { break };
            let Ok(slot) = slots.clone().acquire_owned().await else {
                break;
            };
            let publisher = self.clone();
            sending.spawn(async move {
                publisher.send(send).await;
                drop(slot);
            });
            while sending.try_join_next().is_some() {}
        }
        sending.join_all().await;
    }

    /// Publishes `count` messages and what belongs to them.
    pub(crate) async fn burst(&self, workload: &mut Workload, count: usize) {
        workload.go_on();
        let mut sending = JoinSet::new();
        for turn in 0.. {
            if turn == count {
                workload.end();
            }
            let Some(send) = workload.next() else { break };
            let publisher = self.clone();
            sending.spawn(async move { publisher.send(send).await });
        }
        sending.join_all().await;
    }

    async fn send(&self, send: Send) {
        self.count(&send);
        loop {
            let outcome = self.attempt(&send).await;
            let unknown = matches!(outcome, Outcome::Unknown(_));
            self.history.add(&send.message, &send.id, outcome);
            if !unknown || !send.message.persistent {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn attempt(&self, send: &Send) -> Outcome {
        let message = PublishMessage::build()
            .payload(send.message.payload.clone().into())
            .header(NUMBER, send.message.id.to_string().as_str())
            .message_id(&send.id);
        let [live, bulk] = &self.subjects;
        let subject = match send.message.lane {
            contract::topology::Priority::Live => live,
            contract::topology::Priority::Bulk => bulk,
        };
        let publish = async {
            self.jetstream
                .send_publish(subject.clone(), message)
                .await?
                .await
        };
        let limit = if send.message.persistent {
            ANSWER_LIMIT
        } else {
            IMPATIENT_LIMIT
        };
        match timeout(limit, publish).await {
            Ok(Ok(ack)) if ack.duplicate => Outcome::Repeated(ack.sequence),
            Ok(Ok(ack)) => Outcome::Stored(ack.sequence),
            Ok(Err(error)) => Outcome::Unknown(error.to_string()),
            Err(_) => Outcome::Unknown(format!("no answer within {limit:?}")),
        }
    }

    fn count(&self, send: &Send) {
        match send.repetition {
            Some(repetition) => self.tally.operation(repetition),
            None => send
                .message
                .changes
                .iter()
                .for_each(|change| self.tally.operation(change.label)),
        }
    }
}
