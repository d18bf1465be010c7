mod copied;

use std::collections::BTreeMap;

use contract::digest::Digest;
use contract::embedding::Embedding;
use contract::job::{Chunk, Document};
use futures::FutureExt as _;
use qdrant_client::qdrant::{PointId, PointStruct, UpdateStatus};

use super::recorded::{MODEL, Recorded, Stored, schema, shown};
use super::*;
use crate::change::Kind;

/// What a job does to the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Writes a version of so many chunks.
    Write(u64, u32),
    /// Deletes a version and all before it.
    Delete(u64),
}

use Job::{Delete, Write};

impl Job {
    /// Does the job. The recorded store never waits.
    fn run(self, store: &Recorded) -> Result<Written, PointsError> {
        self.run_with(store.points(), &schema())
    }

    /// Does it in a collection with so many replicas.
    pub(super) fn run_with(
        self,
        points: Points<'_, impl Store>,
        schema: &Schema,
    ) -> Result<Written, PointsError> {
        let (version, chunks) = match self {
            Write(version, chunks) => (version, chunks),
            Delete(version) => (version, 0),
        };
        let document = document(chunks);
        let vectors = vec![Embedding::Dense(vec![0.6, 0.8]); chunks as usize];
        let kind = match self {
            Write(..) => Kind::Write {
                document: &document,
                vectors: &vectors,
            },
            Delete(_) => Kind::Delete,
        };
        let change = Change {
            doc_id: "d",
            version,
            run: None,
            kind,
        };
        let stamp = stamp();
        let applied = points.apply(vec![change], &stamp, schema);
        applied.now_or_never().expect("nothing is waited for")
    }

    /// What is there when it was the only job.
    pub(super) fn outcome(self) -> Vec<(u64, u64, bool)> {
        match self {
            Write(version, chunks) => (0..chunks.into())
                .map(|chunk| (chunk, version, false))
                .collect(),
            Delete(version) => vec![(0, version, true)],
        }
    }

    /// Who should win: the newer, and of one version the delete.
    pub(super) fn rank(self) -> (u64, bool) {
        match self {
            Write(version, _) => (version, false),
            Delete(version) => (version, true),
        }
    }
}

fn document(chunks: u32) -> Document {
    let chunk = |index| Chunk {
        index: Some(index),
        text: format!("text {index}"),
        ..Chunk::default()
    };
    Document {
        id: "d".to_owned(),
        total: Some(chunks),
        chunks: (0..chunks).map(chunk).collect(),
        ..Document::default()
    }
}

fn stamp() -> WriteStamp {
    WriteStamp {
        model: MODEL.parse().unwrap(),
        fingerprint: Digest::of(b"model"),
        indexed_at: "2026-01-01T00:00:00Z".to_owned(),
        run: None,
    }
}

/// Both kinds of servers, with and without limits.
fn stores() -> [Recorded; 4] {
    KINDS.map(|(merges, limited)| store(merges, limited))
}

fn store(merges: bool, limited: bool) -> Recorded {
    let limits = if limited {
        Limits::tight()
    } else {
        Limits::default()
    };
    Recorded::new(merges).limited(limits)
}

/// What a store holds after these jobs, one after the other.
pub(super) fn after(jobs: &[Job], merges: bool) -> BTreeMap<String, Stored> {
    let store = Recorded::new(merges);
    for job in jobs {
        job.run(&store).unwrap();
    }
    store.content()
}

/// Whether a server merges, and whether its collection has limits.
const KINDS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// Pairs of jobs in which one leaves something that the other must not.
pub(super) const RIVALS: [(Job, Job); 8] = [
    (Write(1, 3), Write(2, 1)),
    (Write(1, 1), Write(2, 3)),
    (Write(1, 3), Delete(2)),
    (Delete(1), Write(2, 3)),
    (Write(1, 3), Delete(1)),
    (Delete(1), Delete(2)),
    (Write(2, 3), Write(2, 3)),
    (Write(1, 2), Write(3, 2)),
];

/// A document of so many chunks in slices of so many.
fn slices(total: u32, size: usize) -> Vec<Document> {
    let whole = document(total);
    let slice = |chunks: &[Chunk]| Document {
        chunks: chunks.to_vec(),
        ..whole.clone()
    };
    whole.chunks.chunks(size).map(slice).collect()
}

