//! Sweep: jobs that JetStream has given up, found and made dead letters.

mod requeue;

use std::time::Duration;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{AckKind, Message};
use contract::topology::{ADVISORIES, DLQ, JOBS, Lane, MAX_DELIVER, header};
use fixtures::wait::until;
use futures::StreamExt as _;
use queue::dead_letter::{self, Original, Verdict};
use serde_json::{Value, json};
use tests::{Bed, LIMIT};

use super::{count, dlq, publish};

async fn consumer(bed: &Bed, lane: &Lane) -> anyhow::Result<PullConsumer> {
    let name = lane.consumer();
    Ok(bed.jetstream().get_consumer_from_stream(name, JOBS).await?)
}

/// Pulls what can be had at once.
async fn pull(consumer: &PullConsumer, most: usize) -> anyhow::Result<Vec<Message>> {
    let batch = consumer.fetch().max_messages(most);
    let mut batch = batch.expires(Duration::from_millis(300)).messages().await?;
    let mut messages = Vec::new();
    while let Some(message) = batch.next().await {
        messages.push(message.map_err(anyhow::Error::from_boxed)?);
    }
    Ok(messages)
}

async fn settle(message: &Message, kind: AckKind) -> anyhow::Result<()> {
    let settled = message.double_ack_with(kind).await;
    settled.map_err(anyhow::Error::from_boxed)
}

/// Spends all deliveries of the jobs on the live lane, and has the server notice it.
async fn exhaust(bed: &Bed) -> anyhow::Result<()> {
    let consumer = consumer(bed, &bed.lanes()[0]).await?;
    for delivery in 0..MAX_DELIVER {
        let messages = pull(&consumer, 100).await?;
        assert!(!messages.is_empty(), "nothing came as delivery {delivery}");
        for message in &messages {
            settle(message, AckKind::Nak(None)).await?;
        }
    }
    assert!(pull(&consumer, 100).await?.is_empty());
    until("the server to give up", LIMIT, async || {
        Ok((consumer.get_info().await?.num_ack_pending == 0).then_some(()))
    })
    .await
}

/// Advisories are published and forgotten; a server may lose them.
async fn lose_advisories(bed: &Bed) -> anyhow::Result<()> {
    let advisories = bed.jetstream().get_stream(ADVISORIES).await?;
    advisories.purge().await?;
    Ok(())
}

async fn advisories(bed: &Bed, wanted: u64) -> anyhow::Result<()> {
    until("the advisories", LIMIT, async || {
        Ok((count(bed, ADVISORIES).await? == wanted).then_some(()))
    })
    .await
}

/// Stores the dead letter of a job and leaves the job.
async fn store_dead_letter(bed: &Bed, sequence: u64) -> anyhow::Result<()> {
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    let job = jobs.get_raw_message(sequence).await?;
    let original = Original::stored(JOBS, &job, MAX_DELIVER);
    let verdict = Verdict {
        cause: "exhausted",
        reason: "",
        worker: "",
        fingerprint: "",
    };
    Ok(dead_letter::store(bed.jetstream(), &original, &verdict).await?)
}

fn found(swept: &Value) -> (u64, u64) {
    let of = |key: &str| swept[key].as_u64().unwrap_or(u64::MAX);
    (of("by_advisory"), of("by_comparison"))
}

async fn held(bed: &Bed) -> anyhow::Result<(u64, u64)> {
    Ok((count(bed, JOBS).await?, count(bed, DLQ).await?))
}

#[tokio::test]
async fn an_exhausted_job_becomes_a_dead_letter_by_its_advisory() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    publish(&bed, "a", "text", Some("nightly-7")).await?;
    exhaust(&bed).await?;
    advisories(&bed, 1).await?;
    let looked = dlq(&bed, &["sweep", "--dry-run"]).await?;
    assert_eq!(
        (found(&looked), held(&bed).await?),
        ((1, 0), (1, 0)),
        "{looked}"
    );
    assert_eq!(found(&dlq(&bed, &["sweep"]).await?), (1, 0));
    assert_eq!(held(&bed).await?, (0, 1));
    let shown = dlq(&bed, &["show", "1"]).await?;
    assert_eq!(
        (&shown["cause"], &shown["run"]),
        (&json!("exhausted"), &json!("nightly-7"))
    );
    assert_eq!(shown["deliveries"], MAX_DELIVER);
    assert!(
        shown["headers"][header::DOCUMENT_VERSION].is_array(),
        "{shown}"
    );
    assert_eq!(
        found(&dlq(&bed, &["sweep"]).await?),
        (0, 0),
        "the advisory is dealt with"
    );
    assert_eq!(dlq(&bed, &["replay", "--all"]).await?["replayed"], 1);
    bed.drain().await?;
    assert_eq!((bed.points().await?.len(), held(&bed).await?), (1, (0, 0)));
    bed.end().await
}

