//! The pipeline: the four stages in their order, and what all of them share. Nothing else knows the order.
//!
//! Each stage is a loop over two channels, one for each lane. The end of its input ends a stage, which closes the
//! next; a stage that fails ends the process. Nothing is supervised inside: a job that was not settled is redelivered.

mod answer;
pub mod embed;
pub mod encode;
mod lanes;
pub mod pull;
pub mod upsert;

use std::sync::Arc;

use anyhow::Context as _;
use contract::model::Manifest;

use crate::health::Health;
use crate::inflight::Queue;
use crate::quarantine::Quarantine;
use crate::session::Engine;
use crate::shutdown::Shutdown;
use embed::EmbedStage;
use encode::EncodeStage;
use lanes::Lanes;
use pull::PullStage;
use upsert::UpsertStage;

/// What all stages share.
#[derive(Clone, Debug)]
pub struct Context {
    pub queue: Arc<Queue>,
    pub manifest: Arc<Manifest>,
    pub shutdown: Shutdown,
    pub health: Health,
    pub quarantine: Quarantine,
}

#[derive(Debug)]
pub struct Pipeline<E> {
    pub pull: PullStage,
    pub encode: EncodeStage,
    pub embed: EmbedStage<E>,
    pub upsert: UpsertStage,
}

impl<E: Engine + Send + 'static> Pipeline<E> {
    /// Connects the stages and waits for all of them. The first failure ends them all: what is in flight is redelivered.
    ///
    /// # Errors
    /// If a stage fails.
    pub async fn run(self) -> anyhow::Result<()> {
        let (to_encode, from_pull) = Lanes::channels(1);
        let (to_embed, from_encode) = Lanes::channels(1);
        let (to_upsert, from_embed) = Lanes::channels(BATCHES_IN_THE_MODEL);
        let shutdown = &self.encode.context.shutdown;
        let encoded = Lanes::paths(from_pull, to_embed, shutdown);
        let embedded = Lanes::paths(from_encode, to_upsert, shutdown);
        let encode = self.encode;
        let encode = tokio::task::spawn_blocking(move || encode.run(encoded));
        let pull = tokio::spawn(self.pull.run(to_encode));
        tokio::try_join!(
            self.upsert.run(from_embed),
            self.embed.run(embedded),
            joined("encode", encode),
            joined("pull", pull)
        )
        .map(drop)
    }
}

/// Batches of a lane that are in the model or wait behind it. While the last tensors of one are run, the next has begun;
/// engines go on while two that are done wait to be written. Two batches have tensors for as many engines as they have tokens for
/// tensors: 16 of usual sizes. More engines are kept busy by larger batches.
const BATCHES_IN_THE_MODEL: usize = 4;

/// Waits for a task of a stage.
///
/// # Errors
/// If the task panicked.
async fn joined<T>(stage: &'static str, task: tokio::task::JoinHandle<T>) -> anyhow::Result<T> {
    task.await.with_context(|| format!("stage {stage} died"))
}

#[cfg(test)]
mod tests {
    use contract::topology::BATCHES_PER_WORKER;

    use super::BATCHES_IN_THE_MODEL;
    use super::upsert::CONCURRENT_BATCHES;

    #[test]
    fn a_worker_has_as_many_batches_of_a_lane_as_its_consumer_is_sized_for() {
        let (pulled, encoded, next_to_write) = (1, 1, 1);
        let all = pulled + encoded + BATCHES_IN_THE_MODEL + next_to_write + CONCURRENT_BATCHES;
        assert_eq!(all as u64, BATCHES_PER_WORKER);
    }
}
