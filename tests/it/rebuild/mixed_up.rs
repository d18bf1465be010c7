//! Names, collections and moments that do not fit together: what is there already, what others moved or read meanwhile.

use serde_json::json;
use tests::Bed;

use super::generations::verb;
use super::{
    command, corpus, ended, found, generations, now_micros, qdrant, rebuild, rebuild_with, serving,
    spawn, wanted, without_source,
};

#[tokio::test]
async fn a_run_never_takes_a_collection_that_is_there_for_its_generation() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let first = serving(&bed).await?;
    assert!(first.ends_with("--initial"), "{first}");
    bed.publish_document("live", now_micros(), &["Written live."])
        .await?;
    bed.drained().await?;
    let ran = rebuild(&bed, &corpus(5), &["--run-id", "initial"]).await?;
    assert_eq!(ran.done()["run"], "initial-2");
    assert_eq!(ran.report["previous"], first.as_str());
    for id in ["a--b", "night.", "a..b"] {
        let refused = rebuild(&bed, &corpus(5), &["--run-id", id]).await?;
        assert_eq!(refused.status.code(), Some(64), "{id}: {}", refused.log);
    }
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_rebuild_that_died_before_somebody_moved_the_alias_begins_anew() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(10);
    for run in ["one", "two"] {
        rebuild(&bed, &corpus, &["--run-id", run]).await?.done();
    }
    corpus.insert("d1".to_owned(), "Another text.".to_owned());
    rebuild_with(&bed, &corpus, &["--run-id", "three"], "rebuild-copied=kill").await?;
    verb(&bed, "rollback", &[]).await?;
    let ran = rebuild(&bed, &corpus, &["--run-id", "three"]).await?;
    ran.done();
    assert!(ran.log.contains("is given up"), "{}", ran.log);
    assert_eq!(ran.report["run"], "three-2");
    assert_eq!(found(&bed).await?, wanted(&corpus));
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn gc_keeps_what_a_rebuild_of_the_same_alias_reads() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(10);
    for run in ["r1", "r2"] {
        let arguments = ["--keep", "9", "--run-id", run];
        rebuild(&bed, &corpus, &arguments).await?.done();
    }
    let old = format!("{}--r1", bed.stack.collection);
    let mut reading = without_source(&bed, &["--from-collection", &old]);
    reading.env("EBB_FAILPOINTS", "rebuild-created=stall:3000");
    let mut reading = spawn(&bed, reading)?;
    reading.reaches("created").await?;
    verb(&bed, "gc", &["--keep", "0"]).await?;
    assert!(generations(&bed).await?.contains(&old));
    assert_eq!(reading.ended().await?.done()["documents"], 10);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_rebuild_from_the_alias_goes_on_while_it_is_written() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(600);
    rebuild(&bed, &corpus, &[]).await?.done();
    let alias = bed.stack.collection.to_string();
    let from_alias = ["--from-collection", alias.as_str()];
    let running = spawn(&bed, without_source(&bed, &from_alias))?;
    let ended = running.ended();
    let writing = async {
        for n in 0..200 {
            let (id, text) = (format!("d{}", n * 3), format!("Written live, number {n}."));
            bed.publish_document(&id, now_micros(), &[&text]).await?;
            corpus.insert(id, text);
        }
        anyhow::Ok(())
    };
    let (ran, written) = tokio::join!(ended, writing);
    written?;
    ran?.done();
    bed.drained().await?;
    assert_eq!(found(&bed).await?, wanted(&corpus));
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn scores_stay_with_the_point_that_has_them_where_a_text_comes_twice() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(4);
    for id in ["a", "b", "c"] {
        corpus.insert(id.to_owned(), "The same text.".to_owned());
    }
    rebuild(&bed, &corpus, &[]).await?.done();
    let scores = qdrant_client::Payload::try_from(json!({ "scores": { "reranker": 0.5 } }))?;
    let b = points::point_id("b", 0).to_string();
    let set =
        qdrant_client::qdrant::SetPayloadPointsBuilder::new(bed.stack.collection.as_str(), scores)
            .points_selector(qdrant_client::qdrant::PointsIdsList {
                ids: vec![b.into()],
            })
            .wait(true);
    qdrant(&bed)?.set_payload(set).await?;
    corpus.insert("d1".to_owned(), "Another text.".to_owned());
    rebuild(&bed, &corpus, &[]).await?.done();
    for ((doc_id, _), point) in bed.points().await? {
        assert_eq!(
            point.payload.contains_key("scores"),
            doc_id == "b",
            "{doc_id}"
        );
    }
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_lease_is_not_taken_over_sooner_than_its_owner_may_be_silent() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(5);
    let mut slow = command(&bed, &corpus, &[])?;
    slow.env("EBB_FAILPOINTS", "rebuild-created=stall:4000");
    let mut slow = spawn(&bed, slow)?;
    slow.reaches("created").await?;
    let mut hasty = bed.stack.program("indexer");
    hasty.args([
        "rebuild",
        "--clock-skew",
        "0s",
        "--lease",
        "500ms",
        "--json",
    ]);
    hasty.arg(super::write(&bed, &corpus)?);
    let hasty = ended(hasty).await?;
    assert!(hasty.log.contains("is held by process"), "{}", hasty.log);
    slow.ended().await?.done();
    worker.process.kill().await?;
    bed.end().await
}
