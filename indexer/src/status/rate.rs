//! Rate: how fast jobs are settled, watched over minutes, in jobs and in tokens.
//!
//! A consumer counts deliveries, not acknowledgements: those that are no longer in flight are settled, or were followed
//! by another delivery of the same job. The stream counts what has left it, over all lanes. Where jobs are delivered
//! again and again and none is done, only the stream tells; so no lane is said to be faster than the stream.
//!
//! **Why minutes.** A job may take longer than the time between two looks, and a worker settles those of a batch
//! together. In one interval there is then nothing, or far too much. So acknowledgements are remembered, and the rate is
//! counted from one of them to a later one. While too few were seen, nothing is said about the time that is left.
//!
//! Nobody counts the tokens of jobs that are settled. A rate in tokens is one in jobs times the mean of the jobs that wait.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::lanes::{LaneInfo, LaneStatus};
use crate::progress::as_double;

/// How long acknowledgements are remembered.
const WINDOW: Duration = Duration::from_secs(300);
/// Looks with acknowledgements that are remembered of a lane.
const MOST_SETTLED: usize = 256;
/// Acknowledgements over so long a time tell a rate, however many jobs are in flight.
const LONG_ENOUGH: Duration = Duration::from_secs(60);
/// Jobs are in flight and none was settled for so long: nothing moves. Longer where longer pauses have ended before.
const STILL: Duration = Duration::from_secs(120);
/// However long the pauses were.
const LONGEST_STILL: Duration = Duration::from_secs(900);

#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Rate {
    /// Time over which it was measured, in seconds: of the last minutes, as far as there was work.
    pub measured_seconds: f64,
    /// Jobs that were acknowledged or became dead letters, per second.
    pub acked_per_second: f64,
    /// An estimate: jobs per second times the mean tokens of the jobs that wait or waited last; `None` where nothing
    /// told of tokens.
    pub tokens_per_second: Option<f64>,
    /// Seconds until nothing is left, if it goes on like this and nothing is published; `None` where nothing moves, and
    /// as long as too few jobs were settled to tell.
    pub eta_seconds: Option<f64>,
    /// Seconds in which no job was settled, where jobs are left and nothing moves: no worker takes one, or those that
    /// were taken are in flight for far longer than others took.
    pub stalled_seconds: Option<f64>,
}

/// What NATS says of the lanes at one moment.
#[derive(Clone, Debug)]
pub struct QueueSample {
    at: Instant,
    /// Messages that have left the stream so far.
    left: u64,
    /// The lanes by the names of their consumers.
    lanes: BTreeMap<String, Lane>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    settled: u64,
    work: Work,
}

/// Work that is left on a lane.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    lag: u64,
    in_flight: u64,
}

impl Work {
    fn add(&mut self, other: Self) {
        self.lag += other.lag;
        self.in_flight += other.in_flight;
    }
}

/// How a lane, or those of a model together, have changed from one look to the next.
#[derive(Clone, Copy, Debug, Default)]
struct Change {
    before: Work,
    now: Work,
    /// Jobs that consumers say are settled.
    settled: u64,
}

/// The rate of each lane, and of all lanes together, from all samples.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    before: Option<QueueSample>,
    /// The lanes by the names of their consumers.
    lanes: BTreeMap<String, Flow>,
    /// By task and model: the same workers take the jobs of both lanes of a model, and no others.
    models: BTreeMap<String, Flow>,
}

/// Acknowledgements of a lane, as far as they are remembered.
#[derive(Clone, Debug)]
struct Flow {
    now: Work,
    at: Instant,
    /// Since when there is work, as far as anybody has looked.
    begun: Instant,
    /// Jobs that were settled since the look before, at each look that found any.
    settled: VecDeque<(Instant, u64)>,
    /// When the last job was settled.
    moved: Instant,
    /// The longest time without any that has ended.
    longest: Duration,
    /// Whether no job was in flight between the last two looks.
    is_idle: bool,
    /// Jobs that the consumer says are settled and the stream had not said yet: they are asked one after the other.
    early: u64,
}

/// Mean tokens of the jobs of a lane, as they were told last, by consumer.
#[derive(Clone, Debug, Default)]
pub struct MeanTokens(BTreeMap<String, f64>);

