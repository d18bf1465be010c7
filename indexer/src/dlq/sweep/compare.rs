//! Compare: jobs that lie where no consumer will look again.
//!
//! A consumer looks at sequences above its last delivery, and at those that it has delivered and that are not
//! settled. Its acknowledgement floor is below all of the latter; when there are none, nothing that it has ever
//! delivered is held. The floor itself may stay behind for as long as anything is in flight, so that a job that was
//! given up under constant load is found by its advisory, or here when the lane comes to rest.
//!
//! A job that was acknowledged a moment ago may not have left the stream yet. Two looks, some time apart, keep it
//! from being taken for one that was given up.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::stream::Stream;
use futures::TryStreamExt as _;

use super::raw::next_job;
use super::{Exhausted, Sweeper};
use crate::streams::orphaned::filters;

/// Time between two looks: far more than an acknowledged job takes to leave the stream.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// A consumer, and the sequence up to which it holds no message.
#[derive(Debug)]
struct ConsumerState {
    info: Info,
    behind: u64,
}

impl Sweeper {
    /// Deals with all jobs that no consumer holds.
    pub async fn sweep_by_comparison(&mut self) -> anyhow::Result<()> {
        let first = looks(&self.jobs).await?;
        let mut suspects = Vec::new();
        for look in first {
            if self.has_any(&look).await? {
                suspects.push(look);
            }
        }
        if suspects.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        for second in looks(&self.jobs).await? {
            let before = suspects.iter().find(|first| first.is_same(&second));
            if let Some(first) = before {
                let behind = first.behind.min(second.behind);
                self.sweep_behind(&second.info, behind).await?;
            }
        }
        Ok(())
    }

    async fn sweep_behind(&mut self, consumer: &Info, behind: u64) -> anyhow::Result<()> {
        let by = Exhausted {
            consumer: &consumer.name,
            deliveries: consumer.config.max_deliver,
        };
        for filter in filters(&consumer.config) {
            let mut next = 1;
            while let Some(job) = next_job(&self.jetstream, &filter, next).await? {
                if job.sequence > behind {
                    break;
                }
                next = job.sequence + 1;
                let restored = self.restore(&job, &by).await;
                self.or_failed(job.sequence, restored)?;
            }
        }
        Ok(())
    }

    async fn has_any(&self, look: &ConsumerState) -> anyhow::Result<bool> {
        for filter in filters(&look.info.config) {
            let first = next_job(&self.jetstream, &filter, 1).await?;
            if first.is_some_and(|first| first.sequence <= look.behind) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl ConsumerState {
    fn of(info: Info) -> Self {
        let floor = info.ack_floor.stream_sequence;
        let delivered = info.delivered.stream_sequence;
        let behind = if info.num_ack_pending == 0 {
            floor.max(delivered)
        } else {
            floor
        };
        Self { info, behind }
    }

    /// A consumer that was made anew hands everything out again.
    fn is_same(&self, later: &Self) -> bool {
        self.info.name == later.info.name && self.info.created == later.info.created
    }
}

/// All consumers that give jobs up.
async fn looks(jobs: &Stream) -> anyhow::Result<Vec<ConsumerState>> {
    let all: Vec<Info> = jobs
        .consumers()
        .try_collect()
        .await
        .context("failed to list the consumers of jobs")?;
    let gives_up = |info: &Info| info.config.max_deliver > 0;
    Ok(all
        .into_iter()
        .filter(gives_up)
        .map(ConsumerState::of)
        .collect())
}
