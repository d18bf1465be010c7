//! Rules: what must hold between the numbers of a fleet, and what happens where it does not.

use std::time::Duration;

use contract::topology::{LAST_CALL, LONGEST_LOAD, LONGEST_RETRY_DELAY, MIN_ACK_WAIT, RUNTIME_END};
use queue::streams::MAX_WAITING;
use serde::Serialize;

use super::{Fleet, Setting, max_ack_pending, span};

/// Most jobs in flight. The server writes down which deliveries of a consumer are pending as a whole, again and again:
/// with so many that is a megabyte or two each time.
pub const MOST_IN_FLIGHT: u64 = 100_000;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The rule, as a sentence.
    pub rule: &'static str,
    /// The place at which the value is set that breaks the rule.
    pub at: String,
    pub found: String,
    /// The value that would keep the rule.
    pub wanted: String,
}

type Rule = fn(&Fleet) -> Vec<Broken>;

const RULES: [Rule; 12] = [
    grace_below_ack_wait,
    pod_outlives_grace,
    ack_wait_survives_a_busy_machine,
    startup_outlasts_loading,
    cooldown_outlasts_retries,
    pending_fits_the_fleet,
    in_flight_is_bounded,
    pulls_fit_the_consumer,
    fallback_keeps_a_worker,
    zero_when_idle_and_one_when_not,
    any_job_wakes_a_worker,
    drain_target_outlasts_a_start,
];

/// All rules that a fleet breaks.
pub fn broken(fleet: &Fleet) -> Vec<Broken> {
    RULES.iter().flat_map(|rule| rule(fleet)).collect()
}

fn grace_below_ack_wait(fleet: &Fleet) -> Vec<Broken> {
    let rule =
        "the grace of a worker ends before the ack wait: what it gives back must still be its own";
    compare(&fleet.grace, &fleet.ack_wait, |grace, ack_wait| {
        (grace >= ack_wait).then(|| (rule, format!("below the ack wait of {}", span(ack_wait))))
    })
}

fn pod_outlives_grace(fleet: &Fleet) -> Vec<Broken> {
    let rule = "a pod outlives the grace of its worker, and the 15 s in which the process ends whatever hangs";
    compare(&fleet.pod_grace, &fleet.grace, |pod, grace| {
        let least = grace + LAST_CALL + RUNTIME_END;
        (pod < least).then(|| (rule, format!("at least {}", span(least))))
    })
}

fn ack_wait_survives_a_busy_machine(fleet: &Fleet) -> Vec<Broken> {
    let rule = "a worker on a busy machine keeps what it works on";
    alone(fleet.ack_wait.as_ref(), |ack_wait| {
        (ack_wait < MIN_ACK_WAIT).then(|| (rule, format!("at least {}", span(MIN_ACK_WAIT))))
    })
}

fn startup_outlasts_loading(fleet: &Fleet) -> Vec<Broken> {
    let rule = "nobody gives a worker up while it loads a large model, and lets it begin again";
    alone(fleet.startup.as_ref(), |startup| {
        (startup < LONGEST_LOAD).then(|| (rule, format!("at least {}", span(LONGEST_LOAD))))
    })
}

fn cooldown_outlasts_retries(fleet: &Fleet) -> Vec<Broken> {
    let rule = "workers stay for as long as a job may wait for its next delivery: the longest delay of a retry, and \
                the ack wait of one whose worker died";
    compare(&fleet.cooldown, &fleet.ack_wait, |cooldown, ack_wait| {
        let least = LONGEST_RETRY_DELAY + ack_wait;
        (cooldown < least).then(|| (rule, format!("at least {}", span(least))))
    })
}

fn pending_fits_the_fleet(fleet: &Fleet) -> Vec<Broken> {
    let rule = "as many deliveries may be pending as all workers hold, and half more for those of a worker that died";
    let (Some(workers), Some(in_flight)) = (&fleet.max_workers, &fleet.in_flight) else {
        return Vec::new();
    };
    let least = max_ack_pending(workers.value, in_flight.value);
    alone(fleet.max_ack_pending.as_ref(), |pending| {
        let of = format!("{} workers x {} jobs x 1.5", workers.value, in_flight.value);
        (pending < least).then(|| (rule, format!("at least {least} ({of})")))
    })
}

