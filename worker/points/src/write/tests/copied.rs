//! Points that are taken over from another collection obey the same rules.

use super::*;

/// A point that is taken over.
struct Taken {
    guard: Guard,
    point: PointStruct,
    bytes: usize,
}

impl Draft for Taken {
    fn guard(&self) -> Guard {
        self.guard
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn point(&self) -> PointStruct {
        self.point.clone()
    }

    fn ids(&self) -> (String, PointId) {
        ("d".to_owned(), self.point.id.clone().unwrap())
    }
}

fn taken(job: Job) -> Vec<Taken> {
    let stamp = stamp();
    let guard = Guard {
        version: job.rank().0,
        deletes: job.rank().1,
    };
    let points = match job {
        Write(version, chunks) => {
            let document = document(chunks);
            let point = |chunk| {
                crate::point::chunk_point(&stamp, &document, chunk, version, vec![0.6, 0.8].into())
            };
            document.chunks.iter().map(point).collect()
        }
        Delete(version) => vec![crate::point::tombstone(&stamp, "d", version)],
    };
    points
        .into_iter()
        .map(|point| Taken {
            guard,
            point,
            bytes: 1,
        })
        .collect()
}

#[test]
fn points_that_are_taken_over_obey_the_same_rules() {
    for (older, newer) in RIVALS {
        for (first, second) in [(older, newer), (newer, older)] {
            for store in stores() {
                first.run(&store).unwrap();
                let points = store.points();
                let drafts = taken(second);
                points
                    .copy(&drafts, &schema())
                    .now_or_never()
                    .unwrap()
                    .unwrap();
                points
                    .clean(&["d"], &schema())
                    .now_or_never()
                    .unwrap()
                    .unwrap();
                let context = format!("{second:?} is copied after {first:?}");
                assert_eq!(shown(&store.content()), newer.outcome(), "{context}");
            }
        }
    }
}

#[test]
fn cleaning_repairs_a_tombstone_whose_writer_died_before_its_vectors_were_removed() {
    let start = after(&[Write(1, 3)], true);
    let whole = Recorded::new(true).with_points(start.clone());
    let copied = whole
        .points()
        .copy(&taken(Delete(2)), &schema())
        .now_or_never();
    copied.unwrap().unwrap();
    for steps in 0..whole.steps() {
        let dying = Recorded::new(true)
            .with_points(start.clone())
            .dying_after(steps);
        let copied = dying
            .points()
            .copy(&taken(Delete(2)), &schema())
            .now_or_never();
        copied.unwrap().unwrap_err();
        let next = Recorded::new(true).with_points(dying.content());
        let is_there = next.content().values().any(|point| {
            let deleted = point.payload.get("deleted");
            deleted.and_then(qdrant_client::qdrant::Value::as_bool) == Some(true)
        });
        next.points()
            .clean(&["d"], &schema())
            .now_or_never()
            .unwrap()
            .unwrap();
        let expected = if is_there { Delete(2) } else { Write(1, 3) };
        assert_eq!(
            shown(&next.content()),
            expected.outcome(),
            "died after {steps}"
        );
    }
}

#[test]
fn cleaning_cuts_a_document_that_was_written_again_under_its_version_and_is_shorter() {
    let store = Recorded::new(false);
    Write(1, 4).run(&store).unwrap();
    let points = store.points();
    points
        .copy(&taken(Write(1, 2)), &schema())
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(shown(&store.content()).len(), 4);
    points
        .clean(&["d"], &schema())
        .now_or_never()
        .unwrap()
        .unwrap();
    assert_eq!(shown(&store.content()), Write(1, 2).outcome());
}

#[test]
fn requests_are_cut_by_points_and_by_bytes_and_older_versions_come_first() {
    let draft = |version, bytes| {
        let mut draft = taken(Write(version, 1)).remove(0);
        draft.bytes = bytes;
        draft
    };
    let sizes = |drafts: &[Taken]| -> Vec<Vec<(u64, usize)>> {
        let requests = requests(drafts, Limits::default(), false).into_iter();
        let operations = requests.map(|request| {
            let operations = request.into_iter();
            operations
                .map(|(guard, drafts)| (guard.version, drafts.len()))
                .collect()
        });
        operations.collect()
    };
    let many: Vec<_> = (0..300).map(|n| draft(2 - n % 2, 1)).collect();
    assert_eq!(
        sizes(&many),
        [vec![(1, 128)], vec![(1, 22), (2, 106)], vec![(2, 44)]]
    );
    let large = [
        draft(1, 3 << 20),
        draft(1, 3 << 20),
        draft(1, 9 << 20),
        draft(1, 1),
    ];
    assert_eq!(
        sizes(&large),
        [vec![(1, 1)], vec![(1, 1)], vec![(1, 1)], vec![(1, 1)]]
    );
    assert!(sizes(&[]).is_empty());
}
