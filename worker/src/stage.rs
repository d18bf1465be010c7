//! Stage: turns a model directory in the Hugging Face layout into one that workers trust.
//!
//! The files are copied or downloaded into a staging directory beside the target, digested, run once on the golden texts,
//! and renamed into place last: a reader sees all of a model or nothing. Staged models are named `<name>-<fingerprint>`
//! and never change, so that staging a model again changes nothing, and workers of an old and a new version can share a
//! volume. A model that was staged elsewhere is taken as it is, with its manifest and signature.

mod advise;
mod config;
mod describe;
mod download;
mod ends;
mod fetch;
mod golden;
mod invariance;
#[cfg(test)]
mod mutations;
mod oci;
mod output;
mod publish;
mod quantize;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use contract::model::{MANIFEST, Manifest, SIGNATURE, StagedFile, TOKENIZER};
use runtime::model_dir::ModelDir;

use crate::calibrate::{CalibrateConfig, calibrate};
use crate::calibration::{Calibration, device};
use crate::config::ModelConfig;
use crate::layout::{Layout, LayoutOptions};
use crate::load::load;
use crate::staging_dir::{StagingDir, write_durably};
use advise::advise;
pub use config::{StageConfig, StagedAs};
use describe::describe;
use ends::with_ends;
use fetch::{SourceFiles, fetch};
pub use oci::Image;
use oci::write_image;
pub use output::QueryTerms;
use output::check_options;
use publish::{find_pinned, publish, sign};
pub use quantize::Quantization;
use quantize::{check_quality, quantize};

#[derive(Clone, Debug)]
pub struct Staged {
    pub directory: PathBuf,
    pub manifest: Manifest,
    pub existed: bool,
    /// The image of the model, if one was asked for.
    pub image: Option<Image>,
}

/// Stages a model.
///
/// # Errors
/// If the source is not a model or cannot be had, the graph does not run, the model is not the one that was asked for,
/// or the target cannot be written. Nothing is staged then.
pub fn stage(config: &StageConfig) -> anyhow::Result<Staged> {
    let mut staged = match find_pinned(config)? {
        Some(staged) => staged,
        None => fetch_and_publish(config)?,
    };
    measure(config, &staged);
    if config.layout == StagedAs::Oci {
        staged.image = Some(write_image(config, &staged)?);
    }
    Ok(staged)
}

/// Measures the best size of tensors on this device, unless it is known. If that fails, the model is staged all the same.
fn measure(config: &StageConfig, staged: &Staged) {
    let fingerprint = &staged.manifest.fingerprint;
    let known = Calibration::find(&staged.directory, fingerprint, &device(&config.session));
    if config.calibrate.is_zero() || known.is_some() {
        return;
    }
    let calibration = CalibrateConfig {
        model: ModelConfig {
            staged: ModelDir {
                model: staged.directory.clone(),
                public_key: None,
            },
            fingerprint: None,
        },
        session: config.session.clone(),
        duration: config.calibrate,
        least_cosine: CalibrateConfig::LEAST_COSINE,
        max_ndcg_loss: config.max_ndcg_loss,
        golden_set: config.golden_set.clone(),
    };
    if let Err(error) = calibrate(&calibration) {
        tracing::warn!(error = format!("{error:#}"), "not calibrated");
    }
}

fn fetch_and_publish(config: &StageConfig) -> anyhow::Result<Staged> {
    let staging = StagingDir::open(&config.models, &config.name)?;
    let manifest =
        read(config, &staging).map_err(|error| named_by_source(config, &staging, error))?;
    if let Some(expected) = &config.fingerprint {
        let found = &manifest.fingerprint;
        anyhow::ensure!(
            found == expected,
            "the model has fingerprint {found}, expected {expected}; nothing was staged"
        );
    }
    publish(config, manifest, staging)
}

fn read(config: &StageConfig, staging: &StagingDir) -> anyhow::Result<Manifest> {
    let source = fetch(config, staging)?;
    let model = staging.model();
    if source.is_staged() {
        adopt(config, &source, &model)
    } else {
        make(config, &source, &model)
    }
}

/// The staging directory is gone when somebody reads the error: files are named as they are in the source.
fn named_by_source(
    config: &StageConfig,
    staging: &StagingDir,
    error: anyhow::Error,
) -> anyhow::Error {
    let text = format!("{error:#}");
    let source = config.source.trim_end_matches('/');
    let places = [staging.model(), staging.source()];
    let named = places.iter().fold(text.clone(), |text, place| {
        text.replace(&place.display().to_string(), source)
    });
    if named == text {
        error
    } else {
        anyhow::Error::msg(named)
    }
}

/// Takes a model that was staged elsewhere as it is, and proves that it runs here as it did there. Its manifest stays the
/// same to the last byte, because its signature was made for that.
fn adopt(config: &StageConfig, source: &SourceFiles, model: &Path) -> anyhow::Result<Manifest> {
    let manifest = Manifest::load(source.directory())?;
    check_unchanged(config, &manifest)?;
    let has_signature = source.directory().join(SIGNATURE).is_file();
    let signature = has_signature.then_some(SIGNATURE);
    let files = manifest.identity.files.keys().map(String::as_str);
    for file in files.chain([MANIFEST]).chain(signature) {
        source.place(file, model)?;
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

/// Refuses settings that would make another model of a staged one.
fn check_unchanged(config: &StageConfig, manifest: &Manifest) -> anyhow::Result<()> {
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

/// Makes a staged model of a directory in the Hugging Face layout.
fn make(config: &StageConfig, source: &SourceFiles, model: &Path) -> anyhow::Result<Manifest> {
    let given = LayoutOptions {
        onnx: config.onnx.as_deref(),
        max_tokens: config.max_tokens,
        pooling: config.pooling,
        kind: config.kind,
    };
    let mut layout = Layout::read(source.directory(), given)?;
    check_options(config, &layout)?;
    advise(config, &layout);
    if let Some(tokenizer) = with_ends(source.directory())? {
        write_durably(&model.join(TOKENIZER), &tokenizer)?;
    }
    if let Some(quantization) = config.quantize {
        quantize(quantization, &mut layout, model)?;
    }
    let mut files = BTreeMap::new();
    for file in &layout.files {
        let there = model.join(file);
        if !there.exists() {
            source.place(file, model)?;
        }
        files.insert(file.clone(), StagedFile::of(&there)?);
    }
    let manifest = describe(config, &mut layout, files, model)?;
    if config.quantize.is_some() {
        check_quality(config, source.directory(), model, &manifest)?;
    }
    let json = serde_json::to_vec_pretty(&manifest)?;
    write_durably(&model.join(MANIFEST), &json)?;
    Ok(manifest)
}
