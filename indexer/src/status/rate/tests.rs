//! Rates of workers that are fast, slow, gone, or go round in circles.

use super::*;

/// Consumers of the lanes of a model.
const LANES: [&str; 2] = ["embed-m-live", "embed-m-bulk"];

fn look(at: Instant, left: u64, lanes: [(u64, u64, u64); 2]) -> QueueSample {
    let lanes = lanes.map(|(settled, lag, in_flight)| Lane {
        settled,
        work: Work { lag, in_flight },
    });
    let names = LANES.map(str::to_owned);
    QueueSample {
        at,
        left,
        lanes: names.into_iter().zip(lanes).collect(),
    }
}

fn after(looks: impl IntoIterator<Item = QueueSample>) -> Meter {
    let mut meter = Meter::default();
    looks.into_iter().for_each(|look| meter.look(look));
    meter
}

/// A lane of 1,000 jobs, looked at every two seconds; workers have `in_flight` jobs, and settle `together` of them every
/// `each` seconds.
fn worked(seconds: u64, in_flight: u64, together: u64, each: u64) -> Vec<Rate> {
    let start = Instant::now();
    let mut meter = Meter::default();
    let mut rates = Vec::new();
    for at in (0..=seconds).step_by(2) {
        let settled = at.checked_div(each).unwrap_or(0) * together;
        let now = start + Duration::from_secs(at);
        meter.look(look(
            now,
            settled,
            [(0, 0, 0), (settled, 1_000 - settled, in_flight)],
        ));
        rates.extend(meter.all());
    }
    rates
}

#[test]
fn a_rate_is_what_was_settled_in_the_time_that_was_watched() {
    let start = Instant::now();
    let meter = after([
        look(start, 100, [(40, 0, 0), (60, 500, 4)]),
        look(
            start + Duration::from_secs(2),
            130,
            [(50, 0, 0), (80, 450, 4)],
        ),
    ]);
    let both = meter.all().unwrap();
    assert_eq!((both.measured_seconds, both.acked_per_second), (2.0, 15.0));
    assert_eq!(both.eta_seconds, Some(30.0));
    let [live, bulk] = LANES.map(|lane| meter.of_lane(lane).unwrap());
    assert_eq!((live.acked_per_second, live.eta_seconds), (5.0, Some(0.0)));
    assert_eq!(
        (bulk.acked_per_second, bulk.eta_seconds),
        (10.0, Some(45.0))
    );
    assert!(after([look(start, 1, [(0, 0, 0); 2])]).all().is_none());
}

/// Jobs that take longer than the time between two looks, and those of a batch that are settled together.
#[test]
fn the_time_that_is_left_is_right_for_jobs_that_take_longer_than_a_look() {
    for (in_flight, together, each) in [
        (1, 1, 13),
        (2, 1, 11),
        (8, 8, 12),
        (16, 4, 14),
        (64, 64, 30),
    ] {
        let rates = worked(240, in_flight, together, each);
        let stalled = rates.iter().filter(|rate| rate.stalled_seconds.is_some());
        assert_eq!(stalled.count(), 0, "{in_flight}, {together} every {each} s");
        let told: Vec<_> = rates
            .iter()
            .enumerate()
            .filter_map(|(look, rate)| Some((look, rate.eta_seconds?)))
            .collect();
        assert!(
            told.len() > rates.len() / 2,
            "{in_flight}: {} looks",
            told.len()
        );
        for (number, eta) in told {
            let done = (number as u64 + 1) * 2 / each * together;
            let truth = as_double(1_000 - done) / as_double(together) * as_double(each);
            let ratio = eta / truth;
            assert!(
                (0.6..1.7).contains(&ratio),
                "{in_flight}, {together} every {each} s: {eta} s are said to be left, and {truth} s are"
            );
        }
    }
}

#[test]
fn jobs_in_flight_stand_still_after_a_time_that_is_long_for_them() {
    let rates = worked(400, 4, 0, 1);
    let quiet = rates
        .iter()
        .take_while(|rate| rate.stalled_seconds.is_none());
    assert_eq!(quiet.count(), 59, "of 2 s each");
    assert!(rates.iter().all(|rate| rate.eta_seconds.is_none()));
    // Where they have taken 100 s before, two minutes are not long.
    let slow = worked(399, 1, 1, 100);
    assert!(slow.iter().all(|rate| rate.stalled_seconds.is_none()));
}

