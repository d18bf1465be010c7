//! Runs of `indexer rescore`: interrupted, repeated, doubled.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Output;

use contract::topology::JOBS;
use fixtures::wait::until;
use rustix::process::Signal;
use serde_json::Value;
use tests::LIMIT;
use tokio::process::Command;

use super::setup::{Setup, score};

/// Chunks to score.
const CHUNKS: usize = 300;

/// Each point is a job.
const SMALL: [&str; 4] = ["--query", "lag", "--job-tokens", "1"];

async fn setup() -> anyhow::Result<Setup> {
    let setup = Setup::start().await?;
    for document in 0..CHUNKS / 10 {
        let texts: Vec<_> = (0..10).map(|n| format!("text {n} of {document}")).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let id = format!("d{document}");
        setup.bed.publish_document(&id, 1, &texts).await?;
    }
    setup.bed.drain().await?;
    Ok(setup)
}

impl Setup {
    fn command(&self, run: &str, failpoints: &str) -> Command {
        let mut command = self.bed.stack.program("indexer");
        command.args(["rescore", "--model", &self.model, "--run-id", run]);
        command.args(SMALL).env("EBB_FAILPOINTS", failpoints);
        command
    }

    async fn run(&self, run: &str) -> anyhow::Result<Value> {
        self.rescore(&[&SMALL[..], &["--run-id", run]].concat())
            .await
    }

    /// Jobs that wait.
    async fn jobs(&self) -> anyhow::Result<u64> {
        let jobs = self.bed.jetstream().get_stream(JOBS).await?;
        Ok(jobs.cached_info().state.messages)
    }
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_run_that_was_killed_goes_on_at_its_cursor_and_publishes_nothing_twice()
-> anyhow::Result<()> {
    let setup = setup().await?;
    let dry = setup
        .rescore(&[&SMALL[..], &["--dry-run"]].concat())
        .await?;
    assert_eq!(dry["jobs"], CHUNKS, "{dry}");
    assert_eq!(setup.jobs().await?, 0, "a dry run publishes");
    // Saved twice before it dies: the second time it goes on from a cursor.
    for _ in 0..2 {
        let killed = setup
            .command("nightly", "addition-saved=kill")
            .output()
            .await?;
        assert_eq!(
            killed.status.signal(),
            Some(Signal::KILL.as_raw()),
            "{killed:?}"
        );
    }
    let before = setup.jobs().await?;
    assert!((32..CHUNKS as u64).contains(&before), "{before}");
    let report = setup.run("nightly").await?;
    let count = |name: &str| report[name].as_u64().unwrap_or_default();
    assert_eq!(count("points"), CHUNKS as u64, "{report}");
    assert_eq!(
        count("jobs") + count("duplicates"),
        CHUNKS as u64,
        "{report}"
    );
    assert!(count("duplicates") <= 2 * (64 + 16), "{report}");
    assert_eq!(setup.jobs().await?, CHUNKS as u64);
    // A finished run has nothing left to do, and no other may go by its name.
    assert_eq!(setup.run("nightly").await?, report);
    assert_eq!(setup.jobs().await?, CHUNKS as u64);
    let mut other = setup.command("nightly", "");
    let other = other.args(["--field", "scores.other"]).output().await?;
    assert_eq!(other.status.code(), Some(1), "{other:?}");
    assert!(log(&other).contains("--field"), "{other:?}");
    setup.drain(&[]).await?;
    let points = setup.bed.points().await?;
    let scored = points.values().filter(|point| score(point).is_some());
    assert_eq!(scored.count(), CHUNKS);
    setup.bed.end().await
}

#[tokio::test]
async fn a_process_whose_run_was_taken_over_ends() -> anyhow::Result<()> {
    let setup = setup().await?;
    let mut slow = setup.command("shared", "addition-stored=stall:500");
    let slow = tokio::spawn(async move { slow.output().await });
    until("the slow process to publish", LIMIT, async || {
        Ok((setup.jobs().await? > 0).then_some(()))
    })
    .await?;
    let report = setup.run("shared").await?;
    assert_eq!(report["points"], CHUNKS, "{report}");
    let slow = slow.await??;
    assert_eq!(slow.status.code(), Some(1), "{slow:?}");
    assert!(log(&slow).contains("taken over"), "{slow:?}");
    assert_eq!(
        setup.run("shared").await?,
        report,
        "the record is not that of the newer process"
    );
    assert_eq!(setup.jobs().await?, CHUNKS as u64);
    setup.bed.end().await
}
