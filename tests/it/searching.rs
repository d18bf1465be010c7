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
async fn a_query_that_is_refused_is_answered_with_the_reason() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let long = "word ".repeat(2_000);
    let output = bed
        .stack
        .program("indexer")
        .args(["search", &long])
        .output()
        .await?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("refused") && log.contains("tokens"), "{log}");
    // The answer goes out before the dead letter is stored.
    bed.drained().await?;
    assert_eq!(bed.dead_letters().await?.len(), 1);
    worker.process.terminate().await?;
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
        assert_eq!(bed.dead_letters().await?[0].cause, "too_many_queries");
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
