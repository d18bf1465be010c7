//! Dead letters: listed, shown, replayed and dropped as a person at a terminal does it.

mod replay;
mod sweep;

use std::process::{Output, Stdio};

use anyhow::Context as _;
use async_nats::jetstream::stream::Stream;
use contract::topology::{DLQ, JOBS, header};
use queue::dead_letter::{self, Original, Verdict};
use serde_json::{Value, json};
use tests::Bed;

/// Gives a job up as a worker does; gives the id of its dead letter.
async fn give_up(bed: &Bed, sequence: u64, cause: &str) -> anyhow::Result<u64> {
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    let message = jobs.get_raw_message(sequence).await?;
    let verdict = Verdict {
        cause,
        reason: "as the test wants it",
        worker: "test",
        fingerprint: bed.manifest.fingerprint.as_str(),
    };
    let original = Original::stored(JOBS, &message, 3);
    dead_letter::store(bed.jetstream(), &original, &verdict).await?;
    jobs.delete_message(sequence).await?;
    let dlq = bed.jetstream().get_stream(DLQ).await?;
    Ok(dlq.cached_info().state.last_sequence)
}

/// Publishes a document without a version and gives its job up.
async fn lose(bed: &Bed, id: &str, cause: &str) -> anyhow::Result<u64> {
    let sequence = publish(bed, id, "lost text", None).await?;
    give_up(bed, sequence, cause).await
}

async fn publish(bed: &Bed, id: &str, text: &str, run: Option<&str>) -> anyhow::Result<u64> {
    let job = json!({
        "version": "1.0", "kind": "embed", "collection": bed.stack.collection, "run": run,
        "documents": [{ "id": id, "chunks": [{ "text": text }] }],
    });
    bed.publish_bytes(job.to_string()).await
}

/// Messages in a stream.
async fn count(bed: &Bed, stream: &str) -> anyhow::Result<u64> {
    let stream: Stream = bed.jetstream().get_stream(stream).await?;
    Ok(stream.cached_info().state.messages)
}

/// Runs the indexer, whatever its exit code.
async fn run(bed: &Bed, arguments: &[&str]) -> anyhow::Result<Output> {
    Ok(bed
        .stack
        .program("indexer")
        .args(arguments)
        .output()
        .await?)
}

/// Runs a verb that succeeds and gives the JSON of its last line.
async fn dlq(bed: &Bed, arguments: &[&str]) -> anyhow::Result<Value> {
    let all = [&["dlq"], arguments, &["--json"]].concat();
    let printed = bed.stack.indexer(&all).await?;
    let last = printed.lines().last().context("nothing was printed")?;
    Ok(serde_json::from_str(last)?)
}

fn ids(listed: &Value) -> Vec<u64> {
    let letters = listed["dead_letters"].as_array().into_iter().flatten();
    letters.filter_map(|letter| letter["id"].as_u64()).collect()
}

#[tokio::test]
async fn dead_letters_are_listed_by_cause_model_run_and_age() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let invalid = lose(&bed, "a", "invalid").await?;
    let sequence = publish(&bed, "b", "text", Some("nightly-7")).await?;
    let nightly = give_up(&bed, sequence, "too_long").await?;
    let forged = bed.jetstream().publish("dlq.forged", "\u{1b}[2J".into());
    let forged = forged.await?.await?.sequence;
    let every = [invalid, nightly, forged];
    let model = bed.manifest.name.to_string();
    let selections: [(&[&str], &[u64]); 11] = [
        (&[], &every),
        (&["--cause", "invalid"], &[invalid]),
        (&["--cause", "invalid,unreadable"], &[invalid, forged]),
        (&["--run", "nightly-7"], &[nightly]),
        (&["--model", &model], &[invalid, nightly]),
        (&["--model", "other"], &[]),
        (&["--older-than", "1h"], &[]),
        (&["--newer-than", "1h"], &every),
        (&["--newer-than", "1h", "--limit", "2"], &every[..2]),
        (&["3", "1", "999"], &[forged, invalid]),
        (&["1", "2", "--cause", "too_long"], &[nightly]),
    ];
    for (selection, wanted) in selections {
        let listed = dlq(&bed, &[&["ls"], selection].concat()).await?;
        assert_eq!(ids(&listed), wanted, "{selection:?}: {listed}");
    }
    let table = bed.stack.indexer(&["dlq", "ls"]).await?;
    assert_eq!(table.lines().count(), 4, "{table}");
    assert!(
        table.contains("unreadable") && table.contains("Ebb-Cause"),
        "{table}"
    );
    bed.end().await
}

