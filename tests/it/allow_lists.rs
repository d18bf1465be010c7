//! Allow lists: a worker that may not write to a collection leaves its jobs to those that may.

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use contract::topology::JOBS;
use fixtures::process::Process;
use fixtures::wait::until;
use futures::StreamExt as _;
use tests::{Bed, LIMIT};
use worker::outcome::GIVE_UP_REFUSED;

/// What a worker may write to that was started before the collection of the test was allowed.
const OLD: [&str; 2] = ["--collections", "another-alias"];
const GIVEN_BACK: &str = "job given back to other workers";

fn says(process: &Process, what: &str) -> anyhow::Result<bool> {
    Ok(std::fs::read_to_string(process.log())?.contains(what))
}

#[tokio::test]
async fn a_worker_leaves_jobs_to_another_one_that_may_write_to_their_collection()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let mut old = bed.stack.worker("old", &OLD).await?;
    for n in 0..3 {
        bed.publish_document(&format!("early{n}"), 1, &["text"])
            .await?;
    }
    let given_back = |line: &str| line.contains(GIVEN_BACK).then_some(());
    old.process.wait_for_log(LIMIT, given_back).await?;
    // Beside each other, each gets some of the jobs.
    let new = bed.stack.worker("new", &[]).await?;
    for n in 0..30 {
        bed.publish_document(&format!("beside{n}"), 1, &["text"])
            .await?;
    }
    until("a point", LIMIT, async || {
        Ok((!bed.points().await?.is_empty()).then_some(()))
    })
    .await?;
    assert!(old.process.terminate().await?.success());
    bed.drained().await?;
    assert!(bed.dead_letters().await?.is_empty());
    assert_eq!(bed.points().await?.len(), 33);
    assert!(new.process.terminate().await?.success());
    bed.end().await
}

/// Publishes a document, and spends all deliveries but the one at which a refusal may be the last.
async fn refused_often(bed: &Bed, id: &str) -> anyhow::Result<()> {
    bed.publish_document(id, 1, &["text"]).await?;
    let [live, _] = bed.lanes();
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    let consumer = jobs.get_consumer(&live.consumer()).await;
    let consumer: PullConsumer = consumer.map_err(anyhow::Error::msg)?;
    for _ in 1..GIVE_UP_REFUSED {
        let mut batch = consumer
            .batch()
            .max_messages(1)
            .expires(LIMIT)
            .messages()
            .await?;
        let message = batch.next().await;
        let message = message.ok_or_else(|| anyhow::anyhow!("nothing was delivered"))?;
        let message = message.map_err(anyhow::Error::msg)?;
        message
            .ack_with(AckKind::Nak(None))
            .await
            .map_err(anyhow::Error::msg)?;
    }
    Ok(())
}

/// Starts a worker that may not write to the collection.
fn start_old(bed: &Bed, failpoints: &str) -> anyhow::Result<Process> {
    let mut command = bed.stack.program("worker");
    command
        .arg("run")
        .args(OLD)
        .env("EBB_FAILPOINTS", failpoints);
    let log = bed.directory.path().join("old.log");
    Process::start(command, "old", &log)
}

#[tokio::test]
async fn a_job_that_nobody_may_do_becomes_a_dead_letter_that_names_collection_and_option()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    refused_often(&bed, "young").await?;
    let mut old = start_old(&bed, "")?;
    let given_back = |line: &str| line.contains(GIVEN_BACK).then_some(());
    old.wait_for_log(LIMIT, given_back).await?;
    assert!(old.terminate().await?.success());
    assert!(bed.dead_letters().await?.is_empty());

    refused_often(&bed, "old").await?;
    let old = start_old(&bed, "refusal-age=skip")?;
    let letters = until("the dead letter", LIMIT, async || {
        let letters = bed.dead_letters().await?;
        Ok((!letters.is_empty()).then_some(letters))
    })
    .await?;
    assert_eq!(letters[0].cause, "collection_not_allowed");
    for named in [
        bed.stack.collection.as_str(),
        "--collections",
        "another-alias",
    ] {
        assert!(letters[0].reason.contains(named), "{}", letters[0].reason);
    }
    assert!(!says(&old, "crashed")?);
    assert!(old.terminate().await?.success());
    bed.end().await
}
