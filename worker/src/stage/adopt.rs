//! Adopt: takes a model that was staged elsewhere as it is.
//!
//! Its manifest stays the same to the last byte, because that is what a signature was made for. It has to run here, and
//! give the vectors or scores that it gave when it was staged.

use std::path::Path;
use std::time::Instant;

use contract::model::{MANIFEST, Manifest, SIGNATURE};
use runtime::model_dir::ModelDir;

use super::StageConfig;
use super::bring::Arrival;
use super::sign::sign;
use crate::config::ModelConfig;
use crate::load::load;

/// Puts all files of a staged model into `model`, and proves them.
pub(super) fn adopt(
    config: &StageConfig,
    arrival: &Arrival,
    model: &Path,
) -> anyhow::Result<Manifest> {
    let manifest = Manifest::load(arrival.directory())?;
    check(config, &manifest)?;
    let has_signature = arrival.directory().join(SIGNATURE).is_file();
    let signature = has_signature.then_some(SIGNATURE);
    let files = manifest.identity.files.keys().map(String::as_str);
    for file in files.chain([MANIFEST]).chain(signature) {
        arrival.place(file, model)?;
    }
    sign(config, model)?;
    let staged = ModelDir {
        model: model.to_owned(),
        public_key: config.public_key.clone(),
    };
    let placed = ModelConfig {
        staged,
        fingerprint: None,
    };
    Ok(load(&placed, &config.session, Instant::now())?.manifest)
}

/// A staged model is what it is.
fn check(config: &StageConfig, manifest: &Manifest) -> anyhow::Result<()> {
    anyhow::ensure!(
        manifest.name == config.name,
        "the source is the staged model `{}`, --name is `{}`; stage it under its own name",
        manifest.name,
        config.name
    );
    let changes = config.changes();
    anyhow::ensure!(
        changes.is_empty(),
        "the source is a staged model, which {} cannot change; stage its origin instead",
        changes.join(", ")
    );
    Ok(())
}
