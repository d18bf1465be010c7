//! Quarantine: keeps a job that kills the process from doing so for ever, and from taking others with it.
//!
//! A job that has been redelivered often may be the reason. It is alone in the model, from before it is decoded until
//! its last tensor was run, and each such start is kept in a bucket until it has ended in any way but a crash. A
//! process that dies in between leaves the start there. That is the only proof: deliveries alone also grow by outages
//! and by neighbours, which are no fault of the job.
//!
//! ```text
//! delivery 1, 2    with others     a crash counts for nobody
//! delivery 3, 4, 5 alone           a crash leaves a start
//! delivery 6       not started     three starts have not ended: dead letter
//! ```

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::kv;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::error::Suspicion;
use crate::inflight::Leases;

/// Crashes of a job by itself after which it is not started again. With two in company that makes five.
const CRASHES_ALONE: u64 = 3;
/// Pause before the end of an attempt is reported again.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets batches into the model.
#[derive(Clone, Debug)]
pub struct Quarantine {
    /// Batches read, a job that must be alone writes.
    model: Arc<RwLock<()>>,
    attempts: Arc<kv::Store>,
}

/// The right to be in the model. It is given back by [`Place::leave`]; a process that dies before has crashed.
#[derive(Debug)]
#[must_use = "a place that is not left counts as a crash"]
pub struct Place(Room);

#[derive(Debug)]
enum Room {
    Shared(#[expect(dead_code, reason = "held, never read")] OwnedRwLockReadGuard<()>),
    Alone {
        _model: OwnedRwLockWriteGuard<()>,
        attempt: Attempt,
    },
}

/// The starts of one job.
#[derive(Clone, Debug)]
struct Attempt {
    attempts: Arc<kv::Store>,
    key: String,
}

impl Quarantine {
    /// Keeps attempts in this bucket.
    #[must_use]
    pub fn new(attempts: kv::Store) -> Self {
        Self {
            model: Arc::default(),
            attempts: Arc::new(attempts),
        }
    }

    /// Waits until the batch may be in the model.
    ///
    /// # Errors
    /// [`Suspicion`] if its job must not be started, or not now.
    pub async fn admit(&self, leases: &Leases) -> Result<Place, Suspicion> {
        let Some(suspect) = leases.suspect() else {
            let model = self.model.clone().read_owned().await;
            return Ok(Place(Room::Shared(model)));
        };
        let model = self.model.clone().write_owned().await;
        if suspect.is_dead_lettered().await? {
            return Err(Suspicion::DeadLettered);
        }
        let attempt = Attempt {
            attempts: self.attempts.clone(),
            key: suspect.key(),
        };
        attempt.begin().await?;
        Ok(Place(Room::Alone {
            _model: model,
            attempt,
        }))
    }
}

impl Place {
    /// Makes room for the next batch: this one has not crashed.
    pub async fn leave(self) {
        match self.0 {
            Room::Shared(_) => {}
            Room::Alone { attempt, .. } => attempt.end().await,
        }
    }
}

impl Attempt {
    /// Adds a start, if there may be another one.
    async fn begin(&self) -> Result<(), Suspicion> {
        let starts = self.starts().await?;
        if starts >= CRASHES_ALONE {
            return Err(Suspicion::Crashed { starts });
        }
        let added = self
            .attempts
            .put(&self.key, (starts + 1).to_string().into());
        if let Err(error) = added.await {
            // It may be there all the same, and nothing was started.
            self.clone().end().await;
            return Err(Suspicion::Unrecorded(error.into()));
        }
        Ok(())
    }

    async fn starts(&self) -> Result<u64, Suspicion> {
        let value = self.attempts.get(&self.key).await;
        let value = value.map_err(|error| Suspicion::Unrecorded(error.into()))?;
        let count = |value: &[u8]| str::from_utf8(value).ok()?.parse().ok();
        Ok(value.and_then(|value| count(&value)).unwrap_or(0))
    }

    /// Forgets all starts. An outage must not make a crash of them, so this goes on until NATS has it.
    async fn end(self) {
        if let Err(error) = self.attempts.purge(&self.key).await {
            tracing::warn!(key = self.key, %error, "attempt not ended, trying again");
            tokio::spawn(async move {
                while self.attempts.purge(&self.key).await.is_err() {
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
    }
}
