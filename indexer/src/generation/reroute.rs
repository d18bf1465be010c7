//! Reroute: jobs for an alias that wait in lanes of other models than its own.
//!
//! When an alias goes to a generation of another model, jobs for it may wait in the lanes of the last one, and
//! publishers that have not heard of it go on to fill them. No worker can do them: those of the last model must not
//! write to the new collection, and end when they are asked to, so that the jobs would stay, and their lag would wake
//! workers for ever. So they are published again on the lanes of the alias's model, which embeds their texts, under the
//! versions that they had; then they are removed. The same is done with jobs that were rerouted to a generation, where
//! a rollback has taken the alias away from it. A crash in between publishes one again that JetStream recognises, or
//! that changes nothing.

use anyhow::Context as _;
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use bytes::Bytes;
use contract::job::Job;
use contract::names::{CollectionName, ModelName};
use contract::topology::{JOBS, Lane, Task};
use futures::TryStreamExt as _;
use queue::dead_letter::Original;

use super::AliasContext;
use super::await_jobs::JobsOf;
use super::record::RunRecord;
use crate::progress::note;
use crate::streams::{Removal, next_message, remove_message};

/// Which jobs go where.
pub struct Reroute<'a> {
    /// Jobs for a generation that the alias has left, in any lane, but for those of the run that has filled it.
    pub left: Option<(&'a CollectionName, &'a str)>,
    /// The model of the collection behind the alias.
    pub model: &'a ModelName,
    /// Alias or collection that the jobs name then.
    pub to: &'a CollectionName,
}

impl AliasContext<'_> {
    /// Reroutes all that waits by now.
    pub async fn reroute(&self, reroute: Reroute<'_>) -> anyhow::Result<()> {
        let mut rerouted = 0_u64;
        for lane in self.lanes().await? {
            let is_foreign = lane.model != *reroute.model;
            if !is_foreign && reroute.left.is_none() {
                continue;
            }
            let mut next = 1;
            while let Some(message) = next_message(self.jobs, &lane.subject(), next).await? {
                self.check()?;
                next = message.sequence + 1;
                if reroute.takes(is_foreign, self.alias, &message) {
                    self.reroute_job(&reroute, &message, &lane).await?;
                    rerouted += 1;
                }
            }
        }
        if rerouted > 0 {
            let model = reroute.model;
            note(&format!(
                "{rerouted} jobs that waited for another model are published to `{model}`"
            ));
        }
        Ok(())
    }

    /// All lanes that have a consumer.
    async fn lanes(&self) -> anyhow::Result<Vec<Lane>> {
        let consumers: Vec<_> = self
            .jobs
            .consumers()
            .try_collect()
            .await
            .context("failed to list the consumers of the jobs")?;
        let lane = |name: &str| Lane::of_consumer(Task::Embed, name);
        let names = consumers.iter().map(|consumer| consumer.name.as_str());
        Ok(names.filter_map(lane).collect())
    }

    async fn reroute_job(
        &self,
        reroute: &Reroute<'_>,
        message: &StreamMessage,
        from: &Lane,
    ) -> anyhow::Result<()> {
        let original = Original::stored(JOBS, message, 0);
        let lane = Lane {
            model: reroute.model.clone(),
            ..from.clone()
        };
        let job = PublishMessage::build()
            .payload(addressed(&message.payload, reroute.to))
            .headers(original.job_headers())
            .message_id(format!("reroute.{}", original.dead_letter_subject()))
            .expected_stream(JOBS);
        let sequence = message.sequence;
        let sent = async {
            let sent = self.jetstream.send_publish(lane.subject(), job).await?;
            sent.await
        };
        sent.await
            .with_context(|| format!("failed to publish job {sequence} to `{}`", lane.model))?;
        remove_message(self.jetstream, self.jobs, sequence).await?;
        tracing::info!(job.sequence = sequence, model = %lane.model, "job rerouted");
        Ok(())
    }

    /// Removes the jobs that a run has published and that nobody has done yet; gives their number. They are looked at
    /// one by one, because a subject cannot be purged by the content of its messages. One that a worker has already is
    /// written into the generation of the run, which nobody looks at any more.
    pub async fn discard_jobs_of(&self, run: &RunRecord) -> anyhow::Result<u64> {
        let mut discarded = 0;
        for sequence in self.jobs_of(run).await? {
            self.check()?;
            let removal = remove_message(self.jetstream, self.jobs, sequence);
            discarded += u64::from(removal.await? == Removal::Removed);
        }
        Ok(discarded)
    }

    /// How many jobs of a run are not done.
    pub async fn count_jobs_of(&self, run: &RunRecord) -> anyhow::Result<u64> {
        Ok(self.jobs_of(run).await?.len() as u64)
    }

    /// Sequences of the jobs of a run that are not done.
    async fn jobs_of(&self, run: &RunRecord) -> anyhow::Result<Vec<u64>> {
        let mut found = Vec::new();
        let of_model = Lane::of(Task::Embed, &run.model).map(|lane| (lane, JobsOf::Run(&run.run)));
        let attaching = self.lanes().await?.into_iter();
        let attaching = attaching.map(|lane| (lane, JobsOf::Attaching(&run.run)));
        for (lane, of) in of_model.into_iter().chain(attaching) {
            let mut next = run.first_sequence + 1;
            while let Some(message) = next_message(self.jobs, &lane.subject(), next).await? {
                self.check()?;
                next = message.sequence + 1;
                if of.takes(&message) {
                    found.push(message.sequence);
                }
            }
        }
        Ok(found)
    }
}

impl Reroute<'_> {
    fn takes(&self, is_foreign: bool, alias: &CollectionName, message: &StreamMessage) -> bool {
        let is_left = self.left.is_some_and(|(generation, run)| {
            let of_generation = JobsOf::Collection(generation.as_str()).takes(message);
            of_generation && !JobsOf::Run(run).takes(message)
        });
        is_left || (is_foreign && JobsOf::Collection(alias.as_str()).takes(message))
    }
}

/// The job with where it is to go. What cannot be read stays as it is: the worker gives it up by name.
fn addressed(payload: &Bytes, to: &CollectionName) -> Bytes {
    match Job::decode(payload) {
        Ok(Job::Embed(mut job)) => {
            job.collection = Some(to.clone());
            Job::Embed(job).encode().into()
        }
        Ok(Job::Delete(mut job)) => {
            job.collection = to.clone();
            Job::Delete(job).encode().into()
        }
        Ok(Job::Rescore(_) | Job::Attach(_)) | Err(_) => payload.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn readdressed(payload: &str) -> Bytes {
        addressed(&Bytes::from(payload.to_owned()), &"new".parse().unwrap())
    }

    #[test]
    fn documents_and_removals_go_to_the_new_collection_and_keep_all_else() {
        let embed = json!({
            "version": "1.0", "kind": "embed", "run": "r", "collection": "old",
            "documents": [{
                "id": "d", "version": 7, "total": 1, "chunks": [{ "index": 0, "text": "a text" }],
            }],
        });
        let delete = json!({
            "version": "1.0", "kind": "delete", "collection": "old",
            "documents": [{ "id": "d", "version": 7 }],
        });
        for mut job in [embed, delete] {
            let moved: Value = serde_json::from_slice(&readdressed(&job.to_string())).unwrap();
            job["collection"] = "new".into();
            assert_eq!(moved, job);
        }
    }

    #[test]
    fn what_is_no_job_stays_as_it_is() {
        for payload in ["", "no job", r#"{"version":"9.0","kind":"embed"}"#] {
            assert_eq!(readdressed(payload), payload);
        }
    }
}
