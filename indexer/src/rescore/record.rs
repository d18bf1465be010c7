//! Record: where a run is, kept in the bucket of runs, so that a run that was interrupted goes on from there.
//!
//! Whoever goes on with a run writes its own name into the record first. A process that was taken for dead and is not
//! finds another name there when it saves next, and ends.

use anyhow::Context as _;
use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation, Store, UpdateErrorKind};
use async_nats::jetstream::{self};
use contract::digest::Digest;
use contract::names::CollectionName;
use contract::topology::RUNS;
use serde::{Deserialize, Serialize};

use super::Counts;
use crate::publish::now_micros;

/// What a run is about. It goes on only as what it was started as.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Purpose {
    pub(super) collection: CollectionName,
    pub(super) fingerprint: Digest,
    /// Digest of the query: what is asked is nobody's business.
    pub(super) query: Option<Digest>,
    pub(super) filter: Option<String>,
    pub(super) field: String,
    pub(super) job_tokens: usize,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) purpose: Purpose,
    /// Collection that the alias led to when the run started: a cursor is of no use in another one.
    pub(super) generation: CollectionName,
    /// First point whose job may not be stored.
    pub(super) cursor: Option<String>,
    /// What lies before the cursor.
    pub(super) counts: Counts,
    pub(super) finished: bool,
    /// Process that works on it.
    holder: String,
}

/// The record of one run, held by this process.
#[derive(Debug)]
pub(super) struct Ledger {
    store: Store,
    key: String,
    revision: u64,
    pub(super) record: Record,
}

impl Ledger {
    /// Starts a run, or goes on with one.
    ///
    /// # Errors
    /// If the run was started for something else, or NATS refuses.
    pub(super) async fn open(
        jetstream: &jetstream::Context,
        run: &str,
        purpose: Purpose,
        generation: CollectionName,
    ) -> anyhow::Result<Self> {
        let store = jetstream.get_key_value(RUNS).await;
        let store = store.with_context(|| {
            format!("failed to look up bucket `{RUNS}`; run `indexer provision`")
        })?;
        let record = Record {
            purpose,
            generation,
            cursor: None,
            counts: Counts::default(),
            finished: false,
            holder: format!("{}-{}", std::process::id(), now_micros()),
        };
        let mut ledger = Self {
            store,
            key: format!("rescore.{run}"),
            revision: 0,
            record,
        };
        ledger.start().await?;
        Ok(ledger)
    }

    async fn start(&mut self) -> anyhow::Result<()> {
        let created = self.store.create(&self.key, self.json()?).await;
        match created {
            Ok(revision) => self.revision = revision,
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => {
                let (found, revision) = self.read().await?;
                anyhow::ensure!(
                    found.purpose == self.record.purpose,
                    "run `{}` was started with other settings: {}; give it another --run-id",
                    self.key,
                    differences(&found.purpose, &self.record.purpose)
                );
                let holder = std::mem::take(&mut self.record.holder);
                self.record = Record { holder, ..found };
                self.revision = revision;
                if !self.record.finished {
                    self.write().await?;
                }
            }
            Err(error) => {
                return Err(error).with_context(|| format!("failed to start `{}`", self.key));
            }
        }
        Ok(())
    }

    /// Remembers how far the run is.
    ///
    /// # Errors
    /// If another process has taken over, or NATS refuses.
    pub(super) async fn save(
        &mut self,
        cursor: Option<String>,
        counts: Counts,
        finished: bool,
    ) -> anyhow::Result<()> {
        self.record.cursor = cursor;
        self.record.counts = counts;
        self.record.finished = finished;
        self.write().await
    }

    /// A write whose answer was lost has moved the revision on all the same.
    async fn write(&mut self) -> anyhow::Result<()> {
        let failed = || format!("failed to save `{}`", self.key);
        for last in [false, true] {
            let written = self.store.update(&self.key, self.json()?, self.revision);
            match written.await {
                Ok(revision) => {
                    self.revision = revision;
                    return Ok(());
                }
                Err(error) if last => return Err(error).with_context(failed),
                Err(error) => match error.kind() {
                    UpdateErrorKind::TimedOut | UpdateErrorKind::WrongLastRevision => {}
                    UpdateErrorKind::InvalidKey | UpdateErrorKind::Other => {
                        return Err(error).with_context(failed);
                    }
                },
            }
            let (found, revision) = self.read().await?;
            anyhow::ensure!(
                found.holder == self.record.holder || revision == self.revision,
                "another process has taken over `{}`",
                self.key
            );
            self.revision = revision;
        }
        Ok(())
    }

    async fn read(&self) -> anyhow::Result<(Record, u64)> {
        let failed = || format!("failed to read `{}`", self.key);
        let entry: Option<Entry> = self.store.entry(&self.key).await.with_context(failed)?;
        let entry = entry.filter(|entry| entry.operation == Operation::Put);
        let entry = entry.with_context(failed)?;
        let record = serde_json::from_slice(&entry.value).with_context(failed)?;
        Ok((record, entry.revision))
    }

    fn json(&self) -> anyhow::Result<bytes::Bytes> {
        Ok(serde_json::to_vec(&self.record)?.into())
    }
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
