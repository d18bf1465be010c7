//! Streams: configuration of streams, consumers and key-value buckets, and the version of a job that names none.
//!
//! `indexer provision` creates and updates them; workers look them up and refuse to start on a difference.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{kv, message};
use contract::job::{MAX_JOB_BYTES, MAX_VERSION};
use contract::topology::{
    ADVISORIES, ATTEMPTS, DEFAULT_ACK_WAIT, DLQ, DLQ_MAX_AGE, JOBS, Lane, MAX_DELIVER, RESULTS,
    RUNS, SWEEP, header,
};

/// How long JetStream recognises a repeated `Nats-Msg-Id`. It outlasts a reconnect with a restarted server;
/// correctness does not rest on it, because writes are idempotent.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(20 * 60);
/// What the server would choose; stated, so that what is found can be compared with what is wanted.
const DEFAULT_DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// Answers are read at once or never.
const RESULTS_MAX_AGE: Duration = Duration::from_secs(3600);
/// Advisories only have to outlive the sweep that reads them.
const ADVISORIES_MAX_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// An attempt is counted within a few ack waits, or forgotten.
const ATTEMPTS_MAX_AGE: Duration = Duration::from_secs(24 * 3600);
/// Room for headers beside the largest job: a job that is published again has more of them than the first time.
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Pull requests that may wait on one consumer at the same time: more than one per worker.
pub const MAX_WAITING: i64 = 512;
/// Advisories that sweeps may hold at the same time.
const SWEEP_MAX_ACK_PENDING: i64 = 1000;

/// Sizes that depend on the installation.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Replicas of each stream: 1 on a single server, 3 in a cluster.
    pub replicas: usize,
    /// Largest backlog in bytes; publishing beyond it is refused, never dropped.
    pub jobs_max_bytes: i64,
}

/// Sizes of a consumer that depend on the installation.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerSizes {
    /// How long a worker may hold a delivery without a sign of life.
    pub ack_wait: Duration,
    /// Most deliveries in flight, of all workers together.
    pub max_ack_pending: i64,
    /// Replicas of its state, as many as its stream has.
    pub replicas: usize,
}

/// The configurations of all streams, in the order in which they are created.
#[must_use]
pub fn streams(sizes: &Sizes) -> Vec<stream::Config> {
    vec![jobs(sizes), dlq(sizes), results(sizes), advisories(sizes)]
}

#[must_use]
pub fn buckets(sizes: &Sizes) -> Vec<kv::Config> {
    let bucket = |name: &str, description: &str, max_age| kv::Config {
        bucket: name.to_owned(),
        description: description.to_owned(),
        history: 1,
        max_age,
        storage: StorageType::File,
        num_replicas: sizes.replicas,
        ..kv::Config::default()
    };
    let runs = "runs: phase, cursor, counts, gates, leases";
    let attempts = "attempts: starts of redelivered jobs that have not ended";
    vec![
        bucket(RUNS, runs, Duration::ZERO),
        bucket(ATTEMPTS, attempts, ATTEMPTS_MAX_AGE),
    ]
}

