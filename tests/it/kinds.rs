//! Kinds of vectors: what a model makes equals what was computed without ONNX Runtime, and what does not fit is refused by its
//! name.

mod terms;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use contract::embedding::Embedding;
use contract::model::{Manifest, OutputKind};
use fixtures::copy::copy_folder;
use fixtures::programs::workspace;
use runtime::model_dir::ModelDir;
use serde_json::{Value, json};
use tests::{Bed, tools};
use worker::batch::RowKey;
use worker::config::{ModelConfig, Provider, SessionConfig};
use worker::load::{Loaded, load, recipe, row};
use worker::plan::{Row, fill};
use worker::pool::Layers;
use worker::session::{Engine as _, PoolOn, Session, Sessions};

fn tiny(name: &str) -> PathBuf {
    workspace().join("fixtures/models").join(name)
}

fn golden(file: &str) -> anyhow::Result<Value> {
    let path = workspace().join("fixtures/golden").join(file);
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

/// A CPU with one session, or with two that share their weights.
async fn device(sessions: usize) -> anyhow::Result<SessionConfig> {
    Ok(SessionConfig {
        onnxruntime: tools().await?.runtime.onnxruntime.clone(),
        provider: Provider::Cpu,
        precision: None,
        device_id: 0,
        threads: std::num::NonZeroUsize::new(2),
        sessions: std::num::NonZeroUsize::new(sessions),
    })
}

async fn stage(source: &Path, models: &Path, options: &[&str]) -> anyhow::Result<Output> {
    let mut command = tools().await?.program("worker");
    command.arg("stage").arg(source).args(options);
    command.args(["--name", "m", "--calibrate", "0s", "--models"]);
    Ok(command.arg(models).output().await?)
}

async fn staged(source: &Path, models: &Path, options: &[&str]) -> anyhow::Result<PathBuf> {
    let output = stage(source, models, options).await?;
    let log = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{log}");
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

fn loaded(model: &Path, session: &SessionConfig) -> anyhow::Result<Loaded> {
    let model = ModelConfig {
        staged: ModelDir {
            model: model.to_owned(),
            public_key: None,
        },
        fingerprint: None,
    };
    Ok(load(&model, session, Instant::now())?)
}

fn texts(golden: &Value) -> Vec<String> {
    let texts = golden["texts"].as_array().into_iter().flatten();
    texts
        .filter_map(|text| text["text"].as_str().map(str::to_owned))
        .collect()
}

/// Rows of documents, or of queries.
fn rows(loaded: &Loaded, texts: &[String], is_query: bool) -> anyhow::Result<Vec<Row>> {
    let identity = &loaded.manifest.identity;
    let row = |(at, text): (usize, &String)| {
        let (query, text) = if is_query {
            (Some(text.as_str()), "")
        } else {
            (None, text.as_str())
        };
        let key = RowKey { job: 0, row: at };
        let row = row(&loaded.texts.tokenizer, identity, query, text)?;
        Ok(Row { key, ..row })
    };
    texts.iter().enumerate().map(row).collect()
}

/// All rows alone, and all in one tensor, where most of them are padded.
fn run(session: &mut Session, rows: &[Row], padding: u32) -> anyhow::Result<[Vec<Embedding>; 2]> {
    let mut alone = Vec::new();
    for row in rows {
        alone.extend(session.run(&fill(std::slice::from_ref(row), padding))?);
    }
    Ok([alone, session.run(&fill(rows, padding))?])
}

#[tokio::test]
async fn scores_of_token_vectors_equal_those_computed_without_onnx_runtime() -> anyhow::Result<()> {
    let golden = golden("scores-tiny-colbert.json")?;
    let models = tempfile::tempdir()?;
    let model = staged(&tiny("tiny-colbert"), models.path(), &[]).await?;
    let mut loaded = loaded(&model, &device(1).await?)?;
    assert_eq!(loaded.manifest.identity.output.kind(), OutputKind::Multi);
    let queries = golden["queries"].as_object().into_iter().flatten();
    let queries: Vec<String> = queries
        .filter_map(|(_, it)| it.as_str().map(str::to_owned))
        .collect();
    let (queries, texts) = (rows(&loaded, &queries, true)?, texts(&golden));
    let documents = rows(&loaded, &texts, false)?;
    let identity = loaded.manifest.identity.clone();
    let layers = Layers::load(&model, &identity.head, &identity.output)?;
    let graph = model.join(&identity.onnx);
    let sessions = Sessions::of(&graph, &device(1).await?, recipe(&identity))?;
    let in_graph = sessions
        .with_layers(layers.into())
        .load_pooling(PoolOn::Device)?;
    let padding = loaded.texts.tokenizer.padding_id();
    // Rows of queries and documents may share a tensor.
    let all = [queries.clone(), documents].concat();
    for session in [&mut loaded.session, &mut { in_graph }] {
        for found in run(session, &all, padding)? {
            let (queries, documents) = found.split_at(queries.len());
            assert!(queries.iter().all(|query| query.rows().count() == 16));
            for (at, document) in documents.iter().enumerate() {
                let expected = &golden["texts"][at];
                assert_eq!(
                    document.rows().count() as u64,
                    expected["vectors"],
                    "{}",
                    texts[at]
                );
                let scores: Vec<f32> = serde_json::from_value(expected["scores"].clone())?;
                for (query, expected) in queries.iter().zip(scores) {
                    let score = query.score(document);
                    assert!(
                        (score - expected).abs() < 1e-3,
                        "{}: {score} for {expected}",
                        texts[at]
                    );
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn smaller_graphs_give_nearly_the_same_and_what_that_costs_is_measured() -> anyhow::Result<()>
{
    let models = tempfile::tempdir()?;
    for name in ["tiny-splade", "tiny-colbert"] {
        let whole = Manifest::load(&staged(&tiny(name), models.path(), &[]).await?)?;
        for (option, least) in [("fp16", 0.999), ("int8", 0.9)] {
            let options = ["--quantize", option, "--max-ndcg-loss", "0.1"];
            let smaller = Manifest::load(&staged(&tiny(name), models.path(), &options).await?)?;
            assert_ne!(smaller.fingerprint, whole.fingerprint);
            for (one, other) in whole.golden.iter().zip(&smaller.golden) {
                let cosine = one.vector.cosine(&other.vector);
                assert!(cosine > least, "{name} {option} `{}`: {cosine}", one.text);
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_the_kind_of_a_model_is_refused_by_its_name() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let models = directory.path().join("models");
    let (plain, short) = (
        directory.path().join("plain"),
        directory.path().join("short"),
    );
    copy_folder(&tiny("tiny-splade"), &plain)?;
    std::fs::remove_file(plain.join("modules.json"))?;
    copy_folder(&tiny("tiny-colbert"), &short)?;
    let said = json!({ "query_prefix": "[Query] ", "document_prefix": "[D] " });
    std::fs::write(
        short.join("config_sentence_transformers.json"),
        said.to_string(),
    )?;
    let (splade, colbert) = (tiny("tiny-splade"), tiny("tiny-colbert"));
    let cases: [(&Path, &[&str], &str); 10] = [
        (&splade, &["--kind", "multi"], "--kind multi"),
        (&splade, &["--pooling", "mean"], "--pooling does not fit"),
        (&splade, &["--dimensions", "8"], "--dimensions does not fit"),
        (&splade, &["--query-terms", "table"], "idf.json"),
        (
            &splade,
            &["--term-threshold", "99"],
            "no golden text has a term",
        ),
        (&colbert, &["--max-terms", "8"], "--max-terms does not fit"),
        (&colbert, &["--query-tokens", "64"], "--query-tokens"),
        (
            &tests::tiny_embed(),
            &["--kind", "sparse"],
            "Pooling of modules.json",
        ),
        (&plain, &[], "--kind sparse"),
        (&short, &[], "[Query]"),
    ];
    for (source, options, word) in cases {
        let output = stage(source, &models, options).await?;
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{options:?}: {log}");
        assert!(log.contains(word), "{options:?}: {log}");
    }
    let said = staged(&plain, &models, &["--kind", "sparse"]).await?;
    assert_eq!(
        Manifest::load(&said)?.identity.output.kind(),
        OutputKind::Sparse
    );
    Ok(())
}

#[tokio::test]
async fn only_a_dense_model_writes_documents_and_others_are_to_be_attached() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let models = bed.directory.path().join("models");
    for (name, shown) in [
        ("tiny-splade", "sparse vectors of at most 1024 of"),
        (
            "tiny-colbert",
            "multivectors of 24 dimensions, queries of 16 tokens",
        ),
    ] {
        let model = staged(&tiny(name), &models, &[]).await?;
        let mut provision = bed.stack.program("indexer");
        provision.args(["provision", "--model"]).arg(&model);
        let refused = provision.output().await?;
        let log = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && log.contains("indexer attach"),
            "{log}"
        );
        let mut check = bed.stack.program("worker");
        let checked = check
            .args(["check", "--model"])
            .arg(&model)
            .output()
            .await?;
        let report = String::from_utf8(checked.stdout)?;
        assert!(report.contains(shown), "{report}");
        assert!(report.contains("indexer attach"), "{report}");
    }
    bed.end().await
}
