//! Staging: a model comes from a directory, the web, S3 or the hub, as a whole or not at all.

mod interrupted;
mod quantized;
mod refused;
mod staged;
mod web;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Output;

use contract::model::Manifest;
use fixtures::programs::workspace;
use tests::{tiny_embed, tools};
use tokio::process::Command;

use crate::object_stores::environment;
use crate::object_stores::server::Server;
use web::Web;

/// Files that staging asks for, not all of which the tiny model has; `README.md` and other weights are none of them.
const WANTED: [&str; 9] = [
    "1_Pooling/config.json",
    "2_Normalize/config.json",
    "config.json",
    "config_sentence_transformers.json",
    "modules.json",
    "onnx/model.onnx",
    "sentence_bert_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// `worker stage`, ready to run.
async fn command(source: &str, models: &Path) -> anyhow::Result<Command> {
    named("m", source, models).await
}

async fn named(name: &str, source: &str, models: &Path) -> anyhow::Result<Command> {
    let mut command = tools().await?.program("worker");
    command
        .args(["stage", source, "--name", name, "--models"])
        .arg(models);
    command.env_remove("HF_TOKEN").env_remove("HF_ENDPOINT");
    Ok(command)
}

async fn stage(source: &str, models: &Path, options: &[&str]) -> anyhow::Result<Output> {
    Ok(command(source, models)
        .await?
        .args(options)
        .output()
        .await?)
}

fn log(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Path of the staged model, below the directory of models.
fn staged(output: &Output, models: &Path) -> String {
    assert!(output.status.success(), "{}", log(output));
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let name = Path::new(&path).strip_prefix(models);
    name.expect("a model lies below the directory of models")
        .display()
        .to_string()
}

/// Names of all that is in a directory.
fn content(directory: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(directory)? {
        names.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// A server with the tiny model below `below`, and with files that nobody needs.
async fn web_of_tiny(below: &str) -> anyhow::Result<Web> {
    let web = Web::start().await?;
    web.add(&tiny_embed(), below)?;
    for other in ["README.md", "pytorch_model.bin", "onnx/model_O3.onnx"] {
        let path = format!("{below}/{other}");
        web.files().content.insert(path, b"not needed".to_vec());
    }
    Ok(web)
}

/// What holds its weights is known when the graph is there.
#[tokio::test]
async fn a_graph_comes_from_the_web_with_the_files_of_its_weights() -> anyhow::Result<()> {
    let shape = workspace().join("fixtures/models/shapes/external");
    let file = ["--file", "onnx/model_2.onnx", "--calibrate", "0s"];
    let models = tempfile::tempdir()?;
    let expected = stage(&shape.display().to_string(), models.path(), &file).await?;
    let expected = staged(&expected, models.path());
    let web = Web::start().await?;
    web.add(&shape, "m")?;
    // A name may have spaces, which a URL has not.
    let content = std::mem::take(&mut web.files().content);
    let encoded = content.into_iter();
    web.files().content = encoded
        .map(|(path, bytes)| (path.replace(' ', "%20"), bytes))
        .collect();
    let models = tempfile::tempdir()?;
    let found = stage(&web.url("m"), models.path(), &file).await?;
    assert_eq!(staged(&found, models.path()), expected);
    Ok(())
}

#[tokio::test]
async fn a_model_is_the_same_from_a_directory_the_web_s3_and_the_hub() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let expected = stage(&tiny_embed().display().to_string(), models.path(), &[]).await?;
    let expected = staged(&expected, models.path());
    let web = web_of_tiny("some/where/m").await?;
    let bucket = Server::start(&[]).await?;
    for (path, bytes) in &web.files().content {
        let path = path.replace("some/where", "bucket/deep");
        bucket.objects().content.insert(path, bytes.clone());
    }
    let hub = web_of_tiny("org/m/resolve/refs%2Fpr%2F7").await?;
    for source in [
        web.url("some/where/m"),
        web.url("some/where/m/"),
        "s3://bucket/deep/m".to_owned(),
        "hf://org/m@refs/pr/7".to_owned(),
    ] {
        let models = tempfile::tempdir()?;
        let mut command = command(&source, models.path()).await?;
        command
            .envs(environment(&bucket))
            .env("HF_ENDPOINT", hub.url(""));
        let output = command.output().await?;
        assert_eq!(staged(&output, models.path()), expected, "{source}");
        assert_eq!(
            content(models.path())?,
            BTreeSet::from([expected.clone()]),
            "{source}"
        );
        let directory = models.path().join(&expected);
        Manifest::load(&directory)?.verify(&directory)?;
        // The size of tensors is measured where a model is staged.
        let files = ["calibration", "manifest.json", "onnx", "tokenizer.json"].map(str::to_owned);
        assert_eq!(content(&directory)?, BTreeSet::from(files), "{source}");
    }
    let prefix = "org/m/resolve/refs%2Fpr%2F7/";
    let asked = hub.paths();
    let asked: BTreeSet<_> = asked
        .iter()
        .filter_map(|path| path.strip_prefix(prefix))
        .collect();
    assert_eq!(asked, BTreeSet::from(WANTED));
    Ok(())
}

#[tokio::test]
async fn the_token_of_the_hub_goes_to_the_hub_alone_and_not_into_the_log() -> anyhow::Result<()> {
    let (hub, cdn) = (
        web_of_tiny("org/m/resolve/main").await?,
        Web::start().await?,
    );
    let graph = hub.files().content["org/m/resolve/main/onnx/model.onnx"].clone();
    cdn.files().content.insert("blob".to_owned(), graph);
    hub.files().authorization = Some("Bearer hf_hidden".to_owned());
    hub.files().elsewhere = Some(cdn.url("blob?signature=hidden"));
    let models = tempfile::tempdir()?;
    let mut with_token = command("hf://org/m", models.path()).await?;
    with_token
        .env("HF_ENDPOINT", hub.url(""))
        .env("HF_TOKEN", "hf_hidden");
    let output = with_token.output().await?;
    staged(&output, models.path());
    assert!(!log(&output).contains("hidden"), "{}", log(&output));
    let asked = cdn.files().asked.clone();
    assert_eq!(
        (asked.len(), &asked[0].authorization),
        (1, &None),
        "{asked:?}"
    );
    // Without a token, or where the content has moved on, the error says so without secrets.
    let mut without_token = command("hf://org/m", models.path()).await?;
    let output = without_token
        .env("HF_ENDPOINT", hub.url(""))
        .output()
        .await?;
    assert_eq!(output.status.code(), Some(1));
    let log_without = log(&output);
    assert!(
        log_without.contains("HF_TOKEN") && log_without.contains("/config.json"),
        "{log_without}"
    );
    cdn.files().content.clear();
    let output = with_token.output().await?;
    assert_eq!(output.status.code(), Some(1));
    assert!(!log(&output).contains("hidden"), "{}", log(&output));
    Ok(())
}

/// A file that is not there, or a reason why it cannot be had: options, where the server says that it is, what is said.
const LACKING: [(&str, &[&str], Option<&str>, &str); 6] = [
    ("tokenizer.json", &[], None, "is not there (404)"),
    ("onnx/model.onnx", &[], None, "is not there (404)"),
    (
        "config.json",
        &[],
        None,
        "manifest.json` is not there (404)",
    ),
    (
        "onnx/other.onnx",
        &["--onnx", "onnx/other.onnx"],
        None,
        "is not there (404)",
    ),
    (
        "",
        &["--max-download-bytes", "10000"],
        None,
        "more than --max-download-bytes 10000",
    ),
    (
        "onnx/model.onnx",
        &[],
        Some("file:///etc/passwd"),
        "failed to download",
    ),
];

#[tokio::test]
async fn what_cannot_be_had_is_named_without_secrets_and_nothing_is_staged() -> anyhow::Result<()> {
    let web = web_of_tiny("m").await?;
    let other = Web::start().await?;
    for (file, options, elsewhere, expected) in LACKING {
        let models = tempfile::tempdir()?;
        let path = format!("m/{file}");
        let removed = web
            .files()
            .content
            .remove(&path)
            .filter(|_| elsewhere.is_none());
        web.files().elsewhere = elsewhere.map(str::to_owned);
        let output = stage(&web.url("m"), models.path(), options).await?;
        let log = log(&output);
        assert_eq!(output.status.code(), Some(1), "{file}: {log}");
        assert!(log.contains(expected), "{file}: {log}");
        assert!(log.contains(file) || file == "config.json", "{file}: {log}");
        assert!(
            content(models.path())?.is_empty(),
            "{file}: something is left"
        );
        web.files().elsewhere = None;
        web.files()
            .content
            .extend(removed.map(|content| (path, content)));
    }
    for source in [
        "https://me:hidden@host/m".to_owned(),
        other.url("m?token=hidden"),
        "file:///etc".to_owned(),
        "hf://org/m/../..".to_owned(),
    ] {
        let output = stage(&source, tempfile::tempdir()?.path(), &[]).await?;
        let log = log(&output);
        assert_eq!(output.status.code(), Some(64), "{source}: {log}");
        assert!(
            log.contains("SOURCE") && !log.contains("hidden"),
            "{source}: {log}"
        );
    }
    assert!(other.paths().is_empty());
    Ok(())
}
