//! Attached vectors: every point has those of its own version, whoever dies in between, and the alias serves meanwhile.

mod interrupted;
mod jobs;
mod kinds;
mod rebuilds;
mod refused;
mod scene;

use qdrant_client::qdrant::QueryPointsBuilder;
use serde_json::{Value, json};
use tests::flag;

use crate::rebuild::{qdrant, serving};
pub(crate) use scene::stage_from;
use scene::{NAME, Scene};

/// What the metadata of the serving collection list beside the words.
async fn listed(scene: &Scene, key: &str) -> anyhow::Result<Vec<Value>> {
    let info = qdrant(&scene.bed)?
        .collection_info(serving(&scene.bed).await?)
        .await?;
    let config = info.result.and_then(|info| info.config).unwrap_or_default();
    let listed = config
        .metadata
        .get(key)
        .cloned()
        .map_or(json!([]), Value::from);
    let listed = listed.as_array().cloned().unwrap_or_default();
    let of_models = listed
        .into_iter()
        .filter(|it| it["maker"]["model"].is_object());
    Ok(of_models.collect())
}

#[tokio::test]
async fn every_point_gets_the_vector_of_the_attached_model_and_so_does_what_is_written_later()
-> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.write_documents(12).await?;
    scene.bed.publish_removal("d3", 2).await?;
    scene.bed.drain().await?;

    let report = scene.attach(&[]).await?;
    let points = 11 * 2;
    assert_eq!(
        (&report["points"], &report["existed"]),
        (&json!(points), &json!(false))
    );
    let in_service = listed(&scene, "ebb_vectors").await?;
    assert_eq!(in_service.len(), 1, "{in_service:?}");
    assert_eq!(in_service[0]["maker"]["model"]["name"], "second");
    // Nobody serves the model: the alias is searched all the same, and what is missing is shown.
    let query = QueryPointsBuilder::new(scene.bed.stack.collection.as_str())
        .query(vec![0.1_f32; 32])
        .using("tiny");
    assert_eq!(qdrant(&scene.bed)?.query(query).await?.result.len(), 10);
    assert_eq!(scene.lacking().await?, points);
    let again = scene.attach(&[]).await?;
    assert_eq!(
        (&again["waiting"], &again["points"]),
        (&json!(true), &json!(0))
    );

    scene.drain_second().await?;
    scene.assert_complete(points).await?;
    assert_eq!(scene.lacking().await?, 0);

    scene
        .bed
        .publish_document("d0", 5, &["other", "texts", "and one more"])
        .await?;
    scene
        .bed
        .publish_document("new", 1, &["a new document"])
        .await?;
    scene.bed.publish_removal("d1", 5).await?;
    scene.bed.drain().await?;
    assert_eq!(
        scene.lacking().await?,
        4,
        "nobody has made the new ones yet"
    );
    scene.drain_second().await?;
    scene.assert_complete(points + 1 + 1 - 2).await?;
    let all = scene.bed.points().await?;
    let tombstone = &all[&("d1".to_owned(), 0)];
    assert!(flag(tombstone, "deleted") && scene::attached(tombstone).is_none());
    assert!(scene.bed.dead_letters().await?.is_empty());
    scene.bed.end().await
}

#[tokio::test]
async fn a_search_may_be_by_an_attached_vector() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.write_documents(12).await?;
    scene.bed.drain().await?;
    scene.attach(&[]).await?;
    scene.drain_second().await?;
    let worker = scene
        .bed
        .stack
        .worker("asked", &["--model", &scene.second])
        .await?;
    let search = [
        "search",
        "chunk 1 of 7 at 1",
        "--mode",
        "dense",
        "--json",
        "--model",
    ];
    let by = [
        &search[..],
        &[&scene.second, "--vector", NAME, "--collection"],
    ]
    .concat();
    let found = scene
        .indexer(&[&by[..], &[&scene.bed.stack.collection]].concat())
        .await?;
    let found: Value = serde_json::from_str(&found)?;
    assert_eq!(found["hits"][0]["text"], "chunk 1 of 7 at 1", "{found}");
    assert!(worker.process.terminate().await?.success());
    let unknown = [&search[..], &[&scene.second, "--vector", "nothing"]].concat();
    let unknown = scene.refused(&unknown).await?;
    assert!(unknown.contains("attached are: second"), "{unknown}");
    scene.bed.end().await
}

#[tokio::test]
async fn a_detached_vector_is_gone_with_its_jobs_and_its_name_stays_that_of_its_model()
-> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.write_documents(4).await?;
    scene.bed.drain().await?;
    scene.attach(&[]).await?;
    scene.drain_second().await?;
    scene.write_documents_at(4, 2).await?;
    scene.bed.drain().await?;

    let detached = scene
        .indexer(&["detach", "--vector", NAME, "--json"])
        .await?;
    let detached: Value = serde_json::from_str(&detached)?;
    assert!(detached["discarded"].as_u64() > Some(0), "{detached}");
    assert!(listed(&scene, "ebb_vectors").await?.is_empty());
    assert_eq!(listed(&scene, "ebb_reserved_vectors").await?.len(), 1);
    let points = scene.bed.points().await?;
    assert!(
        points
            .values()
            .all(|point| scene::attached(point).is_none())
    );
    // Whoever is late finds nothing to do, and is not to blame.
    scene
        .publish_attach(&json!([{ "point": scene::point("d0", 0), "text": "late" }]))
        .await?;
    scene.drain_second().await?;
    assert!(scene.bed.dead_letters().await?.is_empty());
    scene.write_documents_at(4, 3).await?;
    scene.bed.drain().await?;

    let refused = scene
        .refused(&["attach", "--model", &scene.third, "--as", NAME])
        .await?;
    assert!(refused.contains("belongs to model `second`"), "{refused}");
    let report = scene.attach(&[]).await?;
    assert_eq!(report["points"], 8, "{report}");
    scene.drain_second().await?;
    scene.assert_complete(8).await?;
    scene.bed.end().await
}

#[tokio::test]
async fn several_vectors_are_handed_on_side_by_side() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.attach(&[]).await?;
    scene
        .indexer(&["provision", "--lanes", "--model", &scene.third])
        .await?;
    scene
        .indexer(&["attach", "--model", &scene.third, "--as", "other"])
        .await?;
    scene.write_documents(3).await?;
    scene.bed.drain().await?;
    scene.drain_second().await?;
    scene.drain_model(&scene.third).await?;
    scene.assert_complete(6).await?;
    for point in scene.bed.points().await?.values() {
        let third = points::payload::vector(point, "other");
        let primary = points::payload::vector(point, "tiny");
        assert!(
            third.is_some() && third != primary,
            "the third model reads a prompt"
        );
    }
    scene.bed.end().await
}
