//! Searching: queries go through the queue, and come back even when they cannot be answered.

use serde_json::{Value, json};
use tests::Bed;

#[tokio::test]
async fn a_query_finds_the_document_that_says_the_same() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document(
        "queue",
        1,
        &["jobs wait in a stream until a worker pulls them"],
    )
    .await?;
    bed.publish_document(
        "garden",
        1,
        &["roses and tulips bloom behind the old house"],
    )
    .await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    let found = bed
        .stack
        .indexer(&[
            "search",
            "roses and tulips bloom behind the old house",
            "--mode",
            "dense",
            "--json",
        ])
        .await?;
    let found: Value = serde_json::from_str(&found)?;
    assert_eq!(found["hits"][0]["doc_id"], "garden", "{found}");
    assert!(found["hits"][0]["score"].as_f64() > Some(0.999), "{found}");
    bed.drained().await?;
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn deleted_documents_are_not_found() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("garden", 1, &["roses and tulips"])
        .await?;
    bed.publish_removal("garden", 2).await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    let found: Value =
        serde_json::from_str(&bed.stack.indexer(&["search", "roses", "--json"]).await?)?;
    assert_eq!(found["hits"], json!([]), "{found}");
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn a_query_that_is_longer_than_the_model_is_cut_and_that_is_said() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("garden", 1, &["roses and tulips"])
        .await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.drained().await?;
    // By its tokens, and by more bytes than a message holds.
    for long in ["word ".repeat(2_000), "word".repeat(20_000)] {
        let arguments = ["search", &long, "--mode", "dense"];
        let found = bed.stack.indexer(&arguments).await?;
        assert!(found.contains("longer than the model takes"), "{found}");
        let arguments = [&arguments[..], &["--json"]].concat();
        let found: Value = serde_json::from_str(&bed.stack.indexer(&arguments).await?)?;
        assert_eq!(found["query_truncated"], true);
        assert_eq!(found["hits"][0]["doc_id"], "garden");
    }
    let short = bed.stack.indexer(&["search", "word", "--json"]).await?;
    let short: Value = serde_json::from_str(&short)?;
    assert_eq!(short["query_truncated"], false);
    bed.drained().await?;
    assert_eq!(bed.dead_letters().await?.len(), 0);
    worker.process.terminate().await?;
    bed.end().await
}

/// What is stored as the answer to a reply id.
async fn answer(bed: &Bed, reply: &str) -> anyhow::Result<Value> {
    let results = bed
        .jetstream()
        .get_stream(contract::topology::RESULTS)
        .await?;
    let subject = format!("results.{reply}");
    let answer = results.get_last_raw_message_by_subject(&subject).await?;
    Ok(serde_json::from_slice(&answer.payload)?)
}

#[tokio::test]
async fn a_request_that_is_refused_has_that_as_its_answer_and_no_dead_letter() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let long = "word ".repeat(2_000);
    let asked = |more: Value| {
        let mut job = json!({ "version": "1.0", "kind": "embed" });
        job.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        job.to_string()
    };
    bed.publish_bytes(asked(json!({ "queries": [long], "reply": "r1" })))
        .await?;
    bed.publish_bytes(asked(
        json!({ "queries": ["q", long], "reply": "r2", "truncate": true }),
    ))
    .await?;
    let items = json!([{ "query": "q", "text": "t" }]);
    bed.publish_bytes(
        json!({ "version": "1.0", "kind": "rescore", "items": items, "reply": "r3" }).to_string(),
    )
    .await?;
    // Points are missing, whoever was told.
    let document = json!([{ "id": "d", "chunks": [{ "text": long }] }]);
    let collection = bed.stack.collection.clone();
    let with_document =
        json!({ "collection": collection, "documents": document, "reply": "r4", "truncate": true });
    bed.publish_bytes(asked(with_document)).await?;
    bed.drain().await?;
    assert_eq!(answer(&bed, "r1").await?["refused"]["cause"], "too_long");
    let cut = answer(&bed, "r2").await?;
    assert_eq!(cut["truncated"], json!([1]), "{cut}");
    assert_eq!(cut["vectors"].as_array().map(Vec::len), Some(2));
    assert_eq!(answer(&bed, "r3").await?["refused"]["cause"], "wrong_task");
    assert_eq!(answer(&bed, "r4").await?["refused"]["cause"], "too_long");
    let letters = bed.dead_letters().await?;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].cause, "too_long");
    bed.end().await
}

#[tokio::test]
async fn a_search_without_workers_says_so_after_its_timeout() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let output = bed
        .stack
        .program("indexer")
        .args(["search", "anything", "--timeout", "1s"])
        .output()
        .await?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("no worker") && log.contains("1s"), "{log}");
    bed.end().await
}

#[tokio::test]
async fn more_queries_than_an_answer_holds_are_refused() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let dimensions = bed.manifest.identity.dimensions;
    let most = 960 * 1024 / (dimensions * 14);
    if most < 1024 {
        let queries = vec!["q"; most + 1];
        let job = json!({ "version": "1.0", "kind": "embed", "queries": queries, "reply": "r1" });
        bed.publish_bytes(job.to_string()).await?;
        bed.drain().await?;
        let refused = answer(&bed, "r1").await?;
        assert_eq!(refused["refused"]["cause"], "too_many_queries");
        assert_eq!(bed.dead_letters().await?.len(), 0);
    }
    let queries = vec!["q"; most.min(1024)];
    let job = json!({ "version": "1.0", "kind": "embed", "queries": queries, "reply": "r2" });
    bed.publish_bytes(job.to_string()).await?;
    bed.drain().await?;
    let results = bed
        .jetstream()
        .get_stream(contract::topology::RESULTS)
        .await?;
    let answer = results
        .get_last_raw_message_by_subject("results.r2")
        .await?;
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    assert_eq!(
        answer["vectors"].as_array().map(Vec::len),
        Some(most.min(1024))
    );
    bed.end().await
}
