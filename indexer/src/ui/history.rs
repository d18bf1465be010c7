//! History: what the lanes and workers did in the last hour, a sample every ten seconds. It is in memory alone, and of one size
//! however long the page is served.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;

use crate::status::LaneStatus;

/// Seconds between two samples.
pub const STEP: u64 = 10;
/// Samples of an hour.
const MOST: usize = 360;

/// Samples, the oldest first. Values of a moment at which nobody could look are missing.
#[derive(Clone, Debug, Default, Serialize)]
pub struct History {
    step: u64,
    /// Milliseconds since the epoch.
    times: VecDeque<u64>,
    /// The history of each lane by its consumer.
    lanes: BTreeMap<String, LaneHistory>,
    workers: VecDeque<Option<u64>>,
}

#[derive(Clone, Debug, Default, Serialize)]
struct LaneHistory {
    lag: VecDeque<Option<u64>>,
    tokens: VecDeque<Option<u64>>,
    /// Jobs per second.
    rate: VecDeque<Option<f64>>,
}

impl History {
    /// Adds a sample. A lane that is not among them any more is forgotten when nothing of it is left.
    pub fn add(&mut self, at: u64, lanes: &[LaneStatus], workers: Option<u64>) {
        self.step = STEP;
        let before = self.times.len().min(MOST - 1);
        push(&mut self.times, at);
        push(&mut self.workers, workers);
        for lane in lanes {
            let history = self.lanes.entry(lane.consumer.clone());
            history.or_insert_with(|| LaneHistory::missing(before));
        }
        for (name, history) in &mut self.lanes {
            let lane = lanes.iter().find(|lane| lane.consumer == *name);
            push(&mut history.lag, lane.map(|lane| lane.lag));
            let tokens = lane.and_then(|lane| lane.lag_tokens);
            push(&mut history.tokens, tokens.map(|told| told.tokens));
            let rate = lane.and_then(|lane| lane.rate);
            push(&mut history.rate, rate.map(|rate| rate.acked_per_second));
        }
        self.lanes
            .retain(|_, history| history.lag.iter().any(Option::is_some));
    }
}

impl LaneHistory {
    fn missing(samples: usize) -> Self {
        Self {
            lag: vec![None; samples].into(),
            tokens: vec![None; samples].into(),
            rate: vec![None; samples].into(),
        }
    }
}

fn push<T>(values: &mut VecDeque<T>, value: T) {
    if values.len() == MOST {
        values.pop_front();
    }
    values.push_back(value);
}

#[cfg(test)]
mod tests {
    use contract::topology::{Priority, Task};

    use super::*;

    fn lane(name: &str, lag: u64) -> LaneStatus {
        LaneStatus {
            consumer: name.to_owned(),
            task: Task::Embed,
            model: "m".parse().unwrap(),
            lane: Priority::Live,
            pending: lag,
            ack_pending: 0,
            redelivered: 0,
            lag,
            lag_tokens: None,
            waiting_pulls: 0,
            rate: None,
        }
    }

    #[test]
    fn an_hour_is_kept_and_no_more_and_lanes_come_and_go() {
        let mut history = History::default();
        history.add(0, &[lane("a", 1)], None);
        for at in 1..1_000 {
            let lanes = if at < 500 {
                vec![lane("a", at)]
            } else {
                vec![lane("b", at)]
            };
            history.add(at, &lanes, Some(2));
        }
        assert_eq!((history.times.len(), history.times[0]), (MOST, 640));
        assert_eq!(history.lanes.keys().collect::<Vec<_>>(), ["b"]);
        assert!(history.lanes.values().all(|lane| lane.lag.len() == MOST));
    }

    #[test]
    fn a_lane_that_comes_later_is_missing_before() {
        let mut history = History::default();
        history.add(0, &[lane("a", 1)], None);
        history.add(1, &[lane("a", 1), lane("b", 5)], None);
        history.add(2, &[], None);
        assert_eq!(history.lanes["b"].lag, [None, Some(5), None]);
        assert_eq!(history.lanes["a"].lag, [Some(1), Some(1), None]);
    }
}
