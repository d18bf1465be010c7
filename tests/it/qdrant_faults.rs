//! A Qdrant that fails in all its ways: an outage dead-letters nothing, loses nothing and spends no deliveries.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_nats::jetstream::consumer::PullConsumer;
use contract::topology::JOBS;
use fixtures::process::Process;
use fixtures::qdrant::QdrantServer;
use fixtures::stack::Worker;
use fixtures::wait::until;
use qdrant_client::Qdrant;
use tests::{Bed, LIMIT};

/// Servers of which Qdrant fails on demand.
struct Faulty {
    bed: Bed,
    rules: PathBuf,
    journal: PathBuf,
}

impl Faulty {
    /// `None` with a real Qdrant, which does not fail on demand.
    async fn start() -> anyhow::Result<Option<Self>> {
        let bed = Bed::start().await?;
        match &bed.stack.qdrant {
            QdrantServer::External(_) => {
                bed.end().await?;
                Ok(None)
            }
            QdrantServer::Local(local) => {
                let (rules, journal) = (local.faults(), local.log());
                Ok(Some(Self {
                    bed,
                    rules,
                    journal,
                }))
            }
        }
    }

    /// Puts rules in force; a reader sees the old ones or the new ones.
    fn set(&self, rules: &str) -> anyhow::Result<()> {
        let fresh = self.rules.with_extension("new");
        std::fs::write(&fresh, rules)?;
        Ok(std::fs::rename(fresh, &self.rules)?)
    }

    /// When each fault was injected, oldest first.
    fn injected(&self) -> anyhow::Result<Vec<SystemTime>> {
        let journal = std::fs::read_to_string(&self.journal)?;
        let lines = journal
            .lines()
            .filter(|line| line.contains("injected a fault"));
        lines
            .map(|line| {
                let stamp = line
                    .split_whitespace()
                    .next()
                    .context("a line has a time")?;
                Ok(humantime::parse_rfc3339(stamp)?)
            })
            .collect()
    }

    async fn injects(&self, count: usize) -> anyhow::Result<()> {
        until("faults to be injected", LIMIT, async || {
            Ok((self.injected()?.len() >= count).then_some(()))
        })
        .await
    }

    async fn publish(&self, prefix: &str, documents: usize) -> anyhow::Result<()> {
        for n in 0..documents {
            self.bed
                .publish_document(&format!("{prefix}{n}"), 1, &["some text", "more text"])
                .await?;
        }
        Ok(())
    }

    /// How many deliveries there have been on the live lane.
    async fn deliveries(&self) -> anyhow::Result<u64> {
        let consumer: PullConsumer = self
            .bed
            .jetstream()
            .get_consumer_from_stream(self.bed.lanes()[0].consumer(), JOBS)
            .await?;
        Ok(consumer.cached_info().delivered.consumer_sequence)
    }

    /// Everything that was published has become points, and nothing became a dead letter.
    async fn ends_well(self, worker: Worker, documents: usize) -> anyhow::Result<()> {
        self.bed.drained().await?;
        assert_eq!(self.bed.points().await?.len(), documents * 2);
        assert!(self.bed.dead_letters().await?.is_empty());
        assert!(worker.process.terminate().await?.success());
        self.bed.end().await
    }
}

/// A document goes through although the first two of these requests meet `fault`.
async fn survives(requests: &str, fault: &str) -> anyhow::Result<()> {
    let Some(faulty) = Faulty::start().await? else {
        return Ok(());
    };
    // The second rule changes nothing: it makes the journal count the requests that follow.
    faulty.set(&format!(
        r#"[{{"on": "{requests}", "times": 2, {fault}}}, {{"on": "{requests}"}}]"#
    ))?;
    let worker = faulty.bed.stack.worker("worker", &[]).await?;
    faulty.publish("d", 1).await?;
    faulty.bed.drained().await?;
    // Without a fault there are two: for the head of the document, and for its other chunk.
    let all = faulty.injected()?.len();
    assert!(all >= 4, "{all} {requests} in spite of {fault}");
    faulty.ends_well(worker, 1).await
}

