//! Rescoring: scores are those of the model, and go to nothing but the points that were scored.

mod runs;
mod setup;
mod writes;

use std::path::Path;

use contract::topology::JOBS;
use qdrant_client::Qdrant;
use serde_json::{Value, json};
use tests::Bed;

pub(crate) use setup::stage;
use setup::{QUERY, Setup, golden};

#[tokio::test]
async fn scores_come_back_in_order_and_equal_those_computed_without_onnx_runtime()
-> anyhow::Result<()> {
    let setup = Setup::start().await?;
    let golden = golden()?;
    let items = golden
        .iter()
        .map(|pair| json!({ "query": pair.query, "text": pair.passage }));
    let items: Vec<_> = items.collect();
    setup
        .publish(&json!({ "version": "1.0", "kind": "rescore", "reply": "whole", "items": items }))
        .await?;
    setup.drain(&[]).await?;
    let answer = setup.answer("whole").await?;
    let scores: Vec<Vec<f64>> = serde_json::from_value(answer["scores"].clone())?;
    assert_eq!(scores.len(), golden.len());
    for (pair, score) in golden.iter().zip(&scores) {
        let expected = pair.score();
        assert_eq!(score.len(), 1);
        assert!(
            (score[0] - expected).abs() < 1e-5,
            "{}: {score:?}, not {expected}",
            pair.passage
        );
    }
    setup.bed.end().await
}

#[tokio::test]
async fn an_activation_that_is_given_changes_the_scores_and_the_fingerprint() -> anyhow::Result<()>
{
    let setup = Setup::start().await?;
    let models = tempfile::tempdir()?;
    let raw = stage(&["--activation", "raw"], models.path()).await?;
    let raw = raw.display().to_string();
    assert_ne!(
        Path::new(&raw).file_name(),
        Path::new(&setup.model).file_name()
    );
    let pair = &golden()?[0];
    let items = json!([{ "query": pair.query, "text": pair.passage }]);
    setup
        .publish(&json!({ "version": "1.0", "kind": "rescore", "reply": "raw", "items": items }))
        .await?;
    let setup = Setup {
        model: raw,
        ..setup
    };
    setup.drain(&[]).await?;
    let answer = setup.answer("raw").await?;
    let logit = answer["scores"][0][0].as_f64().unwrap_or(f64::NAN);
    assert!(
        (logit - pair.logit).abs() < 1e-5,
        "{logit}, not {}",
        pair.logit
    );
    setup.bed.end().await
}

#[tokio::test]
async fn a_filter_selects_the_points_that_are_scored() -> anyhow::Result<()> {
    let setup = Setup::start().await?.with_golden_documents().await?;
    let filter = json!({ "must": [{ "key": "doc_id", "match": { "any": ["g1", "g3"] } }] });
    let report = setup
        .rescore(&["--query", QUERY, "--filter", &filter.to_string()])
        .await?;
    assert_eq!(report["points"], 2, "{report}");
    setup.drain(&[]).await?;
    assert_eq!(
        setup.scores().await?.into_keys().collect::<Vec<_>>(),
        ["g1", "g3"]
    );
    let mut command = setup.bed.stack.program("indexer");
    command.args([
        "rescore",
        "--model",
        &setup.model,
        "--filter",
        "{\"never\": 1}",
    ]);
    let refused = command.output().await?;
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    setup.bed.end().await
}

#[tokio::test]
async fn a_pair_that_is_too_long_is_cut_and_counted_where_the_installation_allows_it()
-> anyhow::Result<()> {
    let setup = Setup::start().await?;
    let items = json!([{ "query": QUERY, "text": "stream ".repeat(300) }, { "query": QUERY, "text": "lag" }]);
    setup
        .publish(&json!({ "version": "1.0", "kind": "rescore", "reply": "cut", "items": items }))
        .await?;
    let cut = ["--model", &setup.model, "--too-long", "truncate"];
    let worker = setup.bed.stack.worker("rescorer", &cut).await?;
    fixtures::wait::until("the answer", tests::LIMIT, async || {
        Ok(setup.answer("cut").await.ok())
    })
    .await?;
    assert_eq!(worker.metric("worker_truncated_texts_total").await?, 1.0);
    assert!(worker.process.terminate().await?.success());
    setup.bed.end().await
}

