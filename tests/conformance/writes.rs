//! Writes: conditional upserts, tombstones, removals and scores, each followed by a look at what it left.

use contract::field;
use points::guard::{Guard, heads, tombstones_among};
use points::payload::include;
use points::point_id;
use points::store::selector;
use qdrant_client::qdrant::points_update_operation::{
    DeletePoints, DeleteVectors, Operation, PointStructList, SetPayload,
};
use qdrant_client::qdrant::{
    Condition, Filter, GetPoints, PointId, PointStruct, PointsUpdateOperation, UpdateBatchPoints,
    VectorsSelector,
};
use serde_json::{Value, json};

use super::Player;
use super::answer::{answer, points, updated};
use super::state::{VECTOR, VERSION, point, tombstone};

/// Order matters: each step finds what the ones before have left.
#[expect(
    clippy::too_many_lines,
    reason = "a list of requests is read from top to bottom"
)]
pub(super) async fn play(player: &mut Player<'_>, collection: &str) -> anyhow::Result<()> {
    let script: [(&str, Vec<Operation>, &[&str]); 15] = [
        (
            "newer version",
            vec![write(point("a", 0, VERSION + 1), VERSION + 1)],
            &["a"],
        ),
        (
            "same version",
            vec![write(point("b", 0, VERSION), VERSION)],
            &["b"],
        ),
        (
            "older version",
            vec![write(point("c", 0, VERSION - 1), VERSION - 1)],
            &["c"],
        ),
        (
            "older version of a missing point",
            vec![write(point("new", 0, 1), 1)],
            &["new"],
        ),
        (
            "newer, older and new in one request",
            vec![
                write(point("d", 0, VERSION + 2), VERSION + 2),
                write(point("d", 0, VERSION + 1), VERSION + 1),
                write(point("fresh", 0, 3), 3),
            ],
            &["d", "fresh"],
        ),
        ("tombstone", vec![bury("e", VERSION + 1)], &["e"]),
        ("vectors of the tombstone", vec![strip("e")], &["e"]),
        (
            "tombstone and its vectors in one request",
            vec![bury("f", VERSION + 1), strip("f")],
            &["f"],
        ),
        (
            "tombstone that is too old",
            vec![bury("g", VERSION - 1), strip("g")],
            &["g"],
        ),
        (
            "tombstone of the same version",
            vec![bury("h", VERSION), strip("h")],
            &["h"],
        ),
        (
            "write at the version of the tombstone",
            vec![write(point("h", 0, VERSION), VERSION)],
            &["h"],
        ),
        (
            "write after the tombstone",
            vec![write(point("h", 0, VERSION + 1), VERSION + 1)],
            &["h"],
        ),
        ("removal of a chunk", vec![remove("i")], &["i"]),
        (
            "score",
            vec![score("j", VERSION, "scores", "quality", json!([0.5]))],
            &["j"],
        ),
        (
            "score of another version",
            vec![score("k", VERSION + 1, "scores", "quality", json!([0.5]))],
            &["k"],
        ),
    ];
    for (request, operations, documents) in script {
        update(player, collection, request, operations).await;
        left(player, collection, request, documents).await;
    }
    let nothing = SetPayload {
        payload: [("probe".to_owned(), true.into())].into(),
        points_selector: Some(selector(Filter::must([Condition::has_id([
            PointId::from("00000000-0000-0000-0000-000000000000"),
        ])]))),
        ..SetPayload::default()
    };
    update(
        player,
        collection,
        "probe",
        vec![Operation::SetPayload(nothing)],
    )
    .await;
    update(player, collection, "no operation", Vec::new()).await;
    Ok(())
}

/// Sends operations, and notes the state of each.
pub(super) async fn update(
    player: &mut Player<'_>,
    collection: &str,
    request: &str,
    operations: Vec<Operation>,
) {
    let operation = |operation| PointsUpdateOperation {
        operation: Some(operation),
    };
    let batch = UpdateBatchPoints {
        collection_name: collection.to_owned(),
        wait: Some(true),
        operations: operations.into_iter().map(operation).collect(),
        ..UpdateBatchPoints::default()
    };
    let done = player.qdrant.update_points_batch(batch).await;
    player.note(request, answer(done, updated));
}

/// Notes the points of documents as they are now.
async fn left(player: &mut Player<'_>, collection: &str, request: &str, documents: &[&str]) {
    let ids = documents
        .iter()
        .flat_map(|doc_id| [0, 1].map(|chunk| PointId::from(point_id(doc_id, chunk).to_string())));
    let get = GetPoints {
        collection_name: collection.to_owned(),
        ids: ids.collect(),
        with_payload: Some(include(&[
            field::DOC_ID,
            field::CHUNK,
            field::VERSION,
            field::DELETED,
            "scores",
        ])),
        with_vectors: Some(true.into()),
        ..GetPoints::default()
    };
    let found = player.qdrant.get_points(get).await;
    let left = answer(found, |found| {
        let mut found = found.result;
        found.sort_by_key(|point| point.id.as_ref().map(points::payload::id_text));
        brief(points(&found))
    });
    player.note(&format!("{request}, and what is left"), left);
}

/// Of each vector only that it is there: what it holds is noted with the reads.
fn brief(points: Value) -> Value {
    let Value::Array(points) = points else {
        return points;
    };
    let brief = |mut point: Value| {
        let there = point["vectors"].get(VECTOR).is_some();
        point["vectors"] = json!(there);
        point
    };
    points.into_iter().map(brief).collect()
}

pub(super) fn write(point: PointStruct, version: u64) -> Operation {
    upsert(
        point,
        Guard {
            version,
            deletes: false,
        },
    )
}

fn bury(doc_id: &str, version: u64) -> Operation {
    upsert(
        tombstone(doc_id, version),
        Guard {
            version,
            deletes: true,
        },
    )
}

fn upsert(point: PointStruct, guard: Guard) -> Operation {
    Operation::Upsert(PointStructList {
        points: vec![point],
        update_filter: Some(guard.filter()),
        ..PointStructList::default()
    })
}

fn strip(doc_id: &str) -> Operation {
    let head = PointId::from(point_id(doc_id, 0).to_string());
    Operation::DeleteVectors(DeleteVectors {
        points_selector: Some(selector(tombstones_among([head]))),
        vectors: Some(VectorsSelector {
            names: vec![VECTOR.to_owned()],
        }),
        ..DeleteVectors::default()
    })
}

/// Removes all chunks of a document but its head.
fn remove(doc_id: &str) -> Operation {
    let of_document = Condition::matches(field::DOC_ID, doc_id.to_owned());
    let body = Filter {
        must: vec![of_document],
        must_not: heads().must,
        ..Filter::default()
    };
    Operation::DeletePoints(DeletePoints {
        points: Some(selector(body)),
        ..DeletePoints::default()
    })
}

fn score(doc_id: &str, version: u64, above: &str, name: &str, value: Value) -> Operation {
    let head = PointId::from(point_id(doc_id, 0).to_string());
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    let scored = Filter::must([
        Condition::has_id([head]),
        Condition::matches(field::VERSION, version),
    ]);
    Operation::SetPayload(SetPayload {
        payload: [(name.to_owned(), value.into())].into(),
        points_selector: Some(selector(scored)),
        key: Some(above.to_owned()),
        ..SetPayload::default()
    })
}
