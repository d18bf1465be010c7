//! Run: the record of a rebuild in the bucket of runs, the only place that knows how far it has come.
//!
//! A record is advanced by compare-and-set on its revision: of two processes that work on one run, the second to
//! write fails, whatever it believes about its lease.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use async_nats::jetstream::{self, kv};
use contract::digest::Digest;
use contract::names::{CollectionName, ModelName};
use contract::topology::RUNS;
use futures::TryStreamExt as _;
use serde::{Deserialize, Serialize};

use crate::rebuild::report::{Gate, PhaseReport};

/// What the keys of rebuilds begin with.
const KIND: &str = "rebuild.";

/// Version of the record that this code reads and writes.
pub const FORMAT: u32 = 1;

/// How far a rebuild has come: the last phase that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Its generation has a name; nothing was made.
    Planned,
    /// The generation is there, empty.
    Created,
    /// Every chunk of the source is in the generation or published.
    Copied,
    /// Every chunk is in the generation or a dead letter.
    Balanced,
    /// What changed in the serving collection has been carried over.
    CaughtUp,
    /// The index is built.
    Indexed,
    /// All gates are passed.
    Verified,
    /// The alias points to the generation.
    Switched,
    /// Nothing was left in the previous generation.
    Done,
    /// It was given up; the generation may be dropped.
    Abandoned,
}

/// A rebuild, as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RunRecord {
    /// Version of this record, [`FORMAT`].
    pub format: u32,
    /// Id of the run.
    pub run: String,
    /// The alias that is rebuilt.
    pub alias: CollectionName,
    /// The collection that the run fills.
    pub generation: CollectionName,
    /// The collection behind the alias when the run began.
    pub serving: CollectionName,
    /// The collection that the run takes its documents from, if that is its source.
    #[serde(default)]
    pub reads: Option<CollectionName>,
    /// The model of the generation.
    pub model: ModelName,
    /// Fingerprint of that model.
    pub fingerprint: Digest,
    /// The last phase that ended.
    pub phase: Phase,
    /// Why the last attempt stopped, if a gate stopped it.
    pub failed: Option<String>,
    /// Version of the source's documents, in microseconds since the epoch.
    pub version: u64,
    /// When the run began, in microseconds since the epoch.
    pub started: u64,
    /// When the alias was about to be switched, in microseconds since the epoch: recorded before it moves. Whether it
    /// has moved, the alias itself tells.
    pub switched: Option<u64>,
    /// The way back, recorded before the alias moves.
    #[serde(default)]
    pub rolled_back: Option<Rollback>,
    /// Ids that the run was asked for by; another one than `run` where a run of that id was given up before.
    #[serde(default)]
    pub asked: Vec<String>,
    /// Digest of the source and of the options that shape its chunks.
    pub source: Digest,
    /// Last sequence of the stream of jobs before the run published anything.
    pub first_sequence: u64,
    /// Chunks that the source has, each counted once.
    pub expected: u64,
    /// Of these, chunks of documents that something newer had replaced when the source was read again.
    #[serde(default)]
    pub superseded: u64,
    /// Documents that the source has.
    pub documents: u64,
    /// Documents, records and files that could not be read.
    pub refused: u64,
    /// Whether the source was read a second time because jobs were lost with their stream.
    pub repeated: bool,
    /// What each phase did.
    pub phases: Vec<PhaseReport>,
    /// What the gates found.
    pub gates: Vec<Gate>,
}

/// A rollback of a run: the alias goes from its generation back to the collection that it had replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollback {
    /// When the alias was about to move, in microseconds since the epoch.
    pub began: u64,
    /// Whether all that was written since the switch has been carried over.
    pub finished: bool,
}

/// A record with the revision that it was read at.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The record.
    pub record: RunRecord,
    revision: u64,
}

/// The bucket of runs.
#[derive(Clone, Debug)]
pub struct Runs {
    bucket: kv::Store,
}

impl RunRecord {
    /// Whether it still has something to do.
    #[must_use]
    pub fn is_unfinished(&self) -> bool {
        self.phase < Phase::Done
    }

    /// Whether it was asked for by this id.
    #[must_use]
    pub fn is_named(&self, id: &str) -> bool {
        self.run == id || self.asked.iter().any(|asked| asked == id)
    }

    /// Whether its rollback has begun and is not over.
    #[must_use]
    pub fn is_rolling_back(&self) -> bool {
        self.rolled_back.is_some_and(|back| !back.finished)
    }

    fn key(&self) -> String {
        key(&self.alias, &self.run)
    }
}

