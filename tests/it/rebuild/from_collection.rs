//! From a collection: what is stored is embedded again, without the files that it came from.

use std::os::unix::process::ExitStatusExt as _;

use contract::model::Manifest;
use rustix::process::Signal;
use serde_json::json;
use tests::{Bed, flag, text};

use super::models::{other_model, other_model_with, worker};
use super::{
    Ran, corpus, ended, found, generations, now_micros, rebuild, serving, spawn, wanted,
    without_source,
};

/// Rebuilds from what the alias of a bed holds.
async fn rebuild_stored(bed: &Bed, arguments: &[&str], environment: &[(&str, &str)]) -> Ran {
    let from = ["--from-collection", &bed.stack.collection];
    let mut command = without_source(bed, &[&from, arguments].concat());
    command.envs(environment.iter().copied());
    ended(command).await.expect("the program can be run")
}

/// Publishes a document of three chunks with metadata, and one that is deleted again.
async fn publish(bed: &Bed) -> anyhow::Result<()> {
    let chunks = ["One part.", "Another part.", "The last part."];
    let chunks = chunks.map(|text| json!({ "text": text, "context": "The title" }));
    let job = json!({
        "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
        "documents": [{ "id": "parts", "version": 7, "chunks": chunks, "meta": { "lang": "en" } }],
    });
    bed.publish_bytes(job.to_string()).await?;
    bed.publish_document("gone", 3, &["Soon deleted."]).await?;
    bed.publish_removal("gone", 4).await?;
    bed.drained().await
}

