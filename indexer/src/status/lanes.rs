//! Lanes: what waits on each, and who asks for it.

use anyhow::Context as _;
use async_nats::jetstream::consumer::{Info, PullConsumer};
use async_nats::jetstream::stream::Stream;
use contract::model::Manifest;
use contract::topology::Lane;
use serde::Serialize;

use super::rate::Rate;
use super::tokens::{Tokens, tokens};

#[derive(Clone, Debug, Serialize)]
pub struct LaneStatus {
    pub consumer: String,
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
    /// Pull requests that wait for a job. An idle worker has one on each lane, a busy one may have none: how many
    /// workers there are cannot be told from here.
    pub waiting_pulls: usize,
    /// How fast the lane is worked off; `None` at the first look.
    pub rate: Option<Rate>,
}

/// A lane with what its consumer says.
pub struct Found {
    pub subject: String,
    pub info: Info,
}

/// Asks the consumers of both lanes.
pub async fn look(jobs: &Stream, manifest: &Manifest) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    for lane in Lane::of(manifest.identity.task, &manifest.name) {
        let consumer = lane.consumer();
        let asked: Result<PullConsumer, _> = jobs.get_consumer(&consumer).await;
        let asked = asked.map_err(anyhow::Error::from_boxed).with_context(|| {
            format!("failed to look up consumer `{consumer}`; run `indexer provision`")
        })?;
        found.push(Found {
            subject: lane.subject(),
            info: asked.cached_info().clone(),
        });
    }
    Ok(found)
}

impl Found {
    /// Jobs that are not settled.
    pub fn lag(&self) -> u64 {
        self.info.num_pending + self.info.num_ack_pending as u64
    }

    pub async fn status(&self, jobs: &Stream, rate: Option<Rate>) -> anyhow::Result<LaneStatus> {
        // Everything up to here is settled.
        let first = self.info.ack_floor.stream_sequence + 1;
        Ok(LaneStatus {
            consumer: self.info.name.clone(),
            pending: self.info.num_pending,
            ack_pending: self.info.num_ack_pending,
            redelivered: self.info.num_redelivered,
            lag: self.lag(),
            lag_tokens: tokens(jobs, &self.subject, first, self.lag()).await?,
            waiting_pulls: self.info.num_waiting,
            rate,
        })
    }
}
