//! A model that was staged elsewhere comes as it is; one that an older version has staged gets what is missing.

use std::path::Path;

use contract::model::{MANIFEST, SIGNATURE};
use serde_json::Value;
use tests::tiny_embed;

use super::web::Web;
use super::{content, log, named, stage, staged};

/// A server with a staged model below `m`; gives the name of the model, too.
async fn web_of_staged(models: &Path) -> anyhow::Result<(Web, String)> {
    let output = stage(&tiny_embed().display().to_string(), models, &[]).await?;
    let name = staged(&output, models);
    let web = Web::start().await?;
    web.add(&models.join(&name), "m")?;
    Ok((web, name))
}

#[tokio::test]
async fn a_staged_model_is_taken_over_with_its_manifest_to_the_last_byte() -> anyhow::Result<()> {
    let origin = tempfile::tempdir()?;
    let (web, name) = web_of_staged(origin.path()).await?;
    let source = origin.path().join(&name);
    for from in [web.url("m"), source.display().to_string()] {
        let models = tempfile::tempdir()?;
        let output = stage(&from, models.path(), &[]).await?;
        assert_eq!(staged(&output, models.path()), name, "{from}");
        let manifest = |models: &Path| std::fs::read(models.join(&name).join(MANIFEST));
        assert_eq!(manifest(models.path())?, manifest(origin.path())?);
        assert_eq!(content(&models.path().join(&name))?, content(&source)?);
        assert_eq!(content(models.path())?.len(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn a_staged_model_that_is_altered_renamed_or_changed_is_refused() -> anyhow::Result<()> {
    let origin = tempfile::tempdir()?;
    let (web, _) = web_of_staged(origin.path()).await?;
    let models = tempfile::tempdir()?;
    let changed = stage(&web.url("m"), models.path(), &["--pooling", "cls"]).await?;
    let renamed = named("other", &web.url("m"), models.path())
        .await?
        .output()
        .await?;
    for (output, expected) in [
        (changed, "which --pooling cannot change"),
        (renamed, "stage it under its own name"),
    ] {
        let log = log(&output);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains(expected), "{log}");
    }
    for (file, expected) in [
        ("onnx/model.onnx", "was altered"),
        (MANIFEST, "was altered"),
    ] {
        let path = format!("m/{file}");
        let original = web.files().content[&path].clone();
        let mut altered = original.clone();
        if file == MANIFEST {
            altered = String::from_utf8(altered)?
                .replace("\"mean\"", "\"cls\"")
                .into_bytes();
        } else {
            let middle = altered.len() / 2;
            altered[middle] ^= 1;
        }
        assert!(altered != original);
        web.files().content.insert(path.clone(), altered);
        let output = stage(&web.url("m"), models.path(), &[]).await?;
        let log = log(&output);
        assert_eq!(output.status.code(), Some(1), "{file}: {log}");
        assert!(log.contains(expected), "{file}: {log}");
        web.files().content.insert(path, original);
    }
    assert!(content(models.path())?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_model_that_an_older_version_has_staged_is_measured_when_it_is_staged_again()
-> anyhow::Result<()> {
    let models = tempfile::tempdir()?;
    let source = tiny_embed().display().to_string();
    let again = async || -> anyhow::Result<Value> {
        let output = stage(&source, models.path(), &["--json"]).await?;
        assert!(output.status.success(), "{output:?}");
        Ok(serde_json::from_slice(&output.stdout)?)
    };
    let first = again().await?;
    assert_eq!(first["existed"], false);
    let path = Path::new(first["directory"].as_str().expect("a directory")).join(MANIFEST);
    let read = || -> anyhow::Result<Value> { Ok(serde_json::from_slice(&std::fs::read(&path)?)?) };
    let mut old = read()?;
    let measured = old.as_object_mut().expect("an object").remove("measured");
    std::fs::write(&path, serde_json::to_vec(&old)?)?;
    let second = again().await?;
    assert_eq!(second["existed"], true);
    assert_eq!(second["fingerprint"], first["fingerprint"]);
    let bytes = |manifest: &Value| manifest["measured"]["memory_bytes"].as_u64();
    let now = read()?;
    assert!(bytes(&now) > Some(0), "{now}");
    assert_eq!(now["golden"], old["golden"]);
    assert!(measured.is_some());

    // What is signed stays as it is to the last byte.
    std::fs::write(&path, serde_json::to_vec(&old)?)?;
    std::fs::write(path.with_file_name(SIGNATURE), "a signature")?;
    again().await?;
    assert_eq!(read()?, old);
    Ok(())
}
