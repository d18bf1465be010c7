//! Attach jobs that come late, early, or about nothing.

use contract::topology::JOBS;
use fixtures::wait::until;
use serde_json::json;
use tests::LIMIT;

use super::scene::{Scene, attached, point};

/// Batches that a worker keeps until somebody makes room.
const HELD: &str = "worker_held_batches";
/// Jobs that a worker has settled.
const SETTLED: &str = "worker_jobs_total";

#[tokio::test]
async fn a_job_of_another_version_writes_nothing_and_one_that_is_early_comes_back()
-> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.attach(&[]).await?;
    let worker = scene
        .bed
        .stack
        .worker("second", &["--model", &scene.second])
        .await?;
    scene.bed.publish_document("d", 5, &["the text"]).await?;
    scene.bed.drain().await?;
    until("the vector", LIMIT, async || {
        Ok((scene.lacking().await? == 0).then_some(()))
    })
    .await?;
    let head = point("d", 0);
    // Older, of another text of the same version, of a chunk that a newer version does not have, and of a document that nobody
    // knows.
    scene
        .publish_attach(&json!([
            { "point": head, "head": head, "version": 4, "text": "older" },
            { "point": head, "head": head, "version": 5, "text": "what it was before" },
            { "point": point("d", 7), "head": head, "version": 4, "text": "gone" },
            { "point": point("unknown", 0), "text": "nothing is expected to come" },
        ]))
        .await?;
    until("the jobs to be done", LIMIT, async || {
        Ok((worker.metric(SETTLED).await? >= 2.0).then_some(()))
    })
    .await?;
    scene.assert_complete(1).await?;

    // The job overtakes what it is about.
    let early = point("early", 0);
    scene
        .publish_attach(
            &json!([{ "point": early, "head": early, "version": 3, "text": "the early text" }]),
        )
        .await?;
    until("the job to come back", LIMIT, async || {
        Ok((worker.metric(SETTLED).await? >= 3.0).then_some(()))
    })
    .await?;
    // Nothing is handed on, so that no other job can have made the vector.
    scene
        .bed
        .publish_document("early", 3, &["the early text"])
        .await?;
    let written = scene.bed.run_with_failpoints("hand-on=skip").await?;
    assert!(written.success(), "{written}");
    until("the early vector", LIMIT, async || {
        let points = scene.bed.points().await?;
        let early = points.get(&("early".to_owned(), 0));
        Ok(early.and_then(attached).map(drop))
    })
    .await?;
    assert!(worker.process.terminate().await?.success());
    assert!(scene.bed.dead_letters().await?.is_empty());
    scene.bed.end().await
}

#[tokio::test]
async fn a_stream_without_room_keeps_what_is_handed_on_and_makes_no_dead_letters()
-> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.attach(&[]).await?;
    scene.bed.publish_document("d", 1, &["the text"]).await?;
    // The job that waits takes all the room that there is.
    let jetstream = scene.bed.jetstream();
    let mut jobs = jetstream.get_stream(JOBS).await?;
    let state = jobs.info().await?.state.clone();
    let mut config = jobs.cached_info().config.clone();
    let room = config.max_bytes;
    config.max_bytes = i64::try_from(state.bytes)?;
    jetstream.update_stream(&config).await?;
    let worker = scene.bed.stack.worker("primary", &[]).await?;
    until("the worker to hold the job", LIMIT, async || {
        Ok((worker.metric(HELD).await? >= 1.0).then_some(()))
    })
    .await?;
    assert_eq!(scene.bed.points().await?.len(), 1, "it is written");
    config.max_bytes = room;
    jetstream.update_stream(&config).await?;
    until("the job to be handed on", LIMIT, async || {
        Ok((scene.waiting().await? == 1).then_some(()))
    })
    .await?;
    assert!(worker.process.terminate().await?.success());
    scene.drain_second().await?;
    scene.assert_complete(1).await?;
    assert!(scene.bed.dead_letters().await?.is_empty());
    scene.bed.end().await
}

fn worker_lanes() -> anyhow::Result<[contract::topology::Lane; 2]> {
    Ok(contract::topology::Lane::of(
        contract::topology::Task::Embed,
        &"second".parse()?,
    ))
}

#[tokio::test]
async fn a_text_that_the_attached_model_does_not_take_is_a_dead_letter_and_its_neighbours_are_not()
-> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.attach(&[]).await?;
    let long = "a ".repeat(40);
    scene
        .bed
        .publish_document("d", 1, &["a short text", &long, "another one"])
        .await?;
    scene.bed.drain().await?;
    scene.drain_second().await?;
    let points = scene.bed.points().await?;
    let has: Vec<_> = points
        .values()
        .map(|point| attached(point).is_some())
        .collect();
    assert_eq!(has, [true, false, true]);
    let letters = scene.bed.dead_letters().await?;
    let causes: Vec<_> = letters.iter().map(|letter| letter.cause.as_str()).collect();
    assert_eq!(causes, ["too_long"]);
    scene.bed.end().await
}

#[tokio::test]
async fn a_worker_of_an_attached_model_takes_no_documents() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.attach(&[]).await?;
    let job = json!({
        "version": "1.0", "kind": "embed", "collection": scene.bed.stack.collection,
        "documents": [{ "id": "d", "chunks": [{ "text": "on the wrong lane" }] }],
    });
    let [live, _] = worker_lanes()?;
    let jetstream = scene.bed.jetstream();
    let sent = jetstream.publish(live.subject(), job.to_string().into());
    sent.await?.await?;
    scene.drain_second_impatiently().await?;
    let letters = scene.bed.dead_letters().await?;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].cause, "collection_mismatch");
    assert!(
        letters[0].reason.contains("is attached to"),
        "{}",
        letters[0].reason
    );
    scene.bed.end().await
}