#[tokio::test]
async fn refusals_that_pass_dead_letter_nothing() -> anyhow::Result<()> {
    let codes = [
        "internal",
        "unavailable",
        "aborted",
        "cancelled",
        "deadline_exceeded",
        "unknown",
        "failed_precondition",
        "resource_exhausted",
    ];
    for code in codes {
        survives("writes", &format!(r#""fail": {{"code": "{code}"}}"#)).await?;
    }
    Ok(())
}

#[tokio::test]
async fn failing_reads_dead_letter_nothing() -> anyhow::Result<()> {
    survives("reads", r#""fail": {"code": "internal"}"#).await
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_written_again() -> anyhow::Result<()> {
    let lost = r#""after_applying": true, "fail": {"code": "unavailable"}"#;
    survives("writes", lost).await
}

#[tokio::test]
async fn a_write_that_is_only_accepted_is_not_taken_for_done() -> anyhow::Result<()> {
    for answer in ["acknowledged", "wait_timeout"] {
        let fault = format!(r#""answer": "{answer}", "apply_after_ms": 400"#);
        survives("writes", &fault).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_write_that_takes_half_a_minute_loses_nothing() -> anyhow::Result<()> {
    survives("writes", r#""delay_ms": 30000"#).await
}

/// Nothing is written to a Qdrant before the time that it asked for is over, by jobs that come later neither.
async fn breaks(worker: &Worker) -> anyhow::Result<()> {
    until("the breaker to open", LIMIT, async || {
        let open = worker.metric("worker_breaker_open").await?;
        Ok((open > 0.0).then_some(()))
    })
    .await
}

async fn honours_retry_after(seconds: u64) -> anyhow::Result<()> {
    let Some(faulty) = Faulty::start().await? else {
        return Ok(());
    };
    // The second rule changes nothing: it makes the journal tell when writes come again.
    faulty.set(&format!(
        r#"[{{"on": "writes", "times": 1, "fail": {{"code": "resource_exhausted", "retry_after_seconds": {seconds}}}}},
            {{"on": "writes"}}]"#
    ))?;
    let worker = faulty.bed.stack.worker("worker", &[]).await?;
    faulty.publish("early", 1).await?;
    faulty.injects(1).await?;
    faulty.publish("late", 3).await?;
    faulty.bed.drained().await?;
    let times = faulty.injected()?;
    let refused = times[0];
    // The journal is written before the answer: a write that the worker began before it had that is none of the pause.
    let known = refused + Duration::from_secs(1);
    let next = times.iter().find(|time| **time > known);
    let next = next.context("what was refused was not written again after a pause")?;
    let pause = next.duration_since(refused)?;
    assert!(pause >= Duration::from_secs(seconds), "{pause:?}");
    faulty.ends_well(worker, 4).await
}

#[tokio::test]
async fn a_short_pause_that_qdrant_asks_for_is_kept() -> anyhow::Result<()> {
    honours_retry_after(4).await
}

#[tokio::test]
async fn a_long_pause_that_qdrant_asks_for_is_kept() -> anyhow::Result<()> {
    honours_retry_after(36).await
}

#[tokio::test]
async fn an_outage_of_qdrant_spends_no_deliveries_while_it_lasts() -> anyhow::Result<()> {
    spends_no_deliveries(r#"[{"fail": {"code": "unavailable"}}]"#).await
}

#[tokio::test]
async fn a_qdrant_that_only_reads_spends_no_deliveries() -> anyhow::Result<()> {
    spends_no_deliveries(r#"[{"on": "writes", "fail": {"code": "internal"}}]"#).await
}

async fn spends_no_deliveries(outage: &str) -> anyhow::Result<()> {
    let Some(faulty) = Faulty::start().await? else {
        return Ok(());
    };
    let worker = faulty
        .bed
        .stack
        .worker("worker", &["--batch-jobs", "4"])
        .await?;
    faulty.set(outage)?;
    let documents = 60;
    faulty.publish("d", documents).await?;
    breaks(&worker).await?;
    let (before, faults) = (faulty.deliveries().await?, faulty.injected()?.len());
    faulty.injects(faults + 8).await?;
    let during = faulty.deliveries().await? - before;
    // A request for a single job may have been waiting on each lane.
    assert!(
        during <= 2,
        "{during} deliveries while the breaker was open"
    );
    faulty.set("[]")?;
    faulty.bed.drained().await?;
    let all = faulty.deliveries().await?;
    assert!(
        all <= 2 * documents as u64,
        "{all} deliveries of {documents} jobs"
    );
    faulty.ends_well(worker, documents).await
}

#[tokio::test]
async fn a_worker_waits_for_a_qdrant_that_starts_later() -> anyhow::Result<()> {
    let Some(mut faulty) = Faulty::start().await? else {
        return Ok(());
    };
    let QdrantServer::Local(qdrant) = &mut faulty.bed.stack.qdrant else {
        unreachable!("only a local one fails on demand");
    };
    qdrant.kill().await?;
    faulty.publish("d", 1).await?;
    let mut command = faulty.bed.stack.program("worker");
    command.args(["--log-format", "json", "run", "--drain"]);
    let log = faulty.bed.directory.path().join("early.log");
    let mut process = Process::start(command, "early worker", &log)?;
    process
        .wait_for_log(LIMIT, |line| {
            line.contains("waiting for qdrant").then_some(())
        })
        .await?;
    let QdrantServer::Local(qdrant) = &mut faulty.bed.stack.qdrant else {
        unreachable!("only a local one fails on demand");
    };
    qdrant.resume().await?;
    assert!(process.wait().await?.success());
    assert_eq!(faulty.bed.points().await?.len(), 2);
    faulty.bed.end().await
}

#[tokio::test]
async fn a_collection_that_was_dropped_and_made_again_gets_all_jobs() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let qdrant = Qdrant::from_url(&bed.stack.qdrant.url()).skip_compatibility_check();
    let qdrant = qdrant.build()?;
    let name = bed.stack.collection.as_str();
    let aliases = qdrant.list_aliases().await?.aliases;
    let alias = aliases.iter().find(|alias| alias.alias_name == name);
    let generation = &alias.context("the collection is an alias")?.collection_name;
    qdrant.delete_alias(name).await?;
    qdrant.delete_collection(generation.as_str()).await?;
    for n in 0..20 {
        bed.publish_document(&format!("d{n}"), 1, &["some text"])
            .await?;
    }
    breaks(&worker).await?;
    bed.stack.indexer(&["provision"]).await?;
    bed.drained().await?;
    assert_eq!(bed.points().await?.len(), 20);
    assert!(bed.dead_letters().await?.is_empty());
    assert!(worker.process.terminate().await?.success());
    bed.end().await
}

#[tokio::test]
async fn a_status_shows_what_it_can_reach_and_says_what_it_cannot() -> anyhow::Result<()> {
    let Some(faulty) = Faulty::start().await? else {
        return Ok(());
    };
    let looked = async || {
        let mut command = faulty.bed.stack.program("indexer");
        let output = command.args(["status", "--json"]).output().await?;
        let status: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        anyhow::Ok((output.status.success(), status))
    };
    let (is_whole, status) = looked().await?;
    assert!(is_whole, "{status:#}");
    assert_eq!(status["collections"][0]["points"], 0);
    faulty.set(r#"[{"on": "count", "fail": {"code": "unavailable"}}]"#)?;
    faulty.publish("d", 1).await?;
    let (is_whole, status) = looked().await?;
    assert!(!is_whole, "{status:#}");
    assert!(status["collections"][0]["points"].is_null(), "{status:#}");
    let unknown = status["unknown"][0].as_str().unwrap_or_default();
    assert!(unknown.contains(&faulty.bed.stack.collection), "{unknown}");
    assert_eq!(status["jobs"], 1);
    assert_eq!(status["dead_letters"], 0);
    faulty.set("[]")?;
    faulty.bed.end().await
}
