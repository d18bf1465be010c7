//! Shutdown: a worker goes when it is told to, and leaves nothing behind.

use std::time::{Duration, Instant};

use fixtures::qdrant::QdrantServer;
use fixtures::stack::Worker;
use fixtures::wait::until;
use rustix::process::Signal;
use tests::Bed;

/// Time between SIGTERM and the end of the process, on any load of this machine.
const PROMPT: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_idle_worker_ends_promptly_and_with_zero() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for signal in [Signal::TERM, Signal::INT] {
        let mut worker = bed.stack.worker("idle", &[]).await?;
        let asked = Instant::now();
        worker.process.signal(signal)?;
        let status = worker.process.wait().await?;
        assert!(status.success(), "{status}");
        assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
    }
    bed.end().await
}

#[tokio::test]
async fn a_worker_that_still_waits_for_its_consumer_ends_too() -> anyhow::Result<()> {
    let bed = Bed::unprovisioned(&tests::tiny_embed(), "tiny").await?;
    let mut command = bed.stack.program("worker");
    command.args(["run", "--log-format", "json"]);
    let log = bed.directory.path().join("early.log");
    let mut process = fixtures::process::Process::start(command, "early worker", &log)?;
    process
        .wait_for_log(tests::LIMIT, |line| {
            line.contains("consumer not found").then_some(())
        })
        .await?;
    let status = process.terminate().await?;
    assert!(status.success(), "{status}");
    Ok(())
}

#[tokio::test]
async fn a_draining_run_ends_by_itself_when_its_lanes_are_empty() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.drain().await?;
    bed.publish_document("doc", 1, &["text"]).await?;
    bed.drain().await?;
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

#[tokio::test]
async fn a_worker_with_work_in_flight_ends_promptly() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for n in 0..400 {
        bed.publish_document(&format!("d{n}"), 1, &["some text", "more of it"])
            .await?;
    }
    let mut worker = bed.stack.worker("busy", &["--batch-jobs", "16"]).await?;
    until("the first points", tests::LIMIT, async || {
        Ok((!bed.points().await?.is_empty()).then_some(()))
    })
    .await?;
    let asked = Instant::now();
    worker.process.signal(Signal::TERM)?;
    let status = worker.process.wait().await?;
    assert!(status.success(), "{status}");
    assert!(asked.elapsed() < PROMPT, "{:?}", asked.elapsed());
    assert!(!bed.stack.is_drained().await?, "there was too little to do");
    bed.end().await
}

/// A worker that waits for an upsert which Qdrant never answers. `None` with a real server, which does answer.
async fn hanging(bed: &Bed, grace: &str) -> anyhow::Result<Option<Worker>> {
    let QdrantServer::Local(qdrant) = &bed.stack.qdrant else {
        return Ok(None);
    };
    std::fs::write(qdrant.faults(), r#"[{"on": "upsert", "hang": true}]"#)?;
    bed.publish_document("doc", 1, &["text"]).await?;
    let worker = bed.stack.worker("hanging", &["--grace", grace]).await?;
    until("the upsert to hang", tests::LIMIT, async || {
        let log = std::fs::read_to_string(qdrant.log())?;
        Ok(log.contains("injected a fault").then_some(()))
    })
    .await?;
    Ok(Some(worker))
}

#[tokio::test]
async fn work_that_hangs_is_given_back_when_the_grace_is_over() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let Some(mut worker) = hanging(&bed, "2s").await? else {
        return bed.end().await;
    };
    worker.process.signal(Signal::TERM)?;
    let status = worker.process.wait().await?;
    assert!(status.success(), "{status}");
    if let QdrantServer::Local(qdrant) = &bed.stack.qdrant {
        std::fs::write(qdrant.faults(), "[]")?;
    }
    // Long before the ack wait is over.
    let started = Instant::now();
    bed.drain().await?;
    assert!(started.elapsed() < contract::topology::DEFAULT_ACK_WAIT / 2);
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

#[tokio::test]
async fn a_second_signal_ends_the_process_at_once() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let Some(mut worker) = hanging(&bed, "50s").await? else {
        return bed.end().await;
    };
    let asked = Instant::now();
    worker.process.signal(Signal::TERM)?;
    worker
        .process
        .wait_for_log(tests::LIMIT, |line| {
            line.contains("shutdown: draining").then_some(())
        })
        .await?;
    worker.process.signal(Signal::TERM)?;
    let status = worker.process.wait().await?;
    assert_eq!(status.code(), Some(1), "{status}");
    // Long before the grace is over, after which it would end as well.
    assert!(
        asked.elapsed() < Duration::from_secs(40),
        "{:?}",
        asked.elapsed()
    );
    bed.end().await
}
