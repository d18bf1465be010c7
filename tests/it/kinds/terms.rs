//! Terms: they equal those that were computed without ONNX Runtime, and take little memory.

use std::path::Path;

use contract::embedding::Embedding;
use contract::model::{Manifest, OutputKind, QueryWeights};
use fixtures::copy::copy_folder;
use fixtures::install::{cache_dir, install_splade};
use serde_json::{Value, json};
use worker::batch::{Reading, RowKey};
use worker::config::SessionConfig;
use worker::graph::Model;
use worker::graph::proto::{NodeProto, TensorProto, data_type};
use worker::load::Loaded;
use worker::memory;
use worker::plan::{Row, fill};
use worker::session::Engine as _;

use super::{device, golden, loaded, rows, run, staged, texts, tiny};

const GRAPH: &str = "onnx/model.onnx";

/// The same terms with the same weights.
fn check_terms(found: &[Embedding], golden: &Value) -> anyhow::Result<()> {
    let expected = golden["texts"].as_array().into_iter().flatten();
    for (found, expected) in found.iter().zip(expected) {
        let (text, expected) = (
            &expected["text"],
            json!({
                "indices": expected["indices"], "values": expected["values"],
            }),
        );
        let expected: Embedding = serde_json::from_value(expected)?;
        let ids = |embedding: &Embedding| match embedding {
            Embedding::Sparse { indices, .. } => indices.clone(),
            Embedding::Dense(_) | Embedding::Multi { .. } => Vec::new(),
        };
        assert_eq!(found.kind(), OutputKind::Sparse);
        assert_eq!(ids(found), ids(&expected), "{text}");
        for (found, expected) in found.values().iter().zip(expected.values()) {
            assert!(
                (found - expected).abs() < 1e-4,
                "{text}: {found} for {expected}"
            );
        }
    }
    Ok(())
}

/// Runs the golden texts alone and beside others.
fn check_model(loaded: &mut Loaded, golden: &Value) -> anyhow::Result<()> {
    let texts = texts(golden);
    anyhow::ensure!(!texts.is_empty(), "a golden file has texts");
    let rows = rows(loaded, &texts, false)?;
    let padding = loaded.texts.tokenizer.padding_id();
    for found in run(&mut loaded.session, &rows, padding)? {
        assert_eq!(found.len(), texts.len());
        check_terms(&found, golden)?;
    }
    Ok(())
}

#[tokio::test]
async fn terms_equal_those_computed_without_onnx_runtime_alone_and_beside_others()
-> anyhow::Result<()> {
    let golden = golden("terms-tiny-splade.json")?;
    assert!(texts(&golden).len() > 20);
    let models = tempfile::tempdir()?;
    let model = staged(&tiny("tiny-splade"), models.path(), &[]).await?;
    for sessions in [1, 2] {
        let mut loaded = loaded(&model, &device(sessions).await?)?;
        assert_eq!(loaded.manifest.identity.dimensions as u64, golden["terms"]);
        check_model(&mut loaded, &golden)?;
    }
    Ok(())
}

#[tokio::test]
async fn terms_of_trained_weights_equal_those_computed_without_onnx_runtime() -> anyhow::Result<()>
{
    let golden = golden("terms-splade.json")?;
    let source = tokio::task::spawn_blocking(|| {
        install_splade(&cache_dir(), &mut |line| eprintln!("{line}"))
    });
    let models = tempfile::tempdir()?;
    let model = staged(&source.await??, models.path(), &[]).await?;
    let mut loaded = loaded(&model, &device(1).await?)?;
    check_model(&mut loaded, &golden)
}

