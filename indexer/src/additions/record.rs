//! Record: where a run is, kept in the bucket of runs, so that a run that was interrupted goes on from there.
//!
//! Whoever goes on with a run writes its own name into the record first. A process that was taken for dead and is not
//! finds another name there when it saves next, and ends.

use anyhow::Context as _;
use async_nats::jetstream::{self, kv::UpdateError, kv::UpdateErrorKind};
use contract::digest::Digest;
use contract::names::CollectionName;
use serde::{Deserialize, Serialize};

use super::Counts;
use crate::bucket::{Bucket, Stored};
use crate::clock::now_micros;

/// The purpose of a run. A later process goes on with the run only if it has the same purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Purpose {
    pub collection: CollectionName,
    pub fingerprint: Digest,
    /// Digest of the query: what is asked is nobody's business.
    pub query: Option<Digest>,
    pub filter: Option<String>,
    pub field: String,
    pub job_tokens: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Id that the jobs carry.
    #[serde(default)]
    pub run: String,
    pub purpose: Purpose,
    /// Collection that the alias led to when the run started: a cursor is of no use in another one.
    pub generation: CollectionName,
    /// First point whose job may not be stored.
    pub cursor: Option<String>,
    /// Counts of the points before the cursor.
    pub counts: Counts,
    pub finished: bool,
    /// Process that works on it.
    holder: String,
}

/// The record of one run, held by this process.
#[derive(Debug)]
pub struct HeldRecord {
    bucket: Bucket,
    key: String,
    stored: Stored<Record>,
}

impl Record {
    /// A run that is to begin.
    pub fn new(run: &str, purpose: Purpose, generation: CollectionName) -> Self {
        Self {
            run: run.to_owned(),
            purpose,
            generation,
            cursor: None,
            counts: Counts::default(),
            finished: false,
            holder: format!("{}-{}", std::process::id(), now_micros()),
        }
    }
}

impl HeldRecord {
    /// Starts a run, or goes on with one.
    ///
    /// # Errors
    /// If the run was started for something else, or NATS refuses.
    pub async fn open(
        jetstream: &jetstream::Context,
        run: &str,
        purpose: Purpose,
        generation: CollectionName,
    ) -> anyhow::Result<Self> {
        let (bucket, key) = (Bucket::open(jetstream).await?, format!("rescore.{run}"));
        let record = Record::new(run, purpose, generation);
        if let Some(stored) = bucket.create(&key, record.clone()).await? {
            return Ok(Self {
                bucket,
                key,
                stored,
            });
        }
        let found = bucket.find::<Record>(&key).await?;
        let mut stored = found.with_context(|| format!("failed to read `{key}`"))?;
        anyhow::ensure!(
            stored.record.purpose == record.purpose,
            "run `{key}` was started with other settings: {}; give it another --run-id",
            differences(&stored.record.purpose, &record.purpose)
        );
        (stored.record.holder, stored.record.run) = (record.holder, record.run);
        let mut held = Self {
            bucket,
            key,
            stored,
        };
        if !held.record().finished {
            held.write().await?;
        }
        Ok(held)
    }

    /// Goes on with the unfinished run of this key, if it is about the same, or starts another one, of this id. Whoever calls
    /// it holds the lock of the alias.
    ///
    /// # Errors
    /// If NATS refuses.
    pub async fn resume_or_start(
        jetstream: &jetstream::Context,
        key: String,
        new: Record,
    ) -> anyhow::Result<Self> {
        let bucket = Bucket::open(jetstream).await?;
        if let Some(stored) = bucket.create(&key, new.clone()).await? {
            return Ok(Self {
                bucket,
                key,
                stored,
            });
        }
        let found = bucket.find::<Record>(&key).await?;
        let mut stored = found.with_context(|| format!("failed to read `{key}`"))?;
        let old = &mut stored.record;
        let is_same = old.purpose == new.purpose && old.generation == new.generation;
        if is_same && !old.finished {
            old.holder = new.holder;
        } else {
            *old = new;
        }
        let mut held = Self {
            bucket,
            key,
            stored,
        };
        held.write().await?;
        Ok(held)
    }

    pub fn record(&self) -> &Record {
        &self.stored.record
    }

    /// Remembers how far the run is.
    ///
    /// # Errors
    /// If another process has taken over, or NATS refuses.
    pub async fn save(
        &mut self,
        cursor: Option<String>,
        counts: Counts,
        finished: bool,
    ) -> anyhow::Result<()> {
        let record = &mut self.stored.record;
        (record.cursor, record.counts, record.finished) = (cursor, counts, finished);
        self.write().await
    }

    /// A write whose answer was lost has moved the revision on all the same.
    async fn write(&mut self) -> anyhow::Result<()> {
        let failed = format!("failed to save `{}`", self.key);
        let Err(error) = self.bucket.save(&mut self.stored).await else {
            return Ok(());
        };
        if !may_have_been_written(&error) {
            return Err(error.context(failed));
        }
        let found = self.bucket.find::<Record>(&self.key).await?;
        let mut found = found.with_context(|| format!("failed to read `{}`", self.key))?;
        anyhow::ensure!(
            found.record.holder == self.record().holder || found.is_same_write(&self.stored),
            "another process has taken over `{}`",
            self.key
        );
        std::mem::swap(&mut found.record, &mut self.stored.record);
        self.stored = found;
        self.bucket.save(&mut self.stored).await.context(failed)
    }
}

fn may_have_been_written(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<UpdateError>().map(UpdateError::kind);
    matches!(
        kind,
        Some(UpdateErrorKind::TimedOut | UpdateErrorKind::WrongLastRevision)
    )
}

fn differences(found: &Purpose, wanted: &Purpose) -> String {
    let same = [
        ("--collection", found.collection == wanted.collection),
        ("--model", found.fingerprint == wanted.fingerprint),
        ("--query", found.query == wanted.query),
        ("--filter", found.filter == wanted.filter),
        ("--field", found.field == wanted.field),
        ("--job-tokens", found.job_tokens == wanted.job_tokens),
    ];
    let differing = same.iter().filter(|(_, same)| !same);
    differing
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}
