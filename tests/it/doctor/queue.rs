//! What lies in the streams and should not.

use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::PullConsumer;
use contract::topology::{ADVISORIES, JOBS, MAX_DELIVER};
use fixtures::wait::until;
use futures::StreamExt as _;
use tests::{Bed, LIMIT};

use super::{doctor, named, provision, provisioned};

#[tokio::test]
async fn jobs_that_nobody_reads_and_a_full_queue_are_named() -> anyhow::Result<()> {
    let bed = provisioned().await?;
    provision(&bed, &["--jobs-max-bytes", "16384"]).await?;
    let publish = async |subject: &str, bytes: usize| {
        let sent = bed
            .jetstream()
            .publish(subject.to_owned(), vec![b' '; bytes].into());
        anyhow::Ok(sent.await?.await?)
    };
    publish("jobs.embed.unknown.bulk", 10).await?;
    let report = doctor(&bed, &["--jobs-max-bytes", "16384"]).await?;
    named(
        &report,
        "error",
        "subject `jobs.embed.unknown.bulk`",
        "1 jobs that nobody reads",
    );
    assert_eq!(report.findings().len(), 1, "{:#}", report.report);
    let [live, _] = bed.lanes();
    publish(&live.subject(), 13_600).await?;
    let report = doctor(&bed, &["--jobs-max-bytes", "16384"]).await?;
    named(&report, "warning", "stream `JOBS`", "83 %");
    publish(&live.subject(), 2_100).await?;
    let report = doctor(&bed, &["--jobs-max-bytes", "16384"]).await?;
    named(&report, "error", "stream `JOBS`", "% of 16384 bytes used");
    bed.end().await
}

#[tokio::test]
async fn dead_letters_and_exhausted_jobs_are_warnings() -> anyhow::Result<()> {
    let bed = provisioned().await?;
    bed.publish_bytes("no job").await?;
    bed.drain().await?;
    let report = doctor(&bed, &[]).await?;
    named(
        &report,
        "warning",
        "dead letters",
        "1 within 1h: 1 malformed",
    );
    assert_eq!((report.code, report.findings().len()), (Some(0), 1));
    let old = doctor(&bed, &["--recent", "1ms"]).await?;
    assert_eq!(old.findings().len(), 0, "{:#}", old.report);
    exhaust(&bed).await?;
    let report = doctor(&bed, &[]).await?;
    named(
        &report,
        "warning",
        "exhausted jobs",
        "1 jobs had their last delivery",
    );
    bed.stack.indexer(&["dlq", "sweep"]).await?;
    let swept = doctor(&bed, &[]).await?;
    named(
        &swept,
        "warning",
        "dead letters",
        "1 exhausted, 1 malformed",
    );
    assert_eq!(swept.findings().len(), 1, "{:#}", swept.report);
    bed.end().await
}

/// Spends all deliveries of a job, and waits for the server to say so.
async fn exhaust(bed: &Bed) -> anyhow::Result<()> {
    bed.publish_document("poor", 1, &["some text"]).await?;
    let [live, _] = bed.lanes();
    let consumer: PullConsumer = bed
        .jetstream()
        .get_consumer_from_stream(live.consumer(), JOBS)
        .await?;
    let second = std::time::Duration::from_secs(1);
    for _ in 0..=MAX_DELIVER {
        let mut batch = consumer
            .fetch()
            .max_messages(1)
            .expires(second)
            .messages()
            .await?;
        while let Some(message) = batch.next().await {
            let message = message.map_err(anyhow::Error::from_boxed)?;
            let given_back = message.double_ack_with(AckKind::Nak(None)).await;
            given_back.map_err(anyhow::Error::from_boxed)?;
        }
    }
    until("the advisory", LIMIT, async || {
        let advisories = bed.jetstream().get_stream(ADVISORIES).await?;
        Ok((advisories.cached_info().state.messages > 0).then_some(()))
    })
    .await
}
