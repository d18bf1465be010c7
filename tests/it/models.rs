//! Models: what is staged, what is refused, and that vectors are right.

use std::path::Path;
use std::process::Output;

use fixtures::copy::copy_folder;
use fixtures::programs::workspace;
use serde_json::Value;
use tests::{Bed, cosine, tools, vector};

async fn stage(source: &Path, models: &Path, more: &[&str]) -> anyhow::Result<Output> {
    let mut command = tools().await?.program("worker");
    command
        .arg("stage")
        .arg(source)
        .args(["--name", "m", "--models"])
        .arg(models)
        .args(more);
    Ok(command.output().await?)
}

/// Embeds the golden texts of a model through the queue and compares with vectors that were computed without ONNX
/// Runtime.
async fn vectors_equal_golden_ones(source: &Path, golden: &str) -> anyhow::Result<()> {
    let bed = Bed::with_model(source, "golden").await?;
    let path = workspace().join("fixtures/golden").join(golden);
    let golden: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let texts = golden["texts"].as_array().expect("golden texts are a list");
    assert!(texts.len() >= 20);
    let text = |n: usize| texts[n]["text"].as_str().unwrap_or_default();
    let embeddable: Vec<usize> = (0..texts.len())
        .filter(|n| !text(*n).trim().is_empty())
        .collect();
    for n in &embeddable {
        bed.publish_document(&format!("{n}"), 1, &[text(*n)])
            .await?;
    }
    bed.drain().await?;
    let points = bed.points().await?;
    for n in embeddable {
        let expected: Vec<f32> = serde_json::from_value(texts[n]["vector"].clone())?;
        let found = vector(&points[&(n.to_string(), 0)]).expect("a chunk has a vector");
        let cosine = cosine(&found, &expected);
        assert!(cosine > 0.9999, "text {n}: cosine {cosine}");
    }
    bed.end().await
}

#[tokio::test]
async fn vectors_of_the_real_model_equal_those_computed_without_onnx_runtime() -> anyhow::Result<()>
{
    let minilm = tools().await?.runtime.minilm.clone();
    vectors_equal_golden_ones(&minilm, "vectors-minilm.json").await
}

#[tokio::test]
async fn vectors_of_a_model_without_token_types_equal_those_computed_without_onnx_runtime()
-> anyhow::Result<()> {
    vectors_equal_golden_ones(&tests::tiny_embed(), "vectors-tiny-embed.json").await
}

#[tokio::test]
async fn staging_twice_is_staging_once() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let mut paths = Vec::new();
    for _ in 0..2 {
        let output = stage(&tests::tiny_embed(), models.path(), &[]).await?;
        assert!(output.status.success(), "{output:?}");
        paths.push(String::from_utf8(output.stdout)?);
    }
    assert_eq!(paths[0], paths[1]);
    assert_eq!(
        std::fs::read_dir(models.path())?.count(),
        1,
        "nothing else is left behind"
    );
    Ok(())
}

#[tokio::test]
async fn what_changes_a_vector_makes_another_staged_model() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let variants: [&[&str]; 4] = [
        &[],
        &["--dimensions", "16"],
        &["--pooling", "cls"],
        &["--document-prefix", "passage: "],
    ];
    for variant in variants {
        let output = stage(&tests::tiny_embed(), models.path(), variant).await?;
        assert!(output.status.success(), "{variant:?}: {output:?}");
    }
    assert_eq!(std::fs::read_dir(models.path())?.count(), variants.len());
    Ok(())
}

#[tokio::test]
async fn a_model_directory_with_something_missing_is_refused_by_name() -> anyhow::Result<()> {
    for missing in [
        "tokenizer.json",
        "onnx/model.onnx",
        "config.json",
        "1_Pooling/config.json",
    ] {
        let directory = tempfile::tempdir()?;
        let (source, models) = (
            directory.path().join("source"),
            directory.path().join("models"),
        );
        copy_folder(&tests::tiny_embed(), &source)?;
        std::fs::remove_file(source.join(missing))?;
        let output = stage(&source, &models, &[]).await?;
        let log = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(1), "{missing}: {log}");
        let name = Path::new(missing)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        assert!(log.contains(&*name), "{missing} is not named in {log}");
    }
    Ok(())
}

