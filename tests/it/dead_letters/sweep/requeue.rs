//! Requeue: jobs that no consumer holds get another round of deliveries.

use anyhow::Context as _;
use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use contract::topology::{JOBS, header};
use serde_json::json;
use tests::Bed;

use super::super::{dlq, publish};
use super::{
    advisories, consumer, exhaust, found, held, lose_advisories, pull, settle, store_dead_letter,
};

/// Gives a job all rounds but the last, so that the next sweep gives it up.
async fn publish_in_its_last_round(bed: &Bed) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(header::REQUEUED, "3");
    let job = json!({
        "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
        "documents": [{ "id": "last", "chunks": [{ "text": "text" }] }],
    });
    let subject = bed.lanes()[0].subject();
    let sent = bed
        .jetstream()
        .publish_with_headers(subject, headers, job.to_string().into());
    sent.await?.await?;
    Ok(())
}

#[tokio::test]
async fn an_exhausted_job_without_its_advisory_is_published_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    publish(&bed, "a", "text", None).await?;
    publish(&bed, "b", "text", None).await?;
    exhaust(&bed).await?;
    advisories(&bed, 2).await?;
    lose_advisories(&bed).await?;
    let looked = dlq(&bed, &["sweep", "--dry-run"]).await?;
    assert_eq!(
        (found(&looked), &looked["requeued"], held(&bed).await?),
        ((0, 0), &json!(2), (2, 0)),
        "{looked}"
    );
    let swept = dlq(&bed, &["sweep"]).await?;
    assert_eq!((found(&swept), &swept["requeued"]), ((0, 0), &json!(2)));
    assert_eq!(held(&bed).await?, (2, 0));
    bed.drain().await?;
    assert_eq!((bed.points().await?.len(), held(&bed).await?), (2, (0, 0)));
    bed.end().await
}

#[tokio::test]
async fn a_job_that_was_published_again_keeps_its_first_version() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    publish(&bed, "a", "older", None).await?;
    exhaust(&bed).await?;
    advisories(&bed, 1).await?;
    lose_advisories(&bed).await?;
    publish(&bed, "a", "newer", None).await?;
    bed.drain().await?;
    assert_eq!(dlq(&bed, &["sweep"]).await?["requeued"], 1);
    bed.drain().await?;
    let points = bed.points().await?;
    let point = points.values().next().context("a point")?;
    assert_eq!(
        (points.len(), tests::text(point, "text")),
        (1, "newer".to_owned())
    );
    assert_eq!(held(&bed).await?, (0, 0));
    bed.end().await
}

#[tokio::test]
async fn a_job_that_was_published_again_too_often_becomes_a_dead_letter() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    publish_in_its_last_round(&bed).await?;
    exhaust(&bed).await?;
    advisories(&bed, 1).await?;
    lose_advisories(&bed).await?;
    assert_eq!(found(&dlq(&bed, &["sweep"]).await?), (0, 1));
    assert_eq!(held(&bed).await?, (0, 1));
    assert_eq!(dlq(&bed, &["replay", "--all"]).await?["replayed"], 1);
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    let last = jobs.cached_info().state.last_sequence;
    let replayed = jobs.get_raw_message(last).await?;
    assert!(
        replayed.headers.get(header::REQUEUED).is_none(),
        "a replay begins anew"
    );
    bed.end().await
}

#[tokio::test]
async fn a_job_whose_dead_letter_is_stored_is_removed_and_not_published_again() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    publish(&bed, "a", "text", None).await?;
    exhaust(&bed).await?;
    advisories(&bed, 1).await?;
    lose_advisories(&bed).await?;
    store_dead_letter(&bed, 1).await?;
    let swept = dlq(&bed, &["sweep"]).await?;
    assert_eq!((found(&swept), &swept["settled"]), ((0, 0), &json!(1)));
    assert_eq!(held(&bed).await?, (0, 1));
    bed.end().await
}

#[tokio::test]
async fn sweeps_at_once_publish_a_job_again_once() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for n in 0..10 {
        publish(&bed, &format!("d{n}"), "text", None).await?;
    }
    exhaust(&bed).await?;
    advisories(&bed, 10).await?;
    lose_advisories(&bed).await?;
    tokio::try_join!(dlq(&bed, &["sweep"]), dlq(&bed, &["sweep"]))?;
    assert_eq!(held(&bed).await?, (10, 0));
    bed.end().await
}

#[tokio::test]
async fn an_exhausted_job_is_found_behind_jobs_in_flight() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let consumer = consumer(&bed, &bed.lanes()[0]).await?;
    publish(&bed, "exhausted", "text", None).await?;
    exhaust(&bed).await?;
    advisories(&bed, 1).await?;
    lose_advisories(&bed).await?;
    publish(&bed, "done", "text", None).await?;
    for message in pull(&consumer, 1).await? {
        settle(&message, AckKind::Ack).await?;
    }
    publish(&bed, "in flight", "text", None).await?;
    let in_flight = pull(&consumer, 1).await?;
    assert_eq!(dlq(&bed, &["sweep"]).await?["requeued"], 1);
    let again = pull(&consumer, 1).await?;
    assert!(String::from_utf8_lossy(&again[0].payload).contains("exhausted"));
    settle(&again[0], AckKind::Ack).await?;
    settle(&in_flight[0], AckKind::Ack).await?;
    assert_eq!(held(&bed).await?, (0, 0));
    bed.end().await
}
