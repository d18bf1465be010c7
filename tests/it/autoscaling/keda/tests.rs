//! Each rule of KEDA's executor, alone.

use serde_json::{Value, json};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// Two triggers, a cooldown of 300 s, and what the test changes.
fn object(changes: &Value) -> ScaledObject {
    let trigger = |consumer: &str| {
        json!({ "type": "nats-jetstream", "metadata": {
            "account": "$G", "stream": "JOBS", "consumer": consumer,
            "lagThreshold": "10", "activationLagThreshold": "5" } })
    };
    let mut spec = json!({
        "idleReplicaCount": 0, "minReplicaCount": 1, "maxReplicaCount": 8, "cooldownPeriod": 300,
        "fallback": { "failureThreshold": 3, "replicas": 2, "behavior": "currentReplicasIfHigher" },
        "triggers": [trigger("live"), trigger("bulk")],
    });
    let changes = changes.as_object().expect("changes are an object");
    for (key, value) in changes {
        spec[key] = value.clone();
    }
    ScaledObject::read(&spec).unwrap()
}

fn failed() -> Lag {
    Err("down".to_owned())
}

/// Polls with the given lags at the given minutes; gives the last answer.
fn polled(
    keda: &mut Keda,
    object: &ScaledObject,
    lags: [Lag; 2],
    replicas: u32,
    minute: u32,
) -> Option<u32> {
    keda.poll(object, &lags, replicas, MINUTE * minute)
}

#[test]
fn any_trigger_above_its_activation_wakes_the_target_and_no_trigger_at_it() {
    let object = object(&json!({}));
    let mut keda = Keda::new(&object);
    assert_eq!(polled(&mut keda, &object, [Ok(5), Ok(5)], 0, 0), None);
    assert_eq!(polled(&mut keda, &object, [Ok(0), Ok(6)], 0, 0), Some(1));
    assert_eq!(polled(&mut keda, &object, [Ok(6), Ok(0)], 0, 0), Some(1));
    assert_eq!(
        polled(&mut keda, &object, [Ok(600), Ok(600)], 1, 0),
        None,
        "the rest is the autoscaler's"
    );
}

#[test]
fn a_target_wakes_to_its_minimum() {
    let object = object(&json!({ "minReplicaCount": 4 }));
    let mut keda = Keda::new(&object);
    assert_eq!(polled(&mut keda, &object, [Ok(6), Ok(0)], 0, 0), Some(4));
    assert_eq!(polled(&mut keda, &object, [Ok(6), Ok(0)], 3, 0), Some(4));
    assert_eq!(polled(&mut keda, &object, [Ok(6), Ok(0)], 4, 0), None);
}

#[test]
fn a_target_sleeps_when_the_cooldown_is_over_since_the_last_activity_from_any_number() {
    let object = object(&json!({}));
    let mut keda = Keda::new(&object);
    polled(&mut keda, &object, [Ok(6), Ok(0)], 1, 0);
    polled(&mut keda, &object, [Ok(6), Ok(0)], 8, 2);
    assert_eq!(polled(&mut keda, &object, [Ok(5), Ok(0)], 8, 7), None);
    assert_eq!(polled(&mut keda, &object, [Ok(5), Ok(0)], 8, 8), Some(0));
    assert_eq!(polled(&mut keda, &object, [Ok(5), Ok(0)], 0, 9), None);
}

#[test]
fn a_target_that_was_never_seen_active_sleeps_after_the_initial_cooldown() {
    let object = object(&json!({ "initialCooldownPeriod": 120 }));
    let mut keda = Keda::new(&object);
    assert_eq!(polled(&mut keda, &object, [Ok(0), Ok(0)], 3, 2), None);
    assert_eq!(polled(&mut keda, &object, [Ok(0), Ok(0)], 3, 3), Some(0));
}

#[test]
fn without_an_idle_count_a_target_sleeps_only_with_a_minimum_of_zero() {
    let awake = object(&json!({ "idleReplicaCount": null }));
    let mut keda = Keda::new(&awake);
    assert_eq!(polled(&mut keda, &awake, [Ok(0), Ok(0)], 3, 9), None);
    assert_eq!(polled(&mut keda, &awake, [Ok(0), Ok(0)], 0, 9), Some(1));
    let asleep = object(&json!({ "idleReplicaCount": null, "minReplicaCount": 0 }));
    assert_eq!(polled(&mut keda, &asleep, [Ok(0), Ok(0)], 3, 9), Some(0));
    assert_eq!(polled(&mut keda, &asleep, [Ok(6), Ok(0)], 0, 9), Some(1));
}

