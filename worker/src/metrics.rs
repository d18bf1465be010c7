//! Metrics: all names, in one place. Stages call one function per event, per batch and never per chunk.
//!
//! Units are in the names. Every counter is there from the start, at zero, with every label that it can have: a counter
//! that appears with its first event has no rate at that event.

mod record;

use std::time::Duration;

use contract::model::Manifest;
use contract::topology::Priority;
use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use queue::dead_letter::EXHAUSTED;

use crate::config::Provider;
use crate::outcome::CAUSES;
pub use record::*;

const JOBS: &str = "worker_jobs_total";
const DEAD_LETTERS: &str = "worker_dead_letters_total";
const REDELIVERIES: &str = "worker_redeliveries_total";
const DELIVERY_AGE: &str = "worker_delivery_age_seconds";
const IN_FLIGHT: &str = "worker_jobs_in_flight";
const PULL_FAILURES: &str = "worker_pull_failures_total";
const LANE_PENDING: &str = "worker_lane_pending_jobs";
const LANE_UNSETTLED: &str = "worker_lane_ack_pending_jobs";
const CHUNKS: &str = "worker_chunks_total";
const REUSED_CHUNKS: &str = "worker_reused_chunks_total";
const TOKENS: &str = "worker_tokens_total";
const PADDED_TOKENS: &str = "worker_padded_tokens_total";
const HALVED: &str = "worker_halved_tensors_total";
const TRUNCATED: &str = "worker_truncated_texts_total";
const POINTS: &str = "worker_points_total";
const SUPERSEDED: &str = "worker_superseded_documents_total";
/// Points without an attach job, because there was no room for it.
const NOT_HANDED_ON: &str = "worker_not_handed_on_points_total";
const STAGE_SECONDS: &str = "worker_stage_seconds";
const DEVICE_SECONDS: &str = "worker_device_seconds";
const QDRANT_SECONDS: &str = "worker_qdrant_request_seconds";
const QDRANT_FAILURES: &str = "worker_qdrant_request_failures_total";
const BREAKER: &str = "worker_breaker_open";
const HELD: &str = "worker_held_batches";
const STARTUP_SECONDS: &str = "worker_startup_seconds";
const MODEL: &str = "worker_model_info";
const BUILD: &str = "worker_build_info";

/// How a job is settled: `lapsed` where its ack wait was over before, `ack_lost` where the server did not confirm it.
const OUTCOMES: [&str; 5] = ["ack", "nak", "term", "ack_lost", "lapsed"];
/// Stages whose time is measured; `ack` is the end of `upsert`.
const STAGES: [&str; 4] = ["encode", "embed", "upsert", "ack"];
/// The reasons of Qdrant's refusals that somebody has to change the installation for.
const HOLDS: [&str; 4] = ["limit", "index", "full", "setup"];
/// Kinds of requests to Qdrant.
const REQUESTS: [&str; 7] = [
    "collection_info",
    "get",
    "scroll",
    "upsert",
    "delete",
    "set_payload",
    "update_vectors",
];

/// Seconds; stages take from a millisecond (a query) to minutes (an outage).
const SECONDS: [f64; 12] = [
    0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];
/// Seconds that a job has waited: from a live query to a backlog over a weekend.
const AGES: [f64; 12] = [
    0.01, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 7_200.0, 43_200.0, 259_200.0,
];

/// How often samples are summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder. The handle renders its metrics.
///
/// # Errors
/// If a recorder is there already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let handle = PrometheusBuilder::new()
        .set_buckets(&SECONDS)?
        .set_buckets_for_metric(Matcher::Full(DELIVERY_AGE.to_owned()), &AGES)?
        .install_recorder()?;
    describe_counters();
    describe_gauges();
    describe_histograms();
    begin_at_zero();
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Sums up the samples of histograms from time to time: without this, all of them would be kept until the next scrape.
pub async fn keep_up(recorded: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        recorded.run_upkeep();
    }
}

/// Records which model runs on which device, so that the numbers of different fleets can be told apart.
pub fn serve(manifest: &Manifest, provider: Provider) {
    drop(histogram!(DEVICE_SECONDS, "provider" => provider.as_str()));
    let info = gauge!(
        MODEL,
        "model" => manifest.name.to_string(),
        "fingerprint" => manifest.fingerprint.to_string(),
        "task" => manifest.identity.task.as_str(),
        "provider" => provider.as_str(),
    );
    info.set(1.0);
}