/// The tiny model with a node behind its logits that changes nothing, and behind which its last product is not found.
fn with_a_hidden_product(target: &Path) -> anyhow::Result<()> {
    copy_folder(&tiny("tiny-splade"), target)?;
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

#[tokio::test]
async fn a_graph_whose_last_product_is_not_found_gives_the_same_terms() -> anyhow::Result<()> {
    let golden = golden("terms-tiny-splade.json")?;
    let directory = tempfile::tempdir()?;
    let (source, models) = (
        directory.path().join("source"),
        directory.path().join("models"),
    );
    with_a_hidden_product(&source)?;
    let model = staged(&source, &models, &[]).await?;
    let mut loaded = loaded(&model, &device(1).await?)?;
    check_model(&mut loaded, &golden)
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
    assert!(
        found
            .iter()
            .any(|it| it.values().is_empty() || it.values().len() < 3)
    );
    Ok(())
}

#[tokio::test]
async fn queries_have_the_weights_of_a_table_where_there_is_one() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (source, models) = (
        directory.path().join("source"),
        directory.path().join("models"),
    );
    copy_folder(&tiny("tiny-splade"), &source)?;
    let table = json!({ "stream": 2.5, "worker": 1.5, "the": 0.0, "[CLS]": 9.0, "nowhere": 1.0 });
    std::fs::write(source.join("idf.json"), table.to_string())?;
    let model = staged(&source, &models, &[]).await?;
    let manifest = Manifest::load(&model)?;
    let tokenizer = manifest.tokenizer(&model)?;
    let weights = QueryWeights::load(&manifest, &model, &tokenizer)?.expect("a table");
    let query = weights.embedding(&tokenizer.encode("the stream the worker worker")?);
    let mut terms = [
        (tokenizer.id_of("stream"), 2.5),
        (tokenizer.id_of("worker"), 1.5),
    ];
    terms.sort_unstable_by_key(|(id, _)| *id);
    let expected = Embedding::Sparse {
        indices: terms.iter().filter_map(|(id, _)| *id).collect(),
        values: terms.iter().map(|(_, weight)| *weight).collect(),
    };
    assert_eq!(query, expected);
    assert!(
        weights
            .embedding(&tokenizer.encode("?!")?)
            .values()
            .is_empty()
    );
    // The model may make them all the same, and is another one then.
    let by_model = staged(&source, &models, &["--query-terms", "model"]).await?;
    assert_ne!(by_model, model);
    std::fs::write(model.join("idf.json"), "{}")?;
    let altered = QueryWeights::load(&manifest, &model, &tokenizer).expect_err("altered");
    assert!(altered.to_string().contains("idf.json"), "{altered}");
    Ok(())
}

/// Names the model to the process that is measured.
const MEASURED: &str = "EBB_TEST_MODEL_OF_TERMS";
const MEASURING: &str = "kinds::terms::texts_take_no_memory_for_all_their_logits_at_once";
/// As many terms as BERT has words.
const TERMS: usize = 30_522;

/// The tiny model with many more words.
fn with_many_words(target: &Path) -> anyhow::Result<()> {
    copy_folder(&tiny("tiny-splade"), target)?;
    let path = target.join(GRAPH);
    let mut model = Model::read(&path)?;
    let graph = model.graph_mut();
    for weight in &mut graph.initializer {
        let width = match weight.name() {
            "embeddings.word_embeddings.weight" => 32,
            "cls.predictions.bias" => 1,
            _ => continue,
        };
        let values = weight.raw_data().iter().copied().cycle();
        let values: Vec<u8> = values.take(TERMS * width * size_of::<f32>()).collect();
        weight.raw_data = Some(values.into());
        weight.dims[0] = TERMS as i64;
    }
    let kind = graph.output[0].r#type.as_mut();
    let shape = kind.and_then(|it| it.tensor_type.as_mut()?.shape.as_mut());
    let last = shape.and_then(|shape| shape.dim.last_mut());
    last.expect("logits have a shape").dim_value = Some(TERMS as i64);
    Ok(std::fs::write(&path, model.encode(&path)?)?)
}

/// By how much this process grows when a model runs 4,096 tokens, none of them padding.
fn growth(model: &Path, session: &SessionConfig) -> anyhow::Result<u64> {
    anyhow::ensure!(memory::forget_peak(), "the peak cannot be reset here");
    let before = memory::resident();
    let mut loaded = loaded(model, session)?;
    let length = loaded.manifest.identity.max_tokens.min(256);
    let word = loaded.texts.tokenizer.encode("stream")?[1];
    let row = |row| Row {
        key: RowKey { job: 0, row },
        token_ids: vec![word; length],
        type_ids: Vec::new(),
        reading: Reading::default(),
    };
    let rows: Vec<_> = (0..4_096 / length).map(row).collect();
    let found = loaded.session.run(&fill(&rows, 0))?;
    assert!(found.iter().all(|it| !it.values().is_empty()));
    Ok(memory::peak().saturating_sub(before))
}

#[tokio::test]
async fn texts_take_no_memory_for_all_their_logits_at_once() -> anyhow::Result<()> {
    let session = device(1).await?;
    if let Some(model) = std::env::var_os(MEASURED) {
        println!("grew by {} bytes", growth(Path::new(&model), &session)?);
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let (source, models) = (
        directory.path().join("source"),
        directory.path().join("models"),
    );
    with_many_words(&source)?;
    let model = staged(&source, &models, &[]).await?;
    // Other tests run in this process.
    let mut alone = std::process::Command::new(std::env::current_exe()?);
    alone
        .args(["--exact", MEASURING, "--nocapture"])
        .env(MEASURED, &model);
    let output = alone.output()?;
    let said = String::from_utf8(output.stdout)?;
    let grew = said
        .split_once("grew by ")
        .and_then(|(_, it)| it.split_once(' '));
    let grew: u64 = grew.map_or("", |(bytes, _)| bytes).parse()?;
    let file = std::fs::metadata(model.join(GRAPH))?.len();
    // All logits at once would take 500 MB.
    assert!(
        grew < 3 * file + (200 << 20),
        "{grew} bytes for a file of {file}"
    );
    Ok(())
}
