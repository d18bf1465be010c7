//! Lease: one process at a time does a thing.
//!
//! The owner renews a key of the bucket of runs. Whether an owner is dead is judged by nobody's clock: a process that
//! wants the lease watches the key for as long as an owner may be silent, and takes it over when it has not been renewed.
//! An owner that cannot renew it for that long stops by itself.

mod owner;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_nats::jetstream::kv;
use contract::names::CollectionName;
use runtime::settings::ConfigFault;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use owner::Owner;

/// No owner is waited for longer, whatever it has written.
const LONGEST_SILENCE: Duration = Duration::from_secs(3600);
/// Renewals within the time that an owner may be silent.
const RENEWALS: u32 = 5;

/// What is wrong with the setting of how long an owner may be silent, if anything.
#[must_use]
pub(crate) fn silence_fault(silence: Duration) -> Option<ConfigFault> {
    let short = silence < Duration::from_millis(500);
    short.then(|| ConfigFault::new("--lease", "must be at least 500ms"))
}

/// What is wrong with the setting of how far clocks may be apart, if anything.
#[must_use]
pub(crate) fn skew_fault(skew: Duration) -> Option<ConfigFault> {
    let long = skew > Duration::from_secs(3600);
    long.then(|| ConfigFault::new("--clock-skew", "must be at most 1h"))
}

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

/// A lease that is held; it is renewed until it is dropped or released.
#[derive(Debug)]
pub struct Lease {
    bucket: kv::Store,
    key: String,
    silence: Duration,
    /// How far the clock of this host is from that of NATS, at least.
    skew: Duration,
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
    /// Takes a lease. One that somebody holds is watched for as long as either may be silent, and taken over when nobody renews it.
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
        let owner = serde_json::to_vec(&Owner::this_process(purpose, silence))?;
        let held = free(bucket, &key, silence).await?;
        let asked = SystemTime::now();
        let revision = match held {
            None => bucket.create(&key, owner.clone().into()).await.ok(),
            Some(revision) => bucket
                .update(&key, owner.clone().into(), revision)
                .await
                .ok(),
        };
        let revision = revision.with_context(|| {
            format!("another process took the lease `{key}` at the same time; try again")
        })?;
        let answered = SystemTime::now();
        let entry = bucket.entry(&key).await;
        let entry = entry.with_context(|| format!("failed to read the lease `{key}`"))?;
        let entry = entry.filter(|entry| entry.revision == revision);
        let stored = entry.map_or(asked, |entry| entry.created.into());
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
            skew: apart(asked, stored, answered),
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

    /// Whether the clock of this host goes right. What is compared with the versions of live writes, which are times of
    /// publishers and of NATS, must not come out newer or older than it is.
    ///
    /// # Errors
    /// If it is further from that of NATS than `allowed`.
    pub fn check_clock(&self, allowed: Duration) -> anyhow::Result<()> {
        let skew = self.skew;
        anyhow::ensure!(
            skew <= allowed,
            "the clock of this host and that of nats are {skew:?} apart, {allowed:?} are allowed (--clock-skew); newer \
             documents would be taken for older ones: set the clocks"
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

impl Purpose {
    fn verb(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Sync => "sync",
            Self::Change => "change",
        }
    }
}

/// How far a time is from the span in which it should lie.
fn apart(asked: SystemTime, stored: SystemTime, answered: SystemTime) -> Duration {
    let before = asked.duration_since(stored).unwrap_or_default();
    let after = stored.duration_since(answered).unwrap_or_default();
    before.max(after)
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
    // Its owner renews it at its own pace, which may be slower than ours.
    let slower = Duration::from_millis(owner.silence).min(LONGEST_SILENCE);
    let silence = silence.max(slower);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_as_wrong_as_what_was_stored_lies_outside_of_the_request() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let skew = |stored| apart(at(100), at(stored), at(103)).as_secs();
        assert_eq!([40, 100, 102, 103, 163].map(skew), [60, 0, 0, 0, 60]);
    }
}
