//! Dispatch: which tensor an engine runs next.
//!
//! Engines take the next tensor of the batch that came first. Where that has none left, the next batch begins while the
//! last tensors of the one before are still being run, so that no engine waits for another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use runtime::failpoint;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::batch_run::{BatchRun, RowResults};
use crate::batch::Tensor;
use crate::error::EmbedError;
use crate::health::EngineHealth;
use crate::inflight::{Deliveries, InFlight};
use crate::pipeline::encode::Admitted;
use crate::quarantine::Permit;
use crate::shutdown::{Phase, Shutdown};

#[derive(Debug)]
pub(super) struct Dispatcher {
    input: mpsc::Receiver<Admitted>,
    shutdown: Shutdown,
    /// The batch that may have tensors left.
    current: Option<SharedBatch>,
}

/// What an engine does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Run a tensor of a batch, and [`put`](SharedBatch::put) its result there.
    Run(SharedBatch, Tensor),
    /// Finish a batch that has nothing to run.
    Finish(InModel),
}

/// A batch in the model, with what belongs to it there.
#[derive(Debug)]
pub(super) struct InModel {
    pub(super) run: BatchRun,
    pub(super) deliveries: Deliveries,
    /// Released when the last tensor was run.
    pub(super) permit: Permit,
    pub(super) started: Instant,
}

/// A batch in the model, for several engines at once. Whoever puts back its last tensor takes it out.
#[derive(Clone, Debug)]
pub(super) struct SharedBatch(Arc<Mutex<Option<InModel>>>);

impl Dispatcher {
    pub(super) fn new(input: mpsc::Receiver<Admitted>, shutdown: Shutdown) -> Self {
        Self {
            input,
            shutdown,
            current: None,
        }
    }

    /// Waits for something to do. Returns `None` at the end of the input.
    pub(super) fn next(&mut self, health: &EngineHealth) -> Option<Step> {
        loop {
            let expired = self.shutdown.phase() == Phase::Expired;
            let current = self.current.as_ref();
            if let Some(step) = current.and_then(|batch| batch.next(expired)) {
                return Some(step);
            }
            let admitted = self.input.blocking_recv()?;
            self.current = self.begin(admitted, health);
        }
    }

    /// Begins a batch, unless the process is about to end: then its jobs are given back.
    fn begin(&self, admitted: Admitted, health: &EngineHealth) -> Option<SharedBatch> {
        let Admitted { permit, work } = admitted;
        let InFlight { batch, deliveries } = work;
        if self.shutdown.phase() >= Phase::Draining {
            let given_back = async { tokio::join!(deliveries.release(), permit.release()) };
            Handle::current().block_on(given_back);
            return None;
        }
        health.busy();
        failpoint::pass_with("before-embed", || {
            let jobs = batch.jobs.iter();
            jobs.map(|decoded| decoded.job.encode()).collect::<Vec<_>>()
        });
        health.idle();
        let begun = InModel {
            run: BatchRun::new(batch),
            deliveries,
            permit,
            started: Instant::now(),
        };
        Some(SharedBatch(Arc::new(Mutex::new(Some(begun)))))
    }
}

impl SharedBatch {
    /// The next tensor, or the batch itself if it has nothing to run. `None` while others run the rest of it. Once the
    /// time of the shutdown has `expired`, what was not run fails.
    fn next(&self, expired: bool) -> Option<Step> {
        let mut batch = locked(&self.0);
        let run = &mut batch.as_mut()?.run;
        if expired {
            run.fail(EmbedError::Stopped);
        }
        match run.take() {
            Some(tensor) => Some(Step::Run(self.clone(), tensor)),
            None if run.is_done() => batch.take().map(Step::Finish),
            None => None,
        }
    }

    /// Keeps the result of a tensor. Returns the batch if that was its last one.
    pub(super) fn put(
        &self,
        tensor: &Tensor,
        result: Result<RowResults, EmbedError>,
    ) -> Option<InModel> {
        let mut batch = locked(&self.0);
        let run = &mut batch.as_mut()?.run;
        run.put(tensor, result);
        if run.is_done() { batch.take() } else { None }
    }

    /// Takes the batch from all engines, if nobody has done so before.
    pub(super) fn take_out(&self) -> Option<InModel> {
        locked(&self.0).take()
    }
}

