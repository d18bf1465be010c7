//! Encode: turns delivered bytes into tensors, on a thread of its own.
//!
//! Takes a [`Batch`], gives [`Inputs`]. A job that is refused leaves its batch as a dead letter, and the others go on.
//! Before a batch is decoded it is admitted to the model: a job that may have crashed a worker before must be alone there.
//! Until it is, it keeps both lanes waiting, like the engines.

mod attach;
mod documents;
mod encoder;
mod rescore;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use runtime::failpoint;
use tokio::runtime::Handle;

use super::Context;
use super::answer::{refuse, settle_refused};
use super::lanes::{LanePath, Lanes};
use crate::batch::{Batch, Inputs};
use crate::error::{Suspicion, chain};
use crate::health::Stage;
use crate::inflight::{Deliveries, InFlight};
use crate::quarantine::Permit;
use crate::shutdown::Phase;
pub use encoder::{Encoder, Rules};

/// Pause before the attempts of a job are looked up again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct EncodeStage {
    pub context: Context,
    pub encoder: Encoder,
}

/// A batch with the permit to be in the model.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) permit: Permit,
    pub(super) work: InFlight<Inputs>,
}

impl EncodeStage {
    /// Runs to the end of its input, or until nobody takes its output.
    pub(super) fn run(self, mut lanes: Lanes<LanePath<InFlight<Batch>, Admitted>>) {
        let runtime = Handle::current();
        while let Some((_, work, place)) = runtime.block_on(lanes.next()) {
            let Some(place) = place else {
                runtime.block_on(work.deliveries.release());
                continue;
            };
            let Some((permit, work)) = runtime.block_on(self.admit(work)) else {
                continue;
            };
            let work = self.encode(work);
            if work.deliveries.is_empty() {
                runtime.block_on(permit.release());
            } else {
                place.send(Admitted { permit, work });
            }
        }
    }

    /// Waits until the batch may be in the model. Gives nothing if the jobs were settled instead.
    async fn admit(&self, work: InFlight<Batch>) -> Option<(Permit, InFlight<Batch>)> {
        if self.context.shutdown.phase() >= Phase::Draining {
            work.deliveries.release().await;
            return None;
        }
        let work = self.pass_on(work).await?;
        match self.admit_when_known(&work.deliveries).await {
            Ok(permit) => return Some((permit, work)),
            Err(Suspicion::Unrecorded(_)) => work.deliveries.release().await,
            Err(suspicion) => {
                let reason = chain(&suspicion);
                work.deliveries.settle(suspicion.outcome(), &reason).await;
            }
        }
        None
    }

    /// Gives a redelivered job back that is for other workers, before it has the model to itself: that it was delivered
    /// often is no sign of a crash, and everything else would stand still each time.
    async fn pass_on(&self, work: InFlight<Batch>) -> Option<InFlight<Batch>> {
        let suspect = work.deliveries.suspect();
        let refusal = suspect.and_then(|job| self.encoder.is_for_others(job.payload()));
        let Some(refusal) = refusal else {
            return Some(work);
        };
        for delivery in work.deliveries.into_all() {
            settle_refused(&self.context, delivery, &refusal).await;
        }
        None
    }

    /// Asks again for as long as NATS does not answer: otherwise the job would spend its deliveries on an outage. Gives
    /// up only when the process is to end.
    async fn admit_when_known(&self, deliveries: &Deliveries) -> Result<Permit, Suspicion> {
        loop {
            let admitted = self.context.quarantine.admit(deliveries).await;
            let Err(error @ Suspicion::Unrecorded(_)) = &admitted else {
                return admitted;
            };
            tracing::warn!(error = chain(error), "job not started, trying again");
            let mut shutdown = self.context.shutdown.clone();
            tokio::select! {
                () = shutdown.reached(Phase::Draining) => return admitted,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    fn encode(&self, work: InFlight<Batch>) -> InFlight<Inputs> {
        let started = Instant::now();
        let InFlight { batch, deliveries } = work;
        self.context.health.busy(Stage::Encode);
        failpoint::pass_with("before-encode", || {
            let payloads = batch.iter().map(|job| job.payload.clone());
            payloads.collect::<Vec<_>>()
        });
        let (inputs, refused) = self.encoder.encode(batch);
        failpoint::pass("after-encode");
        deliveries.stage_done("encode", started);
        self.context.health.idle(Stage::Encode);
        let deliveries = Handle::current().block_on(refuse(&self.context, deliveries, refused));
        InFlight {
            batch: inputs,
            deliveries,
        }
    }
}