fn describe_counters() {
    let counters = [
        (JOBS, "jobs settled, by outcome"),
        (DEAD_LETTERS, "jobs dead-lettered, by cause"),
        (
            REDELIVERIES,
            "deliveries that were not the first of their job",
        ),
        (PULL_FAILURES, "pull requests that failed"),
        (CHUNKS, "rows embedded: chunks of documents, and queries"),
        (REUSED_CHUNKS, "chunks whose vectors came with their jobs"),
        (TOKENS, "tokens embedded that are not padding"),
        (PADDED_TOKENS, "tokens computed, padding included"),
        (
            HALVED,
            "tensors that did not fit the device's memory and were run in halves",
        ),
        (TRUNCATED, "texts that were cut to the model's limit"),
        (POINTS, "points written to qdrant"),
        (
            SUPERSEDED,
            "documents not written because a newer version was there",
        ),
        (
            NOT_HANDED_ON,
            "points that lack an attached vector because the stream had no room to hand them on",
        ),
        (
            QDRANT_FAILURES,
            "requests to qdrant that failed, by operation",
        ),
    ];
    for (name, help) in counters {
        describe_counter!(name, Unit::Count, help);
    }
}

fn describe_gauges() {
    let gauges = [
        (IN_FLIGHT, "jobs taken and not settled yet"),
        (
            LANE_PENDING,
            "jobs of a lane that no worker has; nan while nats does not tell",
        ),
        (
            LANE_UNSETTLED,
            "jobs of a lane that workers have and have not settled; nan while nats does not tell",
        ),
        (BREAKER, "1 while pulling is stopped because writes fail"),
        (
            HELD,
            "batches that qdrant refuses for how it is set up, and that are kept until that is changed, by what is to change",
        ),
        (MODEL, "1; the labels say which model runs where"),
        (BUILD, "1; the labels say which build this is"),
    ];
    for (name, help) in gauges {
        describe_gauge!(name, Unit::Count, help);
    }
    describe_gauge!(
        STARTUP_SECONDS,
        Unit::Seconds,
        "time from the start of the process to the end of a phase"
    );
}

fn describe_histograms() {
    let histograms = [
        (STAGE_SECONDS, "time a batch spends in a stage"),
        (
            DEVICE_SECONDS,
            "time of the device that a call took, of several at once its part; the rate of the sum is the busy ratio of the device",
        ),
        (QDRANT_SECONDS, "time of a request to qdrant, by operation"),
        (
            DELIVERY_AGE,
            "time between the publish of a job and its delivery, by lane",
        ),
    ];
    for (name, help) in histograms {
        describe_histogram!(name, Unit::Seconds, help);
    }
}

fn begin_at_zero() {
    for outcome in OUTCOMES {
        counter!(JOBS, "outcome" => outcome).increment(0);
    }
    for cause in CAUSES.iter().chain([&EXHAUSTED]) {
        counter!(DEAD_LETTERS, "cause" => *cause).increment(0);
    }
    for operation in REQUESTS {
        counter!(QDRANT_FAILURES, "operation" => operation).increment(0);
        drop(histogram!(QDRANT_SECONDS, "operation" => operation));
    }
    for stage in STAGES {
        drop(histogram!(STAGE_SECONDS, "stage" => stage));
    }
    for name in [
        REDELIVERIES,
        PULL_FAILURES,
        CHUNKS,
        REUSED_CHUNKS,
        TOKENS,
        PADDED_TOKENS,
        HALVED,
        TRUNCATED,
        POINTS,
        SUPERSEDED,
        NOT_HANDED_ON,
    ] {
        counter!(name).increment(0);
    }
    for lane in Priority::ALL {
        drop(histogram!(DELIVERY_AGE, "lane" => lane.as_str()));
    }
    gauge!(IN_FLIGHT).set(0.0);
    gauge!(BREAKER).set(0.0);
    for reason in HOLDS {
        gauge!(HELD, "reason" => reason).set(0.0);
    }
}
