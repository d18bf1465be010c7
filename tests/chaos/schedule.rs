//! Schedule: which faults come when. They are drawn without replacement, like the cards of a shuffled deck, so that a short
//! run has every kind too.
//!
//! Faults overlap in the first part of each minute. In the rest of it only processes die: real work gets done, and a worker
//! that is told to stop has no excuse.

use std::time::Duration;

use fastrand::Rng;

use crate::fault::{Between, Fault, Server, Trouble};
use crate::settings::Settings;

/// A fault with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScheduledFault {
    /// When it begins, from the start of the run.
    pub(crate) at: Duration,
    /// When it is healed, from its begin.
    pub(crate) lasts: Duration,
    pub(crate) fault: Fault,
}

const UNIT: Duration = Duration::from_secs(60);
const KILLS_PER_UNIT: usize = 6;
/// Units in which every rare fault comes once.
const UNITS_PER_RARE_FAULT: usize = 3;
/// Overlapping faults are over by then, in parts of a unit.
const OVERLAP_END: f64 = 0.6;
/// Late SIGTERMs come from here on: long enough after the last overlapping fault for every retry to have come to its end.
const LATE: f64 = 0.93;
/// Chance in percent that trouble meets the connections of all workers.
const ALL_PERCENT: u32 = 30;

/// What a failing Qdrant does. A write that is answered before it is applied, and then out of order, is not among it: no
/// Qdrant does that, its shards have one log.
const QDRANT_RULES: [&str; 9] = [
    r#"{"on": "upsert", "fail": {"code": "unavailable"}}"#,
    r#"{"on": "writes", "skip": 1, "fail": {"code": "internal"}}"#,
    r#"{"on": "upsert", "times": 4, "fail": {"code": "resource_exhausted", "retry_after_seconds": 2}}"#,
    r#"{"on": "writes", "times": 3, "answer": "wait_timeout"}"#,
    r#"{"on": "upsert", "times": 3, "answer": "acknowledged"}"#,
    r#"{"on": "writes", "times": 3, "after_applying": true, "fail": {"code": "unavailable"}}"#,
    r#"{"on": "upsert", "skip": 1, "times": 1, "after_applying": true, "hang": true}"#,
    r#"{"on": "any", "delay_ms": 700}"#,
    r#"{"on": "reads", "fail": {"code": "deadline_exceeded"}}"#,
];

/// The faults of a run in the order of their times.
pub(crate) fn schedule(settings: &Settings) -> Vec<ScheduledFault> {
    let mut rng = Rng::with_seed(settings.seed ^ 0x000d_eca1);
    let length = settings.length();
    let units = (length.as_secs_f64() / UNIT.as_secs_f64()).ceil().max(1.0);
    let unit = length.div_f64(units);
    let mut rare = Vec::new();
    let mut faults = Vec::new();
    let mut start = Duration::ZERO;
    while start + unit / 2 < length {
        if rare.is_empty() {
            rare = rare_faults(settings, &mut rng);
        }
        let overlapping = rare.pop().unwrap_or_default();
        let of_unit = faults_of_unit(settings, overlapping, &mut rng);
        faults.extend(
            of_unit
                .into_iter()
                .map(|(part, lasts, fault)| ScheduledFault {
                    at: start + unit.mul_f64(part),
                    lasts,
                    fault,
                }),
        );
        start += unit;
    }
    faults.retain(|scheduled| settings.injects(scheduled.fault.kind()));
    faults.sort_by_key(|scheduled| scheduled.at);
    faults
}

/// When a fault begins as a part of the unit, how long it lasts, and the fault.
type FaultOfUnit = (f64, Duration, Fault);