fn key(alias: &CollectionName, run: &str) -> String {
    format!("{KIND}{alias}/{run}")
}

impl Runs {
    /// Opens the bucket.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn open(jetstream: &jetstream::Context) -> anyhow::Result<Self> {
        let bucket = jetstream.get_key_value(RUNS).await;
        let bucket = bucket
            .with_context(|| format!("failed to open bucket `{RUNS}`; run `indexer provision`"))?;
        Ok(Self { bucket })
    }

    /// The bucket itself, for leases.
    #[must_use]
    pub fn bucket(&self) -> &kv::Store {
        &self.bucket
    }

    /// Stores a new record.
    ///
    /// # Errors
    /// If there is one of this run, or NATS refuses.
    pub async fn create(&self, record: RunRecord) -> anyhow::Result<Stored> {
        let created = self.bucket.create(record.key(), encode(&record)?).await;
        let revision = created.with_context(|| format!("failed to record run `{}`", record.run))?;
        Ok(Stored { record, revision })
    }

    /// Stores a changed record.
    ///
    /// # Errors
    /// If somebody else has changed it, or NATS refuses.
    pub async fn save(&self, stored: &mut Stored) -> anyhow::Result<()> {
        let record = &stored.record;
        let saved = self
            .bucket
            .update(record.key(), encode(record)?, stored.revision)
            .await;
        stored.revision = saved.with_context(|| {
            format!(
                "failed to record the progress of run `{}`; does another process work on it?",
                record.run
            )
        })?;
        Ok(())
    }

    /// Whether nobody has written the record since.
    ///
    /// # Errors
    /// If NATS refuses.
    pub async fn is_current(&self, stored: &Stored) -> anyhow::Result<bool> {
        let Stored { record, revision } = stored;
        let found = self.find(&record.alias, &record.run).await?;
        Ok(found.is_some_and(|found| found.revision == *revision))
    }

    /// The record of a run.
    ///
    /// # Errors
    /// If NATS refuses, or the record is of another version.
    pub async fn find(&self, alias: &CollectionName, run: &str) -> anyhow::Result<Option<Stored>> {
        self.at(&key(alias, run)).await
    }

    async fn at(&self, key: &str) -> anyhow::Result<Option<Stored>> {
        let entry = self.bucket.entry(key).await;
        let entry = entry.with_context(|| format!("failed to read `{key}` of bucket `{RUNS}`"))?;
        entry
            .filter(|entry| entry.operation == kv::Operation::Put)
            .map(decode)
            .transpose()
    }

    /// All runs of an alias, the oldest first.
    ///
    /// # Errors
    /// If NATS refuses, or a record is of another version.
    pub async fn of(&self, alias: &CollectionName) -> anyhow::Result<Vec<Stored>> {
        self.under(&key(alias, "")).await
    }

    /// All runs of all aliases, the oldest first.
    ///
    /// # Errors
    /// If NATS refuses, or a record is of another version.
    pub async fn all(&self) -> anyhow::Result<Vec<Stored>> {
        self.under(KIND).await
    }

    async fn under(&self, prefix: &str) -> anyhow::Result<Vec<Stored>> {
        let keys = self.bucket.keys().await;
        let keys = keys.with_context(|| format!("failed to list bucket `{RUNS}`"))?;
        let found: Vec<String> = keys
            .try_filter(|key| futures::future::ready(key.starts_with(prefix)))
            .try_collect()
            .await?;
        let mut runs = Vec::new();
        for key in found {
            runs.extend(self.at(&key).await?);
        }
        runs.sort_by_key(|stored| stored.record.started);
        Ok(runs)
    }
}

fn encode(record: &RunRecord) -> anyhow::Result<bytes::Bytes> {
    Ok(serde_json::to_vec(record)?.into())
}

fn decode(entry: kv::Entry) -> anyhow::Result<Stored> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let key = &entry.key;
    let unreadable = || format!("`{key}` of bucket `{RUNS}` is not a run that this program reads");
    let found: Versioned = serde_json::from_slice(&entry.value).with_context(unreadable)?;
    anyhow::ensure!(
        found.format == FORMAT,
        "`{key}` of bucket `{RUNS}` has format {}, expected {FORMAT}; use the indexer that wrote it",
        found.format
    );
    let record = serde_json::from_slice(&entry.value).with_context(unreadable)?;
    Ok(Stored {
        record,
        revision: entry.revision,
    })
}

/// Microseconds since the epoch as a time.
#[must_use]
pub fn as_time(micros: u64) -> SystemTime {
    UNIX_EPOCH + std::time::Duration::from_micros(micros)
}
