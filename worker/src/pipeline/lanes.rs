//! Lanes: each has channels of its own from its pull to its writes, so that live work overtakes bulk work in every stage.
//!
//! A batch of bulk work is seconds of work on a CPU, and a few are on their way. Behind them in one line, a live job would
//! wait for all of them. Beside them it waits for the tensor that an engine runs.

use contract::topology::Priority;
use tokio::sync::mpsc;

use crate::shutdown::{Phase, Shutdown};

/// Something of each lane.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lanes<T> {
    pub(super) live: T,
    pub(super) bulk: T,
}

/// Input and output of a stage for one lane. A place in the output is reserved before a batch is taken: a stage that both
/// lanes share must not hold a batch that it cannot send. Once the process is to end, batches are taken without a place, so
/// that they are given back at once.
#[derive(Debug)]
pub(super) struct LanePath<I, O> {
    input: mpsc::Receiver<I>,
    output: mpsc::Sender<O>,
    shutdown: Shutdown,
}

/// Where a batch goes when a stage is done with it.
pub(super) type SendPermit<O> = mpsc::OwnedPermit<O>;

impl<T> Lanes<T> {
    pub(super) fn of(&self, lane: Priority) -> &T {
        match lane {
            Priority::Live => &self.live,
            Priority::Bulk => &self.bulk,
        }
    }

    pub(super) fn of_mut(&mut self, lane: Priority) -> &mut T {
        match lane {
            Priority::Live => &mut self.live,
            Priority::Bulk => &mut self.bulk,
        }
    }
}

impl<T> Lanes<mpsc::Receiver<T>> {
    /// A channel for each lane.
    pub(super) fn channels(capacity: usize) -> (Lanes<mpsc::Sender<T>>, Self) {
        let (live, from_live) = mpsc::channel(capacity);
        let (bulk, from_bulk) = mpsc::channel(capacity);
        let senders = Lanes { live, bulk };
        let receivers = Lanes {
            live: from_live,
            bulk: from_bulk,
        };
        (senders, receivers)
    }
}

impl<I, O> Lanes<LanePath<I, O>> {
    pub(super) fn paths(
        inputs: Lanes<mpsc::Receiver<I>>,
        outputs: Lanes<mpsc::Sender<O>>,
        shutdown: &Shutdown,
    ) -> Self {
        let path_of = |input, output| LanePath {
            input,
            output,
            shutdown: shutdown.clone(),
        };
        Self {
            live: path_of(inputs.live, outputs.live),
            bulk: path_of(inputs.bulk, outputs.bulk),
        }
    }

    /// Waits for a batch, live ones first; one without a place is to be given back. `None` when both lanes have ended, or nobody
    /// takes what comes out.
    pub(super) async fn next(&mut self) -> Option<(Priority, I, Option<SendPermit<O>>)> {
        tokio::select! {
            biased;
            Some((batch, place)) = self.live.next() => Some((Priority::Live, batch, place)),
            Some((batch, place)) = self.bulk.next() => Some((Priority::Bulk, batch, place)),
            else => None,
        }
    }
}

impl<I, O> LanePath<I, O> {
    async fn next(&mut self) -> Option<(I, Option<SendPermit<O>>)> {
        let place = tokio::select! {
            biased;
            () = self.shutdown.reached(Phase::Draining) => None,
            place = self.output.clone().reserve_owned() => Some(place.ok()?),
        };
        Some((self.input.recv().await?, place))
    }

    /// A batch that is there, if there is room behind the stage.
    pub(super) fn try_next(&mut self) -> Option<(I, Option<SendPermit<O>>)> {
        let place = match self.shutdown.phase() {
            Phase::Running => Some(self.output.clone().try_reserve_owned().ok()?),
            Phase::Draining | Phase::Expired => None,
        };
        Some((self.input.try_recv().ok()?, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::Trigger;

    type Ends = (
        Lanes<mpsc::Sender<u32>>,
        Lanes<mpsc::Receiver<u32>>,
        Trigger,
    );

    /// Paths with room for one batch behind them, and what is before and behind.
    fn paths() -> (Lanes<LanePath<u32, u32>>, Ends) {
        let (before, inputs) = Lanes::channels(2);
        let (outputs, behind) = Lanes::channels(1);
        let (trigger, shutdown) = Shutdown::new();
        let paths = Lanes::paths(inputs, outputs, &shutdown);
        (paths, (before, behind, trigger))
    }

    fn send(place: Option<SendPermit<u32>>, batch: u32) {
        place.expect("a place").send(batch);
    }

    #[tokio::test]
    async fn live_work_is_taken_first_and_both_lanes_run_to_their_ends() {
        let (mut paths, (before, mut behind, _trigger)) = paths();
        before.bulk.try_send(1).unwrap();
        before.live.try_send(2).unwrap();
        drop(before);
        for expected in [(Priority::Live, 2), (Priority::Bulk, 1)] {
            let (lane, batch, place) = paths.next().await.unwrap();
            assert_eq!((lane, batch), expected);
            send(place, batch);
            assert_eq!(behind.of_mut(lane).recv().await, Some(batch));
        }
        assert!(paths.next().await.is_none());
    }

    #[tokio::test]
    async fn a_lane_without_room_behind_the_stage_keeps_its_batches_and_holds_up_nobody() {
        let (mut paths, (before, mut behind, _trigger)) = paths();
        for batch in [1, 2] {
            before.bulk.try_send(batch).unwrap();
        }
        let (_, first, place) = paths.next().await.unwrap();
        send(place, first);
        assert!(paths.bulk.try_next().is_none(), "its place is taken");
        before.live.try_send(3).unwrap();
        let (lane, _, place) = paths.next().await.unwrap();
        assert_eq!(lane, Priority::Live);
        drop(place);
        assert_eq!(behind.bulk.recv().await, Some(1));
        assert_eq!(paths.bulk.try_next().unwrap().0, 2);
    }

    #[tokio::test]
    async fn a_stage_ends_when_nobody_takes_what_comes_out() {
        let (mut paths, (before, behind, _trigger)) = paths();
        before.live.try_send(1).unwrap();
        drop(behind);
        assert!(paths.next().await.is_none());
    }

    #[tokio::test]
    async fn what_waits_for_a_place_is_given_back_when_the_process_is_to_end() {
        let (mut paths, (before, _behind, trigger)) = paths();
        for batch in [1, 2] {
            before.bulk.try_send(batch).unwrap();
        }
        let (_, first, place) = paths.next().await.unwrap();
        send(place, first);
        let mut waiting = Box::pin(paths.next());
        assert!(futures::poll!(waiting.as_mut()).is_pending());
        trigger.drain();
        let (_, batch, place) = waiting.await.unwrap();
        assert_eq!(batch, 2);
        assert!(place.is_none());
    }
}
