//! Sign: puts a signature beside the manifest that it is for, and sees that there is one where there must be.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::model::{MANIFEST, Manifest, SIGNATURE, check_signature};
use tempfile::NamedTempFile;

use super::StageConfig;

/// Adds the given signature to a model, if it is one of its manifest. With a public key, a model without a signature is
/// an error.
pub(super) fn sign(config: &StageConfig, model: &Path) -> anyhow::Result<()> {
    if let (Some(signature), Some(key)) = (&config.signature, &config.public_key) {
        add(model, signature, key)?;
    }
    Manifest::load_signed(model, config.public_key.as_deref())?;
    Ok(())
}

/// Another signature of the same manifest is replaced at once.
fn add(model: &Path, signature: &PathBuf, key: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(signature);
    let text = text.with_context(|| format!("failed to read `{}`", signature.display()))?;
    let manifest = model.join(MANIFEST);
    let manifest =
        fs::read(&manifest).with_context(|| format!("failed to read `{}`", manifest.display()))?;
    check_signature(model, &manifest, &text, key)
        .with_context(|| format!("`{}` cannot be used", signature.display()))?;
    let unwritable = || format!("failed to write to `{}`", model.display());
    let mut file = NamedTempFile::new_in(model).with_context(unwritable)?;
    file.write_all(text.as_bytes()).with_context(unwritable)?;
    file.as_file().sync_all().with_context(unwritable)?;
    allow_reading(file.path()).with_context(unwritable)?;
    file.persist(model.join(SIGNATURE))
        .with_context(unwritable)?;
    Ok(())
}

/// A temporary file is private; a staged model is read by other users.
fn allow_reading(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(file, fs::Permissions::from_mode(0o644))
}
