//! Lock: lets one process at a time do one kind of work on an alias.
//!
//! The owner renews an entry of the bucket of runs. Whether an owner is dead is judged by nobody's clock: a process that
//! wants the lock watches the entry for as long as an owner may be silent, and takes it over when it has not been renewed.
//! An owner that cannot renew it for that long stops by itself. Users know the lock as the lease.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_nats::jetstream::kv;
use contract::names::CollectionName;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::bucket::{Bucket, Stored};
use crate::clock::{as_time, now_micros};
use crate::outcome::LeaseTaken;

/// Prefix of the keys of locks.
pub const PREFIX: &str = "lease.";
/// The longest time that an owner is waited for, whatever it has written.
const LONGEST_SILENCE: Duration = Duration::from_secs(3600);
/// Renewals within the time that an owner may be silent.
const RENEWALS: u32 = 5;

/// What is wrong with the setting of how long an owner may be silent, if anything.
pub fn silence_fault(silence: Duration) -> Option<ConfigFault> {
    let short = silence < Duration::from_millis(500);
    short.then(|| ConfigFault::new("--lease", "must be at least 500ms"))
}

/// What is wrong with the setting of how far clocks may be apart, if anything.
pub fn skew_fault(skew: Duration) -> Option<ConfigFault> {
    let long = skew > Duration::from_secs(3600);
    long.then(|| ConfigFault::new("--clock-skew", "must be at most 1h"))
}

/// The work that a lock protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Rebuild,
    /// Making an alias equal to its sources. A rebuild may go on meanwhile: it carries over what a sync writes.
    Sync,
    /// Giving a collection another vector, or taking one away. No rebuild may go on meanwhile, so that they share a lock.
    Attach,
    /// Pointing an alias to another collection, and dropping collections: held for moments.
    Change,
}

/// The process that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    pub host: String,
    /// Its id on that host.
    pub process: u32,
    /// When it took the lock, in microseconds since the epoch.
    pub since: u64,
    /// The verb that the process runs; empty where an older version wrote it.
    #[serde(default)]
    pub verb: String,
    /// How long it may be silent before it counts as dead, in milliseconds.
    #[serde(default)]
    pub silence: u64,
}

/// A lock that is held; it is renewed until it is dropped or released.
#[derive(Debug)]
pub struct Lock {
    bucket: Bucket,
    key: String,
    silence: Duration,
    /// How far the clock of this host is from that of NATS, at least.
    skew: Duration,
    state: Arc<Mutex<State>>,
    renewal: JoinHandle<()>,
}

#[derive(Clone, Debug)]
struct State {
    entry: Stored<Owner>,
    renewed: Instant,
    lost: bool,
}

