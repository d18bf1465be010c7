//! BM25 beside the dense vector: whoever writes a point writes it, a rebuild adds it to what is there, and searches use it.

mod searches;

use std::path::Path;

use qdrant_client::qdrant::{DeletePointVectorsBuilder, Filter, VectorsSelector};
use serde_json::{Value, json};
use tests::{Bed, flag, terms, tiny_embed, vector};

use crate::rebuild::{corpus, found, qdrant, rebuild, serving, wanted};

/// A bed whose alias has no BM25, as those of earlier versions.
async fn dense_bed() -> anyhow::Result<Bed> {
    let bed = Bed::unprovisioned(Path::new(&tiny_embed()), "tiny").await?;
    bed.stack.indexer(&["provision", "--bm25", "none"]).await?;
    Ok(bed)
}

/// The phase of a report.
fn phase<'a>(report: &'a Value, name: &str) -> &'a Value {
    let phases = report["phases"].as_array().expect("a report has phases");
    let found = phases.iter().find(|phase| phase["phase"] == name);
    found.expect("the phase has ended")
}

/// Metadata of what serves.
async fn vectors_of(bed: &Bed) -> anyhow::Result<Value> {
    let info = qdrant(bed)?.collection_info(serving(bed).await?).await?;
    let config = info.result.and_then(|info| info.config).unwrap_or_default();
    let listed = config.metadata.get("ebb_vectors").cloned();
    Ok(listed.map_or(Value::Null, Value::from))
}

#[tokio::test]
async fn workers_write_the_words_of_a_text_and_a_tombstone_has_none() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let listed = vectors_of(&bed).await?;
    let expected =
        json!([{"name": "bm25", "kind": "sparse", "maker": {"bm25": {"language": "english"}}}]);
    assert_eq!(listed, expected);
    bed.publish_document("garden", 1, &["the roses and the tulips", "the ..."])
        .await?;
    bed.publish_document("gone", 1, &["roses"]).await?;
    bed.drain().await?;
    let points = bed.points().await?;
    let count = |id: &str, chunk| terms(&points[&(id.to_owned(), chunk)]).map(|terms| terms.len());
    assert_eq!(count("garden", 0), Some(2), "stop words are none");
    assert_eq!(
        count("garden", 1),
        Some(0),
        "a text without a word has a vector without terms"
    );
    assert_eq!(count("gone", 0), Some(1));

    bed.publish_removal("gone", 2).await?;
    bed.drain().await?;
    let points = bed.points().await?;
    let tombstone = &points[&("gone".to_owned(), 0)];
    assert!(flag(tombstone, "deleted"));
    assert_eq!((vector(tombstone), terms(tombstone)), (None, None));
    bed.end().await
}

#[tokio::test]
async fn a_rebuild_adds_words_to_a_dense_collection_without_the_model() -> anyhow::Result<()> {
    let bed = dense_bed().await?;
    let corpus = corpus(40);
    let worker = bed.stack.worker("worker", &[]).await?;
    rebuild(&bed, &corpus, &[]).await?.done();
    assert_eq!(vectors_of(&bed).await?, Value::Null, "what serves is kept");
    worker.process.terminate().await?;

    // No worker runs: whatever had to be embedded would not come.
    let ran = rebuild(&bed, &corpus, &["--bm25", "german"]).await?;
    let copied = phase(ran.done(), "copied");
    assert_eq!(
        (&copied["reused"], &copied["published"]),
        (&json!(40), &json!(0))
    );
    assert_eq!(found(&bed).await?, wanted(&corpus));
    let points = bed.points().await?;
    assert!(
        points
            .values()
            .all(|point| terms(point).is_some_and(|terms| !terms.is_empty()))
    );
    let german = &vectors_of(&bed).await?[0]["maker"]["bm25"];
    assert_eq!(german, &json!({"language": "german"}));

    let arguments = ["--from-collection", &bed.stack.collection];
    let mut command = crate::rebuild::without_source(&bed, &arguments);
    command.env_remove("EBB_BM25");
    let again = crate::rebuild::ended(command).await?;
    assert_eq!(phase(again.done(), "copied")["published"], 0);
    assert_eq!(
        &vectors_of(&bed).await?[0]["maker"]["bm25"],
        german,
        "a rebuild keeps them"
    );
    bed.stack.indexer(&["rollback"]).await?;
    bed.end().await
}

