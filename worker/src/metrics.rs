//! Metrics: all names, in one place. Stages call one function per event, per batch and never per chunk.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use crate::batch::Tensor;

const JOBS: &str = "worker_jobs_total";
const DEAD_LETTERS: &str = "worker_dead_letters_total";
const REDELIVERIES: &str = "worker_redeliveries_total";
const IN_FLIGHT: &str = "worker_jobs_in_flight";
const CHUNKS: &str = "worker_chunks_total";
const TOKENS: &str = "worker_tokens_total";
const PADDED_TOKENS: &str = "worker_padded_tokens_total";
const TRUNCATED: &str = "worker_truncated_texts_total";
const POINTS: &str = "worker_points_total";
const SUPERSEDED: &str = "worker_superseded_documents_total";
const STAGE_SECONDS: &str = "worker_stage_seconds";
const STARTUP_SECONDS: &str = "worker_startup_seconds";
const BREAKER: &str = "worker_breaker_open";

/// Seconds; stages take from a millisecond (a query) to minutes (an outage).
const STAGE_BUCKETS: [f64; 12] = [
    0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];

/// Installs the recorder. The handle renders what it has recorded.
///
/// # Errors
/// If a recorder is there already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let builder = PrometheusBuilder::new().set_buckets(&STAGE_BUCKETS)?;
    let handle = builder.install_recorder()?;
    describe_counter!(JOBS, Unit::Count, "jobs settled, by outcome");
    describe_counter!(DEAD_LETTERS, Unit::Count, "jobs dead-lettered, by cause");
    describe_counter!(
        REDELIVERIES,
        Unit::Count,
        "deliveries that were not the first of their job"
    );
    describe_gauge!(IN_FLIGHT, Unit::Count, "jobs taken and not settled yet");
    describe_counter!(
        CHUNKS,
        Unit::Count,
        "rows embedded: chunks of documents, and queries"
    );
    describe_counter!(TOKENS, Unit::Count, "tokens embedded that are not padding");
    describe_counter!(
        PADDED_TOKENS,
        Unit::Count,
        "tokens computed, padding included"
    );
    describe_counter!(
        TRUNCATED,
        Unit::Count,
        "texts that were cut to the model's limit"
    );
    describe_counter!(POINTS, Unit::Count, "points written to qdrant");
    describe_counter!(
        SUPERSEDED,
        Unit::Count,
        "documents not written because a newer version was there"
    );
    describe_histogram!(
        STAGE_SECONDS,
        Unit::Seconds,
        "time a batch spends in a stage"
    );
    describe_gauge!(
        STARTUP_SECONDS,
        Unit::Seconds,
        "time from start to the end of a phase"
    );
    describe_gauge!(
        BREAKER,
        Unit::Count,
        "1 while pulling is stopped because writes fail"
    );
    Ok(handle)
}

/// A job was settled: `ack`, `nak`, `term`, `ack_lost`.
pub fn job_settled(outcome: &'static str) {
    counter!(JOBS, "outcome" => outcome).increment(1);
}

/// A job became a dead letter.
pub fn dead_letter(cause: &str) {
    counter!(DEAD_LETTERS, "cause" => cause.to_owned()).increment(1);
}

/// Jobs were pulled, some of them not for the first time.
pub fn jobs_pulled(redelivered: usize) {
    counter!(REDELIVERIES).increment(redelivered as u64);
}

/// A tensor was run.
pub fn tensor_run(tensor: &Tensor, elapsed: Duration) {
    counter!(CHUNKS).increment(tensor.rows.len() as u64);
    counter!(TOKENS).increment(tensor.useful_tokens() as u64);
    counter!(PADDED_TOKENS).increment(tensor.padded_tokens() as u64);
    histogram!(STAGE_SECONDS, "stage" => "run").record(elapsed);
}

/// A text was cut to the model's limit.
pub fn text_truncated() {
    counter!(TRUNCATED).increment(1);
}

/// A batch was written.
pub fn batch_written(points: usize, superseded: usize) {
    counter!(POINTS).increment(points as u64);
    counter!(SUPERSEDED).increment(superseded as u64);
}

/// A batch has left a stage.
pub fn stage_done(stage: &'static str, elapsed: Duration) {
    histogram!(STAGE_SECONDS, "stage" => stage).record(elapsed);
}

/// A phase of the start has ended, `elapsed` after the process began.
pub fn startup_phase(phase: &'static str, elapsed: Duration) {
    gauge!(STARTUP_SECONDS, "phase" => phase).set(elapsed.as_secs_f64());
}

/// Pulling was stopped or resumed.
pub fn breaker(open: bool) {
    gauge!(BREAKER).set(f64::from(u8::from(open)));
}

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
