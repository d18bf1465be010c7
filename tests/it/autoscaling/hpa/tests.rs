//! Each rule of the autoscaler, alone.

use serde_json::{Value, json};

use super::*;

const NOW: Duration = Duration::from_secs(3600);

/// Two triggers with a threshold of ten, and how fast it may go.
fn object(behavior: &Value) -> ScaledObject {
    let trigger = json!({ "type": "nats-jetstream", "metadata": {
        "account": "$G", "stream": "JOBS", "consumer": "c", "lagThreshold": "10" } });
    let spec = json!({
        "idleReplicaCount": 0, "minReplicaCount": 1, "maxReplicaCount": 20,
        "advanced": { "horizontalPodAutoscalerConfig": { "behavior": behavior } },
        "triggers": [trigger, trigger],
    });
    ScaledObject::read(&spec).unwrap()
}

fn pods(value: u32, seconds: u32) -> Value {
    json!({ "type": "Pods", "value": value, "periodSeconds": seconds })
}

/// Nothing but the bounds holds it back.
fn free() -> ScaledObject {
    let rules = json!({ "stabilizationWindowSeconds": 0, "policies": [pods(100, 1)] });
    object(&json!({ "scaleUp": rules, "scaleDown": rules }))
}

fn seconds(seconds: u64) -> Duration {
    NOW + Duration::from_secs(seconds)
}

#[test]
fn the_lag_is_divided_by_the_threshold_and_rounded_up_and_the_largest_trigger_counts() {
    let object = free();
    for (lags, replicas, expected) in [
        ([31.0, 0.0], 1, Some(4)),
        ([30.0, 0.0], 1, Some(3)),
        ([0.0, 30.0], 1, Some(3)),
        ([41.0, 30.0], 1, Some(5)),
        ([1.0, 0.0], 3, Some(1)),
        ([20.0, 0.0], 2, None),
        ([1e6, 0.0], 2, Some(20)),
        ([0.0, 0.0], 2, Some(1)),
    ] {
        let found = Hpa::default().sync(&object, &lags.map(Some), replicas, NOW);
        assert_eq!(found, expected, "{lags:?} with {replicas}");
    }
}

#[test]
fn within_a_tenth_of_the_target_nothing_changes() {
    let object = free();
    for (lag, expected) in [
        (110.0, None),
        (111.0, Some(12)),
        (90.0, None),
        (89.0, Some(9)),
        (100.0, None),
    ] {
        let found = Hpa::default().sync(&object, &[Some(lag), Some(0.0)], 10, NOW);
        assert_eq!(found, expected, "{lag}");
    }
}

#[test]
fn at_zero_it_is_switched_off() {
    assert_eq!(
        Hpa::default().sync(&free(), &[Some(500.0), None], 0, NOW),
        None
    );
}

#[test]
fn with_an_error_it_may_grow_and_never_shrinks_and_with_errors_alone_it_stays() {
    let object = free();
    let sync = |metrics: [Option<f64>; 2]| Hpa::default().sync(&object, &metrics, 5, NOW);
    assert_eq!(sync([None, Some(90.0)]), Some(9));
    assert_eq!(sync([None, Some(10.0)]), None);
    assert_eq!(sync([None, None]), None);
}

#[test]
fn a_policy_bounds_the_change_within_its_period() {
    let rules = json!({ "stabilizationWindowSeconds": 0, "policies": [pods(4, 30)] });
    let object = object(&json!({ "scaleUp": rules }));
    let mut hpa = Hpa::default();
    let lags = [Some(200.0), Some(0.0)];
    assert_eq!(hpa.sync(&object, &lags, 1, NOW), Some(5));
    assert_eq!(hpa.sync(&object, &lags, 5, seconds(15)), None);
    assert_eq!(hpa.sync(&object, &lags, 5, seconds(30)), Some(9));
}

#[test]
fn the_policy_that_allows_most_counts_unless_the_least_is_selected() {
    let percent = json!({ "type": "Percent", "value": 100, "periodSeconds": 15 });
    for (select, up, down) in [("Max", 16, 0), ("Min", 12, 4), ("Disabled", 8, 8)] {
        let rules = json!({
            "stabilizationWindowSeconds": 0, "selectPolicy": select, "policies": [pods(4, 15), percent] });
        let object = object(&json!({ "scaleUp": rules, "scaleDown": rules }));
        let sync = |lag| {
            Hpa::default()
                .sync(&object, &[Some(lag), Some(0.0)], 8, NOW)
                .unwrap_or(8)
        };
        assert_eq!(sync(1e6), up, "{select}");
        assert_eq!(sync(0.0), down.max(1), "{select}");
    }
}

#[test]
fn shrinking_waits_for_the_highest_recommendation_of_the_window() {
    let rules = json!({ "stabilizationWindowSeconds": 300, "policies": [pods(100, 15)] });
    let object = object(&json!({ "scaleDown": rules }));
    let mut hpa = Hpa::default();
    assert_eq!(hpa.sync(&object, &[Some(80.0), Some(0.0)], 8, NOW), None);
    assert_eq!(
        hpa.sync(&object, &[Some(20.0), Some(0.0)], 8, seconds(100)),
        None
    );
    assert_eq!(
        hpa.sync(&object, &[Some(10.0), Some(0.0)], 8, seconds(299)),
        None
    );
    assert_eq!(
        hpa.sync(&object, &[Some(10.0), Some(0.0)], 8, seconds(300)),
        Some(2)
    );
}

#[test]
fn growth_waits_for_the_lowest_recommendation_of_its_window() {
    let rules = json!({ "stabilizationWindowSeconds": 60, "policies": [pods(100, 15)] });
    let object = object(&json!({ "scaleUp": rules }));
    let mut hpa = Hpa::default();
    assert_eq!(hpa.sync(&object, &[Some(10.0), Some(0.0)], 1, NOW), None);
    assert_eq!(
        hpa.sync(&object, &[Some(80.0), Some(0.0)], 1, seconds(15)),
        None
    );
    assert_eq!(
        hpa.sync(&object, &[Some(90.0), Some(0.0)], 1, seconds(61)),
        Some(8)
    );
}

#[test]
fn what_was_added_may_be_removed_on_top_of_the_policy() {
    let rules = json!({ "stabilizationWindowSeconds": 0, "policies": [pods(1, 60)] });
    let free = json!({ "stabilizationWindowSeconds": 0, "policies": [pods(100, 15)] });
    let object = object(&json!({ "scaleUp": free, "scaleDown": rules }));
    let mut hpa = Hpa::default();
    assert_eq!(hpa.sync(&object, &[Some(60.0), Some(0.0)], 2, NOW), Some(6));
    assert_eq!(
        hpa.sync(&object, &[Some(0.0), Some(0.0)], 6, seconds(15)),
        Some(1)
    );
}

#[test]
fn a_number_out_of_bounds_is_brought_back_first() {
    let object = free();
    assert_eq!(
        Hpa::default().sync(&object, &[None, None], 25, NOW),
        Some(20)
    );
    assert_eq!(object.scale_up.policies.len(), 1);
}

#[test]
fn what_is_left_out_has_the_defaults_of_kubernetes() {
    let object = object(&Value::Null);
    assert_eq!(object.scale_up.stabilization, Duration::ZERO);
    assert_eq!(object.scale_down.stabilization, Duration::from_secs(300));
    // Four pods or twice as many in 15 s, whichever is more.
    let lags = [Some(1e6), Some(0.0)];
    assert_eq!(Hpa::default().sync(&object, &lags, 1, NOW), Some(5));
    assert_eq!(Hpa::default().sync(&object, &lags, 9, NOW), Some(18));
}
