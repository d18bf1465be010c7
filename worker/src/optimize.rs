//! Optimize: has the runtime write what it makes of a staged model's graph on this device, beside the model. See
//! [`Optimized`].

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use contract::connect::ConfigFault;
use contract::model::Manifest;

use crate::config::{ModelConfig, SessionConfig};
use crate::load::{Loaded, load, recipe};
use crate::session::{OPTIMIZED, Optimized, Sessions};
use crate::stage::workshop::Workshop;

/// Why an optimized graph is of no use where models are signed.
pub(crate) const UNSIGNED: &str =
    "no signature covers an optimized graph, so that no worker with a public key would use it";

/// Settings of `worker optimize`.
#[derive(Args, Clone, Debug)]
pub struct OptimizeConfig {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub model: ModelConfig,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub session: SessionConfig,
}

impl OptimizeConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.model.staged.faults();
        faults.extend(self.session.faults());
        if self.model.staged.public_key.is_some() {
            faults.push(ConfigFault::new("--public-key", UNSIGNED));
        }
        faults
    }
}

/// Keeps the optimized graph of a model for this device, unless it is there already. Gives its folder.
///
/// # Errors
/// If the model does not load or run, its directory cannot be written, or what the runtime has written does not give the
/// model's vectors: then it is not kept.
pub fn optimize(config: &OptimizeConfig) -> anyhow::Result<PathBuf> {
    let loaded = prove(config)?;
    if let Some(there) = loaded.optimized {
        return Ok(there);
    }
    let model = &config.model.staged.model;
    let workshop = Workshop::open(&model.join(OPTIMIZED), &loaded.manifest.name)?;
    let folder = write(config, &loaded.manifest, &workshop.model())?;
    publish(&workshop, &folder)?;
    let kept = prove(config)?.optimized;
    if kept.as_ref() != Some(&folder) {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("failed to remove `{}`", folder.display()))?;
        anyhow::bail!("the runtime cannot run what it makes of this graph; nothing is kept");
    }
    Ok(folder)
}

/// Loads the model as a worker would.
fn prove(config: &OptimizeConfig) -> anyhow::Result<Loaded> {
    let session = config.session.single();
    Ok(load(&config.model, &session, Instant::now())?)
}

fn write(config: &OptimizeConfig, manifest: &Manifest, made: &Path) -> anyhow::Result<PathBuf> {
    let model = &config.model.staged.model;
    let graph = model.join(&manifest.identity.onnx);
    let session = config.session.single();
    let sessions = Sessions::of(&graph, &session, recipe(&manifest.identity))?;
    Optimized::write(&sessions, (model, manifest), sessions.pool_on(), made)
}

/// Renames it into place. What was there could not be used, or it would not have been written again; it goes away with
/// the workshop. Of two who finish at once, one is the first.
fn publish(workshop: &Workshop, folder: &Path) -> anyhow::Result<()> {
    let failed = || format!("failed to create `{}`", folder.display());
    match fs::rename(folder, workshop.source().join("replaced")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(failed);
        }
        _ => {}
    }
    match fs::rename(workshop.model(), folder) {
        Err(_) if folder.exists() => {}
        renamed => renamed.with_context(failed)?,
    }
    let parent = folder.parent().unwrap_or(folder);
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .with_context(failed)
}