#[tokio::test]
async fn what_is_stored_can_be_embedded_with_another_model() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let old_worker = bed.stack.worker("worker", &[]).await?;
    rebuild(&bed, &corpus(300), &[]).await?.done();
    publish(&bed).await?;
    let before = found(&bed).await?;
    assert_eq!(before.len(), 301);

    let same = rebuild_stored(&bed, &[], &[]).await;
    let counts = |ran: &Ran| {
        let report = ran.done();
        ["documents", "chunks", "reused", "published"].map(|key| report[key].clone())
    };
    assert_eq!(counts(&same), [301, 303, 303, 0].map(|count| json!(count)));
    assert_eq!(found(&bed).await?, before);

    let model = other_model(&bed).await?;
    let generation = format!("{}--new", bed.stack.collection);
    let new_worker = worker(&bed, &model, &generation)?;
    let ran = rebuild_stored(&bed, &["--run-id", "new"], &[("EBB_MODEL", &model)]).await;
    assert_eq!(counts(&ran), [301, 303, 0, 303].map(|count| json!(count)));
    assert_eq!(serving(&bed).await?, generation);
    let fingerprint = Manifest::load(model.as_ref())?.fingerprint;
    let mut points = bed.points().await?;
    points.retain(|_, point| !flag(point, "deleted"));
    assert_eq!(points.len(), 303);
    for ((doc_id, chunk), point) in &points {
        let chunk = usize::try_from(*chunk)?;
        assert_eq!(text(point, "text"), before[doc_id][chunk]);
        assert_eq!(text(point, "fingerprint"), fingerprint.as_str());
    }
    let parts = &points[&("parts".to_owned(), 2)];
    let meta = parts.payload["meta"].clone();
    assert_eq!(serde_json::Value::from(meta), json!({ "lang": "en" }));
    assert_eq!(text(parts, "context"), "The title");
    new_worker.kill().await?;
    old_worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn what_is_stored_may_change_while_it_is_read_and_before_the_run_goes_on()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(400);
    rebuild(&bed, &corpus, &[]).await?.done();
    publish(&bed).await?;
    let named = ["--run-id", "again"];
    let point = [("EBB_FAILPOINTS", "rebuild-copying=kill")];
    let killed = rebuild_stored(&bed, &named, &point).await;
    let signal = killed.status.signal();
    assert_eq!(signal, Some(Signal::KILL.as_raw()), "{}", killed.log);

    // Whatever was copied before is changed: updates of all lengths, deletes, and new documents.
    let version = now_micros();
    let mut expected = wanted(&corpus);
    for n in (0..400).step_by(3) {
        let id = format!("d{n}");
        if n % 2 == 0 {
            bed.publish_removal(&id, version).await?;
            expected.remove(&id);
        } else {
            bed.publish_document(&id, version, &["Changed.", "Longer."])
                .await?;
            expected.insert(id, vec!["Changed.".to_owned(), "Longer.".to_owned()]);
        }
    }
    bed.publish_document("parts", version, &["Shorter."])
        .await?;
    expected.insert("parts".to_owned(), vec!["Shorter.".to_owned()]);
    bed.drained().await?;

    let ran = rebuild_stored(&bed, &named, &[]).await;
    assert_eq!(ran.done()["run"], "again");
    assert!(ran.log.contains("going on with run again"), "{}", ran.log);
    assert_eq!(found(&bed).await?, expected);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_rebuild_has_either_sources_or_a_collection_and_a_stored_document_that_is_not_whole_stops_it()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let neither = ended(without_source(&bed, &[])).await?;
    assert!(neither.log.contains("<SOURCES>"), "{}", neither.log);
    let cut = rebuild_stored(&bed, &["--chunk-tokens", "50"], &[]).await;
    assert_eq!(cut.status.code(), Some(64), "{}", cut.log);

    let slice = json!({
        "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
        "documents": [{ "id": "half", "version": 7, "total": 2, "chunks": [{ "index": 0, "text": "One." }] }],
    });
    bed.publish_bytes(slice.to_string()).await?;
    bed.publish_document("whole", 7, &["All of it."]).await?;
    bed.drained().await?;
    let before = serving(&bed).await?;
    let ran = rebuild_stored(&bed, &[], &[]).await;
    ran.stopped_by("refused");
    let reason = "document `half` of";
    assert!(
        ran.log.contains(reason) && ran.log.contains("is stored in part"),
        "{}",
        ran.log
    );
    assert_eq!(serving(&bed).await?, before);
    let ran = rebuild_stored(&bed, &["--max-refused", "1", "--max-shrink", "100"], &[]).await;
    assert_eq!(ran.done()["documents"], 1);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_dry_run_counts_what_is_stored_and_changes_nothing() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    publish(&bed).await?;
    let before = generations(&bed).await?;
    let model = other_model(&bed).await?;
    for (environment, work) in [
        (&[][..], [1, 3, 3, 0, 0]),
        (&[("EBB_MODEL", model.as_str())], [1, 3, 0, 3, 1]),
    ] {
        let ran = rebuild_stored(&bed, &["--dry-run"], environment).await;
        assert!(ran.status.success(), "{}", ran.log);
        let counted = [
            "documents",
            "chunks",
            "reused_chunks",
            "published_chunks",
            "jobs",
        ];
        let counted = counted.map(|key| ran.report[key].clone());
        assert_eq!(counted, work.map(|count| json!(count)), "{}", ran.log);
    }
    assert_eq!(generations(&bed).await?, before);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn jobs_that_wait_when_a_collection_is_read_are_not_lost() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &["--grace", "3s"]).await?;
    let corpus = corpus(10);
    rebuild(&bed, &corpus, &[]).await?.done();
    worker.process.terminate().await?;
    bed.publish_document("d1", now_micros(), &["It waits."])
        .await?;
    let from = ["--from-collection", &bed.stack.collection];
    let running = spawn(&bed, without_source(&bed, &from))?;
    fixtures::wait::until("it to wait", tests::LIMIT, async || {
        Ok(running.log()?.contains("waiting for jobs").then_some(()))
    })
    .await?;
    let worker = bed.stack.worker("again", &[]).await?;
    running.ended().await?.done();
    let mut model = wanted(&corpus);
    model.insert("d1".to_owned(), vec!["It waits.".to_owned()]);
    assert_eq!(found(&bed).await?, model);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_text_that_the_other_model_refuses_takes_no_other_with_it() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let old_worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(10);
    let mut short = wanted(&corpus);
    let long = "A sentence that says the same again and again. ".repeat(4);
    corpus.insert("long".to_owned(), long.trim().to_owned());
    rebuild(&bed, &corpus, &[]).await?.done();
    let model = other_model_with(&bed, &["--max-tokens", "30"]).await?;
    let generation = format!("{}--new", bed.stack.collection);
    let new_worker = worker(&bed, &model, &generation)?;
    let arguments = ["--run-id", "new", "--max-dead-letters", "1"];
    let ran = rebuild_stored(&bed, &arguments, &[("EBB_MODEL", &model)]).await;
    assert_eq!(ran.done()["chunks"], 11, "{}", ran.log);
    assert_eq!(bed.dead_letters().await?.len(), 1);
    for ((doc_id, _), point) in bed.points().await? {
        let texts = short.remove(&doc_id);
        assert_eq!(texts, Some(vec![text(&point, "text")]), "{doc_id}");
    }
    assert!(short.is_empty(), "{short:?}");
    new_worker.kill().await?;
    old_worker.process.kill().await?;
    bed.end().await
}
