//! Connections: servers may come late, die and come back.

use fixtures::process::Process;
use fixtures::qdrant::QdrantServer;
use fixtures::wait::until;
use tests::{Bed, LIMIT};

async fn publish_many(bed: &Bed, prefix: &str, documents: usize) -> anyhow::Result<()> {
    for n in 0..documents {
        bed.publish_document(&format!("{prefix}{n}"), 1, &["some text", "more text"])
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_worker_waits_for_a_nats_that_starts_later() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    bed.publish_document("doc", 1, &["text"]).await?;
    bed.stack.nats.kill().await?;
    let mut command = bed.stack.program("worker");
    command.args(["--log-format", "json", "run", "--drain"]);
    let log = bed.directory.path().join("early.log");
    let mut process = Process::start(command, "early worker", &log)?;
    process
        .wait_for_log(LIMIT, |line| {
            line.contains("waiting for nats").then_some(())
        })
        .await?;
    bed.stack.nats.resume().await?;
    let status = process.wait().await?;
    assert!(status.success(), "{status}");
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

#[tokio::test]
async fn nothing_is_lost_when_nats_is_killed_under_load() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    publish_many(&bed, "before", 300).await?;
    let worker = bed.stack.worker("worker", &["--batch-jobs", "8"]).await?;
    until("the first points", LIMIT, async || {
        Ok((!bed.points().await?.is_empty()).then_some(()))
    })
    .await?;
    bed.stack.nats.kill().await?;
    bed.stack.nats.resume().await?;
    until("a publish after the restart", LIMIT, async || {
        Ok(bed
            .publish_document("after", 1, &["text", "more"])
            .await
            .ok())
    })
    .await?;
    bed.drained().await?;
    assert_eq!(bed.points().await?.len(), 301 * 2);
    assert!(bed.dead_letters().await?.is_empty());
    assert!(worker.process.terminate().await?.success());
    bed.end().await
}

#[tokio::test]
async fn nothing_is_lost_when_qdrant_is_killed_under_load() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    if matches!(bed.stack.qdrant, QdrantServer::External(_)) {
        // A server that others share is not ours to kill.
        return bed.end().await;
    }
    publish_many(&bed, "d", 300).await?;
    let worker = bed.stack.worker("worker", &["--batch-jobs", "8"]).await?;
    until("the first points", LIMIT, async || {
        Ok((!bed.points().await?.is_empty()).then_some(()))
    })
    .await?;
    if let QdrantServer::Local(qdrant) = &mut bed.stack.qdrant {
        qdrant.kill().await?;
        qdrant.resume().await?;
    }
    bed.drained().await?;
    assert_eq!(bed.points().await?.len(), 300 * 2);
    assert!(bed.dead_letters().await?.is_empty());
    assert!(worker.process.terminate().await?.success());
    bed.end().await
}
