//! The pipeline: the four stages in their order, and what all of them share. Nothing else knows the order.
//!
//! Each stage is a loop over a channel that holds one batch. The end of its input ends a stage, which closes the
//! next; a stage that fails ends the process. Nothing is supervised inside: a job that was not settled is redelivered.

mod answer;
pub mod embed;
pub mod encode;
pub mod pull;
pub mod upsert;

use std::sync::Arc;

use anyhow::Context as _;
use contract::model::Manifest;
use tokio::sync::mpsc;

use crate::health::Health;
use crate::inflight::Queue;
use crate::quarantine::Quarantine;
use crate::session::Engine;
use crate::shutdown::Shutdown;
use embed::EmbedStage;
use encode::EncodeStage;
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
        let (to_encode, from_pull) = mpsc::channel(1);
        let (to_embed, from_encode) = mpsc::channel(1);
        let (to_upsert, from_embed) = mpsc::channel(1);
        let encode = self.encode;
        let encode = tokio::task::spawn_blocking(move || encode.run(from_pull, &to_embed));
        let pull = tokio::spawn(self.pull.run(to_encode));
        tokio::try_join!(
            self.upsert.run(from_embed),
            self.embed.run(from_encode, to_upsert),
            joined("encode", encode),
            joined("pull", pull)
        )
        .map(drop)
    }
}

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

    use super::upsert::CONCURRENT_BATCHES;

    #[test]
    fn a_worker_has_as_many_batches_as_the_consumers_are_sized_for() {
        let (pulled, encoded, in_the_model, in_channels) = (1, 1, 2, 3);
        let all = pulled + encoded + in_the_model + CONCURRENT_BATCHES + in_channels;
        assert_eq!(all as u64, BATCHES_PER_WORKER);
    }
}
