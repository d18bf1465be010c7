//! Hand over: jobs for an alias that wait in lanes of other models than its own.
//!
//! When an alias goes to a generation of another model, jobs for it may wait in the lanes of the last one, and
//! publishers that have not heard of it go on to fill them. No worker can do them: those of the last model must not
//! write to the new collection, and end when they are asked to, so that the jobs would stay, and their lag would wake
//! workers for ever. So they are published again on the lanes of the alias's model, which embeds their texts, under the
//! versions that they had; then they are removed. The same is done with jobs that were handed over to a generation, where
//! a rollback has taken the alias away from it. A crash in between publishes one again that JetStream recognises, or
//! that changes nothing.

use anyhow::Context as _;
use async_nats::jetstream::consumer::Info;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::{self, stream::Stream};
use contract::job::Job;
use contract::names::{CollectionName, ModelName};
use contract::topology::{JOBS, Lane, Priority, Task};
use futures::TryStreamExt as _;
use queue::dead_letter::Original;

use crate::dlq::read::next_message;
use crate::dlq::remove_message;
use crate::settle::Of;

/// Hands jobs over to another model.
pub(crate) struct HandOver<'a> {
    pub(crate) jetstream: &'a jetstream::Context,
    pub(crate) jobs: &'a Stream,
    pub(crate) alias: &'a CollectionName,
    /// Jobs for a generation that the alias has left, in any lane, but for those of the run that has filled it.
    pub(crate) left: Option<(&'a CollectionName, &'a str)>,
    /// The model of the collection behind the alias.
    pub(crate) model: &'a ModelName,
    /// Alias or collection that the jobs name then.
    pub(crate) to: &'a CollectionName,
}

impl HandOver<'_> {
    /// Hands over all that waits by now; gives the number of jobs.
    ///
    /// # Errors
    /// If JetStream refuses, or `check` fails.
    pub(crate) async fn perform(
        &self,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<u64> {
        let mut handed = 0;
        for (model, priority) in self.lanes().await? {
            let subject = format!(
                "jobs.{}.{model}.{}",
                Task::Embed.as_str(),
                priority.as_str()
            );
            let mut next = 1;
            while let Some(message) = next_message(self.jobs, &subject, next).await? {
                check()?;
                next = message.sequence + 1;
                if self.takes(&model, &message) {
                    self.one(&message, priority).await?;
                    handed += 1;
                }
            }
        }
        Ok(handed)
    }

    fn takes(&self, model: &str, message: &StreamMessage) -> bool {
        let is_foreign = model != self.model.as_str();
        let is_left = self.left.is_some_and(|(generation, run)| {
            let of_generation = Of::Collection(generation.as_str()).takes(message);
            of_generation && !Of::Run(run).takes(message)
        });
        is_left || (is_foreign && Of::Collection(self.alias.as_str()).takes(message))
    }

    /// Names of the models that have lanes, with the lanes; of the alias's own only where jobs may name a generation.
    async fn lanes(&self) -> anyhow::Result<Vec<(String, Priority)>> {
        let consumers: Vec<_> = self
            .jobs
            .consumers()
            .try_collect()
            .await
            .context("failed to list the consumers of the jobs")?;
        let prefix = format!("{}-", Task::Embed.as_str());
        let lane = |consumer: &Info| {
            let rest = consumer.name.strip_prefix(&prefix)?;
            Priority::ALL.into_iter().find_map(|priority| {
                let model = rest.strip_suffix(&format!("-{}", priority.as_str()))?;
                let is_looked_at = self.left.is_some() || model != self.model.as_str();
                is_looked_at.then(|| (model.to_owned(), priority))
            })
        };
        Ok(consumers.iter().filter_map(lane).collect())
    }

    async fn one(&self, message: &StreamMessage, priority: Priority) -> anyhow::Result<()> {
        let original = Original::stored(JOBS, message, 0);
        let lane = Lane {
            task: Task::Embed,
            model: self.model.clone(),
            priority,
        };
        let job = PublishMessage::build()
            .payload(self.named(message))
            .headers(original.job_headers())
            .message_id(format!("hand-over.{}", original.dead_letter_subject()))
            .expected_stream(JOBS);
        let sequence = message.sequence;
        let sent = async {
            self.jetstream
                .send_publish(lane.subject(), job)
                .await?
                .await
        };
        sent.await
            .with_context(|| format!("failed to hand job {sequence} over to `{}`", self.model))?;
        remove_message(self.jetstream, self.jobs, sequence).await?;
        tracing::info!(job.sequence = sequence, model = %self.model, "job handed over");
        Ok(())
    }

    /// The job, naming where it is to go. What cannot be read stays as it is: the worker gives it up by name.
    fn named(&self, message: &StreamMessage) -> bytes::Bytes {
        match Job::decode(&message.payload) {
            Ok(Job::Embed(mut job)) => {
                job.collection = Some(self.to.clone());
                Job::Embed(job).encode().into()
            }
            Ok(Job::Delete(mut job)) => {
                job.collection = self.to.clone();
                Job::Delete(job).encode().into()
            }
            Ok(Job::Rescore(_)) | Err(_) => message.payload.clone(),
        }
    }
}