fn faults_of_unit(
    settings: &Settings,
    mut overlapping: Vec<Fault>,
    rng: &mut Rng,
) -> Vec<FaultOfUnit> {
    let mut faults = Vec::new();
    for turn in 0..KILLS_PER_UNIT {
        let worker = rng.usize(..settings.processes());
        faults.push((
            slot(turn, KILLS_PER_UNIT, 1.0, rng),
            Duration::ZERO,
            Fault::Kill { worker },
        ));
    }
    for part in [rng.f64() * OVERLAP_END, LATE + rng.f64() * (0.99 - LATE)] {
        let worker = rng.usize(..settings.processes());
        faults.push((part, Duration::ZERO, Fault::Term { worker }));
    }
    overlapping.extend([Fault::Restart(Server::Nats), Fault::Restart(Server::Qdrant)]);
    overlapping.extend(node_faults(settings, rng));
    rng.shuffle(&mut overlapping);
    let count = overlapping.len();
    for (turn, fault) in overlapping.into_iter().enumerate() {
        let lasts = lasts(&fault, settings, rng);
        faults.push((slot(turn, count, OVERLAP_END, rng), lasts, fault));
    }
    faults
}

/// What happens to the nodes of a cluster in a unit. Most partitions are clean cuts, others swallow what is sent.
fn node_faults(settings: &Settings, rng: &mut Rng) -> Vec<Fault> {
    let nodes = settings.qdrant_nodes;
    if nodes < 2 {
        return Vec::new();
    }
    let mut faults = vec![Fault::Restart(Server::Qdrant)];
    let (one, step) = (rng.usize(..nodes), rng.usize(1..nodes));
    let slow = Trouble::Delay(Duration::from_millis(rng.u64(50..1_000)));
    let closed = |rng: &mut Rng| match rng.u32(..3) {
        0 => Trouble::HalfOpen,
        _ => Trouble::Refuse,
    };
    let partial = [Between::Sends, Between::With((one + step) % nodes)];
    let mut drawn = vec![
        (Between::Both, closed(rng)),
        (Between::Hears, closed(rng)),
        (partial[rng.usize(..partial.len())], closed(rng)),
    ];
    if rng.bool() {
        drawn.push((Between::Both, slow));
    } else {
        let node = rng.usize(..nodes);
        faults.push(Fault::NodeStop { node });
    }
    for (between, trouble) in drawn {
        let node = match between {
            Between::With(_) => one,
            Between::Both | Between::Hears | Between::Sends => rng.usize(..nodes),
        };
        faults.push(Fault::Nodes {
            node,
            between,
            trouble,
        });
    }
    faults
}

/// A random time in the `turn`-th of `count` equal parts of what is before `end`.
fn slot(turn: usize, count: usize, end: f64, rng: &mut Rng) -> f64 {
    let part = |number: usize| f64::from(u32::try_from(number).unwrap_or(u32::MAX));
    (part(turn) + rng.f64()) / part(count.max(1)) * end
}

/// The rare faults, divided among units.
fn rare_faults(settings: &Settings, rng: &mut Rng) -> Vec<Vec<Fault>> {
    let mut rare: Vec<_> = QDRANT_RULES
        .iter()
        .map(|rule| Fault::Qdrant { rule })
        .collect();
    for _ in 0..UNITS_PER_RARE_FAULT {
        let worker = rng.usize(..settings.processes());
        rare.push(Fault::Stop { worker });
    }
    for server in [Server::Nats, Server::Qdrant] {
        let delay = Duration::from_millis(rng.u64(50..1_500));
        let troubles = [
            Trouble::Cut,
            Trouble::Delay(delay),
            Trouble::HalfOpen,
            Trouble::Refuse,
            Trouble::LostAnswers,
        ];
        for trouble in troubles {
            let one = rng.usize(..settings.processes());
            let worker = (rng.u32(..100) >= ALL_PERCENT).then_some(one);
            rare.push(Fault::Network {
                server,
                worker,
                trouble,
            });
        }
    }
    rng.shuffle(&mut rare);
    let mut units = vec![Vec::new(); UNITS_PER_RARE_FAULT];
    for (turn, fault) in rare.into_iter().enumerate() {
        units[turn % UNITS_PER_RARE_FAULT].push(fault);
    }
    units
}

