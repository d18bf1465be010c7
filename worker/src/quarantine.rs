//! Quarantine: keeps a job that kills the process from doing so for ever, and from taking others with it.
//!
//! A job that has been redelivered often may be the reason. It is alone in the model, from before it is decoded until
//! its last tensor was run, and each such start is recorded in a bucket until it has ended in any way but a crash. A
//! process that dies in between leaves the start there. That is the only proof: the number of deliveries also grows by
//! outages and by the jobs of the same batch, which are not the fault of the job.
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
use crate::inflight::Deliveries;

/// After so many crashes of a job that was alone, it is not started again.
const CRASHES_ALONE: u64 = 3;
/// Pause before NATS is asked again to forget the starts of a job.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets batches into the model.
#[derive(Clone, Debug)]
pub struct Quarantine {
    /// Batches read, a job that must be alone writes.
    model: Arc<RwLock<()>>,
    attempts: Arc<kv::Store>,
}

/// The right to be in the model. A process that dies before [`Permit::release`] has crashed.
#[derive(Debug)]
#[must_use = "a permit that is not released counts as a crash"]
pub enum Permit {
    Shared(OwnedRwLockReadGuard<()>),
    Alone {
        model: OwnedRwLockWriteGuard<()>,
        starts: Starts,
    },
}

/// The record of the starts of one job that have not ended.
#[derive(Clone, Debug)]
pub struct Starts {
    attempts: Arc<kv::Store>,
    key: String,
}

impl Quarantine {
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
    pub async fn admit(&self, deliveries: &Deliveries) -> Result<Permit, Suspicion> {
        let Some(suspect) = deliveries.suspect() else {
            let model = self.model.clone().read_owned().await;
            return Ok(Permit::Shared(model));
        };
        let model = self.model.clone().write_owned().await;
        if suspect.is_dead_lettered().await? {
            return Err(Suspicion::DeadLettered);
        }
        let starts = Starts {
            attempts: self.attempts.clone(),
            key: suspect.key(),
        };
        starts.add().await?;
        Ok(Permit::Alone { model, starts })
    }
}

impl Permit {
    /// Lets the next batch in: this one has not crashed.
    pub async fn release(self) {
        match self {
            Self::Shared(model) => drop(model),
            Self::Alone { model, starts } => {
                starts.forget().await;
                drop(model);
            }
        }
    }
}

impl Starts {
    /// Adds a start, if there may be another one.
    async fn add(&self) -> Result<(), Suspicion> {
        let value = self.attempts.get(&self.key).await;
        let value = value.map_err(|error| Suspicion::Unrecorded(error.into()))?;
        let starts = one_more(value.as_deref())?;
        let added = self.attempts.put(&self.key, starts.to_string().into());
        if let Err(error) = added.await {
            // The server may have stored it all the same, and nothing was started.
            self.clone().forget().await;
            return Err(Suspicion::Unrecorded(error.into()));
        }
        Ok(())
    }

    /// Forgets all starts. This is repeated until NATS confirms it: otherwise an outage would count as a crash.
    async fn forget(self) {
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

/// How many starts to record for another one, after the `recorded` ones. A record that cannot be read counts as none.
fn one_more(recorded: Option<&[u8]>) -> Result<u64, Suspicion> {
    let count = |value: &[u8]| str::from_utf8(value).ok()?.parse().ok();
    let starts = recorded.and_then(count).unwrap_or(0);
    if starts >= CRASHES_ALONE {
        return Err(Suspicion::Crashed { starts });
    }
    Ok(starts + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inflight::ALONE_FROM_DELIVERY;

    #[test]
    fn a_job_is_started_alone_three_times_and_then_suspected() {
        assert_eq!(one_more(None).unwrap(), 1);
        assert_eq!(one_more(Some(b"1")).unwrap(), 2);
        assert_eq!(one_more(Some(b"2")).unwrap(), 3);
        let suspected = one_more(Some(b"3"));
        assert!(matches!(suspected, Err(Suspicion::Crashed { starts: 3 })));
    }

    #[test]
    fn a_record_that_cannot_be_read_counts_as_no_start() {
        for damaged in [&b""[..], b"two", b"-1", b"\xff"] {
            assert_eq!(one_more(Some(damaged)).unwrap(), 1);
        }
    }

    #[test]
    fn deliveries_in_company_and_alone_make_the_five_of_the_table() {
        let in_company = u64::try_from(ALONE_FROM_DELIVERY - 1).unwrap();
        assert_eq!(in_company + CRASHES_ALONE, 5);
    }

    #[tokio::test]
    async fn batches_share_the_model_and_a_suspect_waits_for_all_of_them() {
        let model = Arc::new(RwLock::new(()));
        let shared = || async { Permit::Shared(model.clone().read_owned().await) };
        let (one, other) = (shared().await, shared().await);
        assert!(model.try_write().is_err());
        one.release().await;
        assert!(model.try_write().is_err());
        other.release().await;
        assert!(model.try_write().is_ok());
    }
}
