//! A model that is not what it should be is refused, and leaves nothing behind.

use super::{content, log, stage, staged, web_of_tiny};

#[tokio::test]
async fn a_model_that_names_files_outside_of_its_folder_is_refused() -> anyhow::Result<()> {
    let web = web_of_tiny("a/m").await?;
    web.files()
        .content
        .insert("a/secret/config.json".to_owned(), b"{}".to_vec());
    for path in ["../secret", "/tmp", "x/../../secret"] {
        let modules = serde_json::json!([{ "type": "a.Pooling", "path": path }]).to_string();
        web.files()
            .content
            .insert("a/m/modules.json".to_owned(), modules.into_bytes());
        let models = tempfile::tempdir()?;
        let output = stage(&web.url("a/m"), models.path(), &[]).await?;
        assert_eq!(output.status.code(), Some(1), "{path}: {}", log(&output));
        assert!(content(models.path())?.is_empty());
    }
    assert!(!web.paths().iter().any(|path| path.contains("secret")));
    Ok(())
}

#[tokio::test]
async fn a_pinned_fingerprint_decides_before_anything_is_put_in_place() -> anyhow::Result<()> {
    let web = web_of_tiny("m").await?;
    let models = tempfile::tempdir()?;
    let pin = "0".repeat(64);
    let output = stage(&web.url("m"), models.path(), &["--fingerprint", &pin]).await?;
    let log = log(&output);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(content(models.path())?.is_empty());
    let computed = log
        .split("has fingerprint ")
        .nth(1)
        .and_then(|rest| rest.get(..64));
    let computed = computed.expect("both fingerprints are said").to_owned();
    assert!(log.contains(&pin), "{log}");
    let pinned = ["--fingerprint", computed.as_str()];
    staged(
        &stage(&web.url("m"), models.path(), &pinned).await?,
        models.path(),
    );
    // It is there now, so that nothing is fetched.
    let asked = web.paths().len();
    let output = stage(&web.url("m"), models.path(), &pinned).await?;
    let name = staged(&output, models.path());
    assert_eq!(web.paths().len(), asked);
    // Unless it is damaged, which nobody repairs in silence.
    let graph = models.path().join(name).join("onnx/model.onnx");
    std::fs::write(&graph, b"damaged")?;
    let output = stage(&web.url("m"), models.path(), &pinned).await?;
    assert_eq!(output.status.code(), Some(1));
    assert!(
        super::log(&output).contains("damaged; remove it"),
        "{}",
        super::log(&output)
    );
    Ok(())
}