impl Lock {
    /// Takes a lock, does some work, and gives the lock back, however the work has ended.
    pub async fn holding<T>(
        bucket: &Bucket,
        purpose: Purpose,
        alias: &CollectionName,
        silence: Duration,
        work: impl AsyncFnOnce(&Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let lock = Self::take(bucket, purpose, alias, silence).await?;
        let done = work(&lock).await;
        lock.release().await;
        done
    }

    /// Takes a lock. One that somebody holds is watched for as long as either may be silent, and taken over when nobody
    /// renews it.
    ///
    /// # Errors
    /// If its owner is alive, which is named, or NATS refuses.
    pub async fn take(
        bucket: &Bucket,
        purpose: Purpose,
        alias: &CollectionName,
        silence: Duration,
    ) -> anyhow::Result<Self> {
        let key = format!("{PREFIX}{}.{alias}", purpose.key());
        let owner = Owner::this_process(purpose, silence);
        let dead = await_free(bucket, &key, silence).await?;
        let asked = SystemTime::now();
        let taken = match dead {
            None => bucket.create(&key, owner).await.ok().flatten(),
            Some(mut dead) => {
                dead.record = owner;
                bucket.save(&mut dead).await.ok().map(|()| dead)
            }
        };
        let entry = taken.with_context(|| {
            format!("another process took the lease `{key}` at the same time; try again")
        })?;
        let answered = SystemTime::now();
        let found = bucket.find::<Owner>(&key).await?;
        let found = found.filter(|found| found.is_same_write(&entry));
        let written = found.map_or(asked, |found| found.written);
        let state = Arc::new(Mutex::new(State {
            entry,
            renewed: Instant::now(),
            lost: false,
        }));
        let renewal = renew(bucket.clone(), key.clone(), silence, Arc::clone(&state));
        Ok(Self {
            bucket: bucket.clone(),
            key,
            silence,
            skew: apart(asked, written, answered),
            state,
            renewal: tokio::spawn(renewal),
        })
    }

    /// Whether it is still ours, before anything is done that two must not do.
    ///
    /// # Errors
    /// If it could not be renewed for too long, or somebody took it over.
    pub fn check(&self) -> anyhow::Result<()> {
        let (renewed, lost) = {
            let state = locked(&self.state);
            (state.renewed, state.lost)
        };
        let silent = renewed.elapsed();
        anyhow::ensure!(
            !lost && silent < self.silence,
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

    /// Gives the lock back, so that the next process need not wait.
    pub async fn release(self) {
        self.renewal.abort();
        let entry = locked(&self.state).entry.clone();
        // Not ours any more, or to expire by itself: both are fine.
        if let Err(error) = self.bucket.remove(&entry).await {
            tracing::debug!(%error, key = self.key, "lease not released");
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

impl Owner {
    pub fn this_process(purpose: Purpose, silence: Duration) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self {
            host: host.trim().to_owned(),
            process: std::process::id(),
            since: now_micros(),
            verb: purpose.verb().to_owned(),
            silence: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = humantime::format_rfc3339_seconds(as_time(self.since));
        write!(
            f,
            "process {} on `{}` since {since}",
            self.process, self.host
        )
    }
}

impl Purpose {
    pub fn verb(self) -> &'static str {
        match self {
            Self::Rebuild => "rebuild",
            Self::Sync => "sync",
            Self::Attach => "attach",
            Self::Change => "change",
        }
    }

    /// The name of the lock in keys.
    fn key(self) -> &'static str {
        match self {
            Self::Rebuild | Self::Attach => Self::Rebuild.verb(),
            Self::Sync | Self::Change => self.verb(),
        }
    }
}

/// How far a time is from the span in which it should lie.
fn apart(asked: SystemTime, stored: SystemTime, answered: SystemTime) -> Duration {
    let before = asked.duration_since(stored).unwrap_or_default();
    let after = stored.duration_since(answered).unwrap_or_default();
    before.max(after)
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until nobody holds the lock; gives the entry of an owner that is dead.
async fn await_free(
    bucket: &Bucket,
    key: &str,
    silence: Duration,
) -> anyhow::Result<Option<Stored<Owner>>> {
    let Some(first) = bucket.find::<Owner>(key).await? else {
        return Ok(None);
    };
    let owner = &first.record;
    tracing::warn!(key, %owner, "the lease is held, looking whether its owner lives");
    // Its owner renews it at its own pace, which may be slower than ours.
    let slower = Duration::from_millis(owner.silence).min(LONGEST_SILENCE);
    let silence = silence.max(slower);
    let deadline = Instant::now() + silence;
    while Instant::now() < deadline {
        tokio::time::sleep(silence / RENEWALS / 2).await;
        let Some(now) = bucket.find::<Owner>(key).await? else {
            return Ok(None);
        };
        if !now.is_same_write(&first) {
            return Err(LeaseTaken {
                key: key.to_owned(),
                owner: now.record.to_string(),
            }
            .into());
        }
    }
    Ok(Some(first))
}

async fn renew(bucket: Bucket, key: String, silence: Duration, state: Arc<Mutex<State>>) {
    loop {
        tokio::time::sleep(silence / RENEWALS).await;
        let mut entry = locked(&state).entry.clone();
        // Counted from before the request: whoever watches sees the renewal later than this.
        let asked = Instant::now();
        let renewed = match bucket.save(&mut entry).await {
            Ok(()) => Ok(Some(entry)),
            Err(error) if is_conflict(&error) => adopted(&bucket, &key, &entry.record).await,
            Err(error) => Err(error),
        };
        let mut state = locked(&state);
        match renewed {
            Ok(Some(entry)) => (state.entry, state.renewed) = (entry, asked),
            Ok(None) => {
                state.lost = true;
                return;
            }
            Err(error) => tracing::warn!(%error, key, "lease not renewed, trying again"),
        }
    }
}

/// Whether somebody has written the entry since it was read, be it this process whose answer was lost.
fn is_conflict(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<kv::UpdateError>();
    error.is_some_and(|error| error.kind() == kv::UpdateErrorKind::WrongLastRevision)
}

/// Our own entry, if a renewal was stored whose answer was lost; `None` if it is somebody else's.
async fn adopted(
    bucket: &Bucket,
    key: &str,
    owner: &Owner,
) -> anyhow::Result<Option<Stored<Owner>>> {
    let found = bucket.find::<Owner>(key).await?;
    Ok(found.filter(|found| found.record == *owner))
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
