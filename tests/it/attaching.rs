//! Attached vectors: every point has those of its own version, whoever dies in between, and the alias serves meanwhile.

mod interrupted;
mod jobs;
mod kept;
mod kinds;
mod rebuilds;
mod refused;
mod setup;

use qdrant_client::qdrant::QueryPointsBuilder;
use serde_json::{Value, json};
use tests::flag;

use crate::rebuild::{qdrant, serving};
pub(crate) use setup::stage_from;
use setup::{NAME, Setup};

/// What the metadata of the serving collection list beside the words.
async fn listed(setup: &Setup, key: &str) -> anyhow::Result<Vec<Value>> {
    let info = qdrant(&setup.bed)?
        .collection_info(serving(&setup.bed).await?)
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
    let setup = Setup::start().await?;
    setup.write_documents(12).await?;
    setup.bed.publish_removal("d3", 2).await?;
    setup.bed.drain().await?;

    let report = setup.attach(&[]).await?;
    let points = 11 * 2;
    assert_eq!(
        (&report["points"], &report["existed"]),
        (&json!(points), &json!(false))
    );
    let in_service = listed(&setup, "ebb_vectors").await?;
    assert_eq!(in_service.len(), 1, "{in_service:?}");
    assert_eq!(in_service[0]["maker"]["model"]["name"], "second");
    // Nobody serves the model: the alias is searched all the same, and what is missing is shown.
    let query = QueryPointsBuilder::new(setup.bed.stack.collection.as_str())
        .query(vec![0.1_f32; 32])
        .using("tiny");
    assert_eq!(qdrant(&setup.bed)?.query(query).await?.result.len(), 10);
    assert_eq!(setup.lacking().await?, points);
    let again = setup.attach(&[]).await?;
    assert_eq!(
        (&again["waiting"], &again["points"]),
        (&json!(true), &json!(0))
    );

    setup.drain_second().await?;
    setup.assert_complete(points).await?;
    assert_eq!(setup.lacking().await?, 0);

    setup
        .bed
        .publish_document("d0", 5, &["other", "texts", "and one more"])
        .await?;
    setup
        .bed
        .publish_document("new", 1, &["a new document"])
        .await?;
    setup.bed.publish_removal("d1", 5).await?;
    setup.bed.drain().await?;
    assert_eq!(
        setup.lacking().await?,
        4,
        "nobody has made the new ones yet"
    );
    setup.drain_second().await?;
    setup.assert_complete(points + 1 + 1 - 2).await?;
    let all = setup.bed.points().await?;
    let tombstone = &all[&("d1".to_owned(), 0)];
    assert!(flag(tombstone, "deleted") && setup::attached(tombstone).is_none());
    assert!(setup.bed.dead_letters().await?.is_empty());
    setup.bed.end().await
}

#[tokio::test]
async fn a_search_may_be_by_an_attached_vector() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.write_documents(12).await?;
    setup.bed.drain().await?;
    setup.attach(&[]).await?;
    setup.drain_second().await?;
    let worker = setup
        .bed
        .stack
        .worker("asked", &["--model", &setup.second])
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
        &[&setup.second, "--vector", NAME, "--collection"],
    ]
    .concat();
    let found = setup
        .indexer(&[&by[..], &[&setup.bed.stack.collection]].concat())
        .await?;
    let found: Value = serde_json::from_str(&found)?;
    assert_eq!(found["hits"][0]["text"], "chunk 1 of 7 at 1", "{found}");
    assert!(worker.process.terminate().await?.success());
    let unknown = [&search[..], &[&setup.second, "--vector", "nothing"]].concat();
    let unknown = setup.refused(&unknown).await?;
    assert!(unknown.contains("attached are: second"), "{unknown}");
    setup.bed.end().await
}

#[tokio::test]
async fn a_detached_vector_is_gone_with_its_jobs_and_its_name_stays_that_of_its_model()
-> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.write_documents(4).await?;
    setup.bed.drain().await?;
    setup.attach(&[]).await?;
    setup.drain_second().await?;
    setup.write_documents_at(4, 2).await?;
    setup.bed.drain().await?;

    let detached = setup
        .indexer(&["detach", "--vector", NAME, "--json"])
        .await?;
    let detached: Value = serde_json::from_str(&detached)?;
    assert!(detached["discarded"].as_u64() > Some(0), "{detached}");
    assert!(listed(&setup, "ebb_vectors").await?.is_empty());
    assert_eq!(listed(&setup, "ebb_reserved_vectors").await?.len(), 1);
    let points = setup.bed.points().await?;
    assert!(
        points
            .values()
            .all(|point| setup::attached(point).is_none())
    );
    // Whoever is late finds nothing to do, and is not to blame.
    setup
        .publish_attach(&json!([{ "point": setup::point("d0", 0), "text": "late" }]))
        .await?;
    setup.drain_second().await?;
    assert!(setup.bed.dead_letters().await?.is_empty());
    setup.write_documents_at(4, 3).await?;
    setup.bed.drain().await?;

    let refused = setup
        .refused(&["attach", "--model", &setup.third, "--as", NAME])
        .await?;
    assert!(refused.contains("belongs to model `second`"), "{refused}");
    let report = setup.attach(&[]).await?;
    assert_eq!(report["points"], 8, "{report}");
    setup.drain_second().await?;
    setup.assert_complete(8).await?;
    setup.bed.end().await
}

#[tokio::test]
async fn several_vectors_are_handed_on_side_by_side() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    setup
        .indexer(&["provision", "--lanes", "--model", &setup.third])
        .await?;
    setup
        .indexer(&["attach", "--model", &setup.third, "--as", "other"])
        .await?;
    setup.write_documents(3).await?;
    setup.bed.drain().await?;
    setup.drain_second().await?;
    setup.drain_model(&setup.third).await?;
    setup.assert_complete(6).await?;
    for point in setup.bed.points().await?.values() {
        let third = points::payload::vector(point, "other");
        let primary = points::payload::vector(point, "tiny");
        assert!(
            third.is_some() && third != primary,
            "the third model reads a prompt"
        );
    }
    setup.bed.end().await
}