#[tokio::test]
async fn a_graph_that_is_damaged_or_of_another_shape_is_refused_by_name() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let (source, models) = (
        directory.path().join("source"),
        directory.path().join("models"),
    );
    copy_folder(&tests::tiny_embed(), &source)?;
    std::fs::write(source.join("onnx/model.onnx"), b"not a graph")?;
    let output = stage(&source, &models, &[]).await?;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8(output.stderr)?.contains("model.onnx"));
    // A cross-encoder's graph gives one row of logits per text; token pooling cannot work on it.
    let graph = workspace().join("fixtures/models/tiny-rerank/onnx/model.onnx");
    std::fs::copy(graph, source.join("onnx/model.onnx"))?;
    let output = stage(&source, &models, &[]).await?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("dimensions") && log.contains("pooling"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn a_worker_refuses_a_staged_model_that_was_altered() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let copy = bed.directory.path().join("altered");
    copy_folder(&bed.stack.model, &copy)?;
    let graph = copy.join("onnx/model.onnx");
    let mut bytes = std::fs::read(&graph)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&graph, bytes)?;
    let mut command = bed.stack.program("worker");
    let output = command
        .args(["run", "--drain", "--model"])
        .arg(&copy)
        .output()
        .await?;
    let log = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("altered") && log.contains("model.onnx"),
        "{log}"
    );
    bed.end().await
}

#[tokio::test]
async fn a_worker_refuses_a_model_of_another_fingerprint_than_the_pinned_one() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let pin = "0".repeat(64);
    let mut command = bed.stack.program("worker");
    let output = command
        .args(["run", "--drain", "--fingerprint", &pin])
        .output()
        .await?;
    let log = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains(&pin) && log.contains(bed.manifest.fingerprint.as_str()),
        "{log}"
    );
    bed.end().await
}

#[tokio::test]
async fn a_worker_without_a_gpu_refuses_to_run_on_cuda() -> anyhow::Result<()> {
    if Path::new("/proc/driver/nvidia/version").exists() {
        return Ok(());
    }
    let bed = Bed::start().await?;
    let mut command = bed.stack.program("worker");
    let output = command
        .args(["run", "--drain", "--provider", "cuda"])
        .output()
        .await?;
    let log = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.to_lowercase().contains("cuda"), "{log}");
    bed.end().await
}

#[tokio::test]
async fn a_worker_refuses_a_collection_of_another_model() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let models = bed.directory.path().join("models");
    let mut command = bed.stack.program("worker");
    command
        .arg("stage")
        .arg(tests::tiny_embed())
        .args(["--name", "tiny", "--pooling", "cls", "--models"])
        .arg(&models);
    let other = String::from_utf8(command.output().await?.stdout)?;
    let mut command = bed.stack.program("worker");
    let output = command
        .args(["run", "--drain", "--model", other.trim()])
        .output()
        .await?;
    let log = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("fingerprint") && log.contains(&bed.stack.collection),
        "{log}"
    );
    bed.end().await
}

#[tokio::test]
async fn check_reports_what_is_there_and_everything_that_is_not() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let good = bed.stack.program("worker").arg("check").output().await?;
    assert!(good.status.success(), "{good:?}");
    let bad = bed
        .stack
        .program("worker")
        .args(["check", "--collections", "absent,missing"])
        .output()
        .await?;
    let report = String::from_utf8(bad.stdout)?;
    assert_eq!(bad.status.code(), Some(1), "{report}");
    assert!(
        report.contains("FAIL  collection `absent`")
            && report.contains("FAIL  collection `missing`"),
        "{report}"
    );
    bed.end().await
}
