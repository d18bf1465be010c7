//! The checker finds what it is there to find, and nothing where nothing is wrong.

use points::point_id;

use super::examples::{
    checked, delete, kinds, letter, point, points, poison, slice, tombstone, unknown, write,
};
use crate::final_state::{FinalState, Jobs, Letter, Point};
use crate::message::{Poison, run_name};
use crate::violation::Kind;

#[test]
fn what_is_as_published_is_no_violation() {
    let records = [
        write(1, 1, 3),
        slice(2, 3, 0..2, 4),
        slice(3, 3, 2..4, 4),
        write(4, 2, 1),
    ];
    let mut now = points(2, 3, 4);
    now.iter_mut()
        .skip(2)
        .for_each(|point| point.run = run_name(3));
    assert_eq!(kinds(&records, now, vec![]), []);
    assert_eq!(
        kinds(&[write(1, 1, 3), delete(2, 1)], vec![tombstone(1)], vec![]),
        []
    );
    let records = [write(1, 1, 1), poison(2, 2, Poison::LongText)];
    let letters = vec![letter(&records[1])];
    assert_eq!(kinds(&records, points(1, 1, 1), letters), []);
}

#[test]
fn a_publish_of_unknown_outcome_may_have_any_but_not_half() {
    let records = [write(1, 1, 2), unknown(write(2, 2, 3))];
    assert_eq!(kinds(&records, points(1, 1, 2), vec![]), []);
    assert_eq!(kinds(&records, points(2, 2, 3), vec![]), []);
    assert_eq!(
        kinds(&records, points(2, 2, 3)[..2].to_vec(), vec![]),
        [Kind::Lost]
    );
    let alone = [unknown(write(1, 1, 2))];
    assert_eq!(kinds(&alone, vec![], vec![]), []);
    assert_eq!(
        kinds(&alone, points(1, 1, 2)[..1].to_vec(), vec![]),
        [Kind::Invented]
    );
}

#[test]
fn what_is_missing_is_lost() {
    assert_eq!(kinds(&[write(1, 1, 2)], vec![], vec![]), [Kind::Lost]);
    assert_eq!(
        kinds(&[write(1, 1, 2)], points(1, 1, 2)[..1].to_vec(), vec![]),
        [Kind::Lost]
    );
    assert_eq!(
        kinds(&[write(1, 1, 2)], points(1, 1, 2)[1..].to_vec(), vec![]),
        [Kind::Lost]
    );
    assert_eq!(kinds(&[delete(1, 1)], vec![], vec![]), [Kind::Lost]);
    assert_eq!(
        kinds(&[poison(1, 1, Poison::BadJson)], vec![], vec![]),
        [Kind::Lost]
    );
    assert_eq!(
        kinds(&[delete(1, 1), write(2, 2, 1)], vec![tombstone(1)], vec![]),
        [Kind::Stale]
    );
}

#[test]
fn an_older_version_is_stale_and_so_is_an_older_chunk() {
    let records = [write(1, 1, 2), write(2, 2, 2)];
    assert_eq!(kinds(&records, points(1, 1, 2), vec![]), [Kind::Stale]);
    let mixed = vec![point(2, 2, 0, 2), point(1, 1, 1, 2)];
    assert_eq!(kinds(&records, mixed, vec![]), [Kind::Stale]);
    assert_eq!(
        kinds(&[delete(1, 1), delete(2, 2)], vec![tombstone(1)], vec![]),
        [Kind::Stale]
    );
}

#[test]
fn what_was_removed_is_resurrected() {
    let shrunk = [write(1, 1, 3), write(2, 2, 1)];
    let mut left = points(2, 2, 1);
    left.push(point(1, 1, 2, 3));
    assert_eq!(kinds(&shrunk, left, vec![]), [Kind::Resurrected]);
    let deleted = [write(1, 1, 2), delete(2, 2)];
    assert_eq!(
        kinds(&deleted, points(1, 1, 2), vec![]),
        [Kind::Resurrected]
    );
    assert_eq!(
        kinds(&deleted, vec![point(1, 1, 1, 2)], vec![]),
        [Kind::Resurrected]
    );
    let beside = vec![tombstone(2), point(1, 1, 1, 2)];
    assert_eq!(kinds(&deleted, beside, vec![]), [Kind::Resurrected]);
    let same = [write(1, 1, 2), delete(2, 1)];
    assert_eq!(kinds(&same, points(1, 1, 2), vec![]), [Kind::Resurrected]);
}

#[test]
fn a_chunk_or_a_dead_letter_twice_is_duplicated() {
    let mut twice = points(1, 1, 1);
    twice.push(Point {
        id: point_id("d1", 7).to_string(),
        ..point(1, 1, 0, 1)
    });
    let found = kinds(&[write(1, 1, 1)], twice, vec![]);
    assert!(found.contains(&Kind::Duplicated), "{found:?}");
    let record = poison(1, 1, Poison::BadJson);
    let letters = vec![letter(&record), letter(&record)];
    assert_eq!(kinds(&[record], vec![], letters), [Kind::Duplicated]);
}

