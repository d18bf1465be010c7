//! Redelivery: a worker may die at any moment, and every job ends once.

use std::time::Duration;

use fixtures::wait::until;
use rustix::process::Signal;
use tests::{Bed, LIMIT};

/// Publishes documents of several chunks and gives how many points they must become.
async fn backlog(bed: &Bed, documents: usize) -> anyhow::Result<usize> {
    for n in 0..documents {
        let texts = [
            format!("document {n}, first"),
            format!("document {n}, second"),
        ];
        bed.publish_document(&format!("d{n}"), 1, &[&texts[0], &texts[1]])
            .await?;
    }
    Ok(documents * 2)
}

#[tokio::test]
async fn jobs_of_a_killed_worker_are_done_by_another_one() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    let expected = backlog(&bed, 400).await?;
    let worker = bed
        .stack
        .worker("victim", &["--batch-jobs", "8", "--grace", "3s"])
        .await?;
    until("the first points", LIMIT, async || {
        Ok((!bed.points().await?.is_empty()).then_some(()))
    })
    .await?;
    worker.process.kill().await?;
    let written = bed.points().await?.len();
    assert!(
        written < expected,
        "the worker was killed too late to show anything"
    );
    // The killed worker's deliveries come back when their ack wait is over; the drain waits for them.
    bed.drain().await?;
    assert_eq!(bed.points().await?.len(), expected);
    assert!(bed.dead_letters().await?.is_empty());
    bed.end().await
}

#[tokio::test]
async fn a_worker_that_was_stopped_for_longer_than_its_lease_does_no_harm() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    backlog(&bed, 200).await?;
    let zombie = bed
        .stack
        .worker("zombie", &["--batch-jobs", "8", "--grace", "3s"])
        .await?;
    until("the first points", LIMIT, async || {
        Ok((!bed.points().await?.is_empty()).then_some(()))
    })
    .await?;
    zombie.process.signal(Signal::STOP)?;
    bed.publish_document("d0", 2, &["newer"]).await?;
    bed.drain().await?;
    zombie.process.signal(Signal::CONT)?;
    let status = zombie.process.terminate().await?;
    assert!(status.success(), "{status}");
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(points.len(), 200 * 2 - 1);
    assert_eq!(tests::text(&points[&("d0".to_owned(), 0)], "text"), "newer");
    bed.end().await
}

#[tokio::test]
async fn work_that_a_stopping_worker_has_not_finished_is_redelivered_at_once() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let expected = backlog(&bed, 600).await?;
    let first = bed.stack.worker("first", &["--batch-jobs", "16"]).await?;
    until("the first points", LIMIT, async || {
        Ok((!bed.points().await?.is_empty()).then_some(()))
    })
    .await?;
    let status = first.process.terminate().await?;
    assert!(status.success(), "{status}");
    // Nothing is left in flight: what was not finished was given back, and waits for nobody's ack wait.
    let consumer: async_nats::jetstream::consumer::PullConsumer = bed
        .jetstream()
        .get_consumer_from_stream(bed.lanes()[0].consumer(), contract::topology::JOBS)
        .await?;
    let second = bed.stack.worker("second", &[]).await?;
    let started = std::time::Instant::now();
    until(
        "the backlog to drain",
        Duration::from_secs(30),
        async || {
            let info = consumer.get_info().await?;
            Ok((info.num_pending == 0 && info.num_ack_pending == 0).then_some(()))
        },
    )
    .await?;
    assert!(
        started.elapsed() < contract::topology::DEFAULT_ACK_WAIT,
        "an ack wait ran out"
    );
    assert_eq!(bed.points().await?.len(), expected);
    second.process.terminate().await?;
    bed.end().await
}
