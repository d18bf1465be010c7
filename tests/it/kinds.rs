//! Kinds of vectors: terms and token vectors equal those that were computed without ONNX Runtime, and what does not fit is
//! refused by its name.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use contract::embedding::Embedding;
use contract::model::{Manifest, OutputKind, QueryWeights};
use fixtures::programs::workspace;
use runtime::model_dir::ModelDir;
use serde_json::{Value, json};
use tests::{Bed, tools};
use worker::batch::RowKey;
use worker::config::{ModelConfig, Provider, SessionConfig};
use worker::graph::Model;
use worker::graph::proto::{NodeProto, TensorProto, data_type};
use worker::load::{Loaded, load, recipe, row};
use worker::plan::{Row, fill};
use worker::pool::Layers;
use worker::session::{Engine as _, PoolOn, Session, Sessions};

const GRAPH: &str = "onnx/model.onnx";

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
    texts.filter_map(|text| text["text"].as_str().map(str::to_owned)).collect()
}

/// Rows of documents, or of queries.
fn rows(loaded: &Loaded, texts: &[String], is_query: bool) -> anyhow::Result<Vec<Row>> {
    let identity = &loaded.manifest.identity;
    let row = |(at, text): (usize, &String)| {
        let (query, text) = if is_query { (Some(text.as_str()), "") } else { (None, text.as_str()) };
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

/// The same terms with the same weights.
fn check_terms(found: &[Embedding], golden: &Value) -> anyhow::Result<()> {
    let expected = golden["texts"].as_array().into_iter().flatten();
    for (found, expected) in found.iter().zip(expected) {
        let (text, expected) = (&expected["text"], json!({
            "indices": expected["indices"], "values": expected["values"],
        }));
        let expected: Embedding = serde_json::from_value(expected)?;
        let ids = |embedding: &Embedding| match embedding {
            Embedding::Sparse { indices, .. } => indices.clone(),
            Embedding::Dense(_) | Embedding::Multi { .. } => Vec::new(),
        };
        assert_eq!(found.kind(), OutputKind::Sparse);
        assert_eq!(ids(found), ids(&expected), "{text}");
        for (found, expected) in found.values().iter().zip(expected.values()) {
            assert!((found - expected).abs() < 1e-4, "{text}: {found} for {expected}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn terms_equal_those_computed_without_onnx_runtime_alone_and_beside_others()
-> anyhow::Result<()> {
    let golden = golden("terms-tiny-splade.json")?;
    let texts = texts(&golden);
    assert!(texts.len() > 20);
    let models = tempfile::tempdir()?;
    let model = staged(&tiny("tiny-splade"), models.path(), &[]).await?;
    for sessions in [1, 2] {
        let mut loaded = loaded(&model, &device(sessions).await?)?;
        assert_eq!(loaded.manifest.identity.dimensions as u64, golden["terms"]);
        let rows = rows(&loaded, &texts, false)?;
        let padding = loaded.texts.tokenizer.padding_id();
        for found in run(&mut loaded.session, &rows, padding)? {
            check_terms(&found, &golden)?;
        }
    }
    Ok(())
}

/// The tiny model with a node behind its logits that changes nothing, and behind which its last product is not found.
fn with_a_hidden_product(target: &Path) -> anyhow::Result<()> {
    copy(&tiny("tiny-splade"), target)?;
    let path = target.join(GRAPH);
    let mut model = Model::read(&path)?;
    let graph = model.graph_mut();
    let last = graph.node.last_mut().expect("a graph has nodes");
    last.output = vec!["plain".to_owned()];
    graph.node.push(NodeProto {
        op_type: Some("Mul".to_owned()),
        input: vec!["plain".to_owned(), "one".to_owned()],
        output: vec!["logits".to_owned()],
        ..NodeProto::default()
    });
    graph.initializer.push(TensorProto {
        name: Some("one".to_owned()),
        data_type: Some(data_type::FLOAT),
        float_data: vec![1.0],
        ..TensorProto::default()
    });
    Ok(std::fs::write(&path, model.encode(&path)?)?)
}

fn copy(source: &Path, target: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(target)?;
    for entry in std::fs::read_dir(source)? {
        let entry = entry?;
        let to = target.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_graph_whose_last_product_is_not_found_gives_the_same_terms() -> anyhow::Result<()> {
    let golden = golden("terms-tiny-splade.json")?;
    let texts = texts(&golden);
    let directory = tempfile::tempdir()?;
    let (source, models) = (directory.path().join("source"), directory.path().join("models"));
    with_a_hidden_product(&source)?;
    let model = staged(&source, &models, &[]).await?;
    let mut loaded = loaded(&model, &device(1).await?)?;
    let rows = rows(&loaded, &texts, false)?;
    let padding = loaded.texts.tokenizer.padding_id();
    for found in run(&mut loaded.session, &rows, padding)? {
        check_terms(&found, &golden)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_threshold_and_a_most_number_of_terms_make_another_model() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let source = tiny("tiny-splade");
    let plain = Manifest::load(&staged(&source, models.path(), &[]).await?)?;
    let options = ["--term-threshold", "0.5", "--max-terms", "3"];
    let model = staged(&source, models.path(), &options).await?;
    let mut loaded = loaded(&model, &device(1).await?)?;
    assert_ne!(loaded.manifest.fingerprint, plain.fingerprint);
    let texts = texts(&golden("terms-tiny-splade.json")?);
    let rows = rows(&loaded, &texts, false)?;
    let padding = loaded.texts.tokenizer.padding_id();
    let [found, _] = run(&mut loaded.session, &rows, padding)?;
    assert!(found.iter().any(|it| it.values().len() == 3));
    for embedding in &found {
        assert!(embedding.values().len() <= 3);
        assert!(embedding.values().iter().all(|weight| *weight > 0.5));
    }
    // `.` has no term above the threshold.
    assert!(found.iter().any(|it| it.values().is_empty() || it.values().len() < 3));
    Ok(())
}

#[tokio::test]
async fn queries_have_the_weights_of_a_table_where_there_is_one() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (source, models) = (directory.path().join("source"), directory.path().join("models"));
    copy(&tiny("tiny-splade"), &source)?;
    let table = json!({ "stream": 2.5, "worker": 1.5, "the": 0.0, "[CLS]": 9.0, "nowhere": 1.0 });
    std::fs::write(source.join("idf.json"), table.to_string())?;
    let model = staged(&source, &models, &[]).await?;
    let manifest = Manifest::load(&model)?;
    let tokenizer = manifest.tokenizer(&model)?;
    let weights = QueryWeights::load(&manifest, &model, &tokenizer)?.expect("a table");
    let query = weights.embedding(&tokenizer.encode("the stream the worker worker")?);
    let mut terms = [(tokenizer.id_of("stream"), 2.5), (tokenizer.id_of("worker"), 1.5)];
    terms.sort_unstable_by_key(|(id, _)| *id);
    let expected = Embedding::Sparse {
        indices: terms.iter().filter_map(|(id, _)| *id).collect(),
        values: terms.iter().map(|(_, weight)| *weight).collect(),
    };
    assert_eq!(query, expected);
    assert!(weights.embedding(&tokenizer.encode("?!")?).values().is_empty());
    // The model may make them all the same, and is another one then.
    let by_model = staged(&source, &models, &["--query-terms", "model"]).await?;
    assert_ne!(by_model, model);
    std::fs::write(model.join("idf.json"), "{}")?;
    let altered = QueryWeights::load(&manifest, &model, &tokenizer).expect_err("altered");
    assert!(altered.to_string().contains("idf.json"), "{altered}");
    Ok(())
}

#[tokio::test]
async fn scores_of_token_vectors_equal_those_computed_without_onnx_runtime() -> anyhow::Result<()> {
    let golden = golden("scores-tiny-colbert.json")?;
    let models = tempfile::tempdir()?;
    let model = staged(&tiny("tiny-colbert"), models.path(), &[]).await?;
    let mut loaded = loaded(&model, &device(1).await?)?;
    assert_eq!(loaded.manifest.identity.output.kind(), OutputKind::Multi);
    let queries = golden["queries"].as_object().into_iter().flatten();
    let queries: Vec<String> = queries.filter_map(|(_, it)| it.as_str().map(str::to_owned)).collect();
    let (queries, texts) = (rows(&loaded, &queries, true)?, texts(&golden));
    let documents = rows(&loaded, &texts, false)?;
    let identity = loaded.manifest.identity.clone();
    let layers = Layers::load(&model, &identity.head, &identity.output)?;
    let graph = model.join(&identity.onnx);
    let sessions = Sessions::of(&graph, &device(1).await?, recipe(&identity))?;
    let in_graph = sessions.with_layers(layers.into()).load_pooling(PoolOn::Device)?;
    let padding = loaded.texts.tokenizer.padding_id();
    // Rows of queries and documents may share a tensor.
    let all = [queries.clone(), documents].concat();
    for session in [&mut loaded.session, &mut { in_graph }] {
        for found in run(session, &all, padding)? {
            let (queries, documents) = found.split_at(queries.len());
            assert!(queries.iter().all(|query| query.rows().count() == 16));
            for (at, document) in documents.iter().enumerate() {
                let expected = &golden["texts"][at];
                assert_eq!(document.rows().count() as u64, expected["vectors"], "{}", texts[at]);
                let scores: Vec<f32> = serde_json::from_value(expected["scores"].clone())?;
                for (query, expected) in queries.iter().zip(scores) {
                    let score = query.score(document);
                    assert!((score - expected).abs() < 1e-3, "{}: {score} for {expected}", texts[at]);
                }
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_the_kind_of_a_model_is_refused_by_its_name() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let models = directory.path().join("models");
    let (plain, short) = (directory.path().join("plain"), directory.path().join("short"));
    copy(&tiny("tiny-splade"), &plain)?;
    std::fs::remove_file(plain.join("modules.json"))?;
    copy(&tiny("tiny-colbert"), &short)?;
    let said = json!({ "query_prefix": "[Query] ", "document_prefix": "[D] " });
    std::fs::write(short.join("config_sentence_transformers.json"), said.to_string())?;
    let (splade, colbert) = (tiny("tiny-splade"), tiny("tiny-colbert"));
    let cases: [(&Path, &[&str], &str); 10] = [
        (&splade, &["--kind", "multi"], "--kind multi"),
        (&splade, &["--pooling", "mean"], "--pooling does not fit"),
        (&splade, &["--dimensions", "8"], "--dimensions does not fit"),
        (&splade, &["--quantize", "int8"], "--quantize does not fit"),
        (&splade, &["--query-terms", "table"], "idf.json"),
        (&colbert, &["--max-terms", "8"], "--max-terms does not fit"),
        (&colbert, &["--query-tokens", "64"], "--query-tokens"),
        (&tests::tiny_embed(), &["--kind", "sparse"], "Pooling of modules.json"),
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
    assert_eq!(Manifest::load(&said)?.identity.output.kind(), OutputKind::Sparse);
    Ok(())
}

#[tokio::test]
async fn only_a_dense_model_writes_documents_and_others_are_to_be_attached() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let models = bed.directory.path().join("models");
    for (name, shown) in [
        ("tiny-splade", "sparse vectors of at most 1024 of"),
        ("tiny-colbert", "multivectors of 24 dimensions, queries of 16 tokens"),
    ] {
        let model = staged(&tiny(name), &models, &[]).await?;
        let mut provision = bed.stack.program("indexer");
        provision.args(["provision", "--alias", "other", "--model"]).arg(&model);
        let refused = provision.output().await?;
        let log = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && log.contains("indexer attach"), "{log}");
        let mut check = bed.stack.program("worker");
        let checked = check.args(["check", "--model"]).arg(&model).output().await?;
        let report = String::from_utf8(checked.stdout)?;
        assert!(report.contains(shown), "{report}");
        assert!(report.contains("indexer attach"), "{report}");
    }
    bed.end().await
}
