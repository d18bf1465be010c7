//! Deal: gives the tensors of batches out to the engines, and settles each batch when its last tensor was run.
//!
//! Every engine has a thread of its own, because it has one user at a time, and takes the next tensor of the batch that
//! came first. Where that has none left, the next batch begins while the last tensors of the one before are still being
//! run, so that no engine waits for another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use contract::usage::Usage;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::batch::{Tensor, Vectors};
use crate::embed::Embedding;
use crate::error::{EmbedError, Outcome, chain};
use crate::failpoint::{self, Verdict};
use crate::health::EngineHealth;
use crate::inflight::{InFlight, Leases};
use crate::load::Canary;
use crate::pipeline::{Admitted, Context, refuse};
use crate::pool::{Recipe, is_sound};
use crate::quarantine::Place;
use crate::session::Engine;
use crate::shutdown::Phase;
use crate::usage::{tell, usage};

/// What all engines share.
#[derive(Debug)]
pub struct Deal {
    context: Context,
    desk: Mutex<Desk>,
    output: mpsc::Sender<InFlight<Vectors>>,
}

/// Where tensors are taken from.
#[derive(Debug)]
struct Desk {
    input: mpsc::Receiver<Admitted>,
    /// The batch that has tensors left, if one has.
    current: Option<Slot>,
}

/// A batch in the model, until somebody finishes it.
type Slot = Arc<Mutex<Option<InModel>>>;

#[derive(Debug)]
struct InModel {
    embedding: Embedding,
    leases: Leases,
    /// To be left when the last tensor was run.
    place: Place,
    usage: Vec<Usage>,
    started: Instant,
}

/// What an engine does next.
enum Turn {
    Run(Slot, Tensor),
    Finish(InModel),
}

impl Deal {
    /// Takes batches from `input`, and gives what has come of them to `output`.
    #[must_use]
    pub fn new(
        context: Context,
        input: mpsc::Receiver<Admitted>,
        output: mpsc::Sender<InFlight<Vectors>>,
    ) -> Self {
        let desk = Desk {
            input,
            current: None,
        };
        Self {
            context,
            desk: Mutex::new(desk),
            output,
        }
    }

    /// Runs tensors on an engine until the input ends. The `canary` tells whether it still works at all.
    ///
    /// # Errors
    /// [`EmbedError`] if the process must not go on.
    pub fn work(&self, engine: &mut impl Engine, canary: &Canary) -> Result<(), EmbedError> {
        let health = self.context.health.engine();
        while let Some(turn) = self.take(&health) {
            let done = match turn {
                Turn::Run(slot, tensor) => {
                    health.works();
                    let result = run(engine, &tensor, canary);
                    let result = result.inspect_err(|error| acquit(&slot, error))?;
                    health.rests();
                    put(&slot, &tensor, result)
                }
                Turn::Finish(done) => Some(done),
            };
            if let Some(done) = done
                && !self.finish(done, engine.recipe())?
            {
                break;
            }
        }
        Ok(())
    }

    /// Waits for something to do; the end of the input gives nothing.
    fn take(&self, health: &EngineHealth) -> Option<Turn> {
        let mut desk = locked(&self.desk);
        loop {
            if let Some(turn) = desk.current.as_ref().and_then(|slot| self.turn(slot)) {
                return Some(turn);
            }
            let admitted = desk.input.blocking_recv()?;
            desk.current = self.begin(admitted, health);
        }
    }

    fn turn(&self, slot: &Slot) -> Option<Turn> {
        let mut place = locked(slot);
        let embedding = &mut place.as_mut()?.embedding;
        if self.context.shutdown.phase() == Phase::Expired {
            embedding.fail(EmbedError::Stopped);
        }
        match embedding.take() {
            Some(tensor) => Some(Turn::Run(slot.clone(), tensor)),
            None if embedding.is_done() => place.take().map(Turn::Finish),
            None => None,
        }
    }

    /// Begins a batch, unless the process is about to end.
    fn begin(&self, Admitted { place, work }: Admitted, health: &EngineHealth) -> Option<Slot> {
        let InFlight { payload, leases } = work;
        if self.context.shutdown.phase() >= Phase::Draining {
            let left = async { tokio::join!(leases.release(), place.leave()) };
            Handle::current().block_on(left);
            return None;
        }
        health.works();
        failpoint::pass_with("before-embed", || {
            let jobs = payload.jobs.iter();
            jobs.map(|work| work.job.encode()).collect::<Vec<_>>()
        });
        health.rests();
        let begun = InModel {
            usage: usage(&payload),
            embedding: Embedding::new(payload),
            leases,
            place,
            started: Instant::now(),
        };
        Some(Arc::new(Mutex::new(Some(begun))))
    }

