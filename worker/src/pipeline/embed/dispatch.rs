//! Dispatch: which tensor an engine runs next.
//!
//! Engines take the next tensor of the batch that came first. Where that has none left, the next batch begins while the
//! last tensors of the one before are still being run, so that no engine waits for another.
//!
//! Tensors of live work come first, those of the batch of bulk work that has begun wait meanwhile. Bulk work that is here
//! is kept from other workers, so that it gets a small share even where live work does not end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use contract::topology::Priority;
use runtime::failpoint;
use tokio::runtime::Handle;

use super::batch_run::{BatchRun, RowResults};
use crate::batch::{Tensor, Vectors};
use crate::error::EmbedError;
use crate::health::EngineHealth;
use crate::inflight::{Deliveries, InFlight};
use crate::pipeline::encode::Admitted;
use crate::pipeline::lanes::{LanePath, Lanes, SendPermit};
use crate::quarantine::Permit;
use crate::shutdown::{Phase, Shutdown};

/// After so many tensors of live work, bulk work that is here has one.
const LIVE_IN_A_ROW: usize = 8;

#[derive(Debug)]
pub(super) struct Dispatcher {
    lanes: Lanes<LanePath<Admitted, InFlight<Vectors>>>,
    shutdown: Shutdown,
    /// The batches that may have tensors left.
    current: Lanes<Option<SharedBatch>>,
    /// Tensors of live work since the last one of bulk work.
    live_in_a_row: usize,
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
    /// Where the vectors go.
    pub(super) place: SendPermit<InFlight<Vectors>>,
    pub(super) started: Instant,
}

/// A batch in the model, for several engines at once. Whoever puts back its last tensor takes it out.
#[derive(Clone, Debug)]
pub(super) struct SharedBatch(Arc<Mutex<Option<InModel>>>);

impl Dispatcher {
    pub(super) fn new(
        lanes: Lanes<LanePath<Admitted, InFlight<Vectors>>>,
        shutdown: Shutdown,
    ) -> Self {
        Self {
            lanes,
            shutdown,
            current: Lanes::default(),
            live_in_a_row: 0,
        }
    }

    /// Waits for something to do. Returns `None` at the end of the input.
    pub(super) fn next(&mut self, health: &EngineHealth) -> Option<Step> {
        loop {
            let order = match self.live_in_a_row < LIVE_IN_A_ROW {
                true => [Priority::Live, Priority::Bulk],
                false => [Priority::Bulk, Priority::Live],
            };
            for lane in order {
                if let Some(step) = self.next_of(lane, health) {
                    self.live_in_a_row = match lane {
                        Priority::Live => self.live_in_a_row + 1,
                        Priority::Bulk => 0,
                    };
                    return Some(step);
                }
            }
            let (lane, admitted, place) = Handle::current().block_on(self.lanes.next())?;
            *self.current.of_mut(lane) = self.begin(admitted, place, health);
        }
    }

    /// The next step of a lane, if there is one at once.
    fn next_of(&mut self, lane: Priority, health: &EngineHealth) -> Option<Step> {
        loop {
            let expired = self.shutdown.phase() == Phase::Expired;
            let current = self.current.of(lane).as_ref();
            if let Some(step) = current.and_then(|batch| batch.next(expired)) {
                return Some(step);
            }
            let (admitted, place) = self.lanes.of_mut(lane).try_next()?;
            *self.current.of_mut(lane) = self.begin(admitted, place, health);
        }
    }

    /// Begins a batch, unless the process is about to end: then its jobs are given back.
    fn begin(
        &self,
        admitted: Admitted,
        place: Option<SendPermit<InFlight<Vectors>>>,
        health: &EngineHealth,
    ) -> Option<SharedBatch> {
        let Admitted { permit, work } = admitted;
        let InFlight { batch, deliveries } = work;
        let is_running = self.shutdown.phase() == Phase::Running;
        let Some(place) = place.filter(|_| is_running) else {
            let given_back = async { tokio::join!(deliveries.release(), permit.release()) };
            Handle::current().block_on(given_back);
            return None;
        };
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
            place,
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
    use tokio::sync::{RwLock, mpsc};

    use super::*;
    use crate::batch::{Inputs, RowKey};
    use crate::health::Health;
    use crate::shutdown::Trigger;

    /// Batches that each channel holds.
    const ROOM: usize = 4;

    type Outputs = Lanes<mpsc::Receiver<InFlight<Vectors>>>;

    /// A dispatcher with bulk batches of so many tensors, whose input ends behind them. The lengths of a tensor are the
    /// numbers of its batch and of itself.
    async fn dispatcher(batches: &[usize]) -> (Dispatcher, Trigger, Outputs) {
        dispatcher_of(batches, &[]).await
    }

    /// The same with live batches, whose numbers go on behind those of the others.
    async fn dispatcher_of(bulk: &[usize], live: &[usize]) -> (Dispatcher, Trigger, Outputs) {
        let (senders, inputs) = Lanes::channels(ROOM);
        let (outputs, behind) = Lanes::channels(ROOM);
        let (trigger, shutdown) = Shutdown::new();
        for (number, tensors) in bulk.iter().chain(live).enumerate() {
            let sender = match number < bulk.len() {
                true => &senders.bulk,
                false => &senders.live,
            };
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
        let lanes = Lanes::paths(inputs, outputs, &shutdown);
        (Dispatcher::new(lanes, shutdown), trigger, behind)
    }

    /// Runs a check on a thread that may block, as engines do.
    async fn with(batches: &[usize], check: impl FnOnce(Dispatcher, Trigger) + Send + 'static) {
        let (dispatcher, trigger, behind) = dispatcher(batches).await;
        let checked = tokio::task::spawn_blocking(move || check(dispatcher, trigger));
        checked.await.unwrap();
        drop(behind);
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

    /// The numbers of the batches of the tensors that are run one after the other, until the input ends.
    async fn order(bulk: &[usize], live: &[usize]) -> Vec<usize> {
        let (mut dispatcher, _trigger, _behind) = dispatcher_of(bulk, live).await;
        let run_all = move || {
            let mut order = Vec::new();
            while let Some(step) = dispatcher.next(&Health::new().engine()) {
                let Step::Run(batch, tensor) = step else {
                    panic!("not a tensor: {step:?}");
                };
                order.push(tensor.lengths[0]);
                batch.put(&tensor, Ok(Vec::new()));
            }
            order
        };
        tokio::task::spawn_blocking(run_all).await.unwrap()
    }

    #[tokio::test]
    async fn live_work_comes_first() {
        assert_eq!(order(&[2, 1], &[1, 1]).await, [2, 3, 0, 0, 1]);
    }

    #[tokio::test]
    async fn bulk_work_that_is_here_has_a_share_of_the_engines() {
        let order = order(&[2], &[2 * LIVE_IN_A_ROW]).await;
        let bulk: Vec<_> = (0..order.len()).filter(|at| order[*at] == 0).collect();
        assert_eq!(bulk, [LIVE_IN_A_ROW, 2 * LIVE_IN_A_ROW + 1]);
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
            let recipe =
                crate::session::Engine::recipe(&crate::session::limited_engine::LimitedEngine(0));
            let finished = stopped.run.finish(recipe, |_| true);
            assert!(matches!(finished, Err(EmbedError::Stopped)));
        })
        .await;
    }
}
