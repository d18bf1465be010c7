//! Edited graphs: what ONNX Runtime makes of them, and what they cost.

mod pooling;
mod spelled_out;
mod staging;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use contract::embedding::Embedding;
use contract::model::{Manifest, TOKENIZER};
use contract::tokenizer::Tokenizer;
use runtime::model_dir::ModelDir;
use serde_json::Value;
use tests::tools;
use worker::batch::{Reading, RowKey, Tensor};
use worker::config::{ModelConfig, Provider, SessionConfig};
use worker::graph::proto::{EXTERNAL, StringStringEntryProto};
use worker::graph::{Graph, Model};
use worker::load::{Loaded, load};
use worker::plan::{Row, Shapes, plan};
use worker::session::{Engine, Session};

/// The graph of a model directory.
const GRAPH: &str = "onnx/model.onnx";

/// Two threads of a CPU.
async fn device() -> anyhow::Result<SessionConfig> {
    Ok(SessionConfig {
        onnxruntime: tools().await?.runtime.onnxruntime.clone(),
        provider: Provider::Cpu,
        precision: None,
        device_id: 0,
        threads: std::num::NonZeroUsize::new(2),
        sessions: None,
    })
}

async fn minilm() -> anyhow::Result<PathBuf> {
    Ok(tools().await?.runtime.minilm.clone())
}

/// Runs `worker stage` to its end, whatever that is; gives its log, too.
async fn stage(source: &Path, models: &Path, options: &[&str]) -> anyhow::Result<(Output, String)> {
    let mut command = tools().await?.program("worker");
    command.arg("stage").arg(source);
    command.args(["--name", "m", "--models"]).arg(models);
    let output = command.args(options).output().await?;
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output, log))
}

/// Stages a model that must be staged; gives its directory and the log.
pub(crate) async fn staged(
    source: &Path,
    models: &Path,
    options: &[&str],
) -> anyhow::Result<(PathBuf, String)> {
    let (output, log) = stage(source, models, options).await?;
    anyhow::ensure!(output.status.success(), "{log}");
    let path = String::from_utf8(output.stdout)?;
    Ok((PathBuf::from(path.trim()), log))
}

/// A model directory with the files of another and its own graph.
pub(crate) fn with_graph(source: &Path, target: &Path, graph: &[u8]) -> anyhow::Result<()> {
    let files = [
        TOKENIZER,
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
    ];
    for file in files.into_iter().chain(["sentence_bert_config.json"]) {
        let to = target.join(file);
        std::fs::create_dir_all(to.parent().unwrap_or(target))?;
        std::fs::copy(source.join(file), to)?;
    }
    std::fs::create_dir_all(target.join("onnx"))?;
    Ok(std::fs::write(target.join(GRAPH), graph)?)
}

/// A model directory whose weights lie in a file beside the graph.
fn with_weights_beside(source: &Path, target: &Path) -> anyhow::Result<()> {
    let path = source.join(GRAPH);
    let mut model = Model::read(&path)?;
    let mut weights = Vec::new();
    for tensor in &mut model.graph_mut().initializer {
        // As exporters do: shapes stay, since the runtime reads them before it opens any file.
        let weighs = tensor.raw_data().len() >= 1_024;
        let Some(values) = tensor.raw_data.take_if(|_| weighs) else {
            continue;
        };
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: Some(key.to_owned()),
            value: Some(value),
        };
        tensor.data_location = Some(EXTERNAL);
        tensor.external_data = vec![
            entry("location", "weights.bin".to_owned()),
            entry("offset", weights.len().to_string()),
            entry("length", values.len().to_string()),
        ];
        weights.extend_from_slice(&values);
    }
    with_graph(source, target, &model.encode(&path)?)?;
    Ok(std::fs::write(target.join("onnx/weights.bin"), weights)?)
}

/// The texts of golden vectors that are not blank.
fn texts() -> anyhow::Result<Vec<String>> {
    let path = fixtures::programs::workspace().join("fixtures/golden/vectors-minilm.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let texts = golden["texts"].as_array().into_iter().flatten();
    let texts = texts.filter_map(|text| text["text"].as_str().map(str::to_owned));
    Ok(texts.filter(|text| !text.trim().is_empty()).collect())
}

/// Texts as tensors of several rows, with padding.
fn tensors(tokenizer: &Tokenizer, texts: &[String], longest: usize) -> anyhow::Result<Vec<Tensor>> {
    let rows = texts.iter().enumerate().map(|(row, text)| {
        let mut token_ids = tokenizer.encode(text)?;
        tokenizer.truncate(&mut token_ids, longest);
        anyhow::Ok(Row {
            key: RowKey { job: 0, row },
            token_ids,
            type_ids: Vec::new(),
            reading: Reading::default(),
        })
    });
    let rows = rows.collect::<anyhow::Result<Vec<_>>>()?;
    let shapes = Shapes {
        tokens: 1_024,
        // Half of the rows of a tensor are padded.
        step: 16,
        longest,
    };
    Ok(plan(rows, shapes, tokenizer.padding_id()))
}

/// Vectors of texts in the order of their tensors.
fn run(session: &mut Session, tensors: &[Tensor]) -> anyhow::Result<Vec<Vec<f32>>> {
    let mut vectors = Vec::new();
    for tensor in tensors {
        let embeddings = session.run(tensor)?.into_iter();
        vectors.extend(embeddings.filter_map(Embedding::into_dense));
    }
    Ok(vectors)
}

/// A staged model on a device.
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

/// Vectors of texts by a staged model, in the order of their tensors.
async fn embed(model: &Path, texts: &[String]) -> anyhow::Result<Vec<Vec<f32>>> {
    let mut loaded = loaded(model, &device().await?)?;
    let longest = loaded.manifest.identity.max_tokens;
    let tensors = tensors(&loaded.texts.tokenizer, texts, longest)?;
    run(&mut loaded.session, &tensors)
}

/// Least and mean cosine between vectors of the same texts.
fn cosines(one: &[Vec<f32>], other: &[Vec<f32>]) -> (f64, f64) {
    assert_eq!(one.len(), other.len());
    let cosines: Vec<_> = one
        .iter()
        .zip(other)
        .map(|(a, b)| tests::cosine(a, b))
        .collect();
    let mean = cosines.iter().sum::<f64>() / one.len() as f64;
    (cosines.into_iter().fold(1.0, f64::min), mean)
}

#[tokio::test]
async fn a_real_graph_that_is_read_and_written_has_the_same_bytes() -> anyhow::Result<()> {
    let path = minilm().await?.join(GRAPH);
    let written = Model::read(&path)?.encode(&path)?;
    assert!(written == std::fs::read(&path)?, "something is lost");
    Ok(())
}
