//! Attach jobs that come late, early, or about nothing.

use contract::topology::JOBS;
use fixtures::wait::until;
use serde_json::json;
use tests::LIMIT;

use super::setup::{NAME, Setup, attached, point};

/// Jobs that a worker has settled.
const SETTLED: &str = "worker_jobs_total";

#[tokio::test]
async fn a_job_of_another_version_writes_nothing_and_one_that_is_early_comes_back()
-> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    let worker = setup
        .bed
        .stack
        .worker("second", &["--model", &setup.second])
        .await?;
    setup.bed.publish_document("d", 5, &["the text"]).await?;
    setup.bed.drain().await?;
    until("the vector", LIMIT, async || {
        Ok((setup.lacking().await? == 0).then_some(()))
    })
    .await?;
    let head = point("d", 0);
    // Older, of another text of the same version, of a chunk that a newer version does not have, and of a document that nobody
    // knows.
    setup
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
    setup.assert_complete(1).await?;

    // The job overtakes what it is about.
    let early = point("early", 0);
    setup
        .publish_attach(
            &json!([{ "point": early, "head": early, "version": 3, "text": "the early text" }]),
        )
        .await?;
    until("the job to come back", LIMIT, async || {
        Ok((worker.metric(SETTLED).await? >= 3.0).then_some(()))
    })
    .await?;
    // Nothing is handed on, so that no other job can have made the vector.
    setup
        .bed
        .publish_document("early", 3, &["the early text"])
        .await?;
    let written = setup.bed.run_with_failpoints("attach-jobs=skip").await?;
    assert!(written.success(), "{written}");
    until("the early vector", LIMIT, async || {
        let points = setup.bed.points().await?;
        let early = points.get(&("early".to_owned(), 0));
        Ok(early.and_then(attached).map(drop))
    })
    .await?;
    assert!(worker.process.terminate().await?.success());
    assert!(setup.bed.dead_letters().await?.is_empty());
    setup.bed.end().await
}

/// Points that were not handed on.
const NOT_HANDED_ON: &str = "worker_not_handed_on_points_total";

impl Setup {
    /// Gives the stream of jobs so many percent of the bytes that it has.
    async fn room(&self, percent: i64) -> anyhow::Result<()> {
        let jetstream = self.bed.jetstream();
        let mut jobs = jetstream.get_stream(JOBS).await?;
        let state = jobs.info().await?.state.clone();
        let mut config = jobs.cached_info().config.clone();
        config.max_bytes = i64::try_from(state.bytes)? * percent / 100;
        jetstream.update_stream(&config).await?;
        Ok(())
    }

    /// What was written goes on without the attached model, and is published for it when there is room.
    async fn written_without(&self, document: &str, chunks: u32) -> anyhow::Result<()> {
        let worker = self.bed.stack.worker("primary", &[]).await?;
        until(
            "the document to be written and acknowledged",
            LIMIT,
            async || {
                let left_out = worker.metric(NOT_HANDED_ON).await?;
                let settled = worker.metric(SETTLED).await?;
                Ok((left_out >= f64::from(chunks) && settled >= 1.0).then_some(()))
            },
        )
        .await?;
        assert!(
            self.bed
                .points()
                .await?
                .contains_key(&(document.to_owned(), 0))
        );
        assert!(worker.process.terminate().await?.success());
        assert!(self.bed.dead_letters().await?.is_empty());
        Ok(())
    }
}

#[tokio::test]
async fn a_full_stream_does_not_stop_documents_for_an_attached_model() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    setup.bed.publish_document("d", 1, &["the text"]).await?;
    // The job that waits takes all the room that there is.
    setup.room(100).await?;
    setup.written_without("d", 1).await?;
    assert_eq!((setup.lacking().await?, setup.waiting().await?), (1, 0));
    setup.room(10_000).await?;
    setup
        .indexer(&["provision", "--lanes", "--model", &setup.second])
        .await?;
    let report = setup.attach(&[]).await?;
    assert_eq!(report["points"], 1, "{report}");
    setup.drain_second().await?;
    setup.assert_complete(1).await?;
    setup.bed.end().await
}

#[tokio::test]
async fn an_attached_model_whose_workers_never_come_leaves_half_of_the_stream() -> anyhow::Result<()>
{
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    let waiting = 256;
    for number in 0..waiting {
        let text = format!("number {number}");
        let nobody = point("nobody", number);
        setup
            .publish_attach(&json!([{ "point": nobody, "text": text }]))
            .await?;
    }
    setup.bed.publish_document("d", 1, &["one", "two"]).await?;
    // A bit more than half of it is taken, and there is room for many more jobs.
    setup.room(190).await?;
    setup.written_without("d", 2).await?;
    assert_eq!(setup.waiting().await?, u64::from(waiting));
    let status = setup
        .indexer(&["status", "--interval", "0s", "--json"])
        .await?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    let lacking = &status["collections"][0]["lacking"];
    assert_eq!(lacking[NAME], 2, "what is missing is said: {status}");
    // Half of the stream is free again: what is written goes on as ever.
    setup.room(220).await?;
    setup.bed.publish_document("e", 1, &["three"]).await?;
    setup.bed.drain().await?;
    assert_eq!(setup.waiting().await?, u64::from(waiting) + 1);
    setup.drain_second().await?;
    assert_eq!(setup.lacking().await?, 2);
    assert_eq!(setup.attach(&[]).await?["points"], 2);
    setup.drain_second().await?;
    setup.assert_complete(3).await?;
    setup.bed.end().await
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
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    let long = "a ".repeat(40);
    setup
        .bed
        .publish_document("d", 1, &["a short text", &long, "another one"])
        .await?;
    setup.bed.drain().await?;
    setup.drain_second().await?;
    let points = setup.bed.points().await?;
    let has: Vec<_> = points
        .values()
        .map(|point| attached(point).is_some())
        .collect();
    assert_eq!(has, [true, false, true]);
    let letters = setup.bed.dead_letters().await?;
    let causes: Vec<_> = letters.iter().map(|letter| letter.cause.as_str()).collect();
    assert_eq!(causes, ["too_long"]);
    setup.bed.end().await
}

#[tokio::test]
async fn a_worker_of_an_attached_model_takes_no_documents() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    let job = json!({
        "version": "1.0", "kind": "embed", "collection": setup.bed.stack.collection,
        "documents": [{ "id": "d", "chunks": [{ "text": "on the wrong lane" }] }],
    });
    let [live, _] = worker_lanes()?;
    let jetstream = setup.bed.jetstream();
    let sent = jetstream.publish(live.subject(), job.to_string().into());
    sent.await?.await?;
    setup.drain_second_impatiently().await?;
    let letters = setup.bed.dead_letters().await?;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].cause, "collection_mismatch");
    assert!(
        letters[0].reason.contains("is attached to"),
        "{}",
        letters[0].reason
    );
    setup.bed.end().await
}
