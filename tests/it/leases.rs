//! Leases: long work keeps its job, a hung stage does not, and what is settled is settled truly.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use contract::topology::{JOBS, MAX_DELIVER};
use fixtures::process::Process;
use fixtures::wait::until;
use futures::TryStreamExt as _;
use tests::{Bed, LIMIT};

async fn live_consumer(bed: &Bed) -> anyhow::Result<PullConsumer> {
    let name = bed.lanes()[0].consumer();
    Ok(bed.jetstream().get_consumer_from_stream(name, JOBS).await?)
}

#[tokio::test]
async fn work_that_takes_several_ack_waits_is_delivered_once() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    bed.publish_document("doc", 1, &["text"]).await?;
    let status = bed.run_with_failpoints("before-embed=stall:16000").await?;
    assert!(status.success(), "{status}");
    assert_eq!(bed.points().await?.len(), 1);
    let delivered = live_consumer(&bed)
        .await?
        .cached_info()
        .delivered
        .consumer_sequence;
    assert_eq!(delivered, 1, "the job was delivered {delivered} times");
    bed.end().await
}

#[tokio::test]
async fn a_job_in_a_hung_stage_is_given_to_another_worker() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    bed.publish_document("doc", 1, &["text"]).await?;
    let mut command = bed.stack.program("worker");
    command.args(["run", "--grace", "3s"]);
    command.env("EBB_FAILPOINTS", "before-embed=stall:3600000");
    let log = bed.directory.path().join("hung.log");
    let hung = Process::start(command, "hung worker", &log)?;
    until("the hung worker to have the job", LIMIT, async || {
        let info = live_consumer(&bed).await?.cached_info().clone();
        Ok((info.num_ack_pending == 1).then_some(()))
    })
    .await?;
    let healthy = bed.stack.worker("healthy", &["--grace", "3s"]).await?;
    // The stage is given up after two minutes without a step.
    until("the other worker to write", 2 * LIMIT, async || {
        Ok((bed.points().await?.len() == 1).then_some(()))
    })
    .await?;
    assert!(bed.dead_letters().await?.is_empty());
    healthy.process.terminate().await?;
    hung.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_lost_acknowledgement_costs_a_redelivery_and_nothing_else() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    for n in 0..20 {
        bed.publish_document(&format!("d{n}"), 1, &["text"]).await?;
    }
    let mut command = bed.stack.program("worker");
    command.args(["run", "--grace", "3s"]);
    command.env("EBB_FAILPOINTS", "ack=skip");
    let log = bed.directory.path().join("silent.log");
    let silent = Process::start(command, "silent worker", &log)?;
    until("all points", LIMIT, async || {
        Ok((bed.points().await?.len() == 20).then_some(()))
    })
    .await?;
    assert!(!bed.stack.is_drained().await?);
    silent.kill().await?;
    bed.drain().await?;
    assert_eq!(bed.points().await?.len(), 20);
    assert!(bed.dead_letters().await?.is_empty());
    bed.end().await
}

#[tokio::test]
async fn a_job_that_fails_at_its_last_delivery_becomes_a_dead_letter() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    bed.publish_document("doc", 1, &["text"]).await?;
    let consumer = live_consumer(&bed).await?;
    for _ in 1..MAX_DELIVER {
        let request = consumer
            .fetch()
            .max_messages(1)
            .expires(Duration::from_secs(10));
        let messages: Vec<_> = request
            .messages()
            .await?
            .try_collect()
            .await
            .map_err(boxed)?;
        let [message] = &messages[..] else {
            anyhow::bail!("{} messages instead of one", messages.len());
        };
        message.ack_with(AckKind::Nak(None)).await.map_err(boxed)?;
    }
    let status = bed.run_with_failpoints("upsert=fail").await?;
    assert!(status.success(), "{status}");
    let letters = bed.dead_letters().await?;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].cause, "exhausted");
    assert!(bed.stack.is_drained().await?);
    bed.end().await
}

fn boxed(error: async_nats::Error) -> anyhow::Error {
    anyhow::anyhow!(error)
}
