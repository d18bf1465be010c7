//! Attached vectors in the life of an alias: rebuilds reuse and complete them, rollbacks say what is missing.

use contract::job::Job;
use contract::topology::{JOBS, Lane, Task};
use qdrant_client::qdrant::DeletePointVectorsBuilder;
use qdrant_client::qdrant::{Condition, Filter, VectorsSelector};
use serde_json::{Value, json};

use super::setup::{NAME, Setup};
use crate::rebuild::{
    corpus, ended, qdrant, rebuild, rebuild_with, serving, without_source, write,
};

/// A gate of a report.
fn gate<'a>(report: &'a Value, name: &str) -> &'a str {
    let gates = report["gates"].as_array().expect("a report has gates");
    let found = gates.iter().find(|gate| gate["name"] == name);
    found.expect("the gate was asked")["finding"]
        .as_str()
        .unwrap_or_default()
}

impl Setup {
    /// A document of a collection loses its attached vector.
    async fn lose(&self, collection: &str, document: &str) -> anyhow::Result<()> {
        let lose = DeletePointVectorsBuilder::new(collection)
            .points_selector(Filter::must([Condition::matches(
                "doc_id",
                document.to_owned(),
            )]))
            .vectors(VectorsSelector {
                names: vec![NAME.to_owned()],
            });
        let client = qdrant(&self.bed)?;
        client.delete_vectors(lose.wait(true)).await?;
        Ok(())
    }

    /// Points of what serves, whatever the alias points to.
    async fn count(&self) -> anyhow::Result<u64> {
        Ok(self.bed.points().await?.len() as u64)
    }
}

#[tokio::test]
async fn a_rebuild_reuses_attached_vectors_and_computes_only_the_missing_ones() -> anyhow::Result<()>
{
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    let primary = setup.bed.stack.worker("primary", &[]).await?;
    let second = ["--model", &setup.second];
    let attached = setup.bed.stack.worker("second", &second).await?;
    let mut source = corpus(30);
    let report = rebuild(&setup.bed, &source, &[]).await?;
    let found = gate(report.done(), "vector second");
    assert!(
        found.starts_with("0 points reused, 30 published, 0 lack it"),
        "{found}"
    );
    let all = setup.count().await?;
    setup.assert_complete(all).await?;
    assert!(attached.process.terminate().await?.success());

    // Nobody serves the attached model: what were to be computed would not come.
    let report = rebuild(&setup.bed, &source, &["--run-id", "again"]).await?;
    let found = gate(report.done(), "vector second");
    assert!(
        found.starts_with("30 points reused, 0 published, 0 lack it"),
        "{found}"
    );
    setup.assert_complete(all).await?;

    // A text that has moved brings its vector along; a new one, and one whose vector is gone, are computed.
    let first = source.values().next().cloned().unwrap_or_default();
    source.insert("moved".to_owned(), first);
    let mut other = corpus(31);
    let (id, text) = other.pop_last().expect("a corpus has documents");
    source.insert(id, text);
    let first = source.keys().next().cloned().unwrap_or_default();
    setup.lose(&serving(&setup.bed).await?, &first).await?;
    let attached = setup.bed.stack.worker("second", &second).await?;
    let report = rebuild(&setup.bed, &source, &["--run-id", "changed"]).await?;
    report.done();
    let all = setup.count().await?;
    setup.assert_complete(all).await?;
    for worker in [primary, attached] {
        assert!(worker.process.terminate().await?.success());
    }
    setup.bed.end().await
}

#[tokio::test]
async fn a_rebuild_without_workers_of_the_attached_model_stops_and_goes_on_later()
-> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    let before = serving(&setup.bed).await?;
    let primary = setup.bed.stack.worker("primary", &[]).await?;
    let source = corpus(6);
    let sources = write(&setup.bed, &source)?.display().to_string();
    let mut command = setup.bed.stack.program("indexer");
    command.args(["rebuild", &sources, "--stall-limit", "2s", "--lease", "3s"]);
    command.args(["--clock-skew", "0s", "--poll", "20ms"]);
    let alias = setup.bed.stack.collection.clone();
    let stalled = command.args(["--alias", &alias]).output().await?;
    let said = String::from_utf8_lossy(&stalled.stderr).into_owned();
    assert!(
        !stalled.status.success() && said.contains("is a worker running?"),
        "{said}"
    );
    assert_eq!(serving(&setup.bed).await?, before, "the alias still serves");
    let second = ["--model", &setup.second];
    let attached = setup.bed.stack.worker("second", &second).await?;
    rebuild(&setup.bed, &source, &[]).await?.done();
    assert_ne!(serving(&setup.bed).await?, before);
    let all = setup.count().await?;
    setup.assert_complete(all).await?;
    for worker in [primary, attached] {
        assert!(worker.process.terminate().await?.success());
    }
    setup.bed.end().await
}

