//! Waiting: programs that start before their servers, or before somebody lets them through.

use std::time::{Duration, Instant};

use fixtures::nats::NatsServer;
use fixtures::process::Process;
use fixtures::qdrant::QdrantServer;
use rustix::process::Signal;
use serde_json::Value;
use tests::{Bed, LIMIT};
use tokio::process::Command;

use crate::object_stores::server::Server;

/// A program that was started, with what it prints.
fn start(bed: &Bed, mut command: Command, wait: &str) -> anyhow::Result<Process> {
    command.env("EBB_WAIT_FOR_SERVERS", wait);
    let log = bed.directory.path().join("waiting.log");
    Process::start(command, "a program that waits", &log)
}

fn indexer(bed: &Bed, arguments: &[&str]) -> Command {
    let mut command = bed.stack.program("indexer");
    command.args(arguments);
    command
}

/// Waits until the log tells what is waited for.
async fn waits_for(process: &mut Process, server: &str) -> anyhow::Result<()> {
    let line = format!("waiting for {server}");
    process
        .wait_for_log(LIMIT, |found| found.contains(&line).then_some(()))
        .await
}

async fn succeeds(mut process: Process) -> anyhow::Result<String> {
    let status = process.wait().await?;
    let log = std::fs::read_to_string(process.log())?;
    anyhow::ensure!(status.success(), "{status}: {log}");
    Ok(log)
}

#[tokio::test]
async fn every_verb_waits_for_a_nats_that_starts_later() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    let corpus = bed.write("doc.md", "# Title\n\nSome text.\n")?;
    let corpus = corpus.display().to_string();
    let mut commands = vec![
        indexer(&bed, &["provision"]),
        indexer(&bed, &["publish", &corpus]),
        indexer(&bed, &["status"]),
        indexer(&bed, &["dlq", "sweep"]),
        indexer(&bed, &["doctor", "--collections", &bed.stack.collection]),
    ];
    let mut check = bed.stack.program("worker");
    check.arg("check");
    commands.push(check);
    for command in commands {
        bed.stack.nats.kill().await?;
        let mut process = start(&bed, command, "10m")?;
        waits_for(&mut process, "nats at nats://127.0.0.1:").await?;
        bed.stack.nats.resume().await?;
        let log = succeeds(process).await?;
        let lines = log.matches("waiting for nats").count();
        assert!(lines < 6, "{log}");
        std::fs::remove_file(bed.directory.path().join("waiting.log"))?;
    }
    bed.end().await
}

#[tokio::test]
async fn every_verb_waits_for_a_qdrant_that_starts_later() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    let commands = [
        indexer(&bed, &["provision"]),
        indexer(&bed, &["status"]),
        indexer(&bed, &["gc", "--alias", &bed.stack.collection]),
    ];
    for command in commands {
        let QdrantServer::Local(qdrant) = &mut bed.stack.qdrant else {
            // A server that others share is not ours to kill.
            return bed.end().await;
        };
        qdrant.kill().await?;
        let mut process = start(&bed, command, "10m")?;
        waits_for(&mut process, "qdrant at http://127.0.0.1:").await?;
        if let QdrantServer::Local(qdrant) = &mut bed.stack.qdrant {
            qdrant.resume().await?;
        }
        succeeds(process).await?;
        std::fs::remove_file(bed.directory.path().join("waiting.log"))?;
    }
    bed.end().await
}

#[tokio::test]
async fn the_doctor_waits_for_the_monitoring_endpoint() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    // A second server, so that nothing but its endpoint is late.
    let program = bed.stack.tools.runtime.nats_server.clone();
    let mut late = NatsServer::start(&program, &bed.directory.path().join("late")).await?;
    late.kill().await?;
    let monitoring = late.monitoring_url();
    let mut command = indexer(&bed, &["doctor", "--json", "--monitoring", &monitoring]);
    command.args(["--collections", &bed.stack.collection]);
    let mut process = start(&bed, command, "10m")?;
    waits_for(&mut process, "the monitoring endpoint http://127.0.0.1:").await?;
    late.resume().await?;
    process.wait().await?;
    // It was asked: that server has no stream of jobs.
    let log = std::fs::read_to_string(process.log())?;
    assert!(!log.contains("failed to ask"), "{log}");
    bed.stack.nats.process()?;
    late.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_publish_waits_for_an_object_store_that_starts_later() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let early = Server::start(&[("doc.md", b"# Title\n\nSome text.\n")]).await?;
    let (url, address) = (early.url("doc.md"), early.address().to_owned());
    drop(early);
    let mut process = start(&bed, indexer(&bed, &["publish", "--json", &url]), "10m")?;
    waits_for(&mut process, "http://127.0.0.1:").await?;
    let late = Server::start_at(&address, &[("doc.md", b"# Title\n\nSome text.\n")]).await?;
    let log = succeeds(process).await?;
    let report = log.lines().last().unwrap_or_default();
    assert_eq!(serde_json::from_str::<Value>(report)?["documents"], 1);
    drop(late);
    bed.end().await
}

#[tokio::test]
async fn a_refused_login_is_not_waited_out() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let users = "authorization { users: [{ user: ebb, password: \"open-sesame\" }] }\n";
    let program = &bed.stack.tools.runtime.nats_server;
    let guarded = bed.directory.path().join("guarded");
    let mut nats = NatsServer::start_with(program, &guarded, users).await?;
    let mut command = indexer(&bed, &["status"]);
    command.env("NATS_URL", nats.url());
    command
        .env("NATS_USER", "ebb")
        .env("NATS_PASSWORD", "wrong");
    let mut process = start(&bed, command, "10m")?;
    assert_eq!(process.wait().await?.code(), Some(77));
    let log = std::fs::read_to_string(process.log())?;
    assert!(log.contains("refused the login"), "{log}");
    assert!(!log.contains("waiting for"), "{log}");
    nats.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_wait_ends_with_the_error_of_the_server_and_with_a_signal() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    bed.stack.nats.kill().await?;
    for (wait, waits) in [("0s", false), ("1s", true)] {
        let mut process = start(&bed, indexer(&bed, &["status"]), wait)?;
        assert_eq!(process.wait().await?.code(), Some(69), "{wait}");
        let log = std::fs::read_to_string(process.log())?;
        assert!(log.contains("failed to connect to nats at"), "{log}");
        assert_eq!(log.contains("waiting for nats"), waits, "{log}");
        std::fs::remove_file(process.log())?;
    }
    let mut process = start(&bed, indexer(&bed, &["status"]), "10m")?;
    waits_for(&mut process, "nats").await?;
    let asked = Instant::now();
    process.signal(Signal::TERM)?;
    // As of a program that the system has ended: 128 and the signal.
    assert_eq!(process.wait().await?.code(), Some(143));
    assert!(asked.elapsed() < Duration::from_secs(5));
    bed.end().await
}
