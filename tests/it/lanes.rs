//! Live work overtakes bulk work, wherever in a worker that is.

use async_nats::jetstream::consumer::{Info, PullConsumer};
use contract::topology::{DEFAULT_BATCH_JOBS, JOBS, Lane};
use fixtures::stack::Worker;
use fixtures::wait::until;
use serde_json::json;
use tests::{Bed, LIMIT, tiny_embed};

/// An engine that takes one text at a time, and long enough that a batch takes seconds.
const SLOW: [&str; 8] = [
    "--call-millis",
    "50",
    "--sessions",
    "1",
    "--tensor-tokens",
    "1",
    "--batch-tokens",
    "16384",
];

/// Jobs of a full batch.
const BATCH: u64 = DEFAULT_BATCH_JOBS as u64;

/// A bed to whose collection a worker may write that computes nothing.
async fn bed() -> anyhow::Result<Bed> {
    let mut bed = Bed::unprovisioned(&tiny_embed(), "tiny").await?;
    bed.stack.collection = format!("bench-{}", bed.stack.collection);
    bed.stack.indexer(&["provision"]).await?;
    Ok(bed)
}

async fn publish(bed: &Bed, lane: &Lane, id: &str) -> anyhow::Result<()> {
    let job = json!({
        "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
        "documents": [{ "id": id, "version": 1, "chunks": [{ "text": "a text" }] }],
    });
    let stored = bed
        .jetstream()
        .publish(lane.subject(), job.to_string().into());
    stored.await?.await?;
    Ok(())
}

async fn publish_many(bed: &Bed, lane: &Lane, jobs: usize) -> anyhow::Result<()> {
    for n in 0..jobs {
        publish(bed, lane, &format!("{}-{n}", lane.priority.as_str())).await?;
    }
    Ok(())
}

async fn info(bed: &Bed, lane: &Lane) -> anyhow::Result<Info> {
    let consumer: PullConsumer = bed
        .jetstream()
        .get_consumer_from_stream(lane.consumer(), JOBS)
        .await?;
    Ok(consumer.cached_info().clone())
}

async fn slow_worker(bed: &Bed) -> anyhow::Result<Worker> {
    bed.stack.stand_in("slow", &SLOW).await
}

#[tokio::test]
async fn a_live_job_overtakes_the_bulk_work_that_a_worker_has_taken() -> anyhow::Result<()> {
    let bed = bed().await?;
    let [live, bulk] = bed.lanes();
    publish_many(&bed, &bulk, 400).await?;
    let worker = slow_worker(&bed).await?;
    let taken = until("several batches of bulk work", LIMIT, async || {
        let bulk = info(&bed, &bulk).await?;
        let are_several = bulk.num_ack_pending as u64 > 3 * BATCH;
        Ok(are_several.then_some(bulk.delivered.stream_sequence))
    })
    .await?;
    publish(&bed, &live, "live").await?;
    until("the live document", LIMIT, async || {
        let is_there = bed.points().await?.contains_key(&("live".to_owned(), 0));
        Ok(is_there.then_some(()))
    })
    .await?;
    let done = info(&bed, &bulk).await?.ack_floor.stream_sequence;
    // Behind this bulk work, the live document would be there when all of it is done; the acknowledgement of the last batch may
    // come a moment later.
    assert!(
        done + BATCH < taken,
        "bulk work up to {done} of {taken} was done before"
    );
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn bulk_work_is_left_to_others_while_live_work_waits() -> anyhow::Result<()> {
    let bed = bed().await?;
    let [live, bulk] = bed.lanes();
    publish_many(&bed, &bulk, 10).await?;
    publish_many(&bed, &live, 200).await?;
    let worker = slow_worker(&bed).await?;
    until("the first bulk job", LIMIT, async || {
        let bulk = info(&bed, &bulk).await?;
        Ok((bulk.delivered.consumer_sequence > 0).then_some(()))
    })
    .await?;
    assert_eq!(info(&bed, &live).await?.num_pending, 0);
    worker.process.kill().await?;
    bed.end().await
}
