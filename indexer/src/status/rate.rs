//! Rate: how many jobs are settled in the time between two looks.
//!
//! A consumer counts deliveries, not acknowledgements: those that are no longer in flight are settled, or were followed
//! by another delivery of the same job. The stream counts what has left it, over all lanes. Where jobs are delivered
//! again and again and none is done, only the stream tells; so no lane is said to be faster than the stream.

use std::time::Instant;

use async_nats::jetstream::stream::State;
use serde::Serialize;

use super::lanes::Found;
use crate::progress::as_double;

#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Rate {
    /// Time between the two looks, in seconds.
    pub measured_seconds: f64,
    /// Jobs that were acknowledged or became dead letters, per second.
    pub acked_per_second: f64,
    /// Seconds until nothing is left, if it goes on like this and nothing is published; `None` where nothing moves.
    pub eta_seconds: Option<f64>,
}

/// What a rate is made of.
#[derive(Clone, Debug)]
pub struct Look {
    at: Instant,
    /// Messages that have left the stream so far.
    left: u64,
    lanes: Vec<Lane>,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    settled: u64,
    lag: u64,
}

impl Look {
    pub fn new(stream: &State, lanes: &[Found]) -> Self {
        let lane = |found: &Found| Lane {
            settled: (found.info.delivered.consumer_sequence)
                .saturating_sub(found.info.num_ack_pending as u64),
            lag: found.lag(),
        };
        Self {
            at: Instant::now(),
            left: stream.last_sequence.saturating_sub(stream.messages),
            lanes: lanes.iter().map(lane).collect(),
        }
    }

    /// The rate of all lanes together.
    pub fn since(&self, before: &Self) -> Rate {
        let settled = (0..self.lanes.len()).map(|lane| self.settled(lane, before));
        let lag = self.lanes.iter().map(|lane| lane.lag).sum();
        self.rate(settled.sum(), lag, before)
    }

    pub fn of_lane(&self, lane: usize, before: &Self) -> Rate {
        self.rate(self.settled(lane, before), self.lanes[lane].lag, before)
    }

    fn settled(&self, lane: usize, before: &Self) -> u64 {
        // A consumer that was made anew counts from the start again.
        self.lanes[lane]
            .settled
            .saturating_sub(before.lanes[lane].settled)
    }

    fn rate(&self, settled: u64, lag: u64, before: &Self) -> Rate {
        let settled = settled.min(self.left.saturating_sub(before.left));
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let per_second = as_double(settled) / seconds.max(1e-3);
        let eta = match (lag, settled) {
            (0, _) => Some(0.0),
            (_, 0) => None,
            (lag, _) => Some(as_double(lag) / per_second),
        };
        Rate {
            measured_seconds: seconds,
            acked_per_second: per_second,
            eta_seconds: eta,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn look(at: Instant, left: u64, lanes: [(u64, u64); 2]) -> Look {
        let lanes = lanes.map(|(settled, lag)| Lane { settled, lag });
        Look {
            at,
            left,
            lanes: lanes.into(),
        }
    }

    #[test]
    fn a_rate_is_what_was_settled_in_the_time_between_two_looks() {
        let start = Instant::now();
        let before = look(start, 100, [(40, 0), (60, 500)]);
        let now = look(start + Duration::from_secs(2), 130, [(50, 0), (80, 450)]);
        let both = now.since(&before);
        assert_eq!((both.measured_seconds, both.acked_per_second), (2.0, 15.0));
        assert_eq!(both.eta_seconds, Some(30.0));
        let (live, bulk) = (now.of_lane(0, &before), now.of_lane(1, &before));
        assert_eq!((live.acked_per_second, live.eta_seconds), (5.0, Some(0.0)));
        assert_eq!(
            (bulk.acked_per_second, bulk.eta_seconds),
            (10.0, Some(45.0))
        );
    }

    #[test]
    fn deliveries_that_are_repeated_without_end_are_no_progress() {
        let start = Instant::now();
        let before = look(start, 100, [(0, 0), (60, 500)]);
        let now = look(start + Duration::from_secs(2), 100, [(0, 0), (90, 500)]);
        let rate = now.since(&before);
        assert_eq!((rate.acked_per_second, rate.eta_seconds), (0.0, None));
    }

    #[test]
    fn a_consumer_that_was_made_anew_has_settled_nothing_yet() {
        let start = Instant::now();
        let before = look(start, 100, [(70, 3), (60, 500)]);
        let now = look(start + Duration::from_secs(1), 105, [(0, 3), (65, 495)]);
        assert_eq!(now.of_lane(0, &before).acked_per_second, 0.0);
        assert_eq!(now.since(&before).acked_per_second, 5.0);
    }
}
