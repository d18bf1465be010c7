//! Plans: they change nothing, and say what is then done.

use std::process::Stdio;

use contract::topology::RUNS;
use serde_json::Value;
use tests::Bed;
use tokio::process::Command;

use super::{command, counts, jobs, sync, versions};
use crate::rebuild::{self, Corpus, Ran, corpus, ended, generations, write};

/// What a plan must leave as it is.
#[derive(Debug, PartialEq)]
struct State {
    jobs: u64,
    runs: u64,
    generations: Vec<String>,
    versions: Vec<((String, i64), i64)>,
}

impl State {
    async fn of(bed: &Bed) -> anyhow::Result<Self> {
        let stream = format!("KV_{RUNS}");
        let mut runs = bed.jetstream().get_stream(stream).await?;
        Ok(Self {
            jobs: jobs(bed).await?,
            runs: runs.info().await?.state.last_sequence,
            generations: generations(bed).await?,
            versions: versions(bed).await?,
        })
    }
}

/// A bed with a corpus and the one that it is to become.
async fn changed(bed: &Bed) -> anyhow::Result<Corpus> {
    let mut corpus = corpus(60);
    sync(bed, &corpus, &[]).await?.done();
    for n in 0..9 {
        corpus.insert(format!("d{n}"), format!("The source has changed {n}."));
    }
    for n in 50..55 {
        corpus.remove(&format!("d{n}"));
    }
    Ok(corpus)
}

fn plan(bed: &Bed, corpus: &Corpus, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = bed.stack.program("indexer");
    command.arg("plan").arg(write(bed, corpus)?);
    command
        .args(["--json", "--clock-skew", "0s"])
        .args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn planned(ran: &Ran) -> &Value {
    assert!(ran.status.success(), "{}\n{}", ran.status, ran.log);
    &ran.report
}

#[tokio::test]
async fn a_plan_changes_nothing_and_says_what_a_sync_then_does() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = changed(&bed).await?;
    let before = State::of(&bed).await?;
    let few = ["--job-tokens", "40"];
    let plan = ended(plan(&bed, &corpus, &few)?).await?;
    let source = write(&bed, &corpus)?;
    let dry = ended(command(&bed, &source, &["--dry-run", few[0], few[1]])).await?;
    assert_eq!(planned(&plan), planned(&dry));
    assert_eq!(State::of(&bed).await?, before);

    let ran = sync(&bed, &corpus, &few).await?;
    let same = [
        "documents",
        "chunks",
        "tokens",
        "refused",
        "published_chunks",
        "published_tokens",
        "jobs",
    ];
    assert_eq!(counts(&plan.report, same), counts(ran.done(), same));
    let same = ["unchanged", "newer", "published", "deleted", "kept"];
    let changes = counts(&plan.report["changes"], same);
    assert_eq!(changes, counts(ran.done(), same));
    assert_eq!(changes, [46, 0, 9, 5, 0]);
    assert!(
        counts(&plan.report, ["embed_jobs"])[0] > 1,
        "{:#}",
        plan.report
    );
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_dry_run_of_a_rebuild_changes_nothing_and_says_what_it_then_does() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = changed(&bed).await?;
    let before = State::of(&bed).await?;
    let arguments = ["--job-tokens", "40"];
    let dry = rebuild::rebuild(&bed, &corpus, &["--dry-run", "--job-tokens", "40"]).await?;
    let plan = planned(&dry);
    assert_eq!(State::of(&bed).await?, before);
    let ran = rebuild::rebuild(&bed, &corpus, &arguments).await?;
    let same = ["documents", "chunks", "refused"];
    assert_eq!(counts(plan, same), counts(ran.done(), same));
    assert_eq!(
        counts(plan, ["reused_chunks", "published_chunks", "embed_jobs"]),
        [
            counts(&ran.report, ["reused"])[0],
            9,
            jobs(&bed).await? - before.jobs
        ]
    );
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_plan_says_what_it_costs_and_that_a_sync_would_be_refused() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = changed(&bed).await?;
    let arguments = ["--tokens-per-second", "10", "--price-per-hour", "3"];
    let ran = ended(plan(&bed, &corpus, &arguments)?).await?;
    let tokens = planned(&ran)["published_tokens"].as_f64().unwrap_or(0.0);
    let estimate = &ran.report["estimate"];
    assert!(tokens > 0.0);
    assert_eq!(estimate["gpu_hours"].as_f64(), Some(tokens / 10.0 / 3600.0));
    assert_eq!(
        estimate["price"].as_f64(),
        Some(tokens / 10.0 / 3600.0 * 3.0)
    );
    corpus.retain(|id, _| id.len() > 2);
    corpus.retain(|id, _| id < &"d40".to_owned());
    let ran = ended(plan(&bed, &corpus, &[])?).await?;
    assert_eq!(ran.status.code(), Some(2), "{}", ran.log);
    let refusal = ran.report["refusal"].as_str().unwrap_or_default();
    assert!(refusal.starts_with("shrink"), "{:#}", ran.report);
    worker.process.kill().await?;
    bed.end().await
}
