//! Publish: renames a finished model into place, unless it is there already.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::digest::Digest;
use contract::model::{MANIFEST, Manifest};

use super::sign::sign;
use super::{StageConfig, Staged};
use crate::staging_dir::StagingDir;

/// The model that is asked for by its fingerprint, if it is there already.
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

/// Renames the finished directory into place. Of two who finish the same model at once, one is the first.
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
    })
}

fn directory(config: &StageConfig, fingerprint: &Digest) -> PathBuf {
    let name = format!("{}-{}", config.name, fingerprint.short());
    config.models.join(name)
}

/// What is there is looked at as a worker would do it; a signature may be added.
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
    })
}

fn sync(directory: &Path) -> anyhow::Result<()> {
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.with_context(|| format!("failed to sync `{}`", directory.display()))
}
