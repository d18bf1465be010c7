//! Lanes: what waits on each, and who asks for it.

use anyhow::Context as _;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::stream::Stream;
use contract::names::ModelName;
use contract::topology::{Lane, Priority, Task};
use futures::TryStreamExt as _;
use schemars::JsonSchema;
use serde::Serialize;

use super::rate::{MeanTokens, Meter, QueueSample, Rate};
use super::tokens::{Tokens, tokens};

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct LaneStatus {
    pub consumer: String,
    /// What the model does.
    pub task: Task,
    pub model: ModelName,
    pub lane: Priority,
    /// Jobs that no worker has taken.
    pub pending: u64,
    /// Jobs that a worker has taken and not settled, or given back with a delay.
    pub ack_pending: usize,
    /// Of these, how many were delivered more than once.
    pub redelivered: usize,
    /// Jobs that are not settled: pending and in flight. Autoscaling goes by it.
    pub lag: u64,
    /// Tokens of these jobs, as far as anything tells; `None` where nothing does.
    pub lag_tokens: Option<Tokens>,
    /// Pull requests that wait for a job. An idle worker has one on each lane, a busy one may have none.
    pub waiting_pulls: usize,
    /// How fast the lane is worked off; `None` at the first look.
    pub rate: Option<Rate>,
}

/// Looks at the lanes as often as it is asked to, and tells how fast they are worked off.
#[derive(Clone, Debug, Default)]
pub struct LaneReader {
    meter: Meter,
    means: MeanTokens,
}

/// The lanes as one look has found them.
#[derive(Clone, Debug)]
pub struct Lanes {
    pub lanes: Vec<LaneStatus>,
    /// How many lanes are not among them.
    pub more: usize,
    /// How fast all lanes together are worked off; `None` at the first look.
    pub rate: Option<Rate>,
}

/// A lane with what its consumer says.
#[derive(Debug)]
pub struct LaneInfo {
    pub lane: Lane,
    pub info: Info,
}

impl LaneReader {
    /// Looks at the lanes of a stream that was looked up just now, and tells of so many at most.
    pub async fn look(&mut self, jobs: &Stream, most: usize) -> anyhow::Result<Lanes> {
        let found = look(jobs).await?;
        self.meter
            .look(QueueSample::new(&jobs.cached_info().state, &found));
        let mut lanes = Vec::new();
        for found in found.iter().take(most) {
            let rate = self.meter.of_lane(&found.info.name);
            let mut lane = found.status(jobs, rate).await?;
            self.means.note(&mut lane);
            lanes.push(lane);
        }
        let mut rate = self.meter.all();
        if let Some(rate) = &mut rate {
            rate.tokens_per_second = tokens_per_second(&lanes);
        }
        Ok(Lanes {
            more: found.len() - lanes.len(),
            lanes,
            rate,
        })
    }
}

/// Tokens per second of all lanes together; `None` where a lane that moves does not tell its own.
fn tokens_per_second(lanes: &[LaneStatus]) -> Option<f64> {
    let rates = lanes.iter().filter_map(|lane| lane.rate);
    let moving = rates.filter(|rate| rate.acked_per_second > 0.0);
    let mut moving = moving.map(|rate| rate.tokens_per_second);
    // The sum of no numbers is negative zero.
    moving.try_fold(0.0, |sum, rate| Some(sum + rate?))
}

/// Asks the consumers of all lanes: by task and model, live before bulk.
async fn look(jobs: &Stream) -> anyhow::Result<Vec<LaneInfo>> {
    let consumers: Vec<Info> = jobs
        .consumers()
        .try_collect()
        .await
        .context("failed to list the consumers of jobs")?;
    let mut found: Vec<_> = consumers.into_iter().filter_map(LaneInfo::of).collect();
    found.sort_by_key(|found| found.key());
    Ok(found)
}

impl LaneInfo {
    /// The lane that a consumer reads; `None` for a consumer that somebody else has made.
    fn of(info: Info) -> Option<Self> {
        let of_task = |task| Lane::of_consumer(task, &info.name);
        let lane = of_task(Task::Embed).or_else(|| of_task(Task::Rescore))?;
        Some(Self { lane, info })
    }

    fn key(&self) -> (&'static str, String, bool) {
        let Lane {
            task,
            model,
            priority,
        } = &self.lane;
        (
            task.as_str(),
            model.to_string(),
            *priority == Priority::Bulk,
        )
    }

    /// Jobs that are not settled.
    pub fn lag(&self) -> u64 {
        self.info.num_pending + self.info.num_ack_pending as u64
    }

    pub async fn status(&self, jobs: &Stream, rate: Option<Rate>) -> anyhow::Result<LaneStatus> {
        // Everything up to here is settled.
        let first = self.info.ack_floor.stream_sequence + 1;
        Ok(LaneStatus {
            consumer: self.info.name.clone(),
            task: self.lane.task,
            model: self.lane.model.clone(),
            lane: self.lane.priority,
            pending: self.info.num_pending,
            ack_pending: self.info.num_ack_pending,
            redelivered: self.info.num_redelivered,
            lag: self.lag(),
            lag_tokens: tokens(jobs, &self.lane.subject(), first, self.lag()).await?,
            waiting_pulls: self.info.num_waiting,
            rate,
        })
    }
}
