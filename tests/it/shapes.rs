//! Shapes: models as they are published, small, whose vectors were computed by a program of its own.

use std::path::{Path, PathBuf};
use std::process::Output;

use contract::digest::Digest;
use contract::model::{MANIFEST, Manifest};
use fixtures::copy::copy_folder;
use fixtures::programs::workspace;
use serde_json::Value;
use tests::{Bed, cosine, tools};

fn shape(name: &str) -> PathBuf {
    workspace().join("fixtures/models/shapes").join(name)
}

async fn stage(source: &Path, models: &Path, more: &[&str]) -> anyhow::Result<Output> {
    let mut command = tools().await?.program("worker");
    command
        .arg("stage")
        .arg(source)
        .args(["--name", "m", "--calibrate", "0s", "--models"])
        .arg(models)
        .args(more);
    Ok(command.output().await?)
}

fn read(path: &Path) -> anyhow::Result<Value> {
    Ok(serde_json::from_slice(&std::fs::read(path)?)?)
}

fn manifest(output: &Output) -> anyhow::Result<Value> {
    let log = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{log}");
    let directory = String::from_utf8(output.stdout.clone())?;
    read(&Path::new(directory.trim()).join("manifest.json"))
}

fn numbers(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap_or_default()
}

/// What is needed beside the directory: graphs of other names.
const OPTIONS: [(&str, &[&str]); 2] = [
    ("external", &["--file", "onnx/model_2.onnx"]),
    ("blocks", &["--onnx", "onnx/model_q4.onnx"]),
];

#[tokio::test]
async fn every_shape_gives_the_vectors_that_were_computed_without_this_program()
-> anyhow::Result<()> {
    let golden = read(&workspace().join("fixtures/golden/vectors-shapes.json"))?;
    let golden = golden.as_object().expect("vectors by the name of a shape");
    assert!(golden.len() >= 13);
    for (name, expected) in golden {
        let models = tempfile::tempdir()?;
        let options = OPTIONS.iter().find(|(shape, _)| shape == name);
        let options = options.map_or(&[][..], |(_, options)| options);
        let manifest = manifest(&stage(&shape(name), models.path(), options).await?)?;
        let found = manifest["golden"].as_array().expect("golden texts");
        assert_eq!(
            found.len(),
            expected.as_array().map_or(0, Vec::len),
            "{name}"
        );
        for (found, expected) in found.iter().zip(expected.as_array().into_iter().flatten()) {
            assert_eq!(found["text"], expected["text"], "{name}");
            let (found, expected) = (numbers(&found["vector"]), numbers(&expected["vector"]));
            if manifest["task"] == "rescore" {
                let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
                assert!(found.iter().zip(&expected).all(near), "{name}: {found:?}");
            } else {
                let cosine = cosine(&found, &expected);
                assert!(cosine > 0.9999, "{name}: cosine {cosine}");
            }
        }
        let measured = &manifest["measured"];
        assert!(measured["memory_bytes"].as_u64() > Some(0), "{measured}");
    }
    Ok(())
}

#[tokio::test]
async fn the_limit_of_a_roberta_is_that_of_its_places_and_no_option_exceeds_it()
-> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let staged = manifest(&stage(&shape("roberta"), models.path(), &[]).await?)?;
    assert_eq!(staged["max_tokens"], 512);
    let refused = stage(&shape("roberta"), models.path(), &["--max-tokens", "514"]).await?;
    let log = String::from_utf8(refused.stderr)?;
    assert!(
        !refused.status.success() && log.contains("514 less 2"),
        "{log}"
    );
    // The graph counts places by itself. Where the directory does not tell, the longest row does.
    let lying = tempfile::tempdir()?;
    copy_folder(&shape("roberta"), lying.path())?;
    std::fs::write(
        lying.path().join("config.json"),
        r#"{"max_position_embeddings":514}"#,
    )?;
    let refused = stage(lying.path(), models.path(), &[]).await?;
    let log = String::from_utf8(refused.stderr)?;
    assert!(
        !refused.status.success() && log.contains("does not take 514 tokens"),
        "{log}"
    );
    Ok(())
}

/// A model that claims to take more tokens than it has places for, as one that was staged with another runtime may.
async fn with_a_false_limit(models: &Path) -> anyhow::Result<PathBuf> {
    let output = stage(&shape("roberta"), models, &[]).await?;
    let directory = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    let mut manifest = Manifest::load(&directory)?;
    manifest.identity.max_tokens = 520;
    let lying = Manifest::new(manifest.name, manifest.identity, manifest.golden);
    std::fs::write(directory.join(MANIFEST), serde_json::to_vec(&lying)?)?;
    Ok(directory)
}

#[tokio::test]
async fn a_text_that_fails_in_the_model_takes_only_its_document() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let model = with_a_false_limit(models.path()).await?;
    let bed = Bed::with_model(&model, "m").await?;
    let (full, long) = ("a".repeat(508), "a".repeat(515));
    let job = serde_json::json!({
        "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
        "documents": [
            { "id": "long", "version": 1, "chunks": [{ "text": "harmless" }, { "text": long }] },
            { "id": "short", "version": 1, "chunks": [{ "text": "the tide" }] },
        ],
    });
    bed.publish_bytes(job.to_string()).await?;
    bed.publish_document("full", 1, &[&full]).await?;
    bed.drain().await?;
    let letters = bed.dead_letters().await?;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].cause, "inference");
    assert!(
        letters[0].reason.contains("row 1 of 517 tokens"),
        "{letters:?}"
    );
    let points = bed.points().await?;
    let ids: Vec<_> = points.keys().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["full", "short"]);
    bed.end().await
}

