//! Gates that look at the points of the new generation.

use contract::point::{field, point_id};
use qdrant_client::Payload;
use qdrant_client::qdrant::{
    DeletePointsBuilder, NamedVectors, PointStruct, PointVectors, PointsIdsList,
    SetPayloadPointsBuilder, UpdatePointVectorsBuilder, UpsertPointsBuilder,
};
use serde_json::json;

use super::Indexed;
use crate::rebuild::{qdrant, rebuild, rebuild_with, serving};

#[tokio::test]
async fn more_points_than_the_source_has_chunks_stop_a_rebuild() -> anyhow::Result<()> {
    let indexed = Indexed::start(10).await?;
    let generation = indexed.killed_at("rebuild-copied").await?;
    let payload = json!({ "doc_id": "alien", "chunk": 0, "chunks": 1, "run": "bad", "version": 1 });
    let vector = vec![0.0; indexed.bed.manifest.identity.dimensions];
    let vectors = NamedVectors::default().add_vector(indexed.bed.manifest.name.as_str(), vector);
    let id = point_id("alien", 0).to_string();
    let alien = PointStruct::new(id, vectors, Payload::try_from(payload)?);
    let upsert = UpsertPointsBuilder::new(generation, vec![alien]).wait(true);
    qdrant(&indexed.bed)?.upsert_points(upsert).await?;
    let ran = indexed.resumed().await?;
    assert!(
        ran.stopped_by("ledger").contains("11 chunks present"),
        "{}",
        ran.log
    );
    indexed.is_untouched().await?;
    indexed.end().await
}

#[tokio::test]
async fn a_missing_point_stops_a_rebuild_until_it_is_started_anew() -> anyhow::Result<()> {
    let indexed = Indexed::start(10).await?;
    let generation = indexed.killed_at("rebuild-indexed").await?;
    let ids = PointsIdsList {
        ids: vec![point_id("d4", 0).to_string().into()],
    };
    let delete = DeletePointsBuilder::new(generation).points(ids).wait(true);
    qdrant(&indexed.bed)?.delete_points(delete).await?;
    let ran = indexed.resumed().await?;
    ran.stopped_by("count");
    indexed.is_untouched().await?;
    rebuild(&indexed.bed, &indexed.corpus, &["--fresh"])
        .await?
        .done();
    indexed.end().await
}

#[tokio::test]
async fn a_vector_of_another_model_stops_a_rebuild() -> anyhow::Result<()> {
    let indexed = Indexed::start(10).await?;
    let generation = indexed.killed_at("rebuild-indexed").await?;
    let ids = PointsIdsList {
        ids: vec![point_id("d3", 0).to_string().into()],
    };
    let other = Payload::try_from(json!({ (field::FINGERPRINT): "0".repeat(64) }))?;
    let set = SetPayloadPointsBuilder::new(generation, other)
        .points_selector(ids)
        .wait(true);
    qdrant(&indexed.bed)?.set_payload(set).await?;
    let ran = indexed.resumed().await?;
    assert!(
        ran.stopped_by("vectors").contains("fingerprint `0000"),
        "{}",
        ran.log
    );
    indexed.is_untouched().await?;
    indexed.end().await
}

#[tokio::test]
async fn a_vector_of_another_length_stops_a_rebuild() -> anyhow::Result<()> {
    let indexed = Indexed::start(10).await?;
    let generation = indexed.killed_at("rebuild-indexed").await?;
    let found = indexed.bed.points().await?;
    let point = &found[&("d3".to_owned(), 0)];
    let vector: Vec<f32> = tests::vector(point)
        .unwrap()
        .iter()
        .map(|v| v * 2.0)
        .collect();
    let vectors = NamedVectors::default().add_vector(indexed.bed.manifest.name.as_str(), vector);
    let vectors = PointVectors {
        id: point.id.clone(),
        vectors: Some(vectors.into()),
    };
    let update = UpdatePointVectorsBuilder::new(generation, vec![vectors]);
    qdrant(&indexed.bed)?
        .update_vectors(update.wait(true))
        .await?;
    let ran = indexed.resumed().await?;
    assert!(
        ran.stopped_by("vectors").contains("length 2.0"),
        "{}",
        ran.log
    );
    indexed.is_untouched().await?;
    indexed.end().await
}

#[tokio::test]
async fn an_index_that_does_not_find_what_an_exact_search_finds_stops_a_rebuild()
-> anyhow::Result<()> {
    let indexed = Indexed::start(10).await?;
    let failpoint = "rebuild-index-hits=skip";
    let ran = rebuild_with(&indexed.bed, &indexed.corpus, &[], failpoint).await?;
    ran.stopped_by("recall");
    indexed.is_untouched().await?;
    indexed.resumed().await?.done();
    indexed.end().await
}

#[tokio::test]
async fn an_alias_that_was_pointed_elsewhere_meanwhile_is_left_alone() -> anyhow::Result<()> {
    let indexed = Indexed::start(10).await?;
    indexed.killed_at("rebuild-verified").await?;
    let first = format!("{}--initial", indexed.bed.stack.collection);
    indexed
        .bed
        .stack
        .indexer(&[
            "rollback",
            "--alias",
            &indexed.bed.stack.collection,
            "--lease",
            "2s",
        ])
        .await?;
    assert_eq!(serving(&indexed.bed).await?, first);
    let ran = indexed.resumed().await?;
    ran.stopped_by("alias");
    assert_eq!(serving(&indexed.bed).await?, first);
    indexed.end().await
}