/// Jobs leave the stream when they are acknowledged. A full stream refuses new jobs; it never drops old ones.
fn jobs(sizes: &Sizes) -> stream::Config {
    stream::Config {
        name: JOBS.to_owned(),
        description: Some("jobs that are not settled yet".to_owned()),
        subjects: vec!["jobs.embed.>".to_owned(), "jobs.rescore.>".to_owned()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_bytes: sizes.jobs_max_bytes,
        max_message_size: i32::try_from(MAX_JOB_BYTES + MAX_HEADER_BYTES)
            .expect("1 MiB fits 31 bits"),
        duplicate_window: DUPLICATE_WINDOW,
        ..file_stream(sizes)
    }
}

/// One message per subject and no overwriting: a dead letter is stored once, whoever tries.
fn dlq(sizes: &Sizes) -> stream::Config {
    stream::Config {
        name: DLQ.to_owned(),
        description: Some("jobs that were given up, with their cause".to_owned()),
        subjects: vec!["dlq.>".to_owned()],
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        discard_new_per_subject: true,
        max_age: DLQ_MAX_AGE,
        ..file_stream(sizes)
    }
}

fn results(sizes: &Sizes) -> stream::Config {
    stream::Config {
        name: RESULTS.to_owned(),
        description: Some("answers to jobs that asked for a reply".to_owned()),
        subjects: vec!["results.>".to_owned()],
        max_age: RESULTS_MAX_AGE,
        ..file_stream(sizes)
    }
}

/// Advisories are published once and forgotten; this stream remembers those about jobs.
fn advisories(sizes: &Sizes) -> stream::Config {
    stream::Config {
        name: ADVISORIES.to_owned(),
        description: Some("advisories about jobs that were given up or terminated".to_owned()),
        subjects: vec![
            advisory_subject("MAX_DELIVERIES"),
            advisory_subject("MSG_TERMINATED"),
        ],
        max_age: ADVISORIES_MAX_AGE,
        ..file_stream(sizes)
    }
}

/// Configuration of the consumer of a lane.
#[must_use]
pub fn lane_consumer_config(lane: &Lane, sizes: &ConsumerSizes) -> pull::Config {
    pull::Config {
        durable_name: Some(lane.consumer()),
        description: Some(format!("jobs of {}", lane.subject())),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: sizes.ack_wait,
        max_deliver: MAX_DELIVER,
        filter_subject: lane.subject(),
        max_waiting: MAX_WAITING,
        max_ack_pending: sizes.max_ack_pending,
        // Zero: with no workers nobody pulls, and the consumer must survive that.
        inactive_threshold: Duration::ZERO,
        num_replicas: sizes.replicas,
        ..pull::Config::default()
    }
}

/// Configuration of the consumer [`SWEEP`] of [`ADVISORIES`]. An advisory is handed out until its job is dealt with.
#[must_use]
pub fn sweep_consumer_config(replicas: usize) -> pull::Config {
    pull::Config {
        durable_name: Some(SWEEP.to_owned()),
        description: Some("advisories about jobs that had their last delivery".to_owned()),
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::Explicit,
        ack_wait: DEFAULT_ACK_WAIT,
        filter_subject: advisory_subject("MAX_DELIVERIES"),
        max_waiting: MAX_WAITING,
        max_ack_pending: SWEEP_MAX_ACK_PENDING,
        inactive_threshold: Duration::ZERO,
        max_deliver: -1,
        num_replicas: replicas,
        ..pull::Config::default()
    }
}

fn advisory_subject(kind: &str) -> String {
    format!("$JS.EVENT.ADVISORY.CONSUMER.{kind}.{JOBS}.>")
}

fn file_stream(sizes: &Sizes) -> stream::Config {
    stream::Config {
        storage: StorageType::File,
        num_replicas: sizes.replicas,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_message_size: -1,
        duplicate_window: DEFAULT_DUPLICATE_WINDOW,
        ..stream::Config::default()
    }
}

/// Unit of [`contract::job::Document::version`] when a job names none: microseconds since the epoch at which
/// JetStream stored it, or what a replay put into [`header::DOCUMENT_VERSION`].
///
/// Returns `None` when the header is there and is not a version.
#[must_use]
pub fn default_version(
    headers: Option<&async_nats::HeaderMap>,
    info: &message::Info<'_>,
) -> Option<u64> {
    version_or_stored(headers, info.published.unix_timestamp_nanos())
}

/// [`default_version`] of a job that was stored at a time in nanoseconds since the epoch.
#[must_use]
pub fn version_or_stored(
    headers: Option<&async_nats::HeaderMap>,
    stored_nanos: i128,
) -> Option<u64> {
    match headers.and_then(|headers| headers.get(header::DOCUMENT_VERSION)) {
        Some(version) => {
            let version = version.as_str().parse().ok();
            version.filter(|version| (1..=MAX_VERSION).contains(version))
        }
        None => u64::try_from(stored_nanos / 1_000).ok(),
    }
}