#[tokio::test]
async fn what_a_directory_leaves_open_is_said() -> anyhow::Result<()> {
    let (source, models) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let plain = source.path().join("e5-tiny");
    copy_folder(&tests::tiny_embed(), &plain)?;
    std::fs::remove_file(plain.join("modules.json"))?;
    let output = stage(&plain, models.path(), &[]).await?;
    let log = String::from_utf8(output.stderr.clone())?;
    assert_eq!(manifest(&output)?["normalize"], false);
    for word in [
        "modules.json",
        "--normalize",
        "query: ",
        "passage: ",
        "--query-prompt",
    ] {
        assert!(log.contains(word), "{word}: {log}");
    }
    let said = [
        "--normalize",
        "true",
        "--query-prompt",
        "",
        "--document-prompt",
        "",
    ];
    let output = stage(&plain, models.path(), &said).await?;
    let log = String::from_utf8(output.stderr)?;
    assert!(!log.contains("WARN"), "{log}");
    Ok(())
}

#[tokio::test]
async fn a_layer_of_another_width_is_named() -> anyhow::Result<()> {
    let (source, models) = (tempfile::tempdir()?, tempfile::tempdir()?);
    copy_folder(&shape("labse"), source.path())?;
    let other = shape("gemma").join("3_Dense/model.safetensors");
    std::fs::copy(other, source.path().join("2_Dense/model.safetensors"))?;
    let refused = stage(source.path(), models.path(), &[]).await?;
    let log = String::from_utf8(refused.stderr)?;
    assert!(!refused.status.success(), "{log}");
    assert!(log.contains("2_Dense/model.safetensors"), "{log}");
    Ok(())
}

#[tokio::test]
async fn the_library_keeps_nothing_below_the_home_folder() -> anyhow::Result<()> {
    let (home, models) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut command = tools().await?.program("worker");
    let output = command
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("ORT_DISABLE_TELEMETRY")
        .arg("stage")
        .arg(tests::tiny_embed())
        .args(["--name", "m", "--calibrate", "0s", "--models"])
        .arg(models.path())
        .output()
        .await?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_dir(home.path())?.count(), 0);
    Ok(())
}

/// Looks at a part of an image by its descriptor.
fn blob(image: &Path, descriptor: &Value) -> anyhow::Result<Vec<u8>> {
    let digest = descriptor["digest"].as_str().unwrap_or_default();
    let digest = digest.trim_start_matches("sha256:");
    let bytes = std::fs::read(image.join("blobs/sha256").join(digest))?;
    assert_eq!(Digest::of(&bytes).as_str(), digest);
    assert_eq!(descriptor["size"].as_u64(), Some(bytes.len() as u64));
    Ok(bytes)
}

#[tokio::test]
async fn images_that_are_written_at_once_are_one() -> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let source = shape("labse");
    let one = || stage(&source, models.path(), &["--layout", "oci"]);
    let outputs = tokio::try_join!(one(), one(), one(), one())?;
    let first = &outputs.0;
    for output in [&outputs.0, &outputs.1, &outputs.2, &outputs.3] {
        assert!(output.status.success(), "{output:?}");
        assert_eq!(output.stdout, first.stdout);
    }
    let image = PathBuf::from(String::from_utf8(first.stdout.clone())?.trim());
    let top = read(&image.join("index.json"))?;
    blob(&image, &top["manifests"][0])?;
    Ok(())
}

#[tokio::test]
async fn an_image_has_every_file_in_a_layer_and_the_same_digest_each_time() -> anyhow::Result<()> {
    let mut digests = Vec::new();
    for _ in 0..2 {
        let models = tempfile::tempdir()?;
        let output = stage(&shape("labse"), models.path(), &["--layout", "oci"]).await?;
        assert!(output.status.success(), "{output:?}");
        let image = PathBuf::from(String::from_utf8(output.stdout)?.trim());
        let top = read(&image.join("index.json"))?;
        assert_eq!(
            read(&image.join("oci-layout"))?["imageLayoutVersion"],
            "1.0.0"
        );
        let index: Value = serde_json::from_slice(&blob(&image, &top["manifests"][0])?)?;
        let platforms = index["manifests"].as_array().expect("images");
        assert_eq!(platforms.len(), 2);
        for platform in platforms {
            let manifest: Value = serde_json::from_slice(&blob(&image, platform)?)?;
            blob(&image, &manifest["config"])?;
            let layers = manifest["layers"].as_array().expect("layers");
            // The graph, the tokenizer, the weights of the dense layer, the manifest.
            assert_eq!(layers.len(), 4);
            for layer in layers {
                blob(&image, layer)?;
            }
        }
        digests.push(top["manifests"][0]["digest"].clone());
    }
    assert_ne!(digests[0], Value::Null);
    Ok(())
}
