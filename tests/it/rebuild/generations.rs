//! Generations: one rebuild at a time, a way back, and nothing kept or dropped that should not be.

use serde_json::Value;
use tests::Bed;

use super::{
    command, corpus, found, generations, now_micros, rebuild, rebuild_with, serving, spawn, wanted,
};

/// Runs a verb of the indexer for the alias of a bed; gives what it printed as lines of JSON.
pub(super) async fn verb(bed: &Bed, verb: &str, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
    let alias = bed.stack.collection.as_str();
    let mut all = vec![verb, "--alias", alias, "--json", "--lease", "2s"];
    all.extend(arguments);
    let printed = bed.stack.indexer(&all).await?;
    Ok(printed
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn a_second_rebuild_of_an_alias_is_refused_while_one_runs() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(10);
    let mut first = command(&bed, &corpus, &[])?;
    first.env("EBB_FAILPOINTS", "rebuild-created=stall:6000");
    let mut first = spawn(&bed, first)?;
    first.reaches("created").await?;
    let second = rebuild(&bed, &corpus, &[]).await?;
    assert!(!second.status.success());
    assert!(second.log.contains("is held by process"), "{}", second.log);
    first.ended().await?.done();
    assert_eq!(generations(&bed).await?.len(), 2);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_run_that_is_done_is_not_done_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(10);
    let first = rebuild(&bed, &corpus, &["--run-id", "night-1"]).await?;
    let again = rebuild(&bed, &corpus, &["--run-id", "night-1"]).await?;
    assert_eq!(again.done()["phases"], first.done()["phases"]);
    assert_eq!(generations(&bed).await?.len(), 2);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_rollback_returns_to_the_generation_before_with_what_was_written_since()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let old = corpus(10);
    rebuild(&bed, &old, &[]).await?.done();
    let before = serving(&bed).await?;
    let mut new = old.clone();
    new.insert("d1".to_owned(), "A text that nobody likes.".to_owned());
    new.insert("d10".to_owned(), "A document that nobody wants.".to_owned());
    rebuild(&bed, &new, &[]).await?.done();
    let version = now_micros();
    bed.publish_document("live", version, &["Written live."])
        .await?;
    bed.publish_removal("d2", version).await?;
    bed.drained().await?;

    let planned = verb(&bed, "rollback", &["--dry-run"]).await?;
    assert_eq!(planned[0]["to"], before.as_str());
    assert_ne!(serving(&bed).await?, before, "a dry run moves nothing");
    let rolled_back = verb(&bed, "rollback", &[]).await?;
    assert_eq!(rolled_back[0]["to"], before.as_str());
    assert_eq!(rolled_back[0]["carried"], 2, "{rolled_back:?}");
    assert_eq!(serving(&bed).await?, before);
    let mut model = wanted(&old);
    model.remove("d2");
    model.insert("live".to_owned(), vec!["Written live.".to_owned()]);
    assert_eq!(found(&bed).await?, model);

    // Before the first generation there was nothing.
    let none = verb(&bed, "rollback", &[]).await;
    assert!(none.is_err(), "an empty collection is no way back");
    assert_eq!(serving(&bed).await?, before);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn rebuilds_keep_as_many_generations_as_they_are_told() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(5);
    for run in ["r1", "r2", "r3"] {
        rebuild(&bed, &corpus, &["--keep", "1", "--run-id", run])
            .await?
            .done();
    }
    let name = |run| format!("{}--{run}", bed.stack.collection);
    assert_eq!(generations(&bed).await?, ["r2", "r3"].map(name));
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn gc_drops_what_nobody_needs_and_nothing_else() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(5);
    for run in ["r1", "r2", "r3"] {
        rebuild(&bed, &corpus, &["--keep", "9", "--run-id", run])
            .await?
            .done();
    }
    // One run is given up, one is not finished.
    rebuild_with(&bed, &corpus, &["--run-id", "r4"], "rebuild-copied=kill").await?;
    rebuild_with(
        &bed,
        &corpus,
        &["--run-id", "r5", "--fresh"],
        "rebuild-copied=kill",
    )
    .await?;
    let mut foreign = points::collection::create(
        &format!("{}--foreign", bed.stack.collection).parse()?,
        &bed.manifest,
        None,
    );
    foreign.collection_name = format!("{}--foreign", bed.stack.collection);
    super::qdrant(&bed)?.create_collection(foreign).await?;

    let all = generations(&bed).await?;
    let fates = verb(&bed, "gc", &["--dry-run", "--keep", "1"]).await?;
    assert_eq!(generations(&bed).await?, all, "a dry run drops nothing");
    let fate = |run: &str| {
        let name = format!("{}--{run}", bed.stack.collection);
        let found = fates
            .iter()
            .find(|generation| generation["collection"] == name.as_str());
        found.map(|generation| generation["fate"].as_str().unwrap_or_default().to_owned())
    };
    let expected = [
        ("initial", "drop"),
        ("r1", "drop"),
        ("r2", "previous"),
        ("r3", "serving"),
        ("r4", "drop"),
        ("r5", "in_use"),
        ("foreign", "unknown"),
    ];
    for (run, wanted) in expected {
        assert_eq!(fate(run).as_deref(), Some(wanted), "{run}: {fates:?}");
    }
    verb(&bed, "gc", &["--keep", "1"]).await?;
    let name = |run| format!("{}--{run}", bed.stack.collection);
    assert_eq!(
        generations(&bed).await?,
        ["foreign", "r2", "r3", "r5"].map(name)
    );
    assert_eq!(found(&bed).await?, wanted(&corpus));
    rebuild(&bed, &corpus, &["--run-id", "r5"]).await?.done();
    worker.process.kill().await?;
    bed.end().await
}
