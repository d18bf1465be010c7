//! What must hold of two replicas, whatever happens between any two requests.

use std::sync::{Arc, Mutex};

use futures::FutureExt as _;
use qdrant_client::qdrant::{CollectionConfig, CollectionInfo, CollectionParams};

use super::recorded::{schema, shown};
use super::replicated::{Fault, Replicated};
use super::tests::Job::{Delete, Write};
use super::tests::{Job, RIVALS, after};
use super::*;

fn replicas(factor: u32) -> Schema {
    let params = CollectionParams {
        replication_factor: Some(factor),
        ..CollectionParams::default()
    };
    let config = CollectionConfig {
        params: Some(params),
        ..CollectionConfig::default()
    };
    let replicas = Replicas::of(&CollectionInfo {
        config: Some(config),
        ..CollectionInfo::default()
    });
    Schema {
        replicas,
        ..schema()
    }
}

/// What is there, and what is done to it. Each leaves something to be removed, or brings something new.
const CHANGES: [(&[Job], Job); 7] = [
    (&[], Write(2, 3)),
    (&[Write(1, 5)], Write(2, 2)),
    (&[Write(1, 2)], Write(2, 5)),
    (&[Write(1, 5)], Write(2, 1)),
    (&[Write(1, 3)], Delete(2)),
    (&[Delete(1)], Write(2, 3)),
    (&[Write(3, 2)], Write(2, 5)),
];

/// Whether each replica holds what these jobs leave when nothing goes wrong.
fn are_right(store: &Replicated, jobs: &[Job]) -> Result<(), String> {
    let newest = jobs.iter().max_by_key(|job| job.rank()).unwrap();
    for replica in &store.replicas {
        let content = replica.content();
        let kept = |stored: &super::recorded::Stored| {
            let deleted = stored.payload.get(field::DELETED);
            stored.vector && deleted.and_then(|it| it.as_bool()) == Some(true)
        };
        if content.values().any(kept) {
            return Err("a tombstone has its vector".to_owned());
        }
        let found = shown(&content);
        if found != newest.outcome() {
            return Err(format!("{found:?}"));
        }
    }
    Ok(())
}

/// Does a job once more if it was not acknowledged.
fn redeliver(store: &Replicated, job: Job, done: bool, schema: &Schema) {
    if !done {
        job.run_with(store.points(), schema).unwrap();
    }
}

/// How many requests a job makes.
fn requests(start: &[Job], job: Job, schema: &Schema) -> usize {
    let whole = Replicated::new(&after(start, true), 0);
    job.run_with(whole.points(), schema).unwrap();
    whole.requests()
}

/// Tries a fault at each request of each change, at each replica; gives what was wrong afterwards.
fn wrong_after(
    schema: &Schema,
    fault: impl Fn(usize, usize) -> Fault,
    heal: impl Fn(&Replicated, usize),
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (start, job) in CHANGES {
        for at in 0..=requests(start, job, schema) {
            for (own, only, next) in [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 1, 0)] {
                let fault = fault(at, only);
                let store = Replicated::new(&after(start, true), own).with(fault);
                let done = job.run_with(store.points(), schema).is_ok();
                store.heal(next);
                heal(&store, own);
                redeliver(&store, job, done, schema);
                let jobs: Vec<_> = start.iter().copied().chain([job]).collect();
                if let Err(found) = are_right(&store, &jobs) {
                    wrong.push(format!("{start:?}, {job:?}, {fault:?}, {next}: {found}"));
                }
            }
        }
    }
    wrong
}

#[test]
fn what_a_node_acknowledges_that_is_cut_off_survives_its_replica() {
    let fault = |at, _| Fault::CutOff(at);
    let heal = |store: &Replicated, own| store.copy_over(own);
    let wrong = wrong_after(&replicas(2), fault, heal);
    assert!(wrong.is_empty(), "{wrong:#?}");
    let unconfirmed = wrong_after(&schema(), fault, heal);
    assert!(!unconfirmed.is_empty(), "nothing was lost without a look");
}

#[test]
fn a_write_that_has_left_one_replica_out_is_not_acknowledged_or_makes_no_difference() {
    for factor in [2, 3] {
        let wrong = wrong_after(&replicas(factor), Fault::LeftOut, |_, _| {});
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
    let unconfirmed = wrong_after(&schema(), Fault::LeftOut, |_, _| {});
    assert!(
        !unconfirmed.is_empty(),
        "nothing was left out without a look"
    );
}

#[test]
fn a_failure_between_the_replicas_is_repaired_by_the_next_delivery_through_either_node() {
    for factor in [2, 3] {
        let wrong = wrong_after(&replicas(factor), Fault::Broken, |_, _| {});
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
fn replicas_that_see_two_jobs_in_different_orders_end_the_same() {
    let two = replicas(2);
    let mut tried = 0;
    for (older, newer) in RIVALS {
        for (one, other) in [(older, newer), (newer, older)] {
            for start in [&[][..], &[Write(1, 5)], &[Delete(1)]] {
                for at in 0..=requests(start, one, &two) {
                    for (own, first) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                        let rival_done = Arc::new(Mutex::new(None));
                        let (told, schema) = (rival_done.clone(), two.clone());
                        let store = Replicated::new(&after(start, true), own);
                        let store = store.met_by(at, first, move |store| {
                            let done = other.run_with(store.points(), &schema).is_ok();
                            *told.lock().unwrap() = Some(done);
                        });
                        let done = one.run_with(store.points(), &two).is_ok();
                        let met = rival_done.lock().unwrap().unwrap_or(false);
                        redeliver(&store, other, met, &two);
                        redeliver(&store, one, done, &two);
                        let jobs: Vec<_> = start.iter().copied().chain([one, other]).collect();
                        let context = format!("{other:?} within {one:?} at {at} of {start:?}");
                        assert_eq!(are_right(&store, &jobs), Ok(()), "{context}");
                        tried += 1;
                    }
                }
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn one_replica_is_asked_as_if_there_were_no_others() {
    let one = replicas(1);
    assert!(!one.replicas.are_several() && replicas(2).replicas.are_several());
    for (start, job) in CHANGES {
        let store = Replicated::new(&after(start, true), 0).with(Fault::CutOff(0));
        job.run_with(store.points(), &one).unwrap();
        let asked = |replica: usize| store.replicas[replica].asked.lock().unwrap().clone();
        assert!(asked(1).is_empty(), "a read by several would have failed");
        assert!(!asked(0).iter().any(|name| name == "count"));
    }
}

#[test]
fn what_a_node_that_is_cut_off_says_of_the_collection_is_not_believed() {
    let ask = |store: &Replicated| {
        let schema = store.points().confirmed_schema();
        schema.now_or_never().unwrap()
    };
    let store = Replicated::new(&BTreeMap::new(), 0).with(Fault::CutOff(0));
    assert!(store.points().schema().now_or_never().unwrap().is_ok());
    assert!(ask(&store).is_err());
    store.heal(0);
    assert!(ask(&store).unwrap().replicas.are_several());
}
