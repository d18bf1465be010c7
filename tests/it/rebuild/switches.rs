//! A switch that is interrupted, or that others overtake: what counts is where the alias points.

use std::os::unix::process::ExitStatusExt as _;

use contract::topology::RUNS;
use rustix::process::Signal;
use serde_json::Value;
use tests::{Bed, LIMIT};

use super::generations::verb;
use super::{
    command, corpus, ended, found, generations, now_micros, rebuild, rebuild_with, serving, spawn,
    wanted, without_source,
};

/// The record of a run.
async fn record(bed: &Bed, run: &str) -> anyhow::Result<Value> {
    let bucket = bed.jetstream().get_key_value(RUNS).await?;
    let key = format!("rebuild.{}/{run}", bed.stack.collection);
    let found = bucket.get(key).await?;
    Ok(found.map_or(Ok(Value::Null), |found| serde_json::from_slice(&found))?)
}

/// Waits until a run has recorded that it is about to switch.
async fn is_about_to_switch(bed: &Bed, run: &str) -> anyhow::Result<()> {
    fixtures::wait::until("the record of the switch", LIMIT, async || {
        let record = record(bed, run).await?;
        Ok(record["switched"].is_u64().then_some(()))
    })
    .await
}

#[tokio::test]
async fn writes_around_a_switch_that_died_are_there_when_it_is_run_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(20);
    rebuild(&bed, &corpus, &[]).await?.done();
    let arguments = ["--full", "--from-collection", bed.stack.collection.as_str()];
    let mut dies = without_source(&bed, &arguments);
    dies.args(["--run-id", "dies"]);
    let rules = "rebuild-before-switch=stall:4000;rebuild-after-switch=kill";
    dies.env("EBB_FAILPOINTS", rules);
    let running = spawn(&bed, dies)?;
    is_about_to_switch(&bed, "dies").await?;
    bed.publish_document("between", now_micros(), &["Between."])
        .await?;
    bed.publish_removal("d12", now_micros()).await?;
    bed.drained().await?;
    let killed = running.ended().await?;
    assert_eq!(killed.status.signal(), Some(Signal::KILL.as_raw()));
    let embedded = worker.metric("worker_chunks_total").await?;
    let kept = verb(&bed, "gc", &["--keep", "0", "--dry-run"]).await?;
    let dropped = kept.iter().filter(|it| it["fate"] == "drop");
    let dropped: Vec<_> = dropped.map(|it| it["collection"].clone()).collect();
    let initial = format!("{}--initial", bed.stack.collection);
    assert_eq!(dropped, [initial], "both ends of the switch are needed");

    let ran = ended(without_source(&bed, &arguments)).await?;
    assert_eq!(ran.done()["run"], "dies");
    let mut model = wanted(&corpus);
    model.insert("between".to_owned(), vec!["Between.".to_owned()]);
    model.remove("d12");
    assert_eq!(found(&bed).await?, model);
    assert_eq!(worker.metric("worker_chunks_total").await?, embedded);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_switch_that_died_is_ended_before_another_source_is_read() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(20);
    rebuild(&bed, &corpus, &[]).await?.done();
    let mut dies = command(&bed, &corpus, &["--run-id", "dies"])?;
    let rules = "rebuild-before-switch=stall:4000;rebuild-after-switch=kill";
    dies.env("EBB_FAILPOINTS", rules);
    let running = spawn(&bed, dies)?;
    is_about_to_switch(&bed, "dies").await?;
    let mut model = wanted(&corpus);
    bed.publish_document("between", now_micros(), &["Between."])
        .await?;
    model.insert("between".to_owned(), vec!["Between.".to_owned()]);
    bed.drained().await?;
    running.ended().await?;

    corpus.insert("d3".to_owned(), "Changed overnight.".to_owned());
    let ran = rebuild(&bed, &corpus, &["--run-id", "next"]).await?;
    assert_eq!(ran.done()["run"], "next");
    assert!(ran.log.contains("going on with run dies"), "{}", ran.log);
    assert_eq!(found(&bed).await?, wanted(&corpus));
    // The generation before is the one that died, whole.
    let back = verb(&bed, "rollback", &[]).await?;
    assert_eq!(back[0]["to"], format!("{}--dies", bed.stack.collection));
    assert_eq!(found(&bed).await?, model);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn no_gate_is_judged_after_the_alias_has_moved() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(30);
    rebuild(&bed, &corpus, &[]).await?.done();
    rebuild_with(
        &bed,
        &corpus,
        &["--run-id", "dies"],
        "rebuild-after-switch=kill",
    )
    .await?;
    assert_eq!(
        serving(&bed).await?,
        format!("{}--dies", bed.stack.collection)
    );
    let mut model = wanted(&corpus);
    for n in 0..12 {
        bed.publish_removal(&format!("d{n}"), now_micros()).await?;
        model.remove(&format!("d{n}"));
    }
    bed.drained().await?;
    let ran = rebuild(&bed, &corpus, &["--run-id", "dies"]).await?;
    assert_eq!(ran.done()["run"], "dies");
    assert_eq!(found(&bed).await?, model);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_switch_that_died_can_be_rolled_back() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(10);
    rebuild(&bed, &corpus, &[]).await?.done();
    let before = serving(&bed).await?;
    rebuild_with(&bed, &corpus, &[], "rebuild-after-switch=kill").await?;
    bed.publish_document("live", now_micros(), &["Live."])
        .await?;
    bed.drained().await?;
    let back = verb(&bed, "rollback", &[]).await?;
    assert_eq!(back[0]["to"], before.as_str());
    let mut model = wanted(&corpus);
    model.insert("live".to_owned(), vec!["Live.".to_owned()]);
    assert_eq!(found(&bed).await?, model);
    rebuild(&bed, &corpus, &[]).await?.done();
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_switch_that_wakes_up_after_a_rollback_does_not_undo_it() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(10);
    rebuild(&bed, &corpus, &[]).await?.done();
    let first = serving(&bed).await?;
    rebuild(&bed, &corpus, &[]).await?.done();
    let mut late = command(&bed, &corpus, &["--run-id", "late"])?;
    late.env("EBB_FAILPOINTS", "rebuild-before-switch=stall:3000");
    let running = spawn(&bed, late)?;
    is_about_to_switch(&bed, "late").await?;
    running.signal(Signal::STOP)?;
    let back = verb(&bed, "rollback", &[]).await?;
    assert_eq!(back[0]["to"], first.as_str());
    running.signal(Signal::CONT)?;
    let ran = running.ended().await?;
    assert!(!ran.status.success(), "{}", ran.log);
    assert!(ran.log.contains("has gone on with run"), "{}", ran.log);
    assert_eq!(serving(&bed).await?, first);
    assert!(generations(&bed).await?.contains(&first));
    worker.process.kill().await?;
    bed.end().await
}
