//! Consumers: the two lanes of a model in JetStream, and whether they are configured as a worker relies on.

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{self, AckPolicy, PullConsumer};
use contract::model::Manifest;
use contract::topology::{JOBS, Lane, MIN_ACK_WAIT};
use queue::streams::{ConsumerSizes, lane_consumer_config};

use crate::metrics;
use crate::shutdown::{Phase, Shutdown};

/// Pause between attempts to find a consumer.
const PAUSE: Duration = Duration::from_secs(1);
/// Pause between two looks at the consumers of a running worker.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Both consumers, live first.
#[derive(Debug)]
pub struct Consumers([(Lane, PullConsumer); 2]);

impl Consumers {
    /// Looks up both consumers, until NATS can be reached and they are provisioned.
    ///
    /// # Errors
    /// If one has drifted.
    pub async fn find(jetstream: &jetstream::Context, manifest: &Manifest) -> anyhow::Result<Self> {
        let [live, bulk] = Lane::of(manifest.identity.task, &manifest.name);
        let live_consumer = find_consumer(jetstream, &live).await?;
        let bulk_consumer = find_consumer(jetstream, &bulk).await?;
        Ok(Self([(live, live_consumer), (bulk, bulk_consumer)]))
    }

    /// The consumers, live first.
    pub fn each(&self) -> [PullConsumer; 2] {
        self.0.each_ref().map(|(_, consumer)| consumer.clone())
    }

    /// The shorter ack wait of both. Jobs that are not finished when the grace of a shutdown is over must not have been
    /// redelivered by then, so that they can be given back.
    ///
    /// # Errors
    /// If it is not longer than the grace.
    pub fn ack_wait_above(&self, grace: Duration) -> anyhow::Result<Duration> {
        let [live, bulk] = self.each().map(|consumer| ack_wait(&consumer));
        let shortest = live.min(bulk);
        anyhow::ensure!(
            grace < shortest,
            "--grace of {grace:?} is not below the ack wait of {shortest:?}; shorten it, or run `indexer provision --ack-wait`"
        );
        Ok(shortest)
    }

    /// Checks the consumers from time to time. If one is gone, pulling goes on when it is back.
    ///
    /// # Errors
    /// If one has drifted: jobs would be redelivered too soon, or stall, without a word.
    pub async fn watch(&self, shutdown: Shutdown) -> anyhow::Result<Infallible> {
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            // What is in flight is finished or given back all the same.
            if shutdown.phase() != Phase::Running {
                std::future::pending::<()>().await;
            }
            for (lane, known) in &self.0 {
                self.look(lane, known).await?;
            }
        }
    }

    async fn look(&self, lane: &Lane, known: &PullConsumer) -> anyhow::Result<()> {
        match known.get_info().await {
            Ok(info) => {
                let jobs = (info.num_pending, info.num_ack_pending);
                metrics::lane(lane.priority, Some(jobs));
                check_config(&info.config, lane)?;
                anyhow::ensure!(
                    info.config.ack_wait == ack_wait(known),
                    "consumer `{}` has changed in ack_wait since this worker started",
                    lane.consumer()
                );
            }
            Err(error) => {
                metrics::lane(lane.priority, None);
                missing(lane, &error);
            }
        }
        Ok(())
    }
}

fn ack_wait(consumer: &PullConsumer) -> Duration {
    consumer.cached_info().config.ack_wait
}

fn missing(lane: &Lane, error: &dyn Display) {
    tracing::warn!(
        consumer = lane.consumer(),
        %error,
        "consumer not found; if nats is up, run `indexer provision`"
    );
}

async fn find_consumer(
    jetstream: &jetstream::Context,
    lane: &Lane,
) -> anyhow::Result<PullConsumer> {
    loop {
        let found: Result<PullConsumer, _> = jetstream
            .get_consumer_from_stream(lane.consumer(), JOBS)
            .await;
        match found {
            Ok(consumer) => {
                check_consumer(&consumer, lane)?;
                let info = consumer.cached_info();
                metrics::lane(
                    lane.priority,
                    Some((info.num_pending, info.num_ack_pending)),
                );
                return Ok(consumer);
            }
            Err(error) => missing(lane, &error),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Checks what the worker relies on. A drifted consumer would lose or stall jobs without a word.
///
/// # Errors
/// The fields that have drifted.
pub fn check_consumer(consumer: &PullConsumer, lane: &Lane) -> anyhow::Result<()> {
    check_config(&consumer.cached_info().config, lane)
}

fn check_config(config: &consumer::Config, lane: &Lane) -> anyhow::Result<()> {
    let wanted = lane_consumer_config(
        lane,
        &ConsumerSizes {
            ack_wait: config.ack_wait,
            max_ack_pending: config.max_ack_pending,
            replicas: config.num_replicas,
        },
    );
    let checks = [
        (
            "filter_subject",
            config.filter_subject == wanted.filter_subject,
        ),
        ("ack_policy", config.ack_policy == AckPolicy::Explicit),
        ("ack_wait", config.ack_wait >= MIN_ACK_WAIT),
        ("max_deliver", config.max_deliver == wanted.max_deliver),
        ("backoff", config.backoff.is_empty()),
        ("inactive_threshold", config.inactive_threshold.is_zero()),
    ];
    let drifted: Vec<_> = checks
        .iter()
        .filter(|(_, same)| !same)
        .map(|(name, _)| *name)
        .collect();
    anyhow::ensure!(
        drifted.is_empty(),
        "consumer `{}` has drifted in {}; run `indexer provision`",
        lane.consumer(),
        drifted.join(", ")
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use async_nats::jetstream::consumer::IntoConsumerConfig as _;
    use contract::topology::{MAX_DELIVER, Priority, Task};

    use super::*;

    type Drift = fn(&mut consumer::Config);

    const SIZES: ConsumerSizes = ConsumerSizes {
        ack_wait: MIN_ACK_WAIT,
        max_ack_pending: 1,
        replicas: 1,
    };

    fn lane() -> Lane {
        Lane::new(Task::Embed, "m".parse().unwrap(), Priority::Live)
    }

    fn provisioned(sizes: &ConsumerSizes) -> consumer::Config {
        lane_consumer_config(&lane(), sizes).into_consumer_config()
    }

    #[test]
    fn the_sizes_of_a_consumer_are_left_to_whoever_provisions_it() {
        let larger = ConsumerSizes {
            ack_wait: MIN_ACK_WAIT * 3,
            max_ack_pending: 7,
            replicas: 3,
        };
        for sizes in [SIZES, larger] {
            check_config(&provisioned(&sizes), &lane()).unwrap();
        }
    }

    #[test]
    fn a_consumer_that_would_lose_or_stall_jobs_is_refused_by_the_name_of_the_field() {
        let drifts: [(&str, Drift); 6] = [
            ("filter_subject", |it| it.filter_subject.push('s')),
            ("ack_policy", |it| it.ack_policy = AckPolicy::None),
            ("ack_wait", |it| it.ack_wait = MIN_ACK_WAIT / 2),
            ("max_deliver", |it| it.max_deliver = MAX_DELIVER + 1),
            ("backoff", |it| it.backoff = vec![MIN_ACK_WAIT]),
            ("inactive_threshold", |it| {
                it.inactive_threshold = MIN_ACK_WAIT;
            }),
        ];
        for (field, drift) in drifts {
            let mut config = provisioned(&SIZES);
            drift(&mut config);
            let error = check_config(&config, &lane()).unwrap_err().to_string();
            assert!(error.contains(&format!("drifted in {field};")), "{error}");
        }
    }
}