#[test]
fn of_two_documents_of_one_version_in_a_batch_the_later_one_is_whole() {
    for (first, second, size) in [(1, 6, 6), (6, 1, 6), (3, 3, 3), (2, 7, 3), (7, 2, 3)] {
        for store in stores() {
            let documents = [slices(first, size), slices(second, size)].concat();
            let vectors = vec![Embedding::Dense(vec![0.6, 0.8]); size];
            let change = |document| Change {
                doc_id: "d",
                version: 4,
                run: None,
                kind: Kind::Write {
                    document,
                    vectors: &vectors,
                },
            };
            let changes = documents.iter().map(change).collect();
            let stamp = stamp();
            let written = store
                .points()
                .apply(changes, &stamp, &schema())
                .now_or_never();
            let written = written.unwrap().unwrap();
            let case = format!("{first} chunks, then {second} in slices of {size}");
            assert_eq!(
                shown(&store.content()),
                Write(4, second).outcome(),
                "{case}"
            );
            assert_eq!(written.superseded > 0, first != second, "{case}");
        }
    }
}

#[test]
fn whatever_the_order_of_jobs_the_newest_is_there_and_nothing_else() {
    for (older, newer) in RIVALS {
        for store in stores() {
            older.run(&store).unwrap();
            newer.run(&store).unwrap();
            assert_eq!(
                shown(&store.content()),
                newer.outcome(),
                "{older:?}, {newer:?}"
            );
        }
        for store in stores() {
            newer.run(&store).unwrap();
            let late = older.run(&store).unwrap();
            assert_eq!(
                shown(&store.content()),
                newer.outcome(),
                "{newer:?}, {older:?}"
            );
            let lost = usize::from(older.rank() < newer.rank());
            assert_eq!(late.superseded, lost, "{newer:?}, {older:?}");
        }
    }
}

