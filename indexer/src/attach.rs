//! Attach: gives the points of an alias another vector, by another model, while the alias goes on serving.
//!
//! ```text
//! name reserved -> vector made -> listed -> points that lack it published -> done
//! ```
//! Once it is listed, workers hand on to the model what they write; what was written before is what lacks the vector, and
//! is published here on the bulk lane of the model (`additions`). A run that dies anywhere is followed by one that
//! does what is left. Rebuilds, and other runs for the same alias, wait for the lease.
//!
//! [`detach`] takes a vector away.

pub mod detach;
mod site;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::context::ConsumerInfoErrorKind;
use clap::Args;
use contract::bm25;
use contract::digest::Digest;
use contract::job::Job;
use contract::model::Manifest;
use contract::names::{CollectionName, ModelName, VectorName};
use contract::topology::{Lane, Priority, Task};
use points::attachment;
use points::vectors::{Attached, OtherVector};
use qdrant_client::qdrant::{Condition, Filter};
use runtime::failpoint;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use crate::additions::pack::Destination;
use crate::additions::record::{HeldRecord, Record};
use crate::additions::{Counts, Order};
use crate::bucket::Bucket;
use crate::clock::now_micros;
use crate::config::{ModelDir, Servers};
use crate::generation::collection::{CollectionModel, look_up};
use crate::generation::lock::{Lock, Purpose, silence_fault};
use crate::generation::record::key_fault;
use crate::jobs::JOB_TOKENS;
use crate::outcome::{Outcome, write_counts};
use crate::progress::note;
use crate::streams::next_message;
use site::Site;

#[derive(Args, Clone, Debug)]
pub struct AttachConfig {
    /// Alias whose points get the vector
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub alias: CollectionName,
    /// Name of the vector in the collection; by default that of the model
    #[arg(long = "as", value_name = "NAME")]
    pub name: Option<VectorName>,
    /// Tokens of a job
    #[arg(long, default_value_t = JOB_TOKENS)]
    pub job_tokens: usize,
    /// How long another process may be silent before its lease is taken over
    #[arg(long, default_value = "15s", value_parser = humantime::parse_duration)]
    pub lease: Duration,
    /// Change nothing; count what would be published
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

impl AttachConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        faults.extend(key_fault("--alias", self.alias.as_str()));
        faults.extend(silence_fault(self.lease));
        if self.job_tokens == 0 {
            faults.push(ConfigFault::new("--job-tokens", "must be at least 1"));
        }
        faults
    }
}

/// The vector that was attached, and the jobs that were published for it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Attachment {
    pub alias: CollectionName,
    /// The collection behind it.
    pub collection: CollectionName,
    pub vector: String,
    pub model: ModelName,
    pub fingerprint: Digest,
    /// Whether the vector was there before.
    pub existed: bool,
    /// Whether jobs of an earlier run wait, so that nothing was published.
    pub waiting: bool,
    pub dry_run: bool,
    #[serde(flatten)]
    pub counts: Counts,
}

impl Outcome for Attachment {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self {
            alias,
            vector,
            model,
            ..
        } = self;
        let Counts {
            points,
            tokens,
            jobs,
            ..
        } = self.counts;
        if self.waiting {
            return writeln!(
                out,
                "vector `{vector}` of `{alias}`: jobs of an earlier run wait for workers of `{model}`; nothing was \
                 published"
            );
        }
        let verb = match self.dry_run {
            true => "would publish",
            false => "published",
        };
        writeln!(
            out,
            "vector `{vector}` of `{alias}`: {verb} {points} points that lack it for workers of `{model}`: {tokens} \
             tokens, {jobs} jobs; `indexer status` shows how many still do"
        )?;
        write_counts(&self.counts.remarks(), out)
    }

    fn is_failure(&self) -> bool {
        self.counts.too_large > 0
    }
}

