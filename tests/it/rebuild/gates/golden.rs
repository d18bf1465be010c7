//! The gate of golden queries.

use super::Indexed;
use crate::rebuild::{found, rebuild, wanted};

#[tokio::test]
async fn golden_queries_that_find_less_than_before_stop_a_rebuild() -> anyhow::Result<()> {
    let indexed = Indexed::start(20).await?;
    let folder = indexed.bed.directory.path();
    let text = &indexed.corpus["d7"];
    let query = serde_json::json!({ "_id": "q1", "text": text });
    let (queries, qrels) = (folder.join("queries.jsonl"), folder.join("qrels.tsv"));
    std::fs::write(&queries, query.to_string())?;
    std::fs::write(&qrels, "query-id\tcorpus-id\tscore\nq1\td7\t1\n")?;
    let (queries, qrels) = (queries.display().to_string(), qrels.display().to_string());
    let golden = ["--golden-queries", &queries, "--golden-qrels", &qrels];

    let same = rebuild(&indexed.bed, &indexed.corpus, &golden).await?;
    let gates = same.done()["gates"].as_array().unwrap();
    assert!(
        gates.iter().any(|gate| gate["name"] == "golden queries"),
        "{gates:?}"
    );

    let generation = super::serving(&indexed.bed).await?;
    let mut worse = indexed.corpus.clone();
    worse.remove("d7");
    let ran = rebuild(&indexed.bed, &worse, &golden).await?;
    ran.stopped_by("golden queries");
    assert_eq!(super::serving(&indexed.bed).await?, generation);
    let mut allowed = golden.to_vec();
    allowed.extend(["--max-regression", "1"]);
    rebuild(&indexed.bed, &worse, &allowed).await?.done();
    assert_eq!(found(&indexed.bed).await?, wanted(&worse));
    indexed.end().await
}

#[tokio::test]
async fn golden_queries_without_a_document_that_is_there_stop_a_rebuild() -> anyhow::Result<()> {
    let indexed = Indexed::start(10).await?;
    let folder = indexed.bed.directory.path();
    let (queries, qrels) = (folder.join("queries.jsonl"), folder.join("qrels.tsv"));
    std::fs::write(&queries, r#"{"_id":"q1","text":"queue"}"#)?;
    std::fs::write(
        &qrels,
        "query-id\tcorpus-id\tscore\nq1\tof-another-corpus\t1.0\n",
    )?;
    let (queries, qrels) = (queries.display().to_string(), qrels.display().to_string());
    let golden = ["--golden-queries", &queries, "--golden-qrels", &qrels];
    let ran = rebuild(&indexed.bed, &indexed.corpus, &golden).await?;
    let reason = ran.stopped_by("golden queries");
    assert!(reason.contains("nothing is measured"), "{reason}");
    indexed.is_untouched().await?;
    indexed.end().await
}