fn lasts(fault: &Fault, settings: &Settings, rng: &mut Rng) -> Duration {
    let millis = match fault {
        Fault::Kill { .. } | Fault::Term { .. } => 0..1,
        Fault::Stop { .. } => {
            let wait = u64::try_from(settings.ack_wait.as_millis()).unwrap_or(u64::MAX);
            wait..wait.saturating_mul(3)
        }
        Fault::Restart(_) => 100..4_000,
        Fault::Network { trouble, .. } => match trouble {
            Trouble::Cut => 0..1,
            Trouble::Delay(_) => 4_000..10_000,
            Trouble::HalfOpen => 4_000..20_000,
            Trouble::Refuse => 2_000..8_000,
            Trouble::LostAnswers => 3_000..12_000,
        },
        Fault::Qdrant { .. } => 2_000..8_000,
        Fault::NodeStop { .. } => 2_000..15_000,
        Fault::Nodes { .. } => 4_000..25_000,
    };
    Duration::from_millis(rng.u64(millis))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Parser as _, ValueEnum as _};

    use super::*;
    use crate::fault::FaultKind;

    fn settings(arguments: &[&str]) -> Settings {
        Settings::parse_from(["chaos"].iter().chain(arguments))
    }

    #[test]
    fn the_same_seed_schedules_the_same_faults_and_another_seed_others() {
        let of = |seed| schedule(&settings(&["--seed", seed]));
        assert_eq!(of("7"), of("7"));
        assert_ne!(of("7"), of("8"));
    }

    #[test]
    fn three_minutes_have_every_kind_of_fault() {
        for seed in ["1", "2", "3"] {
            let faults = schedule(&settings(&["--minutes", "3", "--seed", seed]));
            let kinds: BTreeSet<_> = faults
                .iter()
                .map(|scheduled| scheduled.fault.kind())
                .collect();
            let mut all = FaultKind::value_variants().iter();
            let missing = all.find(|kind| !kinds.contains(kind) && !kind.is_of_nodes());
            assert_eq!(
                missing,
                Some(&FaultKind::Failpoint),
                "which comes from the workers"
            );
        }
    }

    #[test]
    fn a_cluster_has_every_kind_of_fault_of_nodes_and_a_single_node_none() {
        let of = |more: &[&str]| -> BTreeSet<_> {
            let arguments = ["--minutes", "20", "--qdrant", "qdrant"];
            let arguments: Vec<_> = arguments.iter().chain(more).copied().collect();
            let faults = schedule(&settings(&arguments)).into_iter();
            let kinds = faults.map(|scheduled| scheduled.fault.kind());
            kinds.filter(|kind| kind.is_of_nodes()).collect()
        };
        let all = FaultKind::value_variants().iter().copied();
        let all: BTreeSet<_> = all.filter(|kind| kind.is_of_nodes()).collect();
        assert_eq!(of(&["--qdrant-nodes", "3"]), all);
        assert_eq!(of(&[]), BTreeSet::new());
    }

    #[test]
    fn an_hour_has_enough_kills_and_restarts() {
        let faults = schedule(&settings(&["--minutes", "60"]));
        let count = |kind| {
            faults
                .iter()
                .filter(|scheduled| scheduled.fault.kind() == kind)
                .count()
        };
        assert!(count(FaultKind::Kill) >= 300);
        assert!(count(FaultKind::NatsRestart) >= 50);
        assert!(count(FaultKind::QdrantRestart) >= 50);
    }

    #[test]
    fn only_chosen_kinds_are_scheduled() {
        assert!(schedule(&settings(&["--faults", "none"])).is_empty());
        let faults = schedule(&settings(&["--faults", "kill,stop"]));
        assert!(
            faults
                .iter()
                .any(|scheduled| scheduled.fault.kind() == FaultKind::Stop)
        );
        let other = faults.iter().find(|scheduled| {
            ![FaultKind::Kill, FaultKind::Stop].contains(&scheduled.fault.kind())
        });
        assert_eq!(other, None);
    }
}
