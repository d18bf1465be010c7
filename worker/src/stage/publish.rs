//! Publish: renames a finished model into place, unless it is there already, and adds its signature.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::digest::Digest;
use contract::model::{MANIFEST, Manifest, Measured, SIGNATURE, check_signature};
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
        // A signature that is about to be added is one of the manifest as it is.
        if config.signature.is_none() {
            add_measured(&directory, manifest)?;
        }
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

/// Adds what staging has measured to the manifest of a model that an older version has staged. It is no part of the
/// fingerprint; a signature is one of the whole file, so that a signed manifest stays as it is.
fn add_measured(directory: &Path, new: Manifest) -> anyhow::Result<()> {
    let mut there = Manifest::load(directory)?;
    let Some(measured) = new
        .measured
        .filter(|_| there.fingerprint == new.fingerprint)
    else {
        return Ok(());
    };
    // Measuring again rarely gives the same, and may be done on another device: what is known stays.
    let added = match &there.measured {
        None => measured,
        Some(known) if known.vocabulary.is_none() && measured.vocabulary.is_some() => Measured {
            vocabulary: measured.vocabulary,
            ..known.clone()
        },
        Some(_) => return Ok(()),
    };
    let path = directory.join(MANIFEST);
    if directory.join(SIGNATURE).exists() {
        tracing::warn!(
            target: "worker",
            manifest = %path.display(),
            "the manifest lacks something that staging has measured, such as its memory, and is signed; remove the signature, stage the model \
             again and sign it anew"
        );
        return Ok(());
    }
    there.measured = Some(added);
    replace(&path, &serde_json::to_vec_pretty(&there)?)
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
    replace(&model.join(SIGNATURE), text.as_bytes())
}

/// Writes a file of a staged model. A reader sees all of it, or what was there before.
fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = NamedTempFile::new_in(path.parent().unwrap_or(path))?;
        file.write_all(content)?;
        file.as_file().sync_all()?;
        allow_reading(file.path())?;
        file.persist(path)?;
        Ok(())
    };
    let written: io::Result<()> = write();
    written.with_context(|| format!("failed to write `{}`", path.display()))
}

/// A temporary file is private; a staged model is read by other users.
fn allow_reading(file: &Path) -> io::Result<()> {
    fs::set_permissions(file, Permissions::from_mode(0o644))
}
