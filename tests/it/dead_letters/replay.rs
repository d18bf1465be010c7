//! Replay: jobs published again, each once, under the version that they had.

use async_nats::HeaderMap;
use contract::topology::{DLQ, JOBS, header};
use queue::dead_letter::{job_headers, replay_id};
use serde_json::{Value, json};
use tests::Bed;

use super::{count, dlq, give_up, lose, publish, run};

#[tokio::test]
async fn a_replay_that_is_repeated_publishes_a_job_once() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let id = lose(&bed, "a", "invalid").await?;
    // What a replay leaves that is killed before it has removed the dead letter.
    let stored = bed.jetstream().get_stream(DLQ).await?;
    let letter = stored.get_raw_message(id).await?;
    let mut headers = job_headers(&letter.headers);
    headers.insert("Nats-Msg-Id", replay_id(&letter.subject));
    let subject = bed.lanes()[0].subject();
    let half = bed
        .jetstream()
        .publish_with_headers(subject, headers, letter.payload);
    half.await?.await?;
    let replayed = dlq(&bed, &["replay", "--all"]).await?;
    assert_eq!(
        (&replayed["replayed"], &replayed["recognised"]),
        (&json!(0), &json!(1))
    );
    let replayed = dlq(&bed, &["replay", "--all"]).await?;
    assert_eq!(
        (&replayed["replayed"], &replayed["recognised"]),
        (&json!(0), &json!(0))
    );
    assert_eq!((count(&bed, JOBS).await?, count(&bed, DLQ).await?), (1, 0));
    bed.end().await
}

#[tokio::test]
async fn two_replays_at_the_same_time_publish_each_job_once() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for n in 0..60 {
        lose(&bed, &format!("d{n}"), "invalid").await?;
    }
    let all = ["replay", "--cause", "invalid"];
    let (one, other) = tokio::try_join!(dlq(&bed, &all), dlq(&bed, &all))?;
    let published = |of: &Value| of["replayed"].as_u64().unwrap_or_default();
    assert_eq!(published(&one) + published(&other), 60, "{one} {other}");
    assert_eq!((count(&bed, JOBS).await?, count(&bed, DLQ).await?), (60, 0));
    bed.end().await
}

#[tokio::test]
async fn a_job_that_dies_again_is_replayed_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    lose(&bed, "a", "invalid").await?;
    for _ in 0..2 {
        assert_eq!(dlq(&bed, &["replay", "--all"]).await?["replayed"], 1);
        let jobs = bed.jetstream().get_stream(JOBS).await?;
        give_up(&bed, jobs.cached_info().state.last_sequence, "invalid").await?;
    }
    bed.end().await
}

#[tokio::test]
async fn a_replayed_job_does_not_overwrite_a_newer_version_of_its_document() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    lose(&bed, "doc", "invalid").await?;
    lose(&bed, "other", "invalid").await?;
    publish(&bed, "doc", "newer text", None).await?;
    bed.drain().await?;
    assert_eq!(dlq(&bed, &["replay", "--all"]).await?["replayed"], 2);
    bed.drain().await?;
    let points = bed.points().await?;
    let text = |id: &str| tests::text(&points[&(id.to_owned(), 0)], "text");
    assert_eq!(
        (text("doc"), text("other")),
        ("newer text".into(), "lost text".into())
    );
    assert_eq!(count(&bed, DLQ).await?, 0);
    bed.end().await
}

#[tokio::test]
async fn the_largest_job_can_be_given_up_shown_and_replayed() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let job = vec![b'x'; contract::job::MAX_JOB_BYTES];
    let sequence = bed.publish_bytes(job.clone()).await?;
    let id = give_up(&bed, sequence, "malformed").await?.to_string();
    let raw = run(&bed, &["dlq", "show", &id, "--raw"]).await?;
    assert!(raw.stdout == job, "{} bytes are shown", raw.stdout.len());
    assert_eq!(dlq(&bed, &["replay", &id]).await?["replayed"], 1);
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    let last = jobs.cached_info().state.last_sequence;
    assert!(jobs.get_raw_message(last).await?.payload == job);
    bed.end().await
}

#[tokio::test]
async fn a_forged_dead_letter_is_never_published() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let subjects = [
        "results.forged",
        "dlq.forged.more",
        "jobs.embed.*.live",
        "$JS.API.STREAM.PURGE.JOBS",
    ];
    for (n, subject) in (0..).zip(subjects) {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            (header::CAUSE, "invalid"),
            (header::SUBJECT, subject),
            (header::SEQUENCE, "1"),
            (header::DELIVERIES, "1"),
        ] {
            headers.insert(name, value);
        }
        let forged = format!("dlq.forged.{n}");
        let stored = bed
            .jetstream()
            .publish_with_headers(forged, headers, "{}".into());
        stored.await?.await?;
    }
    bed.jetstream()
        .publish("dlq.bare", "{}".into())
        .await?
        .await?;
    let waiting = publish(&bed, "a", "text", None).await?;
    let output = run(&bed, &["dlq", "replay", "--all", "--json"]).await?;
    assert_eq!(output.status.code(), Some(1));
    let replayed: Value = serde_json::from_slice(&output.stdout)?;
    let counted = [
        &replayed["replayed"],
        &replayed["refused"],
        &replayed["unreadable"],
    ];
    assert_eq!(counted, [&json!(0), &json!(4), &json!(1)]);
    assert_eq!(count(&bed, DLQ).await?, 5);
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    assert_eq!(jobs.cached_info().state.last_sequence, waiting);
    assert_eq!(count(&bed, "RESULTS").await?, 0);
    bed.end().await
}
