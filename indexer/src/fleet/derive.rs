//! Derive: all numbers of the fleet of one model from its decisions. Pure; every number comes with the formula that made it.
//!
//! | number | unit | formula |
//! |---|---|---|
//! | model path | | `/models/<name>-<first 12 digits of the fingerprint>`, as `worker stage` names it |
//! | tokens per second | tokens/s of a worker | what was measured, else [`Gpu::tokens_per_second`](crate::decisions::Gpu) |
//! | ack wait | s | [`DEFAULT_ACK_WAIT`]: a worker shows a sign of life every third of it |
//! | grace | s | the larger of [`DEFAULT_GRACE`] and 2 batches / tokens per second: one that runs, one that is written |
//! | pod grace | s | grace + [`LAST_CALL`] + [`RUNTIME_END`] + 10 for the kubelet |
//! | cooldown | s | [`LONGEST_RETRY_DELAY`] + ack wait + start, up to whole minutes: who goes home earlier is called back |
//! | scale-down window | s | as the cooldown |
//! | in flight | jobs of a worker | [`DEFAULT_BATCH_JOBS`] x [`BATCHES_PER_WORKER`](contract::topology::BATCHES_PER_WORKER) |
//! | max ack pending | jobs | most workers x in flight x 1.5 |
//! | lag threshold, bulk | jobs per worker | floor(tokens per second x (drain target - start) / [`JOB_TOKENS`]), at least 1 |
//! | lag threshold, live | jobs per worker | the same with [`LIVE_TARGET`] and without the start |
//! | resources | | of a pod: two CPUs, or one GPU or slice with what feeds it |

use std::time::Duration;

use contract::topology::{
    DEFAULT_ACK_WAIT, DEFAULT_BATCH_JOBS, DEFAULT_GRACE, LAST_CALL, LONGEST_RETRY_DELAY,
    RUNTIME_END,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Fleet, Setting, in_flight, max_ack_pending, span};
use crate::decisions::{Gpu, Serving};
use crate::jobs::JOB_TOKENS;
use crate::plan::jobs_within;

/// Live work is to be picked up within this time once workers run: people wait for it.
pub const LIVE_TARGET: Duration = Duration::from_secs(60);
/// Batches that are finished at a shutdown: one in the model, one on its way to Qdrant.
pub const STARTED_BATCHES: u64 = 2;
/// Time that the kubelet may take on a busy node.
pub const ROOM: Duration = Duration::from_secs(10);
/// The path at which models are mounted.
pub const MODELS: &str = "/models";

/// A number for people: its name, its value, and how it came about.
pub type Explained = (&'static str, String, String);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Derived {
    /// Directory of the staged model.
    pub model_path: String,
    /// Tokens that one worker embeds in a second.
    pub tokens_per_second: u64,
    /// How long a worker may be silent about a job.
    #[serde(rename = "ack_wait_seconds", serialize_with = "seconds")]
    #[schemars(with = "u64")]
    pub ack_wait: Duration,
    /// From SIGTERM to giving back what is not finished.
    #[serde(rename = "grace_seconds", serialize_with = "seconds")]
    #[schemars(with = "u64")]
    pub grace: Duration,
    /// From SIGTERM to SIGKILL.
    #[serde(rename = "pod_grace_seconds", serialize_with = "seconds")]
    #[schemars(with = "u64")]
    pub pod_grace: Duration,
    /// From the decision to start a worker to its first pull.
    #[serde(rename = "start_time_seconds", serialize_with = "seconds")]
    #[schemars(with = "u64")]
    pub start_time: Duration,
    /// From the last job to no worker; also the window in which the fleet never shrinks.
    #[serde(rename = "cooldown_seconds", serialize_with = "seconds")]
    #[schemars(with = "u64")]
    pub cooldown: Duration,
    /// Most jobs of a pull.
    pub batch_jobs: u64,
    /// Jobs that one worker may hold.
    pub in_flight: u64,
    /// Most workers.
    pub max_workers: u64,
    /// Deliveries in flight of all workers together.
    pub max_ack_pending: u64,
    /// Jobs of the live lane per worker.
    pub live_lag_threshold: u64,
    /// Jobs of the bulk lane per worker.
    pub bulk_lag_threshold: u64,
    /// Time in which a backlog is to be worked off.
    #[serde(rename = "drain_target_seconds", serialize_with = "seconds")]
    #[schemars(with = "u64")]
    pub drain_target: Duration,
}

