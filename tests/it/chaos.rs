//! Chaos: the runner finds what is planted, each by its kind, and nothing where nothing is planted. What it proves about
//! the workers is worth as much as that.

use anyhow::Context as _;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Semaphore;

/// Runs side by side: each has two servers and two workers, all of them idle most of the time.
static SLOTS: Semaphore = Semaphore::const_new(3);

/// Ack wait of the short runs, so that crashes are soon over.
const ACK_WAIT: &str = "5s";

/// A short run; gives whether it succeeded, and its summary.
async fn run(arguments: &[&str]) -> anyhow::Result<(bool, Value)> {
    let program = tests::tools().await?.programs.path("chaos");
    let _slot = SLOTS.acquire().await?;
    let directory = tempfile::tempdir()?;
    let mut command = Command::new(&program);
    // Built once for all runs.
    command.env(
        "EBB_BIN_DIR",
        program.parent().context("a program has a folder")?,
    );
    command.args(["--json", "--minutes", "0.3", "--workers", "2"]);
    command.arg("--directory").arg(directory.path());
    command.args(arguments).kill_on_drop(true);
    let output = command.output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    let summary = text.lines().last().unwrap_or_default();
    let summary = serde_json::from_str(summary).with_context(|| {
        format!(
            "no summary:\n{text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    eprintln!("{arguments:?}: {summary}");
    Ok((output.status.success(), summary))
}

async fn finds(plant: &str, kind: &str) -> anyhow::Result<()> {
    finds_with(plant, kind, ACK_WAIT).await
}

async fn finds_attached(plant: &str, kind: &str) -> anyhow::Result<()> {
    found(plant, kind, &["--attached", "--ack-wait", ACK_WAIT]).await
}

async fn finds_with(plant: &str, kind: &str, ack_wait: &str) -> anyhow::Result<()> {
    found(plant, kind, &["--ack-wait", ack_wait]).await
}

async fn found(plant: &str, kind: &str, more: &[&str]) -> anyhow::Result<()> {
    let arguments = [&["--faults", "none", "--plant", plant], more].concat();
    let (clean, summary) = run(&arguments).await?;
    assert!(!clean, "{plant} was not found");
    let found = summary[kind].as_u64().unwrap_or(0);
    assert!(
        found > 0,
        "{plant} shows as something else than {kind}: {summary}"
    );
    Ok(())
}

#[tokio::test]
async fn every_point_has_the_attached_vector_of_its_own_version_after_a_short_chaos()
-> anyhow::Result<()> {
    let faults = "kill,term,failpoint,cut,qdrant_restart,nats_restart";
    let arguments = ["--attached", "--faults", faults, "--ack-wait", ACK_WAIT];
    let (clean, summary) = run(&arguments).await?;
    assert!(clean, "{summary}");
    assert!(summary["process_kills"].as_u64() > Some(0), "{summary}");
    assert!(summary["points"].as_u64() > Some(0), "{summary}");
    Ok(())
}

#[tokio::test]
async fn an_acknowledgement_before_the_attach_jobs_are_stored_is_found() -> anyhow::Result<()> {
    finds_attached("ack-before-attach-jobs", "lost").await
}

#[tokio::test]
async fn an_attached_vector_without_the_version_guard_is_found() -> anyhow::Result<()> {
    finds_attached("no-attach-guard", "bad_vector").await
}

#[tokio::test]
async fn a_short_chaos_has_no_violation() -> anyhow::Result<()> {
    let faults = "kill,term,failpoint,cut,qdrant_restart";
    let (clean, summary) = run(&["--faults", faults, "--ack-wait", ACK_WAIT]).await?;
    assert!(clean, "{summary}");
    assert_eq!(summary["violations"], 0);
    assert!(summary["process_kills"].as_u64() > Some(0), "{summary}");
    assert!(summary["points"].as_u64() > Some(0), "{summary}");
    Ok(())
}

#[tokio::test]
async fn an_acknowledgement_before_the_write_is_found() -> anyhow::Result<()> {
    finds("ack-before-write", "lost").await
}

#[tokio::test]
async fn a_missing_version_guard_is_found() -> anyhow::Result<()> {
    finds("no-version-guard", "stale").await
}

#[tokio::test]
async fn a_dropped_dead_letter_is_found() -> anyhow::Result<()> {
    finds("dropped-dead-letter", "lost").await
}

#[tokio::test]
async fn chunks_that_are_not_pruned_are_found() -> anyhow::Result<()> {
    finds("no-prune", "resurrected").await
}

#[tokio::test]
async fn a_missing_tombstone_is_found() -> anyhow::Result<()> {
    finds("no-tombstone", "resurrected").await
}

#[tokio::test]
async fn a_tombstone_that_keeps_its_vector_is_found() -> anyhow::Result<()> {
    finds("tombstone-vector", "bad_vector").await
}

#[tokio::test]
async fn a_wrong_vector_is_found() -> anyhow::Result<()> {
    finds("wrong-vector", "bad_vector").await
}

#[tokio::test]
async fn a_worker_that_gives_nothing_back_is_found() -> anyhow::Result<()> {
    // The leases outlast the look at what was given back.
    finds_with("lost-sigterm", "not_given_back", "20s").await
}
