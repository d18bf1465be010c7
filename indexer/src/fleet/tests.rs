//! What follows from decisions, and which rules forbid what.

use std::time::Duration;

use contract::topology::LONGEST_LOAD;

use super::{Fleet, Setting, broken, derive};
use crate::decisions::{Gpu, Serving, read};

const MODEL: &str = "model:
  name: minilm
  source: s3://models/minilm
  fingerprint: b8955aad2ad6b8955aad2ad6b8955aad2ad6b8955aad2ad6b8955aad2ad6b895
";

fn decisions(more: &str) -> Serving {
    read(&format!("{MODEL}{more}")).unwrap().first
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_fleet_of_cpus_is_sized_by_the_formulas() {
    let derived = derive(&decisions("drain_target: 30m\nmax_workers: 8\n"));
    assert_eq!(derived.model_path, "/models/minilm-b8955aad2ad6");
    // 13,000 tokens/s x 1,785 s / 8,192 and x 60 s / 8,192
    assert_eq!(derived.bulk_lag_threshold, 2832);
    assert_eq!(derived.live_lag_threshold, 95);
    // 8 workers x 10 batches x 64 jobs x 1.5
    assert_eq!((derived.in_flight, derived.max_ack_pending), (640, 7680));
    // 144 + 60 + 15, in minutes
    assert_eq!(derived.cooldown, seconds(240));
    assert_eq!(
        (derived.grace, derived.pod_grace),
        (seconds(25), seconds(50))
    );
    assert_eq!(broken(&derived.fleet()), []);
}

#[test]
fn a_fleet_of_gpus_and_of_slices_is_sized_by_what_they_do() {
    let gpu = derive(&decisions("gpu: nvidia\ndrain_target: 1h\n"));
    // 100,000 tokens/s x 3,540 s / 8,192
    assert_eq!(
        (gpu.bulk_lag_threshold, gpu.live_lag_threshold),
        (43_212, 732)
    );
    assert_eq!(gpu.cooldown, seconds(300));
    let slice = derive(&decisions("gpu: mig-2g.20gb\ndrain_target: 1h\n"));
    assert_eq!(slice.tokens_per_second, 79_600);
    assert_eq!(slice.bulk_lag_threshold, 34_397);
    for derived in [gpu, slice] {
        assert_eq!(broken(&derived.fleet()), []);
    }
}

#[test]
fn what_was_measured_counts_more_than_what_is_assumed() {
    let model = MODEL.replace("  name:", "  tokens_per_second: 700\n  name:");
    let derived = derive(&read(&model).unwrap().first);
    // 700 tokens/s x 1,785 s / 8,192, and 2 x 16,384 tokens to finish
    assert_eq!(
        (derived.bulk_lag_threshold, derived.grace),
        (152, seconds(47))
    );
    assert_eq!(broken(&derived.fleet()), []);
}

#[test]
fn every_kind_of_gpu_makes_a_sound_fleet_with_what_holds_by_default() {
    for gpu in Gpu::all() {
        let derived = derive(&decisions(&format!("gpu: {gpu}\n")));
        assert_eq!(broken(&derived.fleet()), [], "{gpu}");
    }
}

#[test]
fn impossible_decisions_break_all_their_rules_at_once() {
    let model = MODEL.replace("  name:", "  tokens_per_second: 100\n  name:");
    let decisions = read(&format!("{model}max_workers: 600\ndrain_target: 2m\n")).unwrap();
    let broken = broken(&derive(&decisions.first).fleet());
    let found: Vec<_> = broken
        .iter()
        .map(|b| (b.at.as_str(), b.found.as_str()))
        .collect();
    let wanted = [
        ("model.tokens_per_second", "5m 28s"),
        ("max_workers", "600"),
        ("max_workers", "600"),
        ("drain_target", "2m"),
    ];
    assert_eq!(found, wanted);
    assert!(
        broken[1].wanted.contains("at most 156"),
        "{}",
        broken[1].wanted
    );
}

/// A fleet that keeps all rules by a hair.
fn sound() -> Fleet {
    fn set<T>(value: T) -> Option<Setting<T>> {
        Some(Setting::new("somewhere", value))
    }
    Fleet {
        max_workers: set(10),
        min_workers: set(1),
        idle_workers: set(0),
        fallback_workers: set(1),
        in_flight: set(640),
        max_ack_pending: set(9600),
        lag_thresholds: vec![Setting::new("somewhere", 1)],
        activation: vec![Setting::new("somewhere", 0)],
        ack_wait: set(seconds(60)),
        grace: set(seconds(59)),
        pod_grace: set(seconds(74)),
        cooldown: set(seconds(204)),
        start_time: set(seconds(60)),
        startup: set(LONGEST_LOAD),
        drain_target: set(seconds(264)),
    }
}

#[test]
fn each_rule_ends_where_it_says() {
    type Spoil = fn(&mut Fleet);
    fn put<T>(setting: &mut Option<Setting<T>>, value: T) {
        *setting = Some(Setting::new("here", value));
    }
    assert_eq!(broken(&sound()), []);
    assert_eq!(broken(&Fleet::default()), []);
    let spoils: [(Spoil, &str); 14] = [
        (
            |f| {
                put(&mut f.grace, seconds(60));
                put(&mut f.pod_grace, seconds(75));
            },
            "the grace of a worker",
        ),
        (|f| put(&mut f.startup, LONGEST_LOAD / 2), "load"),
        (|f| put(&mut f.pod_grace, seconds(73)), "pod"),
        (|f| put(&mut f.cooldown, seconds(203)), "retry"),
        (|f| put(&mut f.max_ack_pending, 9599), "pending"),
        (|f| put(&mut f.fallback_workers, 0), "home"),
        (|f| put(&mut f.idle_workers, 1), "idle"),
        (|f| put(&mut f.min_workers, 0), "least is 1"),
        (|f| put(&mut f.min_workers, 11), "no fewer"),
        (|f| put(&mut f.drain_target, seconds(263)), "backlog"),
        (|f| f.activation[0].value = 1, "wakes"),
        (|f| f.lag_thresholds[0].value = 0, "one job or more"),
        (
            |f| {
                put(&mut f.max_workers, 224);
                put(&mut f.max_ack_pending, 1_000_000);
            },
            "keep track",
        ),
        (
            |f| {
                put(&mut f.max_workers, 513);
                put(&mut f.in_flight, 1);
            },
            "pull waiting",
        ),
    ];
    for (spoil, rule) in spoils {
        let mut fleet = sound();
        spoil(&mut fleet);
        let broken = broken(&fleet);
        assert_eq!(broken.len(), 1, "{rule}: {broken:?}");
        assert!(broken[0].rule.contains(rule), "{rule}: {broken:?}");
    }
}

#[test]
fn an_ack_wait_that_is_too_short_is_named() {
    let mut fleet = Fleet {
        ack_wait: Some(Setting::new("here", seconds(4))),
        ..Fleet::default()
    };
    assert_eq!(broken(&fleet).len(), 1);
    fleet.ack_wait = Some(Setting::new("here", seconds(5)));
    assert_eq!(broken(&fleet), []);
}