/// Locks although another thread may have panicked: that ends the process, and until then others may go on.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use tokio::sync::RwLock;

    use super::*;
    use crate::batch::{Inputs, RowKey};
    use crate::health::Health;
    use crate::shutdown::Trigger;

    /// A dispatcher with batches of so many tensors, whose input ends behind them. The lengths of a tensor are the
    /// numbers of its batch and of itself.
    async fn dispatcher(batches: &[usize]) -> (Dispatcher, Trigger) {
        let (sender, input) = mpsc::channel(batches.len().max(1));
        let (trigger, shutdown) = Shutdown::new();
        for (number, tensors) in batches.iter().enumerate() {
            let tensor = |at| Tensor {
                rows: Vec::new(),
                lengths: vec![number, at],
                readings: Vec::new(),
                input_ids: Array2::zeros((0, 0)),
                type_ids: None,
            };
            let batch = Inputs {
                jobs: Vec::new(),
                rows: Vec::new(),
                known: Vec::<(RowKey, _)>::new(),
                tensors: (0..*tensors).map(tensor).collect(),
            };
            let model = Arc::new(RwLock::new(())).read_owned().await;
            let work = InFlight {
                batch,
                deliveries: Deliveries::none(),
            };
            let permit = Permit::Shared(model);
            sender.try_send(Admitted { permit, work }).unwrap();
        }
        (Dispatcher::new(input, shutdown), trigger)
    }

    /// Runs a check on a thread that may block, as engines do.
    async fn with(batches: &[usize], check: impl FnOnce(Dispatcher, Trigger) + Send + 'static) {
        let (dispatcher, trigger) = dispatcher(batches).await;
        let checked = tokio::task::spawn_blocking(move || check(dispatcher, trigger));
        checked.await.unwrap();
    }

    fn run(dispatcher: &mut Dispatcher) -> (SharedBatch, Tensor) {
        match dispatcher.next(&Health::new().engine()) {
            Some(Step::Run(batch, tensor)) => (batch, tensor),
            other => panic!("not a tensor: {other:?}"),
        }
    }

    #[tokio::test]
    async fn the_next_batch_begins_while_the_last_tensors_of_the_one_before_are_run() {
        with(&[2, 1], |mut dispatcher, _| {
            let taken: Vec<_> = (0..3).map(|_| run(&mut dispatcher)).collect();
            let order: Vec<_> = taken.iter().map(|(_, it)| it.lengths.clone()).collect();
            assert_eq!(order, [[0, 0], [0, 1], [1, 0]]);
            let put = |at: usize| {
                let (batch, tensor): &(SharedBatch, Tensor) = &taken[at];
                batch.put(tensor, Ok(Vec::new())).is_some()
            };
            assert_eq!([put(1), put(2), put(0)], [false, true, true]);
            assert!(dispatcher.next(&Health::new().engine()).is_none());
        })
        .await;
    }

    #[tokio::test]
    async fn a_batch_without_tensors_is_finished_by_whoever_meets_it() {
        with(&[0, 1], |mut dispatcher, _| {
            let step = dispatcher.next(&Health::new().engine());
            assert!(matches!(step, Some(Step::Finish(_))), "{step:?}");
            run(&mut dispatcher);
        })
        .await;
    }

    #[tokio::test]
    async fn a_batch_that_a_broken_device_took_out_is_finished_by_nobody_else() {
        with(&[2], |mut dispatcher, _| {
            let (batch, one) = run(&mut dispatcher);
            let (_, other) = run(&mut dispatcher);
            assert!(batch.take_out().is_some());
            assert!(batch.put(&one, Ok(Vec::new())).is_none());
            assert!(batch.put(&other, Ok(Vec::new())).is_none());
        })
        .await;
    }

    #[tokio::test]
    async fn while_the_process_drains_a_batch_goes_on_and_the_next_is_given_back() {
        with(&[2, 1], |mut dispatcher, trigger| {
            run(&mut dispatcher);
            trigger.drain();
            let (_, last) = run(&mut dispatcher);
            assert_eq!(last.lengths, [0, 1]);
            assert!(dispatcher.next(&Health::new().engine()).is_none());
        })
        .await;
    }

    #[tokio::test]
    async fn when_the_time_is_over_what_was_not_run_fails() {
        with(&[3], |mut dispatcher, trigger| {
            let (batch, tensor) = run(&mut dispatcher);
            trigger.expire();
            assert!(dispatcher.next(&Health::new().engine()).is_none());
            let stopped = batch.put(&tensor, Ok(Vec::new())).unwrap();
            let recipe = crate::session::Engine::recipe(&crate::session::small::Small(0));
            let finished = stopped.run.finish(recipe, |_| true);
            assert!(matches!(finished, Err(EmbedError::Stopped)));
        })
        .await;
    }
}
