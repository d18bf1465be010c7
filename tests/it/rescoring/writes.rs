//! Writes of scores: to the point that was scored, once and for ever the same.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::vector;

use super::setup::{QUERY, Setup, assert_golden};

#[tokio::test]
async fn scores_go_to_the_payload_and_nothing_else_of_a_point_changes() -> anyhow::Result<()> {
    let setup = Setup::start().await?.with_golden_documents().await?;
    let before = setup.bed.points().await?;
    let report = setup.rescore(&["--query", QUERY]).await?;
    assert_eq!(report["points"], before.len(), "{report}");
    assert_eq!(report["field"], "scores.tiny-rerank", "{report}");
    setup.drain(&[]).await?;
    assert_golden(&setup.scores().await?, &Setup::golden()?);
    for (key, mut point) in setup.bed.points().await? {
        point.payload.remove("scores");
        assert_eq!(point.payload, before[&key].payload, "{key:?}");
        assert_eq!(vector(&point), vector(&before[&key]), "{key:?}");
    }
    // Another field and another query leave the first score alone.
    setup
        .rescore(&["--query", "Der Fluss", "--field", "rank.german"])
        .await?;
    setup.drain(&[]).await?;
    assert_golden(&setup.scores().await?, &Setup::golden()?);
    for (key, point) in setup.bed.points().await? {
        let rank = point.payload["rank"]
            .as_struct()
            .expect("the field is there");
        assert!(rank.fields["german"].as_double().is_some(), "{key:?}");
    }
    assert!(setup.bed.dead_letters().await?.is_empty());
    setup.bed.end().await
}

#[tokio::test]
async fn a_score_of_an_older_version_goes_to_no_newer_one_and_creates_no_point()
-> anyhow::Result<()> {
    let setup = Setup::start().await?.with_golden_documents().await?;
    setup.rescore(&["--query", QUERY]).await?;
    let nowhere = json!([{ "point": points::point_id("nobody", 0).to_string(), "text": "t" }]);
    let collection = &setup.bed.stack.collection;
    setup
        .publish(&json!({ "version": "1.0", "kind": "rescore", "collection": collection, "items": nowhere }))
        .await?;
    setup
        .bed
        .publish_document("g1", 2, &["changed since"])
        .await?;
    setup.bed.publish_removal("g2", 1).await?;
    setup.bed.drain().await?;
    let before = setup.bed.points().await?.len();
    setup.drain(&[]).await?;
    let mut expected = Setup::golden()?;
    expected.remove("g1");
    expected.remove("g2");
    assert_golden(&setup.scores().await?, &expected);
    assert_eq!(setup.bed.points().await?.len(), before);
    assert!(setup.bed.dead_letters().await?.is_empty());
    setup.bed.end().await
}

#[tokio::test]
async fn a_score_of_a_text_does_not_go_to_another_text_of_the_same_version() -> anyhow::Result<()> {
    let setup = Setup::start().await?.with_golden_documents().await?;
    setup.rescore(&["--query", QUERY]).await?;
    // A publisher has used the version twice while the job was waiting.
    setup
        .bed
        .publish_document("g1", 1, &["another text"])
        .await?;
    setup.bed.drain().await?;
    setup.drain(&[]).await?;
    let mut expected = Setup::golden()?;
    expected.remove("g1");
    assert_golden(&setup.scores().await?, &expected);
    setup.rescore(&["--query", QUERY]).await?;
    setup.drain(&[]).await?;
    assert!(setup.scores().await?.contains_key("g1"));
    assert!(setup.bed.dead_letters().await?.is_empty());
    setup.bed.end().await
}

#[tokio::test]
async fn jobs_of_a_rescorer_that_dies_are_scored_again_and_nothing_is_doubled() -> anyhow::Result<()>
{
    let setup = Setup::impatient().await?.with_golden_documents().await?;
    for point in ["before-embed", "after-additions", "before-ack"] {
        setup.rescore(&["--query", QUERY]).await?;
        let mut command = setup.bed.stack.program("worker");
        command.args(["run", "--drain", "--grace", "3s", "--model", &setup.model]);
        command.env("EBB_FAILPOINTS", format!("{point}=kill"));
        let status = command.output().await?.status;
        assert_eq!(
            status.signal(),
            Some(Signal::KILL.as_raw()),
            "{point}: {status}"
        );
    }
    let points = setup.bed.points().await?.len();
    setup.drain(&[]).await?;
    assert_golden(&setup.scores().await?, &Setup::golden()?);
    assert_eq!(setup.bed.points().await?.len(), points);
    assert!(setup.bed.dead_letters().await?.is_empty());
    setup.bed.end().await
}

#[tokio::test]
async fn an_item_that_is_too_long_takes_only_itself_and_one_that_is_invalid_its_job()
-> anyhow::Result<()> {
    let setup = Setup::start().await?.with_golden_documents().await?;
    let collection = setup.bed.stack.collection.clone();
    let long = "stream ".repeat(300);
    let id = |doc_id: &str| points::point_id(doc_id, 0).to_string();
    let job = |items: Value| json!({ "version": "1.0", "kind": "rescore", "collection": collection, "items": items });
    let good = &Setup::golden()?["g0"];
    let pair = |doc_id: &str| json!({ "point": id(doc_id), "version": 1, "query": QUERY, "text": good.passage });
    let too_long = json!({ "point": id("g1"), "query": QUERY, "text": long });
    setup.publish(&job(json!([pair("g1"), too_long]))).await?;
    setup
        .publish(&job(json!([pair("g2"), { "point": "no id", "text": "t" }])))
        .await?;
    let asked = json!({ "version": "1.0", "kind": "rescore", "reply": "asked", "items": [{ "query": QUERY, "text": long }] });
    setup.publish(&asked).await?;
    setup.publish(&job(json!([pair("g0")]))).await?;
    setup.drain(&[]).await?;
    let scores = setup.scores().await?;
    assert_eq!(scores.keys().collect::<Vec<_>>(), ["g0", "g1"]);
    assert!((scores["g0"] - good.score()).abs() < 1e-5, "{scores:?}");
    let mut causes: Vec<_> = setup
        .bed
        .dead_letters()
        .await?
        .into_iter()
        .map(|letter| letter.cause)
        .collect();
    causes.sort();
    // Of the job that was for an answer alone, the answer is all that there is.
    assert_eq!(causes, ["invalid", "too_long"]);
    let answer = setup.answer("asked").await?;
    assert_eq!(answer["refused"]["cause"], "too_long", "{answer}");
    setup.bed.end().await
}
