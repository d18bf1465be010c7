//! Attach: gives the points of an alias another vector, by another model, while the alias goes on serving.
//!
//! ```text
//! name reserved -> vector made -> listed -> points that lack it published -> done
//! ```
//! Once it is listed, workers hand on to the model what they write; what was written before is what lacks the vector, and
//! is published here on the bulk lane of the model (`additions`). A run that dies anywhere is followed by one that
//! does what is left. Rebuilds, and other runs for the same alias, wait for the lease.
//!
//! Detach: takes a vector away. Its name stays that of its model ([`points::attachment`]), for workers that are late.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::{self, context::ConsumerInfoErrorKind, stream::Stream};
use clap::Args;
use contract::bm25;
use contract::digest::Digest;
use contract::job::Job;
use contract::model::Manifest;
use contract::names::{CollectionName, ModelName, VectorName};
use contract::topology::{JOBS, Lane, Priority, Task};
use points::attachment::{self, IN_PLACE_SINCE};
use points::connect::check_feature;
use points::schema::Schema;
use points::vectors::{Attached, CollectionVectors, OtherVector};
use points::{Points, Qdrant};
use qdrant_client::qdrant::{Condition, Filter, UpdateCollection};
use runtime::failpoint;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use crate::additions::pack::Place;
use crate::additions::record::{HeldRecord, Record};
use crate::additions::{Counts, Order};
use crate::bucket::Bucket;
use crate::clock::now_micros;
use crate::config::{ModelDir, Servers, failpoint_fault};
use crate::generation::alias;
use crate::generation::collection::{CollectionModel, look_up};
use crate::generation::lock::{Lock, Purpose, silence_fault};
use crate::generation::record::key_fault;
use crate::jobs::JOB_TOKENS;
use crate::outcome::{Outcome, write_counts};
use crate::progress::note;
use crate::streams::{Removal, next_message, remove_message, stream};

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

impl AttachConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        faults.extend(key_fault("--alias", self.alias.as_str()));
        faults.extend(silence_fault(self.lease));
        if self.job_tokens == 0 {
            faults.push(ConfigFault::new("--job-tokens", "must be at least 1"));
        }
        faults.extend(failpoint_fault());
        faults
    }
}

impl DetachConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(key_fault("--alias", self.alias.as_str()));
        faults.extend(silence_fault(self.lease));
        faults.extend(failpoint_fault());
        faults
    }
}

/// What was attached, and what is published for it.
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

/// One vector of one collection, and the servers.
struct Site<'a> {
    alias: &'a CollectionName,
    collection: CollectionName,
    qdrant: Qdrant,
    jetstream: jetstream::Context,
    jobs: Stream,
}

impl<'a> Site<'a> {
    async fn open(alias: &'a CollectionName, servers: &Servers) -> anyhow::Result<Self> {
        let jetstream = servers.jetstream().await?;
        let qdrant = servers.qdrant_to_write().await?;
        check_feature(&qdrant, "vectors that are added in place", IN_PLACE_SINCE).await?;
        Ok(Self {
            collection: alias::target(&qdrant, alias).await?,
            jobs: stream(&jetstream, JOBS).await?,
            alias,
            qdrant,
            jetstream,
        })
    }

    fn points(&self) -> Points<'_> {
        Points::new(&self.qdrant, &self.collection)
    }

    async fn vectors(&self) -> anyhow::Result<CollectionVectors> {
        let schema: Schema = self.points().schema().await?;
        Ok(schema.vectors)
    }

    async fn update(&self, request: UpdateCollection) -> anyhow::Result<()> {
        let updated = self.qdrant.update_collection(request).await;
        updated.map(drop).with_context(|| {
            let collection = &self.collection;
            format!("failed to record the vectors of `{collection}`")
        })
    }

    /// Key of what is recorded of runs for a vector.
    fn record_key(&self, name: &VectorName) -> String {
        format!("attach.{}/{name}", self.alias)
    }

    /// Removes what is recorded of runs for a vector.
    async fn forget_runs(&self, name: &VectorName) -> anyhow::Result<()> {
        let (bucket, key) = (Bucket::open(&self.jetstream).await?, self.record_key(name));
        let Some(found) = bucket.find::<Record>(&key).await? else {
            return Ok(());
        };
        let removed = bucket.remove(&found).await;
        removed.with_context(|| format!("failed to remove the record `{key}`; run it again"))
    }

    /// The alias may have been moved by a rebuild between the first look and the lease.
    async fn still_there(&self) -> anyhow::Result<()> {
        let found = alias::target(&self.qdrant, self.alias).await?;
        anyhow::ensure!(
            found == self.collection,
            "alias `{}` has moved from `{}` to `{found}` meanwhile; run it again",
            self.alias,
            self.collection
        );
        Ok(())
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
            place: Place::Vector {
                name: self.name.clone(),
                fingerprint: self.manifest.fingerprint.clone(),
            },
            job_tokens: self.config.job_tokens,
        }
    }

    /// What would be published.
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