#[tokio::test]
async fn a_dead_letter_is_shown_with_its_headers_and_its_job() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let id = lose(&bed, "a", "invalid").await?.to_string();
    let bytes = bed.publish_bytes(b"\xff\x00".to_vec()).await?;
    let binary = give_up(&bed, bytes, "malformed").await?.to_string();
    let shown = dlq(&bed, &["show", &id]).await?;
    assert_eq!(shown["cause"], "invalid");
    assert_eq!(shown["headers"][header::DELIVERIES], json!(["3"]));
    assert_eq!(shown["payload"]["json"]["documents"][0]["id"], "a");
    assert_eq!(
        dlq(&bed, &["show", &binary]).await?["payload"]["hex"],
        "ff00"
    );
    let raw = run(&bed, &["dlq", "show", &binary, "--raw"]).await?;
    assert_eq!(raw.stdout, b"\xff\x00");
    let text = bed.stack.indexer(&["dlq", "show", &id]).await?;
    assert!(text.contains("Ebb-Reason: as the test wants it"), "{text}");
    let missing = run(&bed, &["dlq", "show", "99"]).await?;
    assert_eq!(missing.status.code(), Some(1));
    bed.end().await
}

#[tokio::test]
async fn dropping_takes_what_was_asked_for_and_nothing_in_a_dry_run() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for cause in ["invalid", "too_long", "too_long", "inference"] {
        lose(&bed, cause, cause).await?;
    }
    for verb in ["drop", "replay"] {
        let refused = run(&bed, &["dlq", verb]).await?;
        assert_eq!(refused.status.code(), Some(64), "{verb} of everything");
        let looked = dlq(&bed, &[verb, "--all", "--dry-run"]).await?;
        assert_eq!(looked["dry_run"], true, "{looked}");
        assert_eq!((count(&bed, JOBS).await?, count(&bed, DLQ).await?), (0, 4));
    }
    let dropped = dlq(&bed, &["drop", "--cause", "too_long", "--limit", "1"]).await?;
    assert_eq!(
        (&dropped["dropped"], count(&bed, DLQ).await?),
        (&json!(1), 3)
    );
    dlq(&bed, &["drop", "1"]).await?;
    let left = ids(&dlq(&bed, &["ls"]).await?);
    assert_eq!(left, [3, 4]);
    let dropped = dlq(&bed, &["drop", "--all"]).await?;
    assert_eq!(
        (&dropped["dropped"], count(&bed, DLQ).await?),
        (&json!(2), 0)
    );
    bed.end().await
}

#[tokio::test]
async fn thousands_of_dead_letters_are_read_to_the_last() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    for n in 0..30 {
        // The client lets only so many wait for their acknowledgement.
        let hundred = (0..100).map(|m| {
            let stored = bed
                .jetstream()
                .publish(format!("dlq.many.{n}.{m}"), "{}".into());
            async { anyhow::Ok(stored.await?.await?) }
        });
        futures::future::try_join_all(hundred).await?;
    }
    assert_eq!(
        ids(&dlq(&bed, &["ls"]).await?),
        (1..=3_000).collect::<Vec<_>>()
    );
    let dropped = dlq(&bed, &["drop", "--cause", "unreadable", "--limit", "2999"]).await?;
    assert_eq!(dropped["dropped"], 2_999);
    assert_eq!(ids(&dlq(&bed, &["ls"]).await?), [3_000]);
    bed.end().await
}

#[tokio::test]
async fn a_reader_that_goes_away_is_no_failure() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    lose(&bed, "a", "invalid").await?;
    for verb in [&["status"][..], &["dlq", "ls"]] {
        let mut command = bed.stack.program("indexer");
        command
            .args(verb)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        drop(child.stdout.take());
        let output = child.wait_with_output().await?;
        assert!(output.status.success(), "{verb:?}: {}", output.status);
        assert_eq!(String::from_utf8(output.stderr)?, "", "{verb:?}");
    }
    bed.end().await
}