#[test]
fn where_no_job_is_in_flight_nothing_moves() {
    let idle = worked(2, 0, 0, 1);
    assert_eq!(idle[0].stalled_seconds, Some(2.0));
    assert_eq!((idle[0].acked_per_second, idle[0].eta_seconds), (0.0, None));
}

#[test]
fn a_lane_without_work_begins_anew() {
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let meter = after([
        look(at(0), 0, [(0, 10, 1), (0, 0, 0)]),
        look(at(2), 10, [(10, 0, 0), (0, 0, 0)]),
        look(at(4), 10, [(10, 0, 0), (0, 0, 0)]),
        look(at(600), 10, [(10, 0, 0), (0, 0, 0)]),
        look(at(602), 30, [(30, 20, 1), (0, 0, 0)]),
    ]);
    let rate = meter.all().unwrap();
    assert_eq!((rate.acked_per_second, rate.eta_seconds), (10.0, Some(2.0)));
}

#[test]
fn deliveries_that_are_repeated_without_end_are_no_progress() {
    let start = Instant::now();
    let meter = after([
        look(start, 100, [(0, 0, 0), (60, 500, 3)]),
        look(
            start + Duration::from_secs(2),
            100,
            [(0, 0, 0), (90, 500, 3)],
        ),
    ]);
    let rate = meter.all().unwrap();
    assert_eq!((rate.acked_per_second, rate.eta_seconds), (0.0, None));
}

#[test]
fn a_consumer_that_was_made_anew_or_just_now_has_settled_nothing_yet() {
    let start = Instant::now();
    let before = look(start, 100, [(70, 3, 0), (60, 500, 0)]);
    let now = look(
        start + Duration::from_secs(1),
        105,
        [(0, 3, 0), (65, 495, 0)],
    );
    let meter = after([before.clone(), now.clone()]);
    assert_eq!(meter.of_lane(LANES[0]).unwrap().acked_per_second, 0.0);
    assert_eq!(meter.all().unwrap().acked_per_second, 5.0);
    let mut without = before;
    without.lanes.remove(LANES[1]);
    let meter = after([without, now]);
    assert_eq!(meter.all().unwrap().acked_per_second, 0.0);
}

#[test]
fn what_is_remembered_is_bounded() {
    let start = Instant::now();
    let mut meter = Meter::default();
    for step in 0..20_000 {
        let at = start + Duration::from_millis(step * 100);
        meter.look(look(at, step, [(step, 9, 1), (0, 0, 0)]));
    }
    let flow = meter.models.values().next().unwrap();
    assert_eq!(flow.settled.len(), MOST_SETTLED);
    let rate = meter.all().unwrap();
    assert!((rate.acked_per_second - 10.0).abs() < 0.1, "{rate:?}");
}

/// One lane that is looked at every two seconds; gives what is said at each look, with the seconds and what is left then.
fn watched(jobs: u64, seconds: u64, worked: impl Fn(u64) -> (u64, u64)) -> Vec<(u64, u64, Rate)> {
    let start = Instant::now();
    let mut meter = Meter::default();
    let mut rates = Vec::new();
    for at in (0..=seconds).step_by(2) {
        let (settled, in_flight) = worked(at);
        let lag = jobs - settled;
        let now = start + Duration::from_secs(at);
        meter.look(look(now, settled, [(0, 0, 0), (settled, lag, in_flight)]));
        rates.extend(meter.all().map(|rate| (at, lag, rate)));
    }
    rates
}

#[test]
fn time_in_which_no_worker_has_a_job_counts_for_nothing() {
    // Workers come after some time; then 32 jobs every 16 seconds, 64 in flight.
    for cold in [90, 300] {
        let worked = |at: u64| match at.checked_sub(cold) {
            Some(since) => (since / 16 * 32, 64),
            None => (0, 0),
        };
        for (at, lag, rate) in watched(10_000, cold + 310, worked) {
            if let Some(eta) = rate.eta_seconds {
                let expected = as_double(lag) / 2.0;
                assert!(
                    (eta / expected - 1.0).abs() < 0.5,
                    "{at} s: {eta}, {expected}"
                );
            }
            assert!(rate.acked_per_second < 4.0, "{at} s: {rate:?}");
            assert!(at < cold + 17 || rate.stalled_seconds.is_none(), "{at} s");
        }
    }
}

