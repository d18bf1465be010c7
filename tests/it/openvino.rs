//! OpenVINO: runs whole graphs, in the precision that was asked for, or refuses.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::model::Manifest;
use fixtures::install::{cache_dir, install_openvino};
use serde_json::Value;
use tests::tools;
use worker::config::Precision;
use worker::graph::Model;
use worker::graph::proto::NodeProto;

use crate::quantize::{staged as stage_model, with_graph};

async fn library() -> anyhow::Result<PathBuf> {
    let report = |line: &str| eprintln!("{line}");
    let install = move || install_openvino(&cache_dir(), &mut { report });
    Ok(tokio::task::spawn_blocking(install).await??)
}

/// Runs a verb of `worker` on OpenVINO with this library; gives whether it succeeded, its output and its log.
async fn worker(library: &Path, arguments: &[&str]) -> anyhow::Result<(bool, String, String)> {
    let mut command = tools().await?.program("worker");
    command.env("ORT_DYLIB_PATH", library);
    command.args(arguments).args(["--provider", "openvino"]);
    let output = command.output().await?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        output.status.success(),
        text(&output.stdout),
        text(&output.stderr),
    ))
}

/// Stages a model; gives its directory, or the log.
async fn staged(
    library: &Path,
    source: &Path,
    models: &Path,
    options: &[&str],
) -> anyhow::Result<Result<PathBuf, String>> {
    let (source, models) = (source.display().to_string(), models.display().to_string());
    let arguments = ["stage", &source, "--name", "m", "--models", &models];
    let (done, path, log) = worker(library, &[&arguments, options].concat()).await?;
    Ok(done.then(|| PathBuf::from(path.trim())).ok_or(log))
}

#[tokio::test]
async fn a_runtime_without_openvino_is_refused() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let runtime = &tools().await?.runtime;
    let (library, minilm) = (runtime.onnxruntime.clone(), runtime.minilm.clone());
    let refused = staged(&library, &minilm, models.path(), &[])
        .await?
        .unwrap_err();
    assert!(refused.contains("has no openvino provider"), "{refused}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs the OpenVINO of x86-64 (84 MB); run with --ignored openvino_"]
async fn openvino_gives_the_vectors_of_the_default_provider_in_each_precision() -> anyhow::Result<()>
{
    let (library, models) = (library().await?, tempfile::tempdir()?);
    // The golden texts get their vectors from the default provider.
    let model = stage_model(
        &tools().await?.runtime.minilm,
        models.path(),
        &["--calibrate", "0s"],
    );
    let model = model.await?.0.display().to_string();
    let away = [
        "--nats-url",
        "nats://127.0.0.1:1",
        "--qdrant-url",
        "http://127.0.0.1:1",
    ];
    for precision in Precision::of_this_processor() {
        let device = [
            "check",
            "--model",
            &model,
            "--precision",
            precision.as_str(),
        ];
        let (_, found, log) = worker(&library, &[&device[..], &away].concat()).await?;
        let cosine = found.split("golden cosine ").nth(1);
        let cosine = cosine.and_then(|rest| rest.split(',').next());
        let cosine: f32 = cosine.with_context(|| format!("{found}{log}"))?.parse()?;
        let least = match precision {
            Precision::F32 => 0.999_99,
            Precision::Bf16 | Precision::F16 => 0.999_9,
        };
        assert!(cosine >= least, "{precision:?}: {cosine}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the OpenVINO of x86-64 (84 MB); run with --ignored openvino_"]
async fn openvino_is_calibrated_in_every_precision_and_keeps_the_best() -> anyhow::Result<()> {
    let (library, models) = (library().await?, tempfile::tempdir()?);
    let minilm = &tools().await?.runtime.minilm;
    let model = staged(&library, minilm, models.path(), &["--calibrate", "1s"]).await?;
    let model = model.map_err(anyhow::Error::msg)?;
    let kept = std::fs::read_dir(model.join("calibration"))?;
    let kept = kept.collect::<Result<Vec<_>, _>>()?;
    assert_eq!(kept.len(), 1);
    let kept: Value = serde_json::from_slice(&std::fs::read(kept[0].path())?)?;
    let measured = kept["measured"].as_array().cloned().unwrap_or_default();
    for precision in Precision::of_this_processor() {
        let tried = measured
            .iter()
            .any(|it| it["precision"] == precision.as_str());
        assert!(tried, "{precision:?}: {kept:#}");
    }
    // No precision is close enough to be taken for itself.
    let path = model.display().to_string();
    let closest = ["--least-cosine", "1", "--duration", "1s", "--model", &path];
    let (done, table, log) = worker(&library, &[&["calibrate"], &closest[..]].concat()).await?;
    assert!(done, "{log}");
    assert!(
        table
            .lines()
            .any(|line| line.contains("f32") && line.ends_with("taken"))
    );
    let sixteen = Precision::of_this_processor().len() - 1;
    assert_eq!(log.matches("expected at least 1").count(), sixteen, "{log}");
    // What a model is does not depend on what it was computed in.
    let manifest = Manifest::load(&model)?;
    assert_eq!(manifest.fingerprint, manifest.identity.fingerprint());
    Ok(())
}

#[tokio::test]
#[ignore = "needs the OpenVINO of x86-64 (84 MB); run with --ignored openvino_"]
async fn openvino_refuses_a_graph_that_it_does_not_run_whole() -> anyhow::Result<()> {
    let (library, models) = (library().await?, tempfile::tempdir()?);
    let (origin, source) = (&tools().await?.runtime.minilm, tempfile::tempdir()?);
    let path = origin.join("onnx/model.onnx");
    let mut model = Model::read(&path)?;
    let graph = model.graph_mut();
    let last = graph.output[0].name().to_owned();
    for output in graph.node.iter_mut().flat_map(|node| &mut node.output) {
        if *output == last {
            *output = "inner".to_owned();
        }
    }
    // An operator that the default provider has and OpenVINO has not.
    graph.node.push(NodeProto {
        op_type: Some("Hardmax".to_owned()),
        input: vec!["inner".to_owned()],
        output: vec![last],
        ..NodeProto::default()
    });
    with_graph(origin, source.path(), &model.encode(&path)?)?;
    let refused = staged(&library, source.path(), models.path(), &[]).await?;
    let refused = refused.unwrap_err();
    assert!(
        refused.contains("openvino does not run all of graph"),
        "{refused}"
    );
    Ok(())
}