#[tokio::test]
async fn jobs_that_wait_or_are_in_flight_or_delayed_are_left_alone() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let [live, bulk] = bed.lanes();
    let consumer = consumer(&bed, &live).await?;
    for id in ["in flight", "delayed", "waiting"] {
        publish(&bed, id, "text", None).await?;
    }
    let on_bulk = bed.jetstream().publish(bulk.subject(), "{}".into());
    on_bulk.await?.await?;
    let messages = pull(&consumer, 2).await?;
    let delay = Some(Duration::from_secs(60));
    settle(&messages[1], AckKind::Nak(delay)).await?;
    let swept = dlq(&bed, &["sweep"]).await?;
    assert_eq!(
        (found(&swept), held(&bed).await?),
        ((0, 0), (4, 0)),
        "{swept}"
    );
    bed.end().await
}

#[tokio::test]
async fn sweeps_at_once_and_after_a_crash_make_one_dead_letter_of_a_job() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for n in 0..10 {
        publish(&bed, &format!("d{n}"), "text", None).await?;
    }
    exhaust(&bed).await?;
    advisories(&bed, 10).await?;
    // A sweep that was killed has stored a dead letter and left its job.
    store_dead_letter(&bed, 1).await?;
    tokio::try_join!(dlq(&bed, &["sweep"]), dlq(&bed, &["sweep"]))?;
    assert_eq!(held(&bed).await?, (0, 10));
    bed.end().await
}

#[tokio::test]
async fn an_advisory_is_obsolete_when_its_consumer_or_stream_was_made_anew() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    publish(&bed, "a", "text", None).await?;
    exhaust(&bed).await?;
    advisories(&bed, 1).await?;
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    jobs.delete_consumer(&bed.lanes()[0].consumer()).await?;
    bed.stack.indexer(&["provision"]).await?;
    let swept = dlq(&bed, &["sweep"]).await?;
    assert_eq!((found(&swept), &swept["obsolete"]), ((0, 0), &json!(1)));
    assert_eq!(held(&bed).await?, (1, 0), "the new consumer hands it out");
    exhaust(&bed).await?;
    advisories(&bed, 2).await?;
    bed.jetstream().delete_stream(JOBS).await?;
    bed.stack.indexer(&["provision"]).await?;
    publish(&bed, "another with its sequence", "text", None).await?;
    let swept = dlq(&bed, &["sweep"]).await?;
    assert_eq!((found(&swept), &swept["obsolete"]), ((0, 0), &json!(1)));
    assert_eq!(held(&bed).await?, (1, 0));
    bed.end().await
}

#[tokio::test]
async fn jobs_that_nobody_reads_are_reported_and_stay() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for subject in [
        "jobs.embed.unknown.live",
        "jobs.embed.unknown.live",
        "jobs.rescore.more",
    ] {
        bed.jetstream().publish(subject, "{}".into()).await?.await?;
    }
    publish(&bed, "read", "text", None).await?;
    super::lose(&bed, "dead", "invalid").await?;
    let status = bed.stack.indexer(&["status", "--json"]).await?;
    let status: Value = serde_json::from_str(&status)?;
    let orphaned = json!({ "jobs": 3, "more_subjects": 0, "subjects": [
        { "subject": "jobs.embed.unknown.live", "jobs": 2 },
        { "subject": "jobs.rescore.more", "jobs": 1 },
    ] });
    assert_eq!(status["orphaned"], orphaned);
    let causes = json!({ "read": 1, "counts": { "invalid": 1 } });
    assert_eq!(status["dead_letter_causes"], causes);
    let swept = dlq(&bed, &["sweep"]).await?;
    assert_eq!((&swept["orphaned"], held(&bed).await?), (&orphaned, (4, 1)));
    let text = bed.stack.indexer(&["status"]).await?;
    assert!(text.contains("jobs.embed.unknown.live"), "{text}");
    bed.end().await
}
