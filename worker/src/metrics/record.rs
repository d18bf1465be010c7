//! Record: one function per event.

use metrics::{counter, gauge, histogram};

use super::*;
use crate::batch::Tensor;

pub fn job_settled(outcome: &'static str) {
    debug_assert!(
        OUTCOMES.contains(&outcome),
        "outcome `{outcome}` is not declared"
    );
    counter!(JOBS, "outcome" => outcome).increment(1);
}

pub fn dead_letter(cause: &str) {
    debug_assert!(
        cause == EXHAUSTED || CAUSES.contains(&cause),
        "cause `{cause}` is not declared"
    );
    counter!(DEAD_LETTERS, "cause" => cause.to_owned()).increment(1);
}

/// `age` is the time since the job was published.
pub fn job_delivered(lane: Priority, age: Duration, deliveries: i64) {
    histogram!(DELIVERY_AGE, "lane" => lane.as_str()).record(age);
    counter!(REDELIVERIES).increment(u64::from(deliveries > 1));
}

pub fn pull_failed() {
    counter!(PULL_FAILURES).increment(1);
}

/// `jobs` of a lane: those that no worker has, and those that workers have. `None` if NATS does not answer.
#[expect(
    clippy::cast_precision_loss,
    reason = "a backlog is far smaller than 2^52 jobs"
)]
pub fn lane(priority: Priority, jobs: Option<(u64, usize)>) {
    let (pending, unsettled) = jobs.map_or((f64::NAN, f64::NAN), |(pending, unsettled)| {
        (pending as f64, unsettled as f64)
    });
    gauge!(LANE_PENDING, "lane" => priority.as_str()).set(pending);
    gauge!(LANE_UNSETTLED, "lane" => priority.as_str()).set(unsettled);
}

pub fn tensor_run(tensor: &Tensor) {
    counter!(CHUNKS).increment(tensor.rows.len() as u64);
    counter!(TOKENS).increment(tensor.useful_tokens() as u64);
    counter!(PADDED_TOKENS).increment(tensor.padded_tokens() as u64);
}

/// Chunks came with their vectors.
pub fn chunks_reused(chunks: usize) {
    counter!(REUSED_CHUNKS).increment(chunks as u64);
}

pub fn device_ran(provider: Provider, elapsed: Duration) {
    histogram!(DEVICE_SECONDS, "provider" => provider.as_str()).record(elapsed);
}

/// A tensor did not fit the memory of the device, and is run in halves.
pub fn tensor_halved() {
    counter!(HALVED).increment(1);
}

pub fn text_truncated() {
    counter!(TRUNCATED).increment(1);
}

pub fn batch_written(points: usize, superseded: usize) {
    counter!(POINTS).increment(points as u64);
    counter!(SUPERSEDED).increment(superseded as u64);
}

pub fn not_handed_on(points: usize) {
    counter!(NOT_HANDED_ON).increment(points as u64);
}

/// `ok` if the request to Qdrant succeeded.
pub fn qdrant_answered(operation: &'static str, elapsed: Duration, ok: bool) {
    debug_assert!(
        REQUESTS.contains(&operation),
        "operation `{operation}` is not declared"
    );
    histogram!(QDRANT_SECONDS, "operation" => operation).record(elapsed);
    counter!(QDRANT_FAILURES, "operation" => operation).increment(u64::from(!ok));
}

/// A batch has left a stage, in which it was for `elapsed`.
pub fn stage_done(stage: &'static str, elapsed: Duration) {
    debug_assert!(STAGES.contains(&stage), "stage `{stage}` is not declared");
    histogram!(STAGE_SECONDS, "stage" => stage).record(elapsed);
}

/// A phase of the start has ended, `elapsed` after the process began.
pub fn startup_phase(phase: &'static str, elapsed: Duration) {
    gauge!(STARTUP_SECONDS, "phase" => phase).set(elapsed.as_secs_f64());
}

/// `open` while pulling is stopped.
pub fn breaker(open: bool) {
    gauge!(BREAKER).set(f64::from(u8::from(open)));
}

/// Counts jobs in flight for as long as it lives, so that no stage can forget to.
#[derive(Debug)]
pub struct InFlightGauge(f64);

impl InFlightGauge {
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

/// Counts a batch that is kept for as long as it lives.
#[derive(Debug)]
pub struct HeldGauge(&'static str);

impl HeldGauge {
    #[must_use]
    pub fn new(reason: &'static str) -> Self {
        debug_assert!(HOLDS.contains(&reason), "reason `{reason}` is not declared");
        gauge!(HELD, "reason" => reason).increment(1.0);
        Self(reason)
    }
}

impl Drop for HeldGauge {
    fn drop(&mut self) {
        gauge!(HELD, "reason" => self.0).decrement(1.0);
    }
}