impl MeanTokens {
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

impl QueueSample {
    pub fn new(stream: &State, lanes: &[LaneInfo]) -> Self {
        let lane = |found: &LaneInfo| {
            let in_flight = found.info.num_ack_pending as u64;
            let lane = Lane {
                settled: (found.info.delivered.consumer_sequence).saturating_sub(in_flight),
                work: Work {
                    lag: found.lag(),
                    in_flight,
                },
            };
            (found.info.name.clone(), lane)
        };
        Self {
            at: Instant::now(),
            left: stream.last_sequence.saturating_sub(stream.messages),
            lanes: lanes.iter().map(lane).collect(),
        }
    }

    /// How lanes have changed since another look, those of one key together.
    fn changes(&self, before: &Self, key: fn(&str) -> &str) -> BTreeMap<&str, Change> {
        let mut changes = BTreeMap::<_, Change>::new();
        for (consumer, now) in &self.lanes {
            let before = before.lanes.get(consumer).unwrap_or(now);
            let change = changes.entry(key(consumer)).or_default();
            change.before.add(before.work);
            change.now.add(now.work);
            // A consumer that was made anew counts from the start again.
            change.settled += now.settled.saturating_sub(before.settled);
        }
        changes
    }
}

/// Task and model of a consumer, without its lane.
fn model_of(consumer: &str) -> &str {
    consumer
        .rsplit_once('-')
        .map_or(consumer, |(model, _)| model)
}

impl Meter {
    pub fn look(&mut self, now: QueueSample) {
        let Some(before) = self.before.take() else {
            self.before = Some(now);
            return;
        };
        let left = now.left.saturating_sub(before.left);
        let times = (before.at, now.at);
        let lanes = now.changes(&before, |consumer| consumer);
        note(&mut self.lanes, &lanes, left, times);
        note(
            &mut self.models,
            &now.changes(&before, model_of),
            left,
            times,
        );
        self.before = Some(now);
    }

    /// The rate of all lanes together; `None` before the second look. All is done when the last model has done its jobs, and
    /// it stands still where one does.
    pub fn all(&self) -> Option<Rate> {
        let rates: Vec<_> = self.models.values().map(Flow::rate).collect();
        let most = |of: fn(&Rate) -> Option<f64>| rates.iter().filter_map(of).reduce(f64::max);
        let is_known = rates.iter().all(|rate| rate.eta_seconds.is_some());
        Some(Rate {
            measured_seconds: most(|rate| Some(rate.measured_seconds))?,
            acked_per_second: rates.iter().map(|rate| rate.acked_per_second).sum(),
            tokens_per_second: None,
            eta_seconds: most(|rate| rate.eta_seconds).filter(|_| is_known),
            stalled_seconds: most(|rate| rate.stalled_seconds),
        })
    }

    /// The rate of the lane that a consumer reads.
    pub fn of_lane(&self, consumer: &str) -> Option<Rate> {
        self.lanes.get(consumer).map(Flow::rate)
    }
}

/// Takes note of changes, of which no more than `left` jobs have left the stream.
fn note(
    flows: &mut BTreeMap<String, Flow>,
    changes: &BTreeMap<&str, Change>,
    left: u64,
    (before, now): (Instant, Instant),
) {
    let early = |key: &str| flows.get(key).map_or(0, |flow| flow.early);
    let told: Vec<u64> = changes
        .iter()
        .map(|(key, change)| change.settled + early(key))
        .collect();
    for (key, change) in changes {
        let flow = flows.entry((*key).to_owned());
        flow.or_insert_with(|| Flow::new(change.before, before));
    }
    let moved: Vec<_> = changes.keys().map(|key| flows[*key].moved).collect();
    let shares = shares(&told, left, &moved);
    for ((key, change), share) in changes.iter().zip(shares) {
        if let Some(flow) = flows.get_mut(*key) {
            flow.note(change, share, now);
        }
    }
    flows.retain(|key, _| changes.contains_key(key.as_str()));
}

/// How many of the `left` jobs that have left the stream are whose, as told. Jobs that are delivered again have not left, and
/// nobody knows whose they are: the shares are in proportion, and what rounding down leaves over is for those that have
/// waited longest. A slow model would seem to stand still for good without it.
fn shares(told: &[u64], left: u64, moved: &[Instant]) -> Vec<u64> {
    let all: u64 = told.iter().sum();
    if all <= left {
        return told.to_vec();
    }
    let share = |told: &u64| u128::from(*told) * u128::from(left) / u128::from(all);
    let mut shares: Vec<u64> = told
        .iter()
        .map(|told| u64::try_from(share(told)).unwrap_or(*told))
        .collect();
    let mut waiting: Vec<usize> = (0..told.len()).collect();
    waiting.retain(|&it| shares[it] < told[it]);
    waiting.sort_by_key(|&it| moved[it]);
    let rest = left - shares.iter().sum::<u64>();
    for it in waiting.into_iter().zip(0..rest) {
        shares[it.0] += 1;
    }
    shares
}

impl Flow {
    fn new(now: Work, at: Instant) -> Self {
        Self {
            now,
            at,
            begun: at,
            settled: VecDeque::new(),
            moved: at,
            longest: Duration::ZERO,
            is_idle: false,
            early: 0,
        }
    }

