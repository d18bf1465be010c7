//! In flight: waits for the workers that may still write to the collection that an alias pointed to before.
//!
//! Jobs name the alias, and Qdrant resolves it for each request of a write. A worker in the middle of a write when the
//! alias is switched leaves a part in the old collection, and an acknowledgement comes only after the whole. So once
//! every job that was delivered before the switch is settled, nothing writes to the old collection any more; jobs that
//! are delivered later go to the new one from their first request.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use async_nats::jetstream::stream::Stream;
use contract::names::{CollectionName, ModelName};
use contract::topology::{Lane, Task};

use crate::settle::{Awaited, Of};

/// Jobs for an alias that had been delivered when this was made.
pub(crate) struct InFlight<'a> {
    pub(crate) jobs: &'a Stream,
    pub(crate) alias: &'a CollectionName,
    pub(crate) stall_limit: Duration,
}

impl InFlight<'_> {
    /// Waits until all jobs on the lanes of these models are settled that are delivered by now.
    pub(crate) async fn settled(
        &self,
        models: &[ModelName],
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        for lane in models.iter().flat_map(|model| Lane::of(Task::Embed, model)) {
            let Some(last) = self.delivered(&lane).await? else {
                continue;
            };
            let awaited = Awaited {
                stream: self.jobs,
                subject: &lane.subject(),
                first: 1,
                last,
                of: Of::Collection(self.alias.as_str()),
                stall_limit: self.stall_limit,
            };
            awaited.settled(&check).await?;
        }
        Ok(())
    }

    /// Sequence of the newest job that was delivered; `None` for a lane that nobody reads.
    async fn delivered(&self, lane: &Lane) -> anyhow::Result<Option<u64>> {
        let consumer = lane.consumer();
        match self.jobs.consumer_info(&consumer).await {
            Ok(info) => Ok(Some(info.delivered.stream_sequence)),
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("failed to look at consumer `{consumer}`"))
            }
        }
    }
}
