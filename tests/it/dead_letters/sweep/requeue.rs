//! Requeue: jobs that no consumer holds get another round of deliveries.

use anyhow::Context as _;
use async_nats::HeaderMap;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{FromConsumer as _, pull::Config};
use contract::topology::{ADVISORIES, JOBS, header};
use fixtures::wait::until;
use serde_json::json;
use tests::{Bed, LIMIT};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::super::{count, dlq, publish};
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
async fn a_job_that_was_published_again_keeps_its_trace() -> anyhow::Result<()> {
    const SPAN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let bed = Bed::start().await?;
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", SPAN);
    let subject = bed.lanes()[0].subject();
    let sent = bed.jetstream();
    let sent = sent.publish_with_headers(subject, headers, "{}".into());
    sent.await?.await?;
    exhaust(&bed).await?;
    advisories(&bed, 1).await?;
    lose_advisories(&bed).await?;
    assert_eq!(dlq(&bed, &["sweep"]).await?["requeued"], 1);
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    let job = jobs.get_raw_message(2).await?;
    assert_eq!(
        job.headers.get("traceparent").context("a trace")?.as_str(),
        SPAN
    );
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

/// A client that reads nothing and writes what it likes.
async fn socket(bed: &Bed) -> anyhow::Result<TcpStream> {
    let url = bed.stack.nats.url();
    let mut socket = TcpStream::connect(url.rsplit('/').next().unwrap_or_default()).await?;
    let hello = b"CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB nowhere 1\r\n";
    socket.write_all(hello).await?;
    Ok(socket)
}

/// Publishes a job with a header that is no text, as no client of ours would.
async fn publish_latin_1(bed: &Bed, socket: &mut TcpStream) -> anyhow::Result<()> {
    let headers = b"NATS/1.0\r\nX-Author: M\xfcller\r\n\r\n";
    let subject = bed.lanes()[0].subject();
    let sizes = format!("{} {}", headers.len(), headers.len() + 2);
    let command = format!("HPUB {subject} {sizes}\r\n");
    let bytes = [command.as_bytes(), headers, b"{}\r\n"].concat();
    Ok(socket.write_all(&bytes).await?)
}

/// Has all jobs handed out for the last time, to somebody who settles none.
async fn exhaust_unread(bed: &Bed, socket: &mut TcpStream, jobs: u64) -> anyhow::Result<()> {
    let lane = &bed.lanes()[0];
    let stream = bed.jetstream().get_stream(JOBS).await?;
    let mut once = consumer(bed, lane).await?.cached_info().config.clone();
    once.max_deliver = 1;
    let once = Config::try_from_consumer_config(once).map_err(anyhow::Error::from_boxed)?;
    stream.update_consumer(once).await?;
    let take = format!(
        "PUB $JS.API.CONSUMER.MSG.NEXT.JOBS.{} nowhere 2\r\n64\r\n",
        lane.consumer()
    );
    until("the server to give up", LIMIT, async || {
        socket.write_all(take.as_bytes()).await?;
        Ok((count(bed, ADVISORIES).await? == jobs).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_job_with_a_header_that_is_no_text_stops_no_sweep() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    let mut socket = socket(&bed).await?;
    publish_latin_1(&bed, &mut socket).await?;
    publish(&bed, "behind", "text", None).await?;
    exhaust_unread(&bed, &mut socket, 2).await?;
    assert_eq!(found(&dlq(&bed, &["sweep"]).await?), (2, 0));
    assert_eq!(held(&bed).await?, (0, 2));
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