pub fn derive(serving: &Serving) -> Derived {
    let gpu = serving.gpu;
    let measured = serving.model.tokens_per_second;
    let rate = u64::from(measured.unwrap_or_else(|| gpu.tokens_per_second()));
    let grace = grace(gpu, rate);
    let start_time = gpu.start_time();
    let target = serving.drain_target.duration();
    let in_flight = in_flight(u64::from(DEFAULT_BATCH_JOBS));
    let max_workers = u64::from(serving.max_workers);
    let (name, digest) = (&serving.model.name, &serving.model.fingerprint);
    Derived {
        model_path: format!("{MODELS}/{name}-{}", digest.short()),
        tokens_per_second: rate,
        ack_wait: DEFAULT_ACK_WAIT,
        grace,
        pod_grace: grace + LAST_CALL + RUNTIME_END + ROOM,
        start_time,
        cooldown: whole_minutes(LONGEST_RETRY_DELAY + DEFAULT_ACK_WAIT + start_time),
        batch_jobs: u64::from(DEFAULT_BATCH_JOBS),
        in_flight,
        max_workers,
        max_ack_pending: max_ack_pending(max_workers, in_flight),
        live_lag_threshold: jobs_within(rate, LIVE_TARGET, JOB_TOKENS),
        bulk_lag_threshold: jobs_within(rate, target.saturating_sub(start_time), JOB_TOKENS),
        drain_target: target,
    }
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

/// What was started is finished before the grace is over, as far as it is known how fast a worker is.
fn grace(gpu: Gpu, rate: u64) -> Duration {
    let started = STARTED_BATCHES * gpu.batch_tokens() as u64;
    DEFAULT_GRACE.max(Duration::from_secs(started.div_ceil(rate.max(1))))
}

fn whole_minutes(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs().div_ceil(60) * 60)
}

impl Derived {
    /// The numbers that rules are about, each blamed on the decision that made it.
    pub fn fleet(&self) -> Fleet {
        let decided = |field: &str, value| Some(Setting::new(field, value));
        Fleet {
            max_workers: decided("max_workers", self.max_workers),
            in_flight: decided("max_workers", self.in_flight),
            max_ack_pending: decided("max_workers", self.max_ack_pending),
            lag_thresholds: vec![Setting::new("drain_target", self.bulk_lag_threshold)],
            ack_wait: Some(Setting::new("gpu", self.ack_wait)),
            grace: Some(Setting::new("model.tokens_per_second", self.grace)),
            pod_grace: Some(Setting::new("model.tokens_per_second", self.pod_grace)),
            cooldown: Some(Setting::new("gpu", self.cooldown)),
            start_time: Some(Setting::new("gpu", self.start_time)),
            drain_target: Some(Setting::new("drain_target", self.drain_target)),
            ..Fleet::default()
        }
    }

    /// Each number with its value and how it came about, for people.
    pub fn explained(&self) -> Vec<Explained> {
        [self.explained_capacity(), self.explained_times()].concat()
    }

    fn explained_capacity(&self) -> Vec<Explained> {
        let rate = self.tokens_per_second;
        let (target, start) = (span(self.drain_target), span(self.start_time));
        let of_bulk = format!(
            "{rate} tokens/s x ({target} - {start} to start) / {JOB_TOKENS} tokens per job"
        );
        let target = span(LIVE_TARGET);
        let of_live = format!("{rate} tokens/s x {target} / {JOB_TOKENS} tokens per job");
        let (workers, in_flight) = (self.max_workers, self.in_flight);
        let of_pending = format!("{workers} workers x {in_flight} jobs in flight x 1.5");
        vec![
            line("model path", &self.model_path, "name and fingerprint"),
            line("tokens per second", &rate, "of one worker"),
            line("lag threshold, bulk", &self.bulk_lag_threshold, &of_bulk),
            line("lag threshold, live", &self.live_lag_threshold, &of_live),
            line("most workers", &workers, "decided"),
            line("max ack pending", &self.max_ack_pending, &of_pending),
        ]
    }

    fn explained_times(&self) -> Vec<Explained> {
        let of_grace = format!(
            "for {STARTED_BATCHES} batches, at least {}",
            span(DEFAULT_GRACE)
        );
        let of_pod = format!(
            "grace + {} in which the process ends + {}",
            span(LAST_CALL + RUNTIME_END),
            span(ROOM)
        );
        let of_cooldown = format!(
            "{} of the longest retry + {} ack wait + {} to start, in whole minutes",
            span(LONGEST_RETRY_DELAY),
            span(self.ack_wait),
            span(self.start_time)
        );
        vec![
            line("ack wait", &span(self.ack_wait), "of every installation"),
            line("grace", &span(self.grace), &of_grace),
            line("pod grace", &span(self.pod_grace), &of_pod),
            line("cooldown", &span(self.cooldown), &of_cooldown),
        ]
    }
}

fn line(name: &'static str, value: &dyn ToString, why: &str) -> Explained {
    (name, value.to_string(), why.to_owned())
}
