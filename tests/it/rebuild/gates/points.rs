//! Gates that look at the points of the new generation.

use contract::field;
use points::point_id;
use qdrant_client::Payload;
use qdrant_client::qdrant::{
    DeletePointsBuilder, GetPointsBuilder, NamedVectors, PointStruct, PointVectors, PointsIdsList,
    SetPayloadPointsBuilder, UpdatePointVectorsBuilder, UpsertPointsBuilder,
};
use serde_json::json;
use tests::integer;

use super::Indexed;
use crate::rebuild::generations::verb;
use crate::rebuild::{
    command, found, now_micros, qdrant, rebuild, rebuild_with, serving, spawn, wanted,
};

#[tokio::test]
async fn more_points_than_the_source_has_chunks_stop_a_rebuild() -> anyhow::Result<()> {
    let indexed = Indexed::start(10).await?;
    let generation = indexed.killed_at("rebuild-copied").await?;
    let version = version_of(&indexed, &generation).await?;
    let payload =
        json!({ "doc_id": "alien", "chunk": 0, "chunks": 1, "run": "bad", "version": version });
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

/// Version of what a run has written.
async fn version_of(indexed: &Indexed, generation: &str) -> anyhow::Result<i64> {
    let id = point_id("d1", 0).to_string();
    let request = GetPointsBuilder::new(generation, vec![id.into()]).with_payload(true);
    let found = qdrant(&indexed.bed)?.get_points(request).await?;
    Ok(integer(&found.result[0], "version"))
}

/// Removes documents of one chunk behind the back of the run.
async fn remove(indexed: &Indexed, generation: &str, ids: &[String]) -> anyhow::Result<()> {
    let ids = ids.iter().map(|id| point_id(id, 0).to_string().into());
    let ids = PointsIdsList { ids: ids.collect() };
    let delete = DeletePointsBuilder::new(generation).points(ids).wait(true);
    qdrant(&indexed.bed)?.delete_points(delete).await?;
    Ok(())
}

/// Publishes as many documents that are not of the source.
async fn publish_others(indexed: &Indexed, count: usize) -> anyhow::Result<()> {
    for n in 0..count {
        let id = format!("other{n}");
        indexed
            .bed
            .publish_document(&id, now_micros(), &["Another."])
            .await?;
    }
    indexed.bed.drained().await
}

#[tokio::test]
async fn missing_documents_stop_a_rebuild_however_many_others_were_published() -> anyhow::Result<()>
{
    let indexed = Indexed::start(20).await?;
    let mut slow = command(&indexed.bed, &indexed.corpus, &["--run-id", "bad"])?;
    slow.env("EBB_FAILPOINTS", "rebuild-balanced=stall:5000");
    let mut running = spawn(&indexed.bed, slow)?;
    running.reaches("balanced").await?;
    let generation = format!("{}--bad", indexed.bed.stack.collection);
    let ids: Vec<_> = (0..5).map(|n| format!("d{n}")).collect();
    remove(&indexed, &generation, &ids).await?;
    publish_others(&indexed, 5).await?;
    let ran = running.ended().await?;
    let reason = ran.stopped_by("count");
    assert!(
        reason.contains("15 documents of the source of 20"),
        "{reason}"
    );
    assert_eq!(serving(&indexed.bed).await?, indexed.generation);
    // Run again, it brings what is missing.
    indexed.resumed().await?.done();
    let mut model = wanted(&indexed.corpus);
    for n in 0..5 {
        model.insert(format!("other{n}"), vec!["Another.".to_owned()]);
    }
    assert_eq!(found(&indexed.bed).await?, model);
    indexed.end().await
}

#[tokio::test]
async fn documents_that_get_lost_between_two_attempts_are_brought_again() -> anyhow::Result<()> {
    let indexed = Indexed::start(20).await?;
    let mut dies = command(&indexed.bed, &indexed.corpus, &["--run-id", "bad"])?;
    let rules = "rebuild-balanced=stall:4000;rebuild-caught-up=kill";
    dies.env("EBB_FAILPOINTS", rules);
    let mut running = spawn(&indexed.bed, dies)?;
    running.reaches("balanced").await?;
    let version = now_micros();
    let bed = &indexed.bed;
    bed.publish_document("d9", version, &["Live one.", "Live two."])
        .await?;
    bed.publish_removal("d10", version).await?;
    bed.drained().await?;
    running.ended().await?;
    // What the live writes have replaced is in the generation by now, and must not be missed.
    let ids: Vec<_> = (0..5).map(|n| format!("d{n}")).collect();
    let generation = format!("{}--bad", bed.stack.collection);
    remove(&indexed, &generation, &ids).await?;
    publish_others(&indexed, 5).await?;
    indexed.resumed().await?.done();
    let mut model = wanted(&indexed.corpus);
    for n in 0..5 {
        model.insert(format!("other{n}"), vec!["Another.".to_owned()]);
    }
    let live = ["Live one.", "Live two."];
    model.insert("d9".to_owned(), live.map(str::to_owned).to_vec());
    model.remove("d10");
    assert_eq!(found(bed).await?, model);
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
    let first = serving(&indexed.bed).await?;
    rebuild(&indexed.bed, &indexed.corpus, &["--full"])
        .await?
        .done();
    let mut running = command(&indexed.bed, &indexed.corpus, &["--run-id", "late"])?;
    running.env("EBB_FAILPOINTS", "rebuild-verified=stall:3000");
    let mut running = spawn(&indexed.bed, running)?;
    running.reaches("verified").await?;
    verb(&indexed.bed, "rollback", &[]).await?;
    assert_eq!(serving(&indexed.bed).await?, first);
    let ran = running.ended().await?;
    ran.stopped_by("alias");
    assert_eq!(serving(&indexed.bed).await?, first);
    indexed.end().await
}
