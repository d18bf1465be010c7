//! Rate: how much is settled in the time between two looks, in jobs and in tokens.
//!
//! A consumer counts deliveries, not acknowledgements: those that are no longer in flight are settled, or were followed
//! by another delivery of the same job. The stream counts what has left it, over all lanes. Where jobs are delivered
//! again and again and none is done, only the stream tells; so no lane is said to be faster than the stream.
//!
//! Nobody counts the tokens of jobs that are settled. A rate in tokens is one in jobs times the mean of the jobs that wait.

use std::collections::BTreeMap;
use std::time::Instant;

use async_nats::jetstream::stream::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::lanes::{Found, LaneStatus};
use crate::progress::as_double;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Rate {
    /// Time between the two looks, in seconds.
    pub measured_seconds: f64,
    /// Jobs that were acknowledged or became dead letters, per second.
    pub acked_per_second: f64,
    /// An estimate: jobs per second times the mean tokens of the jobs that wait or waited last; `None` where nothing
    /// told of tokens.
    pub tokens_per_second: Option<f64>,
    /// Seconds until nothing is left, if it goes on like this and nothing is published; `None` where nothing moves.
    pub eta_seconds: Option<f64>,
}

/// What a rate is made of.
#[derive(Clone, Debug)]
pub struct Look {
    at: Instant,
    /// Messages that have left the stream so far.
    left: u64,
    /// By consumer.
    lanes: BTreeMap<String, Lane>,
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    settled: u64,
    lag: u64,
}

/// Mean tokens of the jobs of a lane, as they were told last, by consumer.
#[derive(Clone, Debug, Default)]
pub struct Means(BTreeMap<String, f64>);

impl Means {
    /// Takes note of what waits on a lane, and says how many tokens it settles in a second.
    pub fn note(&mut self, lane: &mut LaneStatus) {
        if let Some(told) = lane.lag_tokens.filter(|_| lane.lag > 0) {
            let mean = as_double(told.tokens) / as_double(lane.lag);
            self.0.insert(lane.consumer.clone(), mean);
        }
        if let Some(rate) = &mut lane.rate {
            let mean = self.0.get(&lane.consumer);
            rate.tokens_per_second = mean.map(|mean| mean * rate.acked_per_second);
        }
    }
}

impl Look {
    pub fn new(stream: &State, lanes: &[Found]) -> Self {
        let lane = |found: &Found| {
            let settled = (found.info.delivered.consumer_sequence)
                .saturating_sub(found.info.num_ack_pending as u64);
            let lag = found.lag();
            (found.info.name.clone(), Lane { settled, lag })
        };
        Self {
            at: Instant::now(),
            left: stream.last_sequence.saturating_sub(stream.messages),
            lanes: lanes.iter().map(lane).collect(),
        }
    }

    /// The rate of all lanes together.
    pub fn since(&self, before: &Self) -> Rate {
        let settled = self.lanes.keys().map(|lane| self.settled(lane, before));
        let lag = self.lanes.values().map(|lane| lane.lag).sum();
        self.rate(settled.sum(), lag, before)
    }

    /// The rate of the lane that a consumer reads.
    pub fn of_lane(&self, consumer: &str, before: &Self) -> Rate {
        let lag = self.lanes.get(consumer).map_or(0, |lane| lane.lag);
        self.rate(self.settled(consumer, before), lag, before)
    }

    fn settled(&self, consumer: &str, before: &Self) -> u64 {
        let lanes = self.lanes.get(consumer).zip(before.lanes.get(consumer));
        // A consumer that was made anew counts from the start again.
        lanes.map_or(0, |(now, before)| {
            now.settled.saturating_sub(before.settled)
        })
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
            tokens_per_second: None,
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
        let names = ["live", "bulk"].map(str::to_owned);
        Look {
            at,
            left,
            lanes: names.into_iter().zip(lanes).collect(),
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
        let (live, bulk) = (now.of_lane("live", &before), now.of_lane("bulk", &before));
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
    fn a_consumer_that_was_made_anew_or_just_now_has_settled_nothing_yet() {
        let start = Instant::now();
        let mut before = look(start, 100, [(70, 3), (60, 500)]);
        let now = look(start + Duration::from_secs(1), 105, [(0, 3), (65, 495)]);
        assert_eq!(now.of_lane("live", &before).acked_per_second, 0.0);
        assert_eq!(now.since(&before).acked_per_second, 5.0);
        before.lanes.remove("bulk");
        assert_eq!(now.since(&before).acked_per_second, 0.0);
    }
}
