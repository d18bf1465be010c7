//! Qdrant is restarted in the middle of a long run, which waits for it and goes on.

use fixtures::qdrant::QdrantServer;
use fixtures::wait::until;
use rustix::process::Signal;
use tests::{Bed, LIMIT};

use super::{command, corpus, found, rebuild, spawn, wanted};

#[tokio::test]
async fn a_rebuild_goes_on_when_the_server_is_back() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    if matches!(bed.stack.qdrant, QdrantServer::External(_)) {
        return bed.end().await;
    }
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(40);
    rebuild(&bed, &corpus, &[]).await?.done();
    let mut running = spawn(&bed, command(&bed, &corpus, &[])?)?;
    running.reaches("created").await?;
    // It does nothing until the server is down.
    running.signal(Signal::STOP)?;
    if let QdrantServer::Local(local) = &mut bed.stack.qdrant {
        local.kill().await?;
    }
    running.signal(Signal::CONT)?;
    until("the rebuild to meet the outage", LIMIT, async || {
        Ok(running
            .log()?
            .contains("trying again for 120 s")
            .then_some(()))
    })
    .await?;
    if let QdrantServer::Local(local) = &mut bed.stack.qdrant {
        local.resume().await?;
    }
    running.ended().await?.done();
    assert_eq!(found(&bed).await?, wanted(&corpus));
    worker.process.kill().await?;
    bed.end().await
}
