//! Refusals: writes that a server does not take, or takes in a way of its own.

use points::point_id;
use points::store::selector;
use qdrant_client::qdrant::points_update_operation::{DeleteVectors, Operation, PointStructList};
use qdrant_client::qdrant::{
    Condition, Filter, NamedVectors, PointStruct, UpsertPointsBuilder, VectorsSelector,
};

use super::Player;
use super::answer::answer;
use super::state::{DIMENSIONS, VECTOR, VERSION, point};
use super::writes::{update, write};

#[expect(
    clippy::too_many_lines,
    reason = "a list of requests is read from top to bottom"
)]
pub(super) async fn play(player: &mut Player<'_>, collection: &str) -> anyhow::Result<()> {
    let with = |named: NamedVectors| {
        let mut point = point("bad", 0, VERSION);
        point.vectors = Some(named.into());
        point
    };
    let bad = [
        (
            "wrong dimension",
            with(NamedVectors::default().add_vector(VECTOR, vec![0.5; DIMENSIONS - 1])),
        ),
        (
            "empty vector",
            with(NamedVectors::default().add_vector(VECTOR, Vec::<f32>::new())),
        ),
        (
            "unknown vector name",
            with(NamedVectors::default().add_vector("other", vec![0.5; DIMENSIONS])),
        ),
        (
            "id that is none",
            PointStruct {
                id: Some("no uuid".into()),
                ..point("bad", 0, VERSION)
            },
        ),
        (
            "point without id",
            PointStruct {
                id: None,
                ..point("bad", 0, VERSION)
            },
        ),
    ];
    for (request, point) in &bad {
        update(
            player,
            collection,
            request,
            vec![write(point.clone(), VERSION)],
        )
        .await;
    }
    let good = || write(point("after-bad", 0, VERSION), VERSION);
    let first = write(bad[0].1.clone(), VERSION);
    update(
        player,
        collection,
        "bad point before a good one",
        vec![first, good()],
    )
    .await;
    update(
        player,
        collection,
        "upsert of no points",
        vec![Operation::Upsert(PointStructList::default())],
    )
    .await;
    let unknown = DeleteVectors {
        points_selector: Some(selector(Filter::must([Condition::has_id([point_id(
            "l", 0,
        )
        .to_string()])]))),
        vectors: Some(VectorsSelector {
            names: vec!["other".to_owned()],
        }),
        ..DeleteVectors::default()
    };
    update(
        player,
        collection,
        "removal of an unknown vector",
        vec![Operation::DeleteVectors(unknown)],
    )
    .await;
    update(
        player,
        "no-such-collection",
        "write into a missing collection",
        vec![good()],
    )
    .await;
    // Whoever does not wait is told only that the operation is queued, and of some faults nothing.
    let waits_not = UpsertPointsBuilder::new(collection, vec![bad[0].1.clone()]).wait(false);
    let done = player.qdrant.upsert_points(waits_not).await;
    let done = answer(done, |done| {
        done.result.map(|it| it.status().as_str_name()).into()
    });
    player.note("wrong dimension without waiting", done);
    Ok(())
}
