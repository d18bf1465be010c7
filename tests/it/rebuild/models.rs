//! Another model: everything is embedded again, and live writes to the old generation by the new model too.

use std::collections::BTreeMap;

use contract::model::Manifest;
use fixtures::process::{Process, output};
use tests::{Bed, flag, text, tiny_embed, vector};

use super::running::Running;
use super::{Corpus, command, corpus, now_micros, rebuild, serving, spawn, wanted};

/// Stages a model with shorter vectors and creates its lanes; gives its directory.
pub(super) async fn other_model(bed: &Bed) -> anyhow::Result<String> {
    other_model_with(bed, &[]).await
}

/// The same with options.
pub(super) async fn other_model_with(bed: &Bed, options: &[&str]) -> anyhow::Result<String> {
    let mut stage = bed.stack.tools.program("worker");
    stage.arg("stage").arg(tiny_embed()).args(options);
    stage.args(["--name", "tiny-short", "--dimensions", "8", "--models"]);
    stage.arg(bed.directory.path().join("models"));
    stage.env("RUST_LOG", "warn");
    let model = output(stage).await?.trim().to_owned();
    let mut provision = bed.stack.program("indexer");
    provision.args(["provision", "--collections"]);
    provision.arg(format!("{}-other", bed.stack.collection));
    provision.env("EBB_MODEL", &model);
    output(provision).await?;
    Ok(model)
}

/// A worker of another model, which may write to one generation.
pub(super) fn worker(bed: &Bed, model: &str, generation: &str) -> anyhow::Result<Process> {
    let mut command = bed.stack.program("worker");
    command.args(["run", "--collections", generation]);
    command.env("EBB_MODEL", model);
    Process::start(
        command,
        "other worker",
        &bed.directory.path().join("other.log"),
    )
}

/// A rebuild by another model that has created its generation and waits before it fills it, beside a worker that serves
/// the model.
struct Change {
    running: Running,
    worker: Process,
    manifest: Manifest,
    generation: String,
}

impl Change {
    async fn begin(bed: &Bed, corpus: &Corpus) -> anyhow::Result<Self> {
        let model = other_model(bed).await?;
        let generation = format!("{}--new", bed.stack.collection);
        let worker = worker(bed, &model, &generation)?;
        let mut rebuild = command(bed, corpus, &["--run-id", "new"])?;
        rebuild.env("EBB_MODEL", &model);
        rebuild.env("EBB_FAILPOINTS", "rebuild-created=stall:3000");
        let mut running = spawn(bed, rebuild)?;
        running.reaches("created").await?;
        Ok(Self {
            running,
            worker,
            manifest: Manifest::load(model.as_ref())?,
            generation,
        })
    }
}

#[tokio::test]
async fn live_changes_are_embedded_by_the_new_model_when_an_alias_changes_its_model()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let old_worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(20);
    rebuild(&bed, &corpus, &[]).await?.done();
    let change = Change::begin(&bed, &corpus).await?;
    let version = now_micros();
    bed.publish_document("d1", version, &["Live one.", "Live two."])
        .await?;
    bed.publish_document("d19", version, &["Live three."])
        .await?;
    bed.publish_removal("d2", version).await?;
    bed.drained().await?;
    let ran = change.running.ended().await?;
    assert_eq!(ran.done()["published"], 20);
    assert_eq!(serving(&bed).await?, change.generation);

    let mut model_of = wanted(&corpus);
    model_of.insert(
        "d1".to_owned(),
        vec!["Live one.".to_owned(), "Live two.".to_owned()],
    );
    model_of.insert("d19".to_owned(), vec!["Live three.".to_owned()]);
    model_of.remove("d2");
    let fingerprint = change.manifest.fingerprint.as_str();
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((doc_id, _), point) in bed.points().await? {
        assert_eq!(text(&point, "fingerprint"), fingerprint, "{doc_id}");
        if flag(&point, "deleted") {
            continue;
        }
        assert_eq!(
            vector(&point).map(|vector| vector.len()),
            Some(8),
            "{doc_id}"
        );
        found.entry(doc_id).or_default().push(text(&point, "text"));
    }
    assert_eq!(found, model_of);
    change.worker.kill().await?;
    old_worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn jobs_that_wait_for_the_model_before_are_done_by_the_new_one() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let old_worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(10);
    rebuild(&bed, &corpus, &[]).await?.done();
    old_worker.process.terminate().await?;
    let change = Change::begin(&bed, &corpus).await?;
    // Nobody reads these lanes any more.
    let version = now_micros();
    bed.publish_document("live", version, &["Live one.", "Live two."])
        .await?;
    bed.publish_removal("d3", version).await?;
    let ran = change.running.ended().await?;
    ran.done();
    assert!(ran.log.contains("2 jobs that waited"), "{}", ran.log);
    assert_eq!(serving(&bed).await?, change.generation);
    assert!(
        bed.stack.is_drained().await?,
        "no lag of the model before is left"
    );
    let points = bed.points().await?;
    assert!(flag(&points[&("d3".to_owned(), 0)], "deleted"));
    let fingerprint = change.manifest.fingerprint.as_str();
    for chunk in [0, 1] {
        let point = &points[&("live".to_owned(), chunk)];
        assert_eq!(text(point, "fingerprint"), fingerprint);
        assert_eq!(tests::integer(point, "version"), i64::try_from(version)?);
    }
    assert!(bed.dead_letters().await?.is_empty());
    change.worker.kill().await?;
    bed.end().await
}
