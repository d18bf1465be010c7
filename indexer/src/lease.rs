//! Lease: one process at a time does a thing.
//!
//! The owner renews a key of the bucket of runs. Whether an owner is dead is judged by nobody's clock: a process that
//! wants the lease watches the key for as long as an owner may be silent, and takes it over when it has not been renewed.
//! An owner that cannot renew it for that long stops by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::kv;
use contract::names::CollectionName;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::publish::now_micros;

/// Renewals within the time that an owner may be silent.
const RENEWALS: u32 = 5;

/// What a lease is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Rebuilding an alias.
    Rebuild,
    /// Making an alias equal to its sources. A rebuild may go on meanwhile: it carries over what a sync writes.
    Sync,
    /// Pointing an alias to another collection, and dropping collections: held for moments.
    Change,
}

/// Who holds a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Host of the process.
    pub host: String,
    /// Its id there.
    pub process: u32,
    /// When it took the lease, in microseconds since the epoch.
    pub since: u64,
    /// What it does with it; empty where an older version wrote it.
    #[serde(default)]
    pub verb: String,
}

/// A lease that is held; it is renewed until it is dropped or released.
#[derive(Debug)]
pub struct Lease {
    bucket: kv::Store,
    key: String,
    silence: Duration,
    state: Arc<Mutex<State>>,
    renewal: JoinHandle<()>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    revision: u64,
    renewed: Instant,
    lost: bool,
}

impl Lease {
    /// Takes a lease. One that somebody holds is watched for `silence`, and taken over when nobody renews it.
    ///
    /// # Errors
    /// If its owner is alive, which is named, or NATS refuses.
    pub async fn take(
        bucket: &kv::Store,
        purpose: Purpose,
        alias: &CollectionName,
        silence: Duration,
    ) -> anyhow::Result<Self> {
        let key = key(purpose, alias);
        let owner = serde_json::to_vec(&Owner::this_process(purpose))?;
        let revision = match free(bucket, &key, silence).await? {
            None => bucket.create(&key, owner.clone().into()).await.ok(),
            Some(revision) => bucket
                .update(&key, owner.clone().into(), revision)
                .await
                .ok(),
        };
        let revision = revision.with_context(|| {
            format!("another process took the lease `{key}` at the same time; try again")
        })?;
        let state = Arc::new(Mutex::new(State {
            revision,
            renewed: Instant::now(),
            lost: false,
        }));
        let renewal = renew(
            bucket.clone(),
            key.clone(),
            owner,
            silence,
            Arc::clone(&state),
        );
        Ok(Self {
            bucket: bucket.clone(),
            key,
            silence,
            state,
            renewal: tokio::spawn(renewal),
        })
    }

    /// Whether it is still ours, before anything is done that two must not do.
    ///
    /// # Errors
    /// If it could not be renewed for too long, or somebody took it over.
    pub fn check(&self) -> anyhow::Result<()> {
        let state = *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = state.renewed.elapsed();
        anyhow::ensure!(
            !state.lost && silent < self.silence,
            "lost the lease `{}` after {silent:?} without a renewal; run it again to go on",
            self.key
        );
        Ok(())
    }

    /// Gives it back, so that the next process need not wait.
    pub async fn release(self) {
        self.renewal.abort();
        let revision = {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.revision
        };
        // Not ours any more, or to expire by itself: both are fine.
        let deleted = self
            .bucket
            .delete_expect_revision(&self.key, Some(revision));
        if let Err(error) = deleted.await {
            tracing::debug!(%error, key = self.key, "lease not released");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Owner {
    fn this_process(purpose: Purpose) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            host: host.trim().to_owned(),
            process: std::process::id(),
            since: now_micros(),
            verb: purpose.verb().to_owned(),
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = humantime::format_rfc3339_seconds(crate::run::as_time(self.since));
        write!(
            f,
            "process {} on `{}` since {since}",
            self.process, self.host
        )
    }
}

impl Purpose {
    fn verb(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Sync => "sync",
            Self::Change => "change",
        }
    }
}

fn key(purpose: Purpose, alias: &CollectionName) -> String {
    format!("lease.{}.{alias}", purpose.verb())
}

/// Waits until nobody holds the lease; gives the revision of a dead owner's entry.
async fn free(bucket: &kv::Store, key: &str, silence: Duration) -> anyhow::Result<Option<u64>> {
    let Some((first, owner)) = holder(bucket, key).await? else {
        return Ok(None);
    };
    tracing::warn!(key, %owner, "the lease is held, looking whether its owner lives");
    let deadline = Instant::now() + silence;
    while Instant::now() < deadline {
        tokio::time::sleep(silence / RENEWALS / 2).await;
        match holder(bucket, key).await? {
            None => return Ok(None),
            Some((now, owner)) => anyhow::ensure!(
                now == first,
                "the lease `{key}` is held by {owner}; wait for it or end it"
            ),
        }
    }
    Ok(Some(first))
}

async fn holder(bucket: &kv::Store, key: &str) -> anyhow::Result<Option<(u64, Owner)>> {
    let entry = bucket.entry(key).await;
    let entry = entry.with_context(|| format!("failed to read the lease `{key}`"))?;
    let Some(entry) = entry.filter(|entry| entry.operation == kv::Operation::Put) else {
        return Ok(None);
    };
    let owner = serde_json::from_slice(&entry.value);
    let owner = owner.with_context(|| format!("the lease `{key}` is not readable"))?;
    Ok(Some((entry.revision, owner)))
}

async fn renew(
    bucket: kv::Store,
    key: String,
    owner: Vec<u8>,
    silence: Duration,
    state: Arc<Mutex<State>>,
) {
    loop {
        tokio::time::sleep(silence / RENEWALS).await;
        let revision = state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .revision;
        // Counted from before the request: whoever watches sees the renewal later than this.
        let asked = Instant::now();
        let renewed = match bucket.update(&key, owner.clone().into(), revision).await {
            Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => {
                adopted(&bucket, &key, &owner).await
            }
            other => other.map(Some).map_err(anyhow::Error::from),
        };
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match renewed {
            Ok(Some(revision)) => {
                state.revision = revision;
                state.renewed = asked;
            }
            Ok(None) => {
                state.lost = true;
                return;
            }
            Err(error) => tracing::warn!(%error, key, "lease not renewed, trying again"),
        }
    }
}

/// The revision of our own entry, if a renewal was stored whose answer was lost; `None` if it is somebody else's.
async fn adopted(bucket: &kv::Store, key: &str, owner: &[u8]) -> anyhow::Result<Option<u64>> {
    let entry = bucket.entry(key).await?;
    let ours = entry
        .filter(|entry| entry.operation == kv::Operation::Put && entry.value.as_ref() == owner);
    Ok(ours.map(|entry| entry.revision))
}