#[tokio::test]
async fn what_is_missing_after_the_switch_is_published_for_the_alias() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    let primary = setup.bed.stack.worker("primary", &[]).await?;
    let second = ["--model", &setup.second];
    let second = setup.bed.stack.worker("second", &second).await?;
    let source = corpus(4);
    rebuild(&setup.bed, &source, &[]).await?.done();
    assert!(second.process.terminate().await?.success());
    let before = serving(&setup.bed).await?;
    let next = ["--run-id", "next"];
    let killed = rebuild_with(&setup.bed, &source, &next, "rebuild-finishing=kill").await?;
    assert!(!killed.status.success(), "{}", killed.log);
    let after = serving(&setup.bed).await?;
    assert_ne!(after, before);
    for collection in [before, after] {
        setup.lose(&collection, "d0").await?;
    }
    rebuild(&setup.bed, &source, &next).await?.done();
    let [_, bulk] = Lane::of(Task::Embed, &NAME.parse()?);
    let jobs = setup.bed.jetstream().get_stream(JOBS).await?;
    let subject = bulk.subject();
    let job = jobs.get_last_raw_message_by_subject(&subject).await?;
    let Job::Attach(job) = Job::decode(&job.payload)? else {
        anyhow::bail!("it is no attach job");
    };
    let alias = setup.bed.stack.collection.as_str();
    assert_eq!((job.collection.as_str(), job.items.len()), (alias, 1));
    assert!(primary.process.terminate().await?.success());
    setup.bed.end().await
}

#[tokio::test]
async fn another_primary_model_keeps_what_others_have_made_of_the_texts() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    let primary = setup.bed.stack.worker("primary", &[]).await?;
    let second = setup
        .bed
        .stack
        .worker("second", &["--model", &setup.second])
        .await?;
    let source = corpus(8);
    rebuild(&setup.bed, &source, &[]).await?.done();
    assert!(second.process.terminate().await?.success());
    setup
        .indexer(&["provision", "--lanes", "--model", &setup.third])
        .await?;
    let alias = setup.bed.stack.collection.clone();
    let generation = format!("{alias}--new");
    let third = ["--model", &setup.third, "--collections", &generation];
    let worker = setup.bed.stack.worker("third", &third).await?;
    let from = [
        "--from-collection",
        &alias,
        "--run-id",
        "new",
        "--model",
        &setup.third,
    ];
    let report = ended(without_source(&setup.bed, &from)).await?;
    let found = gate(report.done(), "vector second");
    assert!(
        found.starts_with("8 points reused, 0 published, 0 lack it"),
        "{found}"
    );
    for worker in [primary, worker] {
        assert!(worker.process.terminate().await?.success());
    }
    setup.bed.end().await
}

#[tokio::test]
async fn a_rollback_to_a_generation_without_the_vector_says_so() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    let primary = setup.bed.stack.worker("primary", &[]).await?;
    let source = corpus(4);
    rebuild(&setup.bed, &source, &[]).await?.done();
    rebuild(&setup.bed, &source, &["--run-id", "second"])
        .await?
        .done();
    setup.attach(&[]).await?;
    let mut rollback = setup.bed.stack.program("indexer");
    let alias = setup.bed.stack.collection.clone();
    rollback.args(["rollback", "--alias", &alias, "--json"]);
    let output = rollback.output().await?;
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(report["not_attached"], json!([NAME]), "{report}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("`indexer attach` computes it again"),
        "{said}"
    );
    // Jobs that still name the alias find nothing to do.
    setup.write_documents(1).await?;
    setup.bed.drained().await?;
    setup.drain_second().await?;
    assert!(setup.bed.dead_letters().await?.is_empty());
    assert!(primary.process.terminate().await?.success());
    setup.bed.end().await
}

#[tokio::test]
async fn a_rollback_that_died_leaves_no_vector_unknown_and_whoever_ends_it_fills_in_what_is_missing()
-> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.attach(&[]).await?;
    let primary = setup.bed.stack.worker("primary", &[]).await?;
    let second = ["--model", &setup.second];
    let second = setup.bed.stack.worker("second", &second).await?;
    let source = corpus(4);
    rebuild(&setup.bed, &source, &[]).await?.done();
    let before = serving(&setup.bed).await?;
    let next = ["--run-id", "next"];
    rebuild(&setup.bed, &source, &next).await?.done();
    assert!(second.process.terminate().await?.success());
    setup
        .indexer(&["provision", "--lanes", "--model", &setup.third])
        .await?;
    setup
        .indexer(&["attach", "--model", &setup.third, "--as", "other"])
        .await?;

    let rollback = ["rollback", "--lease", "2s", "--clock-skew", "0s"];
    setup.killed_at("rollback-after-switch", &rollback).await?;
    assert_eq!(serving(&setup.bed).await?, before);
    let reserved = super::listed(&setup, "ebb_reserved_vectors").await?;
    let names: Vec<_> = reserved.iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["other"]);

    // What is not recorded as finished is ended by whoever comes next, a rollback or a sync.
    setup.lose(&before, "d0").await?;
    setup.killed_at("rollback-filled", &rollback).await?;
    assert_eq!(setup.lacking().await?, 0);
    setup.lose(&before, "d0").await?;
    let synced = crate::sync::sync(&setup.bed, &source, &[]).await?;
    synced.done();
    assert!(synced.log.contains("ending the rollback"), "{}", synced.log);
    assert_eq!(serving(&setup.bed).await?, before);
    assert_eq!(setup.lacking().await?, 0);
    assert!(primary.process.terminate().await?.success());
    setup.bed.end().await
}