    /// Hands a batch on whose last tensor was run, or settles it. Gives `false` where nobody takes it any more.
    fn finish(&self, done: InModel, recipe: Recipe) -> Result<bool, EmbedError> {
        let runtime = Handle::current();
        failpoint::pass("after-embed");
        done.leases.stage_done("run", done.started);
        runtime.block_on(done.place.leave());
        match done.embedding.finish(recipe) {
            Ok((payload, refused)) => {
                runtime.block_on(tell(&self.context.queue, done.usage));
                let leases = runtime.block_on(refuse(&self.context, done.leases, refused));
                let embedded = InFlight { payload, leases };
                Ok(embedded.leases.is_empty() || self.output.blocking_send(embedded).is_ok())
            }
            Err(error) => runtime
                .block_on(settle_failed_run(done.leases, error))
                .map(|()| true),
        }
    }
}

/// Where not even a golden text can be embedded, or not as it was, it is not the batch that is to blame.
fn run(
    engine: &mut impl Engine,
    tensor: &Tensor,
    canary: &Canary,
) -> Result<Result<Vec<Vec<f32>>, EmbedError>, EmbedError> {
    if failpoint::reached("broken-device") == Verdict::Fail {
        return Err(EmbedError::Broken("failpoint".into()));
    }
    let recipe = engine.recipe();
    match engine.run(tensor) {
        Err(error @ EmbedError::Run { .. }) if canary.check(engine).is_err() => Err(error),
        Ok(vectors) if !vectors.iter().all(|vector| is_sound(vector, recipe)) => {
            let working = canary.check(engine);
            working.map_err(|error| EmbedError::Broken(error.into()))?;
            Ok(Ok(vectors))
        }
        ran => Ok(ran),
    }
}

/// A device that is broken by itself ends the process, and that must not count as a crash of the job that is in it alone. An
/// error of the runtime may be that job's doing.
fn acquit(slot: &Slot, error: &EmbedError) {
    let broken = matches!(error, EmbedError::Broken(_));
    let batch = broken.then(|| locked(slot).take()).flatten();
    if let Some(InModel { place, .. }) = batch {
        Handle::current().block_on(place.leave());
    }
}

/// Keeps what a tensor gave; gives the batch if it was its last.
fn put(slot: &Slot, tensor: &Tensor, result: Result<Vec<Vec<f32>>, EmbedError>) -> Option<InModel> {
    let mut place = locked(slot);
    let embedding = &mut place.as_mut()?.embedding;
    embedding.put(tensor, result);
    if embedding.is_done() {
        return place.take();
    }
    None
}

/// A thread that panics ends the process, and until then no worse happens than that others go on.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn settle_failed_run(leases: Leases, error: EmbedError) -> Result<(), EmbedError> {
    match error.outcome(leases.len(), leases.deliveries()) {
        Outcome::Exit => Err(error),
        outcome @ (Outcome::DeadLetter { .. }
        | Outcome::Retry { .. }
        | Outcome::GiveBack
        | Outcome::Terminate) => {
            tracing::warn!(
                error = chain(&error),
                jobs = leases.len(),
                "batch not embedded"
            );
            match error {
                EmbedError::Stopped => leases.release().await,
                EmbedError::Run { .. } | EmbedError::Output { .. } | EmbedError::Broken(_) => {
                    leases.settle(outcome, &error.to_string()).await;
                }
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::batch::RowKey;
    use crate::error::EmbedError;

    /// Gives not a number for the token 13, and for all once it is broken.
    struct Fragile {
        broken: bool,
        calls: usize,
    }

    impl Engine for Fragile {
        fn run(&mut self, tensor: &Tensor) -> Result<Vec<Vec<f32>>, EmbedError> {
            self.calls += 1;
            let value = |id: &i64| match (self.broken, *id) {
                (true, _) | (_, 13) => f32::NAN,
                _ => 1.0,
            };
            Ok(tensor.input_ids.iter().map(|id| vec![value(id)]).collect())
        }

        fn recipe(&self) -> Recipe {
            crate::session::small::Small(0).recipe()
        }
    }

    fn tensor(id: i64) -> Tensor {
        Tensor {
            rows: vec![RowKey { job: 0, row: 0 }],
            lengths: vec![1],
            input_ids: Array2::from_elem((1, 1), id),
            type_ids: None,
        }
    }

    #[test]
    fn a_vector_that_is_no_number_is_the_jobs_fault_only_where_a_golden_text_still_has_its_own() {
        let canary = Canary::giving(tensor(7), &[1.0]);
        let mut engine = Fragile {
            broken: false,
            calls: 0,
        };
        let ran = run(&mut engine, &tensor(13), &canary).unwrap().unwrap();
        assert!(ran[0][0].is_nan());
        assert_eq!(engine.calls, 2);
        run(&mut engine, &tensor(5), &canary).unwrap().unwrap();
        assert_eq!(engine.calls, 3, "sound vectors cost nothing more");
        engine.broken = true;
        let error = run(&mut engine, &tensor(5), &canary).unwrap_err();
        assert!(matches!(error, EmbedError::Broken(_)), "{error}");
    }
}