#[tokio::test]
async fn points_that_lack_a_vector_stop_a_rebuild_and_are_counted() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(12);
    rebuild(&bed, &corpus, &[]).await?.done();
    worker.process.terminate().await?;
    let before = serving(&bed).await?;

    // As a worker writes that does not know the vector.
    let mut command = bed.stack.program("worker");
    command.args(["run", "--grace", "3s"]);
    command.env("EBB_FAILPOINTS", "other-vectors=skip");
    let log = bed.directory.path().join("old-worker.log");
    let old = fixtures::process::Process::start(command, "old worker", &log)?;
    let ran = rebuild(&bed, &corpus, &["--full"]).await?;
    let reason = ran.stopped_by("every vector");
    assert!(reason.contains("12 points lack vector `bm25`"), "{reason}");
    assert!(
        reason.contains("upgrade all workers before indexers"),
        "{reason}"
    );
    assert_eq!(serving(&bed).await?, before);

    bed.publish_document("live", 1, &["roses"]).await?;
    bed.drained().await?;
    old.terminate().await?;
    let status = bed
        .stack
        .indexer(&["status", "--json", "--interval", "0s"])
        .await?;
    let status: Value = serde_json::from_str(&status)?;
    assert_eq!(
        status["collections"][0]["lacking"],
        json!({"bm25": 1}),
        "{status:#}"
    );
    let doctor = bed
        .stack
        .program("indexer")
        .args(["doctor", "--json"])
        .output()
        .await?;
    let doctor = String::from_utf8(doctor.stdout)?;
    assert!(
        doctor.contains("vector `bm25`") && doctor.contains("1 points lack it"),
        "{doctor}"
    );

    // A rebuild by workers of this version carries it over with all its vectors.
    let worker = bed.stack.worker("new", &[]).await?;
    rebuild(&bed, &corpus, &["--fresh"]).await?.done();
    let points = bed.points().await?;
    assert!(points.values().all(|point| terms(point).is_some()));
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn a_worker_writes_again_when_the_alias_has_moved_to_other_words() -> anyhow::Result<()> {
    let bed = dense_bed().await?;
    let corpus = corpus(4);
    let worker = bed.stack.worker("worker", &[]).await?;
    rebuild(&bed, &corpus, &[]).await?.done();
    worker.process.terminate().await?;
    let dense = serving(&bed).await?;
    rebuild(&bed, &corpus, &["--bm25", "english"]).await?.done();
    let words = serving(&bed).await?;
    let alias = bed.stack.collection.as_str();
    let client = qdrant(&bed)?;
    let point_to = async |collection: &str| {
        let alias = qdrant_client::qdrant::CreateAliasBuilder::new(collection, alias);
        client.create_alias(alias).await
    };
    // It has read the vectors of the one, and the other is there when it looks again.
    point_to(&dense).await?;
    let mut command = bed.stack.program("worker");
    command.args(["run", "--drain", "--grace", "3s"]);
    command.env("EBB_FAILPOINTS", "before-look-at-vectors=stall:3000");
    let log = bed.directory.path().join("moved.log");
    bed.publish_document("moved", 1, &["roses and tulips"])
        .await?;
    let mut moving = fixtures::process::Process::start(command, "moving worker", &log)?;
    fixtures::wait::until("the first write", tests::LIMIT, async || {
        let written = bed.points().await?.contains_key(&("moved".to_owned(), 0));
        Ok(written.then_some(()))
    })
    .await?;
    point_to(&words).await?;
    assert!(moving.wait().await?.success());
    let points = bed.points().await?;
    assert_eq!(
        terms(&points[&("moved".to_owned(), 0)]).map(|terms| terms.len()),
        Some(2)
    );
    assert!(bed.dead_letters().await?.is_empty());
    bed.end().await
}