fn in_flight_is_bounded(fleet: &Fleet) -> Vec<Broken> {
    let rule = "all workers together hold no more jobs than the server can keep track of";
    compare(
        &fleet.max_workers,
        &fleet.in_flight,
        |workers, in_flight| {
            let most = (MOST_IN_FLIGHT / in_flight.max(1)).max(1);
            let wanted =
                || format!("at most {most} with {in_flight} jobs each, {MOST_IN_FLIGHT} in all");
            (workers > most).then(|| (rule, wanted()))
        },
    )
}

fn pulls_fit_the_consumer(fleet: &Fleet) -> Vec<Broken> {
    let rule =
        "each worker has a pull waiting at a consumer, which takes so many and ignores the others";
    let most = u64::try_from(MAX_WAITING).unwrap_or(u64::MAX);
    alone(fleet.max_workers.as_ref(), |workers| {
        (workers > most).then(|| (rule, format!("at most {most}")))
    })
}

fn fallback_keeps_a_worker(fleet: &Fleet) -> Vec<Broken> {
    let rule = "an autoscaler that cannot see the lag never sends everybody home";
    alone(fleet.fallback_workers.as_ref(), |workers| {
        (workers == 0).then(|| (rule, "at least 1".to_owned()))
    })
}

fn zero_when_idle_and_one_when_not(fleet: &Fleet) -> Vec<Broken> {
    let idle = "nobody waits for work that is not there: idle is 0, the only value that KEDA takes";
    let least = "somebody works while there is work: the least is 1 or more, above idle";
    let most = "the most workers are no fewer than the least";
    let mut broken = alone(fleet.idle_workers.as_ref(), |workers| {
        (workers != 0).then(|| (idle, "0".to_owned()))
    });
    broken.extend(alone(fleet.min_workers.as_ref(), |workers| {
        (workers == 0).then(|| (least, "at least 1".to_owned()))
    }));
    broken.extend(compare(
        &fleet.max_workers,
        &fleet.min_workers,
        |max, min| (max < min.max(1)).then(|| (most, format!("at least {}", min.max(1)))),
    ));
    broken
}

fn any_job_wakes_a_worker(fleet: &Fleet) -> Vec<Broken> {
    let activation = "a single job wakes a worker";
    let threshold = "a worker is for one job or more";
    let mut broken = Vec::new();
    for setting in &fleet.activation {
        broken.extend(alone(Some(setting), |jobs| {
            (jobs != 0).then(|| (activation, "0".to_owned()))
        }));
    }
    for setting in &fleet.lag_thresholds {
        broken.extend(alone(Some(setting), |jobs| {
            (jobs == 0).then(|| (threshold, "at least 1".to_owned()))
        }));
    }
    broken
}

fn drain_target_outlasts_a_start(fleet: &Fleet) -> Vec<Broken> {
    let rule = "a backlog takes longer than starting a worker and sending it home again: below that, keep workers \
                running instead of scaling them";
    let (Some(start), Some(cooldown)) = (&fleet.start_time, &fleet.cooldown) else {
        return Vec::new();
    };
    let least = start.value + cooldown.value;
    alone(fleet.drain_target.as_ref(), |target| {
        let of = format!(
            "{} to start and {} to cool down",
            span(start.value),
            span(cooldown.value)
        );
        (target < least).then(|| (rule, format!("at least {} ({of})", span(least))))
    })
}

type Verdict = Option<(&'static str, String)>;

/// Judges one setting, if it is known.
fn alone<T: Copy + ForPeople>(
    setting: Option<&Setting<T>>,
    judge: impl Fn(T) -> Verdict,
) -> Vec<Broken> {
    let judged = setting.and_then(|setting| Some((setting, judge(setting.value)?)));
    let broken = judged.map(|(setting, (rule, wanted))| Broken {
        rule,
        at: setting.at.clone(),
        found: setting.value.shown(),
        wanted,
    });
    broken.into_iter().collect()
}

/// Judges a setting by another one, if both are known.
fn compare<T: Copy + ForPeople>(
    setting: &Option<Setting<T>>,
    other: &Option<Setting<T>>,
    judge: impl Fn(T, T) -> Verdict,
) -> Vec<Broken> {
    let Some(other) = other else {
        return Vec::new();
    };
    alone(setting.as_ref(), |value| judge(value, other.value))
}

/// A value as text for people.
trait ForPeople {
    fn shown(&self) -> String;
}

impl ForPeople for u64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl ForPeople for Duration {
    fn shown(&self) -> String {
        span(*self).to_string()
    }
}