#[test]
fn after_a_pause_what_comes_is_measured_anew() {
    // Ten jobs a second, nobody for 240 seconds, and again.
    let paused = |at: u64| match at {
        0..120 => (at * 10, 20),
        120..360 => (1200, 0),
        _ => ((at - 240) * 10, 20),
    };
    for (at, lag, rate) in watched(20_000, 600, paused) {
        let expected = as_double(lag) / 10.0;
        assert!(rate.acked_per_second < 12.0, "{at} s: {rate:?}");
        if let Some(eta) = rate.eta_seconds.filter(|_| at > 366) {
            assert!(
                (eta / expected - 1.0).abs() < 0.3,
                "{at} s: {eta}, {expected}"
            );
        }
    }
}

#[test]
fn what_the_stream_says_a_look_later_is_counted() {
    let start = Instant::now();
    let mut meter = Meter::default();
    for (at, left, settled) in [(0, 0, 0), (2, 0, 40), (4, 40, 40), (6, 40, 40)] {
        let now = start + Duration::from_secs(at);
        meter.look(look(now, left, [(0, 0, 0), (settled, 100 - settled, 8)]));
    }
    let rate = meter.of_lane(LANES[1]).unwrap();
    assert!(rate.acked_per_second > 5.0, "{rate:?}");
}

#[test]
fn a_model_that_stands_still_is_not_hidden_by_one_that_moves() {
    let start = Instant::now();
    let mut meter = Meter::default();
    for at in (0..=300).step_by(2) {
        let settled = at * 10;
        let lane = |settled, lag, in_flight| Lane {
            settled,
            work: Work { lag, in_flight },
        };
        let lanes = [
            ("embed-a-bulk", lane(settled, 4_000 - settled, 20)),
            ("embed-b-bulk", lane(0, 100_000, 0)),
        ];
        meter.look(QueueSample {
            at: start + Duration::from_secs(at),
            left: settled,
            lanes: lanes.map(|(name, lane)| (name.to_owned(), lane)).into(),
        });
    }
    let all = meter.all().unwrap();
    assert_eq!(all.eta_seconds, None);
    assert!(all.stalled_seconds > Some(100.0), "{all:?}");
    assert!((all.acked_per_second - 10.0).abs() < 1.0, "{all:?}");
    assert!(meter.of_lane("embed-a-bulk").unwrap().eta_seconds.is_some());
}

#[test]
fn jobs_that_one_model_is_given_again_are_not_counted_on_top_of_those_of_another() {
    let start = Instant::now();
    let mut meter = Meter::default();
    for look in 0..60 {
        let lane = |settled, lag| Lane {
            settled,
            work: Work { lag, in_flight: 20 },
        };
        // Both say 40 a look; only those of one leave the stream.
        let lanes = [
            ("embed-a-bulk", lane(look * 40, 100_000)),
            ("embed-b-bulk", lane(look * 40, 10_000 - look * 40)),
        ];
        meter.look(QueueSample {
            at: start + Duration::from_secs(look * 2),
            left: look * 40,
            lanes: lanes.map(|(name, lane)| (name.to_owned(), lane)).into(),
        });
    }
    let all = meter.all().unwrap();
    assert!((all.acked_per_second - 20.0).abs() < 1.0, "{all:?}");
}

#[test]
fn a_slow_model_does_not_stand_still_because_jobs_of_another_are_given_again() {
    // Jobs that the one does in a look, and those that the other is given again.
    for (done, again) in [(1, 1), (1, 500)] {
        let start = Instant::now();
        let mut meter = Meter::default();
        for look in 0..100 {
            let lane = |settled, lag| Lane {
                settled,
                work: Work { lag, in_flight: 1 },
            };
            let lanes = [
                ("embed-a-bulk", lane(look * done, 1_000 - look * done)),
                ("embed-b-bulk", lane(look * again, 1_000)),
            ];
            meter.look(QueueSample {
                at: start + Duration::from_secs(look * 2),
                left: look * done,
                lanes: lanes.map(|(name, lane)| (name.to_owned(), lane)).into(),
            });
        }
        let slow = meter.of_lane("embed-a-bulk").unwrap();
        assert_eq!(slow.stalled_seconds, None, "{done} {again}: {slow:?}");
        // Nobody knows whose jobs have left; those of both together are as many as have.
        assert!((slow.acked_per_second - 0.25).abs() < 0.05, "{slow:?}");
        let all = meter.all().unwrap();
        assert!((all.acked_per_second - 0.5).abs() < 0.05, "{all:?}");
    }
}