#[tokio::test]
async fn a_search_with_a_rescorer_orders_by_its_scores() -> anyhow::Result<()> {
    let setup = Setup::start().await?.with_golden_documents().await?;
    let embedder = setup.bed.stack.worker("embedder", &[]).await?;
    let rescorer = setup
        .bed
        .stack
        .worker("rescorer", &["--model", &setup.model])
        .await?;
    let search = [
        "search",
        QUERY,
        "--json",
        "--mode",
        "dense",
        "--limit",
        "3",
        "--rescore",
        &setup.model,
    ];
    let found: Value = serde_json::from_str(&setup.bed.stack.indexer(&search).await?)?;
    let plain = [
        "search", QUERY, "--json", "--mode", "dense", "--limit", "10",
    ];
    let plain: Value = serde_json::from_str(&setup.bed.stack.indexer(&plain).await?)?;
    let ids = |found: &Value| -> Vec<String> {
        let hits = found["hits"].as_array().expect("hits are a list");
        hits.iter()
            .map(|hit| hit["doc_id"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    let golden = Setup::golden()?;
    let mut best: Vec<_> = golden.iter().collect();
    best.sort_by(|(_, a), (_, b)| b.logit.total_cmp(&a.logit));
    let best: Vec<_> = best.into_iter().map(|(id, _)| id.clone()).take(3).collect();
    assert_eq!(ids(&found), best, "{found}");
    assert_ne!(
        ids(&plain)[..3],
        best[..],
        "the rescorer had nothing to order"
    );
    for hit in found["hits"].as_array().into_iter().flatten() {
        let expected = golden[hit["doc_id"].as_str().unwrap_or_default()].score();
        let rescore = hit["rescore"].as_f64().unwrap_or(f64::NAN);
        assert!((rescore - expected).abs() < 1e-5, "{hit}");
        assert!(hit["score"].as_f64().is_some(), "{hit}");
    }
    for worker in [embedder, rescorer] {
        assert!(worker.process.terminate().await?.success());
    }
    setup.bed.end().await
}

#[tokio::test]
async fn provisioning_a_rescorer_makes_its_lanes_and_no_collection() -> anyhow::Result<()> {
    let bed = Bed::unprovisioned(&tests::tiny_embed(), "tiny").await?;
    let setup = Setup::on(bed, &[]).await?;
    let client = Qdrant::from_url(&setup.bed.stack.qdrant.url())
        .skip_compatibility_check()
        .build()?;
    assert!(
        !client
            .collection_exists(setup.bed.stack.collection.as_str())
            .await?
    );
    let check = ["provision", "--model", &setup.model, "--check"];
    let printed = setup.bed.stack.indexer(&check).await?;
    assert!(
        printed.contains("consumer `rescore-tiny-rerank-live`"),
        "{printed}"
    );
    assert!(
        printed.contains("everything is as it should be"),
        "{printed}"
    );
    setup.drain(&[]).await?;
    Ok(())
}

/// Nobody would read its lane for documents.
#[tokio::test]
async fn documents_are_neither_published_nor_deleted_by_a_rescorer() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    let corpus = setup.bed.write("doc.md", "# Title\n\nSome text.\n")?;
    let corpus = corpus.display().to_string();
    for arguments in [["publish", corpus.as_str()], ["delete", "doc.md"]] {
        let mut indexer = setup.bed.stack.program("indexer");
        indexer.env("EBB_MODEL", &setup.model).args(arguments);
        let output = indexer.output().await?;
        let said = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("`tiny-rerank` is a rescorer"), "{said}");
    }
    let jobs = setup.bed.jetstream().get_stream(JOBS).await?;
    assert_eq!(jobs.cached_info().state.messages, 0);
    setup.bed.end().await
}