#[tokio::test]
async fn words_that_are_lost_are_found_by_nobody_and_named_by_status() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("garden", 1, &["roses"]).await?;
    bed.drain().await?;
    let names = VectorsSelector {
        names: vec!["bm25".to_owned()],
    };
    let delete = DeletePointVectorsBuilder::new(bed.stack.collection.as_str())
        .points_selector(Filter::default())
        .vectors(names)
        .wait(true);
    qdrant(&bed)?.delete_vectors(delete).await?;
    let table = bed.stack.indexer(&["status", "--interval", "0s"]).await?;
    assert!(table.contains("1 points lack vector `bm25`"), "{table}");
    bed.end().await
}

#[tokio::test]
async fn options_that_cannot_be_are_refused_before_anything_is_created() -> anyhow::Result<()> {
    let bed = Bed::unprovisioned(Path::new(&tiny_embed()), "tiny").await?;
    let refused = async |arguments: &[&str], code: i32| {
        let mut command = bed.stack.program("indexer");
        let output = command.arg("provision").args(arguments).output().await?;
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::ensure!(output.status.code() == Some(code), "{log}");
        Ok(log)
    };
    let log = refused(&["--bm25", "klingon", "--search-rrf-k", "0"], 64).await?;
    assert!(
        log.contains("`klingon` is not known; one of arabic"),
        "{log}"
    );
    assert!(log.contains("k must be at least 1"), "{log}");
    let log = refused(&["--bm25", "none", "--search-mode", "hybrid"], 64).await?;
    assert!(log.contains("searches by words"), "{log}");
    let log = refused(&["--bm25-options", r#"{"languge": "german"}"#], 64).await?;
    assert!(log.contains("unknown field `languge`"), "{log}");

    bed.stack.indexer(&["provision", "--bm25", "none"]).await?;
    let said = bed
        .stack
        .indexer(&["provision", "--bm25", "german"])
        .await?;
    assert!(
        said.contains("`indexer rebuild` changes them") && said.contains("bm25: none -> {"),
        "{said}"
    );
    refused(&["--bm25", "german", "--check"], 1).await?;
    let log = refused(&["--search-mode", "hybrid"], 1).await?;
    assert!(log.contains("mode hybrid needs the vector `bm25`"), "{log}");
    bed.end().await
}

#[tokio::test]
async fn a_search_that_was_asked_for_once_does_not_outlive_the_run_that_was_stopped()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    rebuild(&bed, &corpus(20), &[]).await?.done();
    let few = corpus(2);
    let ran = rebuild(&bed, &few, &["--search-mode", "sparse"]).await?;
    ran.stopped_by("shrink");
    rebuild(&bed, &few, &["--max-shrink", "100"]).await?.done();
    let found = bed.stack.indexer(&["search", "text", "--json"]).await?;
    let found: Value = serde_json::from_str(&found)?;
    assert_eq!(found["search"]["mode"], "hybrid", "{found}");
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn a_collection_that_an_interrupted_provisioning_left_is_checked_before_it_serves()
-> anyhow::Result<()> {
    let bed = dense_bed().await?;
    let alias = bed.stack.collection.clone();
    let client = qdrant(&bed)?;
    // As if the process had died before it made the alias.
    client.delete_alias(&alias).await?;
    let said = bed
        .stack
        .indexer(&["provision", "--bm25", "english"])
        .await?;
    assert!(
        said.contains("bm25: none -> {") && said.contains("`indexer rebuild` changes them"),
        "{said}"
    );
    client.delete_alias(&alias).await?;
    let mut command = bed.stack.program("indexer");
    command.args(["provision", "--search-mode", "hybrid"]);
    let output = command.output().await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(log.contains("mode hybrid needs the vector `bm25`"), "{log}");
    assert!(serving(&bed).await.is_err(), "no alias leads to it");
    bed.end().await
}