/// Attaches a vector, or goes on with that.
///
/// # Errors
/// If the vector may not be attached, its lane is not provisioned, another run holds the lease, or a server refuses.
pub async fn attach(config: &AttachConfig) -> anyhow::Result<Attachment> {
    let manifest = config.model.manifest()?;
    anyhow::ensure!(
        manifest.identity.task == Task::Embed,
        "model `{}` is a rescorer, whose scores go to points by `indexer rescore`; an embedding model is attached",
        manifest.name
    );
    let name = config.name.clone();
    let name = name.unwrap_or_else(|| manifest.name.clone().into());
    let site = Site::open(&config.alias, &config.servers).await?;
    let vector = OtherVector::by_model(&name, &manifest);
    let attaching = Attaching {
        config,
        manifest: &manifest,
        name,
        vector,
        site,
    };
    attaching.refuse().await?;
    if config.dry_run {
        return attaching.count().await;
    }
    attaching.await_lane().await?;
    let bucket = Bucket::open(&attaching.site.jetstream).await?;
    let (alias, silence) = (&config.alias, config.lease);
    let work = async |lock: &Lock| attaching.perform(lock).await;
    Lock::holding(&bucket, Purpose::Attach, alias, silence, work).await
}

struct Attaching<'a> {
    config: &'a AttachConfig,
    manifest: &'a Manifest,
    name: VectorName,
    vector: OtherVector,
    site: Site<'a>,
}

