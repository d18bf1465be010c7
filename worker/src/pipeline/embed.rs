//! Embed: runs the tensors of batches on the engines.
//!
//! Takes [`Inputs`](crate::batch::Inputs), gives [`Vectors`]. Every engine has a thread of its own, because it has one
//! user at a time. The `Dispatcher` hands each of them the next tensor.

mod batch_run;
mod dispatch;
mod isolate;
mod split_on_oom;
mod without_rows;

use std::sync::{Arc, Mutex};

use anyhow::Context as _;
use futures::future::try_join_all;
use runtime::failpoint;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::answer::refuse;
use super::encode::Admitted;
use super::lanes::{LanePath, Lanes};
use super::{Context, joined};
use crate::batch::Vectors;
use crate::error::{EmbedError, Refusal, chain};
use crate::inflight::{Deliveries, InFlight};
use crate::load::{Canary, SessionFactory};
use crate::outcome::{GIVE_UP_DELIVERIES, Outcome};
use crate::pool::Recipe;
use crate::session::Engine;
use crate::shutdown::{Phase, Shutdown};
use batch_run::BatchResult;
use dispatch::{Dispatcher, InModel, Step, locked};
use isolate::run;
use split_on_oom::SplitOnOom;

#[derive(Debug)]
pub struct EmbedStage<E> {
    pub context: Context,
    /// The engine that works from the start; the others join it as soon as they are loaded.
    pub first: E,
    pub factory: SessionFactory<E>,
    /// Tells whether an engine still works at all.
    pub canary: Canary,
    /// Engines in all.
    pub engines: usize,
}

impl<E: Engine + Send + 'static> EmbedStage<E> {
    /// Runs to the end of its input. The first engine that fails ends the stage.
    ///
    /// # Errors
    /// If the process must not go on.
    pub(super) async fn run(
        self,
        lanes: Lanes<LanePath<Admitted, InFlight<Vectors>>>,
    ) -> anyhow::Result<()> {
        let dispatcher = Dispatcher::new(lanes, self.context.shutdown.clone());
        let shutdown = self.context.shutdown.clone();
        let shared = Arc::new(Shared {
            context: self.context,
            dispatcher: Mutex::new(dispatcher),
            canary: self.canary,
        });
        let first = self.first;
        let mut threads = vec![serve(&shared, move || Some(first))];
        for _ in 1..self.engines {
            let (factory, shutdown) = (self.factory.clone(), shutdown.clone());
            threads.push(serve(&shared, move || load_another(&factory, &shutdown)));
        }
        let ended = threads
            .into_iter()
            .map(|thread| async { joined("embed", thread).await? });
        try_join_all(ended).await.map(drop)
    }
}

/// Loads an engine on a thread of its own, and has it run tensors until the input ends.
fn serve<E: Engine + 'static>(
    shared: &Arc<Shared>,
    load: impl FnOnce() -> Option<E> + Send + 'static,
) -> JoinHandle<anyhow::Result<()>> {
    let shared = shared.clone();
    tokio::task::spawn_blocking(move || {
        let Some(engine) = load() else {
            return Ok(());
        };
        let served = shared.serve(&mut SplitOnOom::new(engine));
        served.context("embedding failed")
    })
}

/// Loads one more engine. If that fails, the worker goes on with those that it has: ending the process would count as a
/// crash of the jobs in the model.
fn load_another<E>(factory: &SessionFactory<E>, shutdown: &Shutdown) -> Option<E> {
    let loaded = factory.load_if(|| shutdown.phase() == Phase::Running);
    loaded.unwrap_or_else(|error| {
        tracing::warn!("{error:#}; going on with fewer sessions");
        None
    })
}

/// What all engines share.
#[derive(Debug)]
struct Shared {
    context: Context,
    dispatcher: Mutex<Dispatcher>,
    canary: Canary,
}

impl Shared {
    /// Runs tensors on an engine until the input ends.
    ///
    /// # Errors
    /// [`EmbedError`] if the process must not go on.
    fn serve(&self, engine: &mut impl Engine) -> Result<(), EmbedError> {
        let health = self.context.health.engine();
        loop {
            let step = locked(&self.dispatcher).next(&health);
            let finished = match step {
                None => return Ok(()),
                Some(Step::Finish(finished)) => Some(finished),
                Some(Step::Run(batch, tensor)) => {
                    health.busy();
                    let result = run(engine, &tensor, &self.canary).inspect_err(|error| {
                        // A device that is broken by itself ends the process, and that must not count as a crash of the
                        // job that is in it alone. Another error of the runtime may be that job's doing.
                        if let EmbedError::Broken(_) = error
                            && let Some(InModel { permit, .. }) = batch.take_out()
                        {
                            Handle::current().block_on(permit.release());
                        }
                    })?;
                    health.idle();
                    batch.put(&tensor, result)
                }
            };
            if let Some(finished) = finished {
                self.finish(finished, engine.recipe())?;
            }
        }
    }

    /// Hands on a batch whose last tensor was run, or settles it if it failed.
    fn finish(&self, finished: InModel, recipe: Recipe) -> Result<(), EmbedError> {
        let runtime = Handle::current();
        failpoint::pass("after-embed");
        finished.deliveries.stage_done("embed", finished.started);
        runtime.block_on(finished.permit.release());
        let counts = finished.deliveries.delivery_counts();
        let is_last = |position: usize| counts[position] >= GIVE_UP_DELIVERIES;
        match finished.run.finish(recipe, is_last) {
            Ok(BatchResult {
                vectors: batch,
                refused,
                retried,
            }) => {
                let settled = settle_some(&self.context, finished.deliveries, refused, retried);
                let deliveries = runtime.block_on(settled);
                if !deliveries.is_empty() {
                    finished.place.send(InFlight { batch, deliveries });
                }
                Ok(())
            }
            Err(error) => runtime.block_on(settle_failed(finished.deliveries, error)),
        }
    }
}

/// Settles the jobs of a batch that are refused, and gives back those that are to be tried again. Returns the others.
async fn settle_some(
    context: &Context,
    mut deliveries: Deliveries,
    refused: Vec<(usize, Refusal)>,
    retried: Vec<(usize, Refusal)>,
) -> Deliveries {
    let positions: Vec<_> = retried.iter().map(|(position, _)| *position).collect();
    let before = |at: usize| positions.iter().filter(|retried| **retried < at).count();
    let left = |(at, refusal)| (at - before(at), refusal);
    let refused = refused.into_iter().map(left).collect();
    let removed = deliveries.remove(&positions);
    for (delivery, (_, refusal)) in removed.into_iter().zip(retried) {
        let reason = refusal.to_string();
        tracing::warn!(reason, "job not embedded");
        delivery
            .settle(Outcome::Retry { after: None }, &reason)
            .await;
    }
    refuse(context, deliveries, refused).await
}

async fn settle_failed(deliveries: Deliveries, error: EmbedError) -> Result<(), EmbedError> {
    if error.outcome() == Outcome::Exit {
        return Err(error);
    }
    tracing::warn!(
        error = chain(&error),
        jobs = deliveries.len(),
        "batch not embedded"
    );
    deliveries.release().await;
    Ok(())
}