#[test]
fn whoever_comes_in_between_any_two_steps_the_newest_is_there_and_nothing_else() {
    let mut tried = 0;
    for (older, newer) in RIVALS {
        for (first, second) in [(older, newer), (newer, older)] {
            for (merges, limited) in KINDS {
                for start in [vec![], vec![Write(1, 5)], vec![Delete(1)]] {
                    let start = after(&start, merges);
                    let alone = store(merges, limited).with_points(start.clone());
                    first.run(&alone).unwrap();
                    for step in 0..=alone.steps() {
                        let store = store(merges, limited).with_points(start.clone());
                        let store = store.interrupted_after(step, move |store| {
                            second.run(store).unwrap();
                        });
                        first.run(&store).unwrap();
                        if step == alone.steps() {
                            second.run(&store).unwrap();
                        }
                        let context = format!("{second:?} within {first:?} at {step}");
                        assert_eq!(shown(&store.content()), newest(&start, newer), "{context}");
                        tried += 1;
                    }
                }
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

/// The delete of version 1 wins over the write of version 1.
fn newest(start: &BTreeMap<String, Stored>, newer: Job) -> Vec<(u64, u64, bool)> {
    let is_tombstone = shown(start) == [(0, 1, true)];
    if is_tombstone && newer.rank() < (1, true) {
        return Delete(1).outcome();
    }
    newer.outcome()
}

#[test]
fn a_death_between_any_two_steps_is_repaired_by_the_next_delivery() {
    for (merges, limited) in KINDS {
        for (start, job) in [
            (Write(1, 5), Write(2, 2)),
            (Write(1, 2), Write(2, 5)),
            (Write(1, 3), Delete(2)),
            (Delete(1), Write(2, 3)),
        ] {
            let start = after(&[start], merges);
            let whole = store(merges, limited).with_points(start.clone());
            job.run(&whole).unwrap();
            for steps in 0..whole.steps() {
                let dying = store(merges, limited)
                    .with_points(start.clone())
                    .dying_after(steps);
                job.run(&dying).unwrap_err();
                let next = store(merges, limited).with_points(dying.content());
                job.run(&next).unwrap();
                assert_eq!(
                    shown(&next.content()),
                    job.outcome(),
                    "{job:?} died after {steps}"
                );
            }
        }
    }
}

#[test]
fn a_death_in_between_and_a_rival_before_the_next_delivery_leave_the_newest() {
    for (merges, limited) in KINDS {
        for (older, newer) in RIVALS {
            for (first, second) in [(older, newer), (newer, older)] {
                let whole = store(merges, limited);
                first.run(&whole).unwrap();
                for steps in 0..whole.steps() {
                    let dying = store(merges, limited).dying_after(steps);
                    first.run(&dying).unwrap_err();
                    let next = store(merges, limited).with_points(dying.content());
                    second.run(&next).unwrap();
                    first.run(&next).unwrap();
                    let context = format!("{first:?} died after {steps}, then {second:?}");
                    assert_eq!(shown(&next.content()), newer.outcome(), "{context}");
                }
            }
        }
    }
}

#[test]
fn the_steps_are_asked_in_their_order() {
    let store = Recorded::new(true);
    Write(1, 2).run(&store).unwrap();
    let asked = store.asked.lock().unwrap().clone();
    // Heads, heads written, heads; bodies written, leftovers looked for, heads.
    assert_eq!(asked, ["get", "upsert", "get", "upsert", "scroll", "get"]);

    let store = store.with_points(after(&[Write(1, 2)], true));
    store.asked.lock().unwrap().clear();
    Delete(2).run(&store).unwrap();
    let asked = store.asked.lock().unwrap().clone();
    let expected = [
        "get",
        "upsert",
        "delete_vectors",
        "get",
        "scroll",
        "delete",
        "get",
    ];
    assert_eq!(asked, expected);
}

#[test]
fn versions_of_one_document_in_one_batch_end_with_the_newest() {
    for store in stores() {
        let documents: Vec<_> = [2, 5, 1].map(document).into();
        let vectors = vec![Embedding::Dense(vec![0.6, 0.8]); 5];
        let changes = documents
            .iter()
            .zip([7, 5, 6])
            .map(|(document, version)| Change {
                doc_id: "d",
                version,
                run: None,
                kind: Kind::Write {
                    document,
                    vectors: &vectors[..document.chunks.len()],
                },
            });
        let (stamp, schema) = (stamp(), schema());
        let written = store.points().apply(changes.collect(), &stamp, &schema);
        let written = written.now_or_never().unwrap().unwrap();
        assert_eq!(written.superseded, 2);
        assert_eq!(shown(&store.content()), Write(7, 2).outcome());
    }
}

#[test]
fn a_slice_without_the_head_removes_nothing() {
    let store = Recorded::new(false);
    Write(1, 5).run(&store).unwrap();
    let mut document = document(5);
    document.chunks = document.chunks.split_off(3);
    let vectors = vec![Embedding::Dense(vec![0.6, 0.8]); 2];
    let change = Change {
        doc_id: "d",
        version: 2,
        run: None,
        kind: Kind::Write {
            document: &document,
            vectors: &vectors,
        },
    };
    let applied = store
        .points()
        .apply(vec![change], &stamp(), &schema())
        .now_or_never();
    applied.unwrap().unwrap();
    let versions: Vec<_> = shown(&store.content()).iter().map(|it| it.1).collect();
    assert_eq!(versions, [1, 1, 1, 2, 2]);
}

#[test]
fn a_write_that_is_not_completed_is_an_error_and_nothing_follows_it() {
    for status in [UpdateStatus::Acknowledged, UpdateStatus::WaitTimeout] {
        let store = Recorded::new(false).answering(status);
        let error = Write(1, 2).run(&store).unwrap_err();
        assert!(matches!(error, PointsError::NotCompleted { .. }), "{error}");
        assert_eq!(*store.asked.lock().unwrap(), ["get", "upsert"]);
    }
}

#[test]
fn points_are_counted_where_no_exact_count_is_allowed() {
    for store in stores() {
        Write(1, 7).run(&store).unwrap();
        let count = store.points().count(Filter::default());
        assert_eq!(count.now_or_never().unwrap().unwrap(), 7);
        let ids = (0..7).map(|chunk| crate::point_id("d", chunk).to_string());
        let found = store.points().get(ids, &[]).now_or_never();
        assert_eq!(found.unwrap().unwrap().len(), 7);
    }
}

#[test]
fn a_document_is_written_in_as_many_requests_as_the_limits_ask_for() {
    let steps = |store: Recorded| {
        Write(1, 120).run(&store).unwrap();
        let asked = store.asked.lock().unwrap();
        asked.iter().filter(|step| **step == "upsert").count()
    };
    assert_eq!(steps(store(true, false)), 2);
    assert_eq!(steps(store(true, true)), 120);
}

#[test]
fn pages_go_on_to_the_last_point() {
    let store = Recorded::new(false);
    Write(1, 7).run(&store).unwrap();
    let mut pages = store.points().pages(Filter::default(), &[field::CHUNK], 3);
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().now_or_never().unwrap().unwrap() {
        sizes.push(page.len());
    }
    assert_eq!(sizes, [3, 3, 1]);
}
