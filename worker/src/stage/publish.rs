//! Publish: renames a finished model into place, unless it is there already, and adds its signature.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::digest::Digest;
use contract::model::{MANIFEST, Manifest, SIGNATURE, check_signature};
use tempfile::NamedTempFile;

use super::{StageConfig, Staged};
use crate::staging_dir::StagingDir;

/// Finds the model that is asked for by its fingerprint, if it is there already.
pub(super) fn find_pinned(config: &StageConfig) -> anyhow::Result<Option<Staged>> {
    let Some(fingerprint) = &config.fingerprint else {
        return Ok(None);
    };
    let directory = directory(config, fingerprint);
    if directory.join(MANIFEST).is_file() {
        return existing(config, directory).map(Some);
    }
    Ok(None)
}

/// Renames the finished directory into place. Of two processes that finish the same model at once, the second keeps that
/// of the first.
pub(super) fn publish(
    config: &StageConfig,
    manifest: Manifest,
    staging: StagingDir,
) -> anyhow::Result<Staged> {
    let directory = directory(config, &manifest.fingerprint);
    if directory.exists() {
        return existing(config, directory);
    }
    sign(config, &staging.model())?;
    match fs::rename(staging.model(), &directory) {
        Ok(()) => {}
        Err(_) if directory.join(MANIFEST).exists() => return existing(config, directory),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("failed to create `{}`", directory.display()));
        }
    }
    sync(&config.models)?;
    drop(staging);
    Ok(Staged {
        directory,
        manifest,
        existed: false,
        image: None,
    })
}

fn directory(config: &StageConfig, fingerprint: &Digest) -> PathBuf {
    let name = format!("{}-{}", config.name, fingerprint.short());
    config.models.join(name)
}

/// Verifies the model that is there as a worker would do it, and may add a signature.
fn existing(config: &StageConfig, directory: PathBuf) -> anyhow::Result<Staged> {
    let there = Manifest::load(&directory)?;
    let hint = || {
        format!(
            "`{}` is damaged; remove it and stage again",
            directory.display()
        )
    };
    there.verify(&directory).with_context(hint)?;
    sign(config, &directory)?;
    sync(&directory)?;
    if let Some(expected) = &config.fingerprint {
        let found = &there.fingerprint;
        anyhow::ensure!(
            found == expected,
            "`{}` has fingerprint {found}, expected {expected}",
            directory.display()
        );
    }
    Ok(Staged {
        directory,
        manifest: there,
        existed: true,
        image: None,
    })
}

fn sync(directory: &Path) -> anyhow::Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("failed to sync `{}`", directory.display()))
}

/// Adds the given signature to a model, if it is one of its manifest. With a public key, a model without a signature is
/// an error.
pub(super) fn sign(config: &StageConfig, model: &Path) -> anyhow::Result<()> {
    if let (Some(signature), Some(key)) = (&config.signature, &config.public_key) {
        add_signature(model, signature, key)?;
    }
    Manifest::load_signed(model, config.public_key.as_deref())?;
    Ok(())
}

/// Another signature of the same manifest is replaced.
fn add_signature(model: &Path, signature: &PathBuf, key: &Path) -> anyhow::Result<()> {
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
fn allow_reading(file: &Path) -> io::Result<()> {
    fs::set_permissions(file, Permissions::from_mode(0o644))
}
