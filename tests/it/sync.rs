//! Syncs: the collection behind an alias becomes equal to its sources, by as little work as that takes.

mod documents;
mod interrupted;
mod limits;
mod live;
mod objects;
mod plans;
mod rebuilds;

use std::process::Stdio;

use contract::topology::JOBS;
use serde_json::{Value, json};
use tests::{Bed, integer};
use tokio::process::Command;

use crate::rebuild::{Corpus, Ran, corpus, ended, found, wanted, write};

/// The command of a sync with a path, that waits for nothing longer than it must.
pub(crate) fn command(bed: &Bed, source: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = bed.stack.program("indexer");
    command.arg("sync").arg(source);
    command.args(["--clock-skew", "0s", "--lease", "3s"]);
    command
        .args(["--stall-limit", "60s", "--json"])
        .args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// Syncs the alias of a bed with a corpus.
pub(crate) async fn sync(bed: &Bed, corpus: &Corpus, arguments: &[&str]) -> anyhow::Result<Ran> {
    ended(command(bed, &write(bed, corpus)?, arguments)).await
}

/// Syncs with failpoints.
pub(crate) async fn sync_with(
    bed: &Bed,
    corpus: &Corpus,
    arguments: &[&str],
    failpoints: &str,
) -> anyhow::Result<Ran> {
    let mut command = command(bed, &write(bed, corpus)?, arguments);
    command.env("EBB_FAILPOINTS", failpoints);
    ended(command).await
}

/// Counts of a report.
pub(crate) fn counts<const N: usize>(report: &Value, names: [&str; N]) -> [u64; N] {
    names.map(|name| {
        let count = report[name].as_u64();
        count.expect(name)
    })
}

/// Documents that were unchanged, published and deleted, and jobs.
pub(crate) fn changes(ran: &Ran) -> [u64; 4] {
    counts(ran.done(), ["unchanged", "published", "deleted", "jobs"])
}

/// Jobs that were ever published.
pub(crate) async fn jobs(bed: &Bed) -> anyhow::Result<u64> {
    let mut stream = bed.jetstream().get_stream(JOBS).await?;
    Ok(stream.info().await?.state.last_sequence)
}

#[tokio::test]
async fn a_sync_publishes_what_has_changed_and_deletes_what_is_gone() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(60);
    let report = bed.directory.path().join("report.json");
    let arguments = ["--report", &report.display().to_string()];
    let first = sync(&bed, &corpus, &arguments).await?;
    assert_eq!(changes(&first)[..3], [0, 60, 0]);
    assert_eq!(found(&bed).await?, wanted(&corpus));
    let stored: Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    assert_eq!(stored, first.report);

    corpus.remove("d3");
    corpus.insert("d4".to_owned(), "Another text about streams.".to_owned());
    corpus.insert("new".to_owned(), "A text that was not there.".to_owned());
    let second = sync(&bed, &corpus, &[]).await?;
    assert_eq!(changes(&second), [58, 2, 1, 2]);
    assert_eq!(
        counts(
            &second.report,
            ["documents", "chunks", "dead_letters", "refused"]
        ),
        [60, 60, 0, 0]
    );
    assert_eq!(found(&bed).await?, wanted(&corpus));
    assert_eq!(worker.metric("worker_chunks_total").await?, 62.0);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_sync_of_what_is_there_publishes_no_job() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(30);
    sync(&bed, &corpus, &[]).await?.done();
    let (jobs_before, points) = (jobs(&bed).await?, versions(&bed).await?);
    let again = sync(&bed, &corpus, &[]).await?;
    assert_eq!(changes(&again), [30, 0, 0, 0]);
    assert_eq!(jobs(&bed).await?, jobs_before);
    assert_eq!(versions(&bed).await?, points);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_sync_agrees_with_what_publish_and_rebuild_have_written() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(20);
    let source = write(&bed, &corpus)?.display().to_string();
    bed.stack.indexer(&["publish", &source]).await?;
    // The jobs of the publish are awaited.
    assert_eq!(changes(&sync(&bed, &corpus, &[]).await?), [20, 0, 0, 0]);
    crate::rebuild::rebuild(&bed, &corpus, &["--full"])
        .await?
        .done();
    assert_eq!(changes(&sync(&bed, &corpus, &[]).await?), [20, 0, 0, 0]);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_sync_publishes_on_the_bulk_lane_unless_told_otherwise() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let corpus = corpus(3);
    let [live, bulk] = bed.lanes();
    for (arguments, lane) in [
        (&["--no-wait"][..], &bulk),
        (&["--no-wait", "--lane", "live"], &live),
    ] {
        let ran = sync(&bed, &corpus, arguments).await?;
        assert_eq!(
            counts(&ran.report, ["published", "jobs"]),
            [3, 1],
            "{}",
            ran.log
        );
        let stream = bed.jetstream().get_stream(JOBS).await?;
        let subject = lane.subject();
        let last = stream.get_last_raw_message_by_subject(&subject).await?;
        assert_eq!(last.sequence, jobs(&bed).await?);
        stream.purge().await?;
    }
    bed.end().await
}

#[tokio::test]
async fn a_run_that_is_done_is_not_done_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(10);
    let first = sync(&bed, &corpus, &["--run-id", "night"]).await?;
    first.done();
    let status = bed.stack.indexer(&["status", "--json"]).await?;
    let status: Value = serde_json::from_str(&status)?;
    let run = ["verb", "run", "alias", "phase", "over"].map(|key| status["runs"][0][key].clone());
    let shown = json!(["sync", "night", bed.stack.collection, "done", true]);
    assert_eq!(Value::from(run.to_vec()), shown);
    corpus.insert("d1".to_owned(), "Changed in the morning.".to_owned());
    let again = sync(&bed, &corpus, &["--run-id", "night"]).await?;
    assert_eq!(again.done(), first.done());
    assert_ne!(found(&bed).await?, wanted(&corpus));
    let next = sync(&bed, &corpus, &["--run-id", "next"]).await?;
    assert_eq!(changes(&next), [9, 1, 0, 1]);
    worker.process.kill().await?;
    bed.end().await
}

/// Version of each point.
pub(crate) async fn versions(bed: &Bed) -> anyhow::Result<Vec<((String, i64), i64)>> {
    let points = bed.points().await?.into_iter();
    let versions = points.map(|(key, point)| (key, integer(&point, "version")));
    Ok(versions.collect())
}
