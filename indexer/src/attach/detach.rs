//! Detach: takes a vector away. Its name stays that of its model ([`points::attachment`]), for workers that are late.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use contract::job::Job;
use contract::names::{CollectionName, ModelName, VectorName};
use contract::topology::{Lane, Priority, Task};
use points::attachment;
use runtime::failpoint;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use super::site::Site;
use crate::bucket::Bucket;
use crate::config::Servers;
use crate::generation::lock::{Lock, Purpose, silence_fault};
use crate::generation::record::key_fault;
use crate::outcome::Outcome;
use crate::streams::{Removal, next_message, remove_message};

#[derive(Args, Clone, Debug)]
pub struct DetachConfig {
    /// Alias whose points lose the vector
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub alias: CollectionName,
    /// Name of the vector in the collection
    #[arg(long, value_name = "NAME")]
    pub vector: VectorName,
    /// How long another process may be silent before its lease is taken over
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub lease: Duration,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub servers: Servers,
}

impl DetachConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(key_fault("--alias", self.alias.as_str()));
        faults.extend(silence_fault(self.lease));
        faults
    }
}

/// What was detached.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Detached {
    pub alias: CollectionName,
    pub collection: CollectionName,
    pub vector: VectorName,
    /// Jobs for it that nobody had done yet.
    pub discarded: u64,
}

impl Outcome for Detached {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (alias, vector, discarded) = (&self.alias, &self.vector, self.discarded);
        writeln!(
            out,
            "vector `{vector}` of `{alias}` is removed, with {discarded} jobs that waited for it"
        )
    }
}

/// Detaches a vector, or goes on with that.
///
/// # Errors
/// If there is no such attached vector, another run holds the lease, or a server refuses.
pub async fn detach(config: &DetachConfig) -> anyhow::Result<Detached> {
    let site = Site::open(&config.alias, &config.servers).await?;
    let bucket = Bucket::open(&site.jetstream).await?;
    let (alias, silence) = (&config.alias, config.lease);
    let work = async |lock: &Lock| site.detach(&config.vector, lock).await;
    Lock::holding(&bucket, Purpose::Attach, alias, silence, work).await
}

impl Site<'_> {
    async fn detach(&self, name: &VectorName, lock: &Lock) -> anyhow::Result<Detached> {
        self.still_there().await?;
        let vectors = self.vectors().await?;
        let owner = vectors.owner(name.as_str());
        let Some((owner, attached)) = owner.and_then(|owner| Some((owner, owner.attached()?)))
        else {
            let names: Vec<_> = vectors
                .attached()
                .map(|it| format!("`{}`", it.name))
                .collect();
            let names = match names.as_slice() {
                [] => "none".to_owned(),
                names => names.join(", "),
            };
            anyhow::bail!(
                "`{}` has no attached vector `{name}`; attached are: {names}",
                self.alias
            );
        };
        if vectors.attached_as(name.as_str()).is_some() {
            let reserved = attachment::reserve(&self.collection, &vectors, owner);
            self.update(reserved).await?;
            failpoint::pass("detach-reserved");
        }
        // Whoever has taken over may have attached it again.
        lock.check()?;
        let removed = attachment::remove(&self.collection, name.as_str());
        let removed = self.qdrant.delete_vector_name(removed).await;
        removed.with_context(|| {
            let collection = &self.collection;
            format!("failed to remove vector `{name}` of `{collection}`")
        })?;
        failpoint::pass("detach-removed");
        lock.check()?;
        let discarded = self.discard(name, &attached.model.name).await?;
        lock.check()?;
        self.forget_runs(name).await?;
        Ok(Detached {
            alias: self.alias.clone(),
            collection: self.collection.clone(),
            vector: name.clone(),
            discarded,
        })
    }

    /// Removes the jobs for a vector that nobody has done yet. A worker that has one finds that the vector is gone.
    async fn discard(&self, name: &VectorName, model: &ModelName) -> anyhow::Result<u64> {
        let subject = Lane::new(Task::Embed, model.clone(), Priority::Bulk).subject();
        let (mut discarded, mut next) = (0, 1);
        while let Some(message) = next_message(&self.jobs, &subject, next).await? {
            next = message.sequence + 1;
            let Ok(Job::Attach(job)) = Job::decode(&message.payload) else {
                continue;
            };
            let is_here = job.collection == *self.alias || job.collection == self.collection;
            if job.vector == *name && is_here {
                let removed = remove_message(&self.jetstream, &self.jobs, message.sequence);
                discarded += u64::from(removed.await? == Removal::Removed);
            }
        }
        Ok(discarded)
    }
}
