//! Memory: bounded by configuration, whatever waits.

use contract::topology::Priority;
use fixtures::wait::until;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tests::{Bed, LIMIT};

/// Points after which the memory of a worker has seen everything that it will.
const POINTS: f64 = 10_000.0;
/// What the memory of a worker may differ by from run to run.
const TOLERANCE_BYTES: u64 = 32 << 20;

/// Publishes small jobs on the bulk lane.
async fn backlog(bed: &Bed, jobs: usize) -> anyhow::Result<()> {
    let lane = bed
        .lanes()
        .into_iter()
        .find(|lane| lane.priority == Priority::Bulk);
    let subject = lane.map(|lane| lane.subject()).unwrap_or_default();
    let published = stream::iter(0..jobs).map(async |n| {
        let job = serde_json::json!({
            "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
            "documents": [{ "id": format!("d{n}"), "version": 1, "chunks": [{ "text": "a text" }] }],
        });
        let stored = bed.jetstream().publish(subject.clone(), job.to_string().into());
        anyhow::Ok(stored.await?.await?)
    });
    published
        .buffer_unordered(256)
        .try_for_each(async |_| Ok(()))
        .await
}

/// Most memory that a worker has had after it has written [`POINTS`] points.
async fn peak_memory(bed: &Bed, name: &str) -> anyhow::Result<u64> {
    let worker = bed.stack.worker(name, &[]).await?;
    until("enough points", 2 * LIMIT, async || {
        Ok((worker.metric("worker_points_total").await? >= POINTS).then_some(()))
    })
    .await?;
    let peak = worker.process.peak_memory()?;
    worker.process.terminate().await?;
    Ok(peak)
}

async fn a_backlog_does_not_raise_the_memory(jobs: usize) -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    backlog(&bed, 12_000).await?;
    let small = peak_memory(&bed, "small").await?;
    bed.drain().await?;
    backlog(&bed, jobs).await?;
    let large = peak_memory(&bed, "large").await?;
    eprintln!("12000 jobs: {small} bytes, {jobs} jobs: {large} bytes");
    assert!(
        large <= small + TOLERANCE_BYTES,
        "{small} bytes became {large}"
    );
    bed.end().await
}

#[tokio::test]
async fn fifty_thousand_waiting_jobs_take_no_memory_of_a_worker() -> anyhow::Result<()> {
    a_backlog_does_not_raise_the_memory(50_000).await
}

#[tokio::test]
#[ignore = "takes minutes to publish what it needs; fifty thousand jobs are checked in every run"]
async fn a_million_waiting_jobs_take_no_memory_of_a_worker() -> anyhow::Result<()> {
    a_backlog_does_not_raise_the_memory(1_000_000).await
}
