use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use serde_json::json;

use super::*;

fn score(version: Option<u64>, field: &str) -> SetPayload {
    let addition = Addition {
        point: "7",
        version,
        digest: None,
        head: None,
        made: AdditionValue::Score {
            field: field.parse().unwrap(),
            value: json!(0.5),
        },
    };
    let Some(Operation::SetPayload(set)) = operations(&[&addition]).pop() else {
        panic!("a score sets a field");
    };
    set
}

fn vector(point: &'static str, version: Option<u64>) -> Addition<'static> {
    Addition {
        point,
        version,
        digest: None,
        head: Some("1"),
        made: AdditionValue::Vector {
            name: "other".to_owned(),
            vector: vec![1.0].into(),
        },
    }
}

fn found(version: u64, deletes: bool) -> ExistingPoint {
    ExistingPoint {
        guard: Guard { version, deletes },
        digest: None,
    }
}

#[test]
fn a_score_asks_for_its_point_in_the_version_that_was_scored() {
    let set = score(Some(5), "scores.m");
    let expected = Filter {
        must: vec![
            Condition::has_id([PointId::from(7)]),
            Condition::matches(field::VERSION, 5),
        ],
        must_not: vec![Condition::matches(field::DELETED, true)],
        ..Filter::default()
    };
    let selector = set.points_selector.unwrap().points_selector_one_of;
    assert_eq!(selector, Some(PointsSelectorOneOf::Filter(expected)));
    assert_eq!(set.key.as_deref(), Some("scores"));
    assert_eq!(set.payload["m"], Value::from(0.5));
    assert_eq!(score(None, "relevance").key, None);
}

#[test]
fn vectors_of_one_version_travel_together_on_condition_of_it() {
    let all = [
        vector("1", Some(5)),
        vector("2", Some(5)),
        vector("3", Some(6)),
    ];
    let made = operations(&all.iter().collect::<Vec<_>>());
    let made: Vec<_> = made
        .into_iter()
        .filter_map(|operation| {
            let Operation::UpdateVectors(update) = operation else {
                return None;
            };
            Some((update.points.len(), update.update_filter.unwrap().must))
        })
        .collect();
    let of = |version: i64| vec![Condition::matches(field::VERSION, version)];
    assert_eq!(made, [(2, of(5)), (1, of(6))]);
}

#[test]
fn a_vector_of_another_text_of_the_same_version_is_superseded() {
    use PointState::{Due, Early, Superseded};
    let (ours, other) = (Digest::of(b"ours"), Digest::of(b"other"));
    let there = |version, digest: Option<&Digest>| ExistingPoint {
        digest: digest.map(ToString::to_string),
        ..found(version, false)
    };
    let of = |version| Addition {
        digest: Some(ours.clone()),
        ..vector("2", version)
    };
    for (version, there, expected) in [
        (Some(5), there(5, Some(&ours)), Due),
        (Some(5), there(5, Some(&other)), Superseded),
        (Some(5), there(5, None), Due),
        (Some(5), there(4, Some(&other)), Early),
        (Some(5), there(6, Some(&ours)), Superseded),
        (None, there(5, Some(&ours)), Due),
        (None, there(5, Some(&other)), Superseded),
    ] {
        let standing = of(version).state(Some(&there), None);
        assert_eq!(standing, expected, "{version:?} {there:?}");
    }
    let any = vector("2", Some(5));
    assert_eq!(any.state(Some(&there(5, Some(&other))), None), Due);
}

#[test]
fn vectors_are_written_on_condition_of_the_text_of_each_point() {
    let of = |point, text: &str| Addition {
        digest: Some(Digest::of(text.as_bytes())),
        ..vector(point, Some(5))
    };
    let all = [of("1", "one"), of("2", "two"), vector("3", Some(5))];
    let made = operations(&all.iter().collect::<Vec<_>>());
    let conditions: Vec<_> = made
        .into_iter()
        .filter_map(|operation| {
            let Operation::UpdateVectors(update) = operation else {
                return None;
            };
            Some((update.points.len(), update.update_filter?.should))
        })
        .collect();
    let has = |point: u64, text: &str| {
        Condition::from(Filter::must([
            Condition::has_id([PointId::from(point)]),
            Condition::matches(field::DIGEST, Digest::of(text.as_bytes()).to_string()),
        ]))
    };
    let unknown = Condition::is_empty(field::DIGEST);
    let expected = vec![unknown, has(1, "one"), has(2, "two")];
    assert_eq!(conditions, [(2, expected), (1, Vec::new())]);
}

#[test]
fn a_vector_is_due_superseded_or_early_by_its_point_and_the_head_of_its_document() {
    use PointState::{Due, Early, Superseded};
    let write = |version| found(version, false);
    let delete = |version| found(version, true);
    let it = vector("2", Some(5));
    for (there, head, expected) in [
        (Some(write(5)), None, Due),
        (Some(write(6)), None, Superseded),
        (Some(delete(5)), None, Superseded),
        (Some(write(4)), None, Early),
        (Some(delete(4)), None, Early),
        (Some(write(4)), Some(write(6)), Superseded),
        (None, None, Early),
        (None, Some(write(5)), Early),
        (None, Some(write(6)), Superseded),
        (None, Some(delete(5)), Superseded),
        (None, Some(write(4)), Early),
    ] {
        let found = it.state(there.as_ref(), head.as_ref());
        assert_eq!(found, expected, "{there:?} {head:?}");
    }
    let unexpected = Addition { head: None, ..it };
    assert_eq!(unexpected.state(None, None), Superseded);
    assert_eq!(vector("2", None).state(Some(&write(9)), None), Due);
}

#[test]
fn a_request_holds_what_fits_and_one_addition_at_least() {
    let large = Addition {
        made: AdditionValue::Vector {
            name: "other".to_owned(),
            vector: vec![0.0_f32; BYTES_PER_REQUEST / 3].into(),
        },
        ..vector("1", None)
    };
    let all = [large.clone(), vector("2", None), vector("3", None), large];
    assert_eq!(first_request(&all, 128), 1, "too large for any other");
    assert_eq!(first_request(&all[1..], 128), 2);
    assert_eq!(first_request(&all[1..], 1), 1);
}