    /// `settled` is what the stream allows of the change.
    fn note(&mut self, change: &Change, settled: u64, at: Instant) {
        let now = change.now;
        self.early = change.settled.saturating_sub(settled);
        self.is_idle = self.now.in_flight == 0 && now.in_flight == 0 && settled == 0;
        (self.now, self.at) = (now, at);
        let stood_still = settled > 0 && at.duration_since(self.moved) >= self.limit();
        if self.is_idle || stood_still {
            // Nobody had a job, or nobody did one: what comes is measured anew.
            self.settled.clear();
            self.begun = at;
        }
        if settled > 0 {
            let pause = at.duration_since(self.moved.max(self.begun));
            // The end of a standstill says nothing about how long jobs take.
            if pause < self.limit() {
                self.longest = self.longest.max(pause);
            }
            self.moved = at;
            self.settled.push_back((at, settled));
        } else if now.lag == 0 {
            // Without work there is no rate; the next job begins a new one.
            self.settled.clear();
            (self.begun, self.moved) = (at, at);
        }
        let is_old = |(then, _): &(Instant, u64)| at.duration_since(*then) > WINDOW;
        while self.settled.len() > MOST_SETTLED || self.settled.front().is_some_and(is_old) {
            if let Some((then, _)) = self.settled.pop_front() {
                self.begun = then;
            }
        }
    }

    /// The longest time in which nothing may be settled while jobs are in flight.
    fn limit(&self) -> Duration {
        (self.longest * 3).clamp(STILL, LONGEST_STILL)
    }

    /// Jobs that were settled, the time that they took, and whether that is enough to tell what comes.
    fn measured(&self) -> (u64, Duration, bool) {
        let sum: u64 = self.settled.iter().map(|(_, settled)| settled).sum();
        let since = |then: Instant| self.at.duration_since(then);
        match (self.settled.front(), self.settled.len()) {
            (Some((first, before)), n @ 2..) => {
                // From one acknowledgement to another: what was settled at the first was done before.
                let (jobs, pauses) = (sum - before, u32::try_from(n - 1).unwrap_or(u32::MAX));
                let time = self.moved.duration_since(*first);
                // A pause that is longer than usual counts.
                let time = time.max(since(*first).saturating_sub(time / pauses));
                let is_enough = jobs >= self.now.in_flight || time >= LONG_ENOUGH;
                (jobs, time, is_enough)
            }
            // Some of them may have been nearly done when the first look was taken. What was settled at the end of a standstill
            // took nobody knows how long.
            _ => {
                let time = since(self.begun);
                let is_later = |(then, _): &&(Instant, u64)| *then > self.begun;
                let sum = self.settled.iter().filter(is_later).map(|(_, n)| n).sum();
                let is_enough = sum > 2 * self.now.in_flight || time >= LONG_ENOUGH;
                (sum, time, is_enough)
            }
        }
    }

    fn rate(&self) -> Rate {
        let (jobs, time, is_enough) = self.measured();
        let seconds = time.as_secs_f64().max(1e-3);
        let per_second = as_double(jobs) / seconds;
        let quiet = self.at.duration_since(self.moved);
        let is_still = self.now.lag > 0 && (self.is_idle || quiet >= self.limit());
        let eta = match self.now.lag {
            0 => Some(0.0),
            lag if is_enough && jobs > 0 && !is_still => Some(as_double(lag) / per_second),
            _ => None,
        };
        Rate {
            measured_seconds: seconds,
            acked_per_second: per_second,
            tokens_per_second: None,
            eta_seconds: eta,
            stalled_seconds: is_still.then_some(quiet.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests;