#[test]
fn what_nobody_has_published_is_invented() {
    assert_eq!(kinds(&[], points(1, 1, 1), vec![]), [Kind::Invented]);
    assert_eq!(
        kinds(&[write(1, 1, 1)], points(1, 2, 1), vec![]),
        [Kind::Invented]
    );
    let mut other = points(1, 1, 1);
    other[0].text = "another text".to_owned();
    assert_eq!(kinds(&[write(1, 1, 1)], other, vec![]), [Kind::Invented]);
    // Poison has no points, whatever its version.
    let records = [poison(1, 1, Poison::LongText)];
    let letters = vec![letter(&records[0])];
    assert_eq!(kinds(&records, points(1, 1, 1), letters), [Kind::Invented]);
}

#[test]
fn dead_letters_are_for_jobs_that_cannot_be_done_and_say_why() {
    let sound = write(1, 1, 1);
    let found = kinds(
        std::slice::from_ref(&sound),
        points(1, 1, 1),
        vec![letter(&sound)],
    );
    assert_eq!(found, [Kind::WronglyDeadLettered]);
    let bad = poison(1, 1, Poison::BadJson);
    let other = Letter {
        cause: "too_long".to_owned(),
        ..letter(&bad)
    };
    let found = kinds(std::slice::from_ref(&bad), vec![], vec![other]);
    assert_eq!(found, [Kind::WronglyDeadLettered]);
    let changed = Letter {
        payload: b"another job".to_vec(),
        ..letter(&bad)
    };
    assert_eq!(
        kinds(std::slice::from_ref(&bad), vec![], vec![changed]),
        [Kind::Invented]
    );
    let leaky = Letter {
        reason: "xyzzy is not a job".to_owned(),
        ..letter(&bad)
    };
    assert_eq!(kinds(&[bad], vec![], vec![leaky]), [Kind::Leaked]);
}

#[test]
fn vectors_are_those_of_the_model() {
    let with = |vector: Option<Vec<f32>>| {
        let point = Point {
            vector,
            ..point(1, 1, 0, 1)
        };
        kinds(&[write(1, 1, 1)], vec![point], vec![])
    };
    assert_eq!(with(Some(vec![0.6, 0.8])), []);
    for bad in [
        vec![0.8, 0.6],
        vec![1.2, 1.6],
        vec![f32::NAN, 0.8],
        vec![0.6, 0.8, 0.0],
    ] {
        assert_eq!(with(Some(bad)), [Kind::BadVector]);
    }
    assert_eq!(with(None), [Kind::BadVector]);
    let without_words = Point {
        has_words: false,
        ..point(1, 1, 0, 1)
    };
    assert_eq!(
        kinds(&[write(1, 1, 1)], vec![without_words], vec![]),
        [Kind::BadVector]
    );
    let other = Point {
        fingerprint: "g".to_owned(),
        ..point(1, 1, 0, 1)
    };
    assert_eq!(
        kinds(&[write(1, 1, 1)], vec![other], vec![]),
        [Kind::BadVector]
    );
}

#[test]
fn jobs_that_are_left_are_named() {
    let jobs = Jobs {
        left: 2,
        pending: 0,
        some: vec![(1, Some(1))],
    };
    let found = FinalState {
        points: points(1, 1, 1),
        jobs,
        ..FinalState::default()
    };
    assert_eq!(checked(&[write(1, 1, 1)], &found), [Kind::NotDrained]);
}

#[test]
fn a_missing_or_foreign_attached_vector_is_found_unless_its_job_was_given_up() {
    let records = [write(1, 2, 2)];
    let with = |attached: Option<Vec<f32>>| {
        let mut points = points(1, 2, 2);
        points[1].attached = attached;
        points
    };
    assert_eq!(kinds(&records, with(None), vec![]), [Kind::Lost]);
    let foreign = with(Some(vec![0.8, 0.6]));
    assert_eq!(kinds(&records, foreign, vec![]), [Kind::BadVector]);
    let given_up = |version| FinalState {
        points: with(None),
        unattached: [(point_id("d1", 1).to_string(), version)].into(),
        ..FinalState::default()
    };
    assert_eq!(checked(&records, &given_up(2)), []);
    assert_eq!(checked(&records, &given_up(1)), [Kind::Lost]);
    let buried = Point {
        attached: Some(vec![0.6, 0.8]),
        ..tombstone(1)
    };
    let records = [delete(1, 1)];
    assert_eq!(kinds(&records, vec![buried], vec![]), [Kind::BadVector]);
}