#[test]
fn errors_without_a_fallback_change_nothing() {
    let object = object(&json!({ "fallback": null }));
    let mut keda = Keda::new(&object);
    for minute in 0..30 {
        assert_eq!(
            polled(&mut keda, &object, [failed(), failed()], 3, minute),
            None
        );
        assert_eq!(
            polled(&mut keda, &object, [failed(), failed()], 0, minute),
            None
        );
        assert_eq!(keda.metric(&object, 0, &failed(), 3), None);
    }
}

#[test]
fn a_fallback_speaks_when_the_failures_exceed_the_threshold_whoever_asked() {
    let object = object(&json!({}));
    let mut keda = Keda::new(&object);
    for _ in 0..2 {
        assert_eq!(polled(&mut keda, &object, [failed(), failed()], 0, 0), None);
    }
    assert_eq!(keda.metric(&object, 0, &failed(), 5), None);
    assert_eq!(
        keda.metric(&object, 0, &failed(), 5),
        Some(50.0),
        "five replicas of ten jobs"
    );
    assert_eq!(
        keda.metric(&object, 0, &failed(), 1),
        Some(20.0),
        "no less than two"
    );
    // The trigger counts as active, so that a sleeping target wakes.
    assert_eq!(polled(&mut keda, &object, [failed(), Ok(0)], 0, 0), Some(1));
    assert_eq!(keda.metric(&object, 0, &Ok(7), 5), Some(7.0));
    assert_eq!(
        keda.metric(&object, 0, &failed(), 5),
        None,
        "an answer starts the count anew"
    );
}

#[test]
fn every_kind_of_fallback_asks_for_its_replicas() {
    let cases = [
        ("static", 2, 2),
        ("currentReplicas", 1, 5),
        ("currentReplicasIfHigher", 2, 5),
        ("currentReplicasIfLower", 1, 2),
    ];
    for (behavior, of_one, of_five) in cases {
        let fallback = json!({ "failureThreshold": 0, "replicas": 2, "behavior": behavior });
        let object = object(&json!({ "fallback": fallback }));
        let mut keda = Keda::new(&object);
        let mut wanted = |replicas| keda.metric(&object, 1, &failed(), replicas).unwrap() / 10.0;
        assert!((wanted(1) - f64::from(of_one)).abs() < 1e-9, "{behavior}");
        assert!((wanted(5) - f64::from(of_five)).abs() < 1e-9, "{behavior}");
    }
}

#[test]
fn a_busy_target_never_sleeps_on_an_error_unless_the_fallback_is_zero() {
    let safe = object(&json!({}));
    let mut keda = Keda::new(&safe);
    polled(&mut keda, &safe, [Ok(6), Ok(0)], 3, 0);
    for minute in 0..30 {
        assert_eq!(
            polled(&mut keda, &safe, [failed(), failed()], 3, minute),
            None
        );
    }
    let unsafe_one = object(&json!({ "fallback": { "failureThreshold": 100, "replicas": 0 } }));
    let mut keda = Keda::new(&unsafe_one);
    polled(&mut keda, &unsafe_one, [Ok(6), Ok(0)], 3, 0);
    assert_eq!(
        polled(&mut keda, &unsafe_one, [failed(), failed()], 3, 5),
        None
    );
    assert_eq!(
        polled(&mut keda, &unsafe_one, [failed(), failed()], 3, 6),
        Some(0),
        "the trap"
    );
}

#[test]
fn the_last_activity_stands_still_while_another_trigger_fails() {
    let object = object(&json!({ "fallback": { "failureThreshold": 100, "replicas": 1 } }));
    let mut keda = Keda::new(&object);
    polled(&mut keda, &object, [Ok(6), Ok(0)], 3, 0);
    assert_eq!(polled(&mut keda, &object, [Ok(6), failed()], 3, 9), None);
    assert_eq!(
        polled(&mut keda, &object, [Ok(0), Ok(0)], 3, 9),
        Some(0),
        "nine minutes after minute zero"
    );
}