impl Attaching<'_> {
    /// Refuses what must not be attached.
    async fn refuse(&self) -> anyhow::Result<()> {
        let site = &self.site;
        let (alias, name, model) = (site.alias, &self.name, &self.manifest.name);
        let info = look_up(&site.qdrant, &site.collection).await?;
        let info = info.with_context(|| format!("collection `{}` is gone", site.collection))?;
        let vectors = site.points().schema_of(&info)?.vectors;
        let primary = CollectionModel::of(&info);
        if let Some(primary) = &primary {
            anyhow::ensure!(
                primary.fingerprint != self.manifest.fingerprint.as_str(),
                "model `{model}` is the one that embeds the documents of `{alias}`; there is nothing to attach"
            );
            anyhow::ensure!(
                primary.model.as_str() != name.as_str(),
                "vector `{name}` of `{alias}` is that of the model which embeds its documents; give another name with --as"
            );
        }
        let found = match vectors.owner(name.as_str()) {
            Some(owner) if *owner == self.vector => return Ok(()),
            Some(owner) => match owner.attached() {
                Some(Attached { model, .. }) => {
                    format!("model `{}` ({})", model.name, model.fingerprint)
                }
                None => "qdrant, from the words of its text".to_owned(),
            },
            None if vectors.names().iter().any(|it| it == name.as_str()) => {
                "somebody who has recorded no model for it".to_owned()
            }
            None if name.as_str() == bm25::VECTOR => "the words of a text".to_owned(),
            None => return Ok(()),
        };
        anyhow::bail!(
            "vector `{name}` of `{}` belongs to {found}, not to model `{model}` ({}); give another name with --as, or \
             rebuild the alias, which frees the names of detached vectors",
            site.collection,
            self.manifest.fingerprint
        );
    }

    /// Jobs on a lane that nobody reads would wait, and no scaler would see them.
    async fn await_lane(&self) -> anyhow::Result<()> {
        let lane = self.lane();
        let consumer = lane.consumer();
        match self.site.jobs.consumer_info(&consumer).await {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => anyhow::bail!(
                "model `{}` has no lane: consumer `{consumer}` is not there; run `indexer provision --lanes --model {}`",
                self.manifest.name,
                self.config.model.model.display()
            ),
            Err(error) => {
                Err(error).with_context(|| format!("failed to look at consumer `{consumer}`"))
            }
        }
    }

    fn lane(&self) -> Lane {
        Lane::new(Task::Embed, self.manifest.name.clone(), Priority::Bulk)
    }

    async fn perform(&self, lock: &Lock) -> anyhow::Result<Attachment> {
        self.site.still_there().await?;
        self.refuse().await?;
        let existed = self.make(lock).await?;
        let (key, alias) = (self.site.record_key(&self.name), self.site.alias);
        if self.is_waited_for(&key).await? {
            return Ok(self.attachment(existed, true, Counts::default()));
        }
        let order = self.order();
        let purpose = order.purpose(alias, None);
        let run = format!("attach-{}", now_micros());
        let new = Record::new(&run, purpose, self.site.collection.clone());
        let jetstream = &self.site.jetstream;
        let mut held = HeldRecord::resume_or_start(jetstream, key, new).await?;
        let again = "run it again to go on";
        let counts = order
            .publish(&self.site.qdrant, jetstream, &mut held, again)
            .await?;
        Ok(self.attachment(existed, false, counts))
    }

    /// Makes the vector, unless it is in service. One that is there and not in service is what a process has left that
    /// died, or that has detached it: nobody has kept it.
    async fn make(&self, lock: &Lock) -> anyhow::Result<bool> {
        let (site, name) = (&self.site, self.name.as_str());
        let vectors = site.vectors().await?;
        if vectors.attached_as(name).is_some() {
            return Ok(true);
        }
        let (collection, vector) = (&site.collection, &self.vector);
        if !vectors.reserved().contains(vector) {
            site.update(attachment::reserve(collection, &vectors, vector))
                .await?;
            failpoint::pass("attach-reserved");
        }
        lock.check()?;
        let failed = |what: &str| format!("failed to {what} vector `{name}` of `{collection}`");
        if vectors.names().iter().any(|it| it == name) {
            let removed = attachment::remove(collection, name);
            let removed = site.qdrant.delete_vector_name(removed).await;
            removed.with_context(|| failed("remove what is left of"))?;
        }
        let attached = vector.attached().context("no model makes it")?;
        let created = attachment::create(collection, name, attached.kind, attached.model);
        let created = site.qdrant.create_vector_name(created).await;
        created.with_context(|| failed("make"))?;
        if let Some(update) = attachment::without_graph(collection, name, attached.kind) {
            let updated = site.qdrant.update_collection(update).await;
            updated.with_context(|| failed("take away the graph of"))?;
        }
        failpoint::pass("attach-created");
        lock.check()?;
        // No point has the vector. A run for an earlier one of its name would be gone on with from its cursor, and what
        // lies before that would never be published.
        site.forget_runs(&self.name).await?;
        let vectors = site.vectors().await?;
        site.update(attachment::list(collection, &vectors, vector))
            .await?;
        failpoint::pass("attach-listed");
        note(&format!("vector `{name}` of `{collection}` is in service"));
        Ok(false)
    }

    /// Whether jobs of a run that has published all of them still wait: they are for the same points.
    async fn is_waited_for(&self, key: &str) -> anyhow::Result<bool> {
        let bucket = Bucket::open(&self.site.jetstream).await?;
        let found = bucket.find::<Record>(key).await?;
        let found = found.filter(|found| {
            found.record.finished && found.record.generation == self.site.collection
        });
        let Some(found) = found else {
            return Ok(false);
        };
        let (jobs, subject) = (&self.site.jobs, self.lane().subject());
        let mut next = 1;
        while let Some(message) = next_message(jobs, &subject, next).await? {
            next = message.sequence + 1;
            let job = Job::decode(&message.payload);
            if job.is_ok_and(|job| job.run() == Some(&found.record.run)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn order(&self) -> Order<'_> {
        let lacking = Condition::has_vector(self.name.as_str());
        Order {
            manifest: self.manifest,
            model: &self.config.model,
            addressed: self.site.alias.clone(),
            filter: Some(Filter::must_not([lacking])),
            query: None,
            place: Destination::Vector {
                name: self.name.clone(),
                fingerprint: self.manifest.fingerprint.clone(),
            },
            job_tokens: self.config.job_tokens,
        }
    }

    /// Counts the jobs that would be published.
    async fn count(&self) -> anyhow::Result<Attachment> {
        let vectors = self.site.vectors().await?;
        let existed = vectors.attached_as(self.name.as_str()).is_some();
        let mut order = self.order();
        if !existed {
            order.filter = None;
        }
        let counts = order
            .count(&self.site.qdrant, &self.site.collection)
            .await?;
        Ok(self.attachment(existed, false, counts))
    }

    fn attachment(&self, existed: bool, waiting: bool, counts: Counts) -> Attachment {
        Attachment {
            alias: self.site.alias.clone(),
            collection: self.site.collection.clone(),
            vector: self.name.to_string(),
            model: self.manifest.name.clone(),
            fingerprint: self.manifest.fingerprint.clone(),
            existed,
            waiting,
            dry_run: self.config.dry_run,
            counts,
        }
    }
}
