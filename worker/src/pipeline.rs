//! The pipeline: the stages as loops. `run` connects them, and nothing else knows their order.
//!
//! Each stage is a loop over a channel that holds one batch. The end of its input ends a stage, which closes the
//! next; a stage that fails ends the process. Nothing is supervised inside: what was not settled is redelivered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use contract::model::Manifest;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::answer::answer_refusal;
use crate::batch::{Batch, Inputs};
use crate::encode::Encoder;
use crate::error::{Refusal, Suspicion, chain};
use crate::failpoint;
use crate::health::{Health, Stage};
use crate::inflight::{InFlight, Lease, Leases, Queue};
use crate::quarantine::{Place, Quarantine};
use crate::shutdown::{Phase, Shutdown};

/// Pause before an unknown job is asked about again.
const PAUSE: Duration = Duration::from_secs(1);

/// What all stages share.
#[derive(Clone, Debug)]
pub struct Context {
    /// How leases are settled.
    pub queue: Arc<Queue>,
    /// The model.
    pub manifest: Arc<Manifest>,
    /// How far the process is on its way out.
    pub shutdown: Shutdown,
    /// What the stages say about themselves.
    pub health: Health,
    /// Who may be in the model.
    pub quarantine: Quarantine,
}

/// Work in the model, with its place there.
#[derive(Debug)]
pub struct Admitted {
    /// To be left when the last tensor was run.
    pub(crate) place: Place,
    pub(crate) work: InFlight<Inputs>,
}

/// The encode stage, on a thread of its own.
pub fn encode_stage(
    context: &Context,
    encoder: &Encoder,
    mut input: mpsc::Receiver<InFlight<Batch>>,
    output: &mpsc::Sender<Admitted>,
) {
    let runtime = Handle::current();
    while let Some(work) = input.blocking_recv() {
        let Some((place, work)) = runtime.block_on(admit(context, work)) else {
            continue;
        };
        let work = encode_batch(context, encoder, work);
        if work.leases.is_empty() {
            runtime.block_on(place.leave());
        } else if output.blocking_send(Admitted { place, work }).is_err() {
            return;
        }
    }
}

/// Waits until the batch may be in the model. Gives nothing if it was settled instead.
async fn admit(context: &Context, work: InFlight<Batch>) -> Option<(Place, InFlight<Batch>)> {
    let InFlight { payload, leases } = work;
    if context.shutdown.phase() >= Phase::Draining {
        leases.release().await;
        return None;
    }
    match admit_when_known(context, &leases).await {
        Ok(place) => Some((place, InFlight { payload, leases })),
        Err(Suspicion::Unrecorded(_)) => {
            leases.release().await;
            None
        }
        Err(suspicion) => {
            leases.settle(suspicion.outcome(), &chain(&suspicion)).await;
            None
        }
    }
}

/// Asks about the job again and again where nobody tells: it would spend its deliveries on an outage. Gives that up
/// only when the process is to end.
async fn admit_when_known(context: &Context, leases: &Leases) -> Result<Place, Suspicion> {
    loop {
        let admitted = context.quarantine.admit(leases).await;
        let Err(Suspicion::Unrecorded(_)) = &admitted else {
            return admitted;
        };
        let error = admitted.as_ref().err().map(|error| chain(error));
        tracing::warn!(error, "job not started, trying again");
        let mut shutdown = context.shutdown.clone();
        tokio::select! {
            () = shutdown.reached(Phase::Draining) => return admitted,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}

fn encode_batch(context: &Context, encoder: &Encoder, work: InFlight<Batch>) -> InFlight<Inputs> {
    let started = Instant::now();
    let InFlight { payload, leases } = work;
    context.health.works(Stage::Encode);
    failpoint::pass_with("before-encode", || {
        let payloads = payload.iter().map(|delivery| delivery.payload.clone());
        payloads.collect::<Vec<_>>()
    });
    let (inputs, refused) = encoder.encode(payload);
    failpoint::pass("after-encode");
    leases.stage_done("encode", started);
    context.health.rests(Stage::Encode);
    let leases = Handle::current().block_on(refuse(context, leases, refused));
    InFlight {
        payload: inputs,
        leases,
    }
}

/// Dead-letters the jobs that a stage refused, tells those who asked, and gives the leases of the others.
pub(crate) async fn refuse(
    context: &Context,
    mut leases: Leases,
    refused: Vec<(usize, Refusal)>,
) -> Leases {
    let positions: Vec<_> = refused.iter().map(|(position, _)| *position).collect();
    let removed: Vec<Lease> = leases.remove(&positions);
    for (lease, (_, refusal)) in removed.into_iter().zip(refused) {
        let (queue, manifest) = (&context.queue, &context.manifest);
        answer_refusal(queue, manifest, lease.payload(), &refusal).await;
        let reason = refusal.to_string();
        lease.dead_letter(refusal.cause(), &reason).await;
    }
    leases
}

/// Joins a stage that runs on a thread.
///
/// # Errors
/// If the thread panicked.
pub async fn joined<T>(name: &'static str, stage: tokio::task::JoinHandle<T>) -> anyhow::Result<T> {
    stage.await.with_context(|| format!("stage {name} died"))
}
