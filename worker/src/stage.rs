//! Stage: turns a model directory in the Hugging Face layout into one that workers trust.
//!
//! The files are brought into a temporary directory beside the target, digested, run once on the golden texts, and
//! renamed into place last: a reader sees all of a model or nothing. Staged models are named
//! `<name>-<fingerprint>` and never change, so staging twice is staging once, and workers of an old and a new
//! version can share a volume. A model that was staged elsewhere is taken as it is, with its manifest and signature.

mod adopt;
mod bring;
mod config;
mod download;
mod golden;
mod golden_set;
mod publish;
mod quality;
mod quantize;
mod sign;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::model::{Identity, MANIFEST, Manifest, StagedFile, TOKENIZER};
use contract::tokenizer::Tokenizer;
use runtime::model_dir::ModelDir;

use crate::calibrate::{CalibrateConfig, calibrate};
use crate::calibration::{Calibration, device};
use crate::config::ModelConfig;
use crate::layout::Layout;
use crate::optimize::{OptimizeConfig, optimize};
use crate::pool::Recipe;
use crate::session::Session;
use crate::staging_dir::{StagingDir, write_durably};
use adopt::adopt;
use bring::{Arrival, bring};
pub use config::StageConfig;
use golden::{check_golden, check_labels, record, run_longest};
use publish::{find_pinned, publish};
use quality::check_quality;
pub use quantize::Quantization;
use quantize::quantize;

/// A staged model.
#[derive(Clone, Debug)]
pub struct Staged {
    /// Where it is.
    pub directory: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// Whether it was there already.
    pub existed: bool,
}

/// Stages a model.
///
/// # Errors
/// If the source is not a model or cannot be had, the graph does not run, the model is not the one that was asked for,
/// or the target cannot be written. Nothing is staged then.
pub fn stage(config: &StageConfig) -> anyhow::Result<Staged> {
    let staged = match find_pinned(config)? {
        Some(staged) => staged,
        None => bring_and_publish(config)?,
    };
    if config.session.optimized {
        let there = staged.directory.display();
        optimize(&OptimizeConfig {
            model: model(&staged),
            session: config.session.clone(),
        })
        .with_context(|| format!("`{there}` is staged, but not optimized"))?;
    }
    measure(config, &staged);
    Ok(staged)
}

/// Settings of a model that was just staged.
fn model(staged: &Staged) -> ModelConfig {
    ModelConfig {
        staged: ModelDir {
            model: staged.directory.clone(),
            public_key: None,
        },
        fingerprint: None,
    }
}

/// Finds the size of tensors on this device, unless it is known. A model that nobody has measured runs too.
fn measure(config: &StageConfig, staged: &Staged) {
    let fingerprint = &staged.manifest.fingerprint;
    let known = Calibration::find(&staged.directory, fingerprint, &device(&config.session));
    if config.calibrate.is_zero() || known.is_some() {
        return;
    }
    let calibration = CalibrateConfig {
        model: model(staged),
        session: config.session.clone(),
        duration: config.calibrate,
    };
    if let Err(error) = calibrate(&calibration) {
        tracing::warn!(error = format!("{error:#}"), "not calibrated");
    }
}

fn bring_and_publish(config: &StageConfig) -> anyhow::Result<Staged> {
    let staging = StagingDir::open(&config.models, &config.name)?;
    let arrival = bring(config, &staging)?;
    let model = staging.model();
    let manifest = if arrival.is_staged() {
        adopt(config, &arrival, &model)?
    } else {
        make(config, &arrival, &model)?
    };
    if let Some(expected) = &config.fingerprint {
        let found = &manifest.fingerprint;
        anyhow::ensure!(
            found == expected,
            "the model has fingerprint {found}, expected {expected}; nothing was staged"
        );
    }
    publish(config, manifest, staging)
}

/// Makes a staged model of a directory in the Hugging Face layout.
fn make(config: &StageConfig, arrival: &Arrival, model: &Path) -> anyhow::Result<Manifest> {
    let onnx = config.onnx.as_deref();
    let mut layout = Layout::read(arrival.directory(), onnx, config.max_tokens, config.pooling)?;
    if let Some(quantization) = config.quantize {
        quantize(quantization, &mut layout, model)?;
    }
    let mut files = BTreeMap::new();
    for file in &layout.files {
        let there = model.join(file);
        if !there.exists() {
            arrival.place(file, model)?;
        }
        files.insert(file.clone(), StagedFile::of(&there)?);
    }
    let manifest = describe(config, &layout, files, model)?;
    if config.quantize.is_some() {
        check_quality(config, arrival.directory(), model, &manifest)?;
    }
    let json = serde_json::to_vec_pretty(&manifest)?;
    write_durably(&model.join(MANIFEST), &json)?;
    Ok(manifest)
}

/// Runs the model once: its output decides the dimensions, and its vectors are recorded.
fn describe(
    config: &StageConfig,
    layout: &Layout,
    files: BTreeMap<String, StagedFile>,
    directory: &Path,
) -> anyhow::Result<Manifest> {
    let tokenizer = Tokenizer::load(&directory.join(TOKENIZER))?;
    let normalize = config.normalize.unwrap_or(layout.normalize);
    let activation = config.activation.unwrap_or(layout.activation);
    let recipe = Recipe {
        pooling: layout.pooling,
        dimensions: config.dimensions.unwrap_or(usize::MAX),
        normalize,
        activation,
    };
    let mut session = Session::load(&directory.join(&layout.onnx), &config.session, recipe)?;
    let mut prefixes = layout.prefixes.clone();
    prefixes.query = config.query_prefix.clone().unwrap_or(prefixes.query);
    prefixes.document = config.document_prefix.clone().unwrap_or(prefixes.document);
    let mut identity = Identity {
        task: layout.task,
        onnx: layout.onnx.clone(),
        files,
        pooling: layout.pooling,
        normalize,
        prefixes,
        max_tokens: layout.max_tokens,
        dimensions: 0,
        dtype: layout.dtype,
        activation,
        labels: layout.labels.clone(),
    };
    let golden = record(&mut session, &tokenizer, &identity)?;
    run_longest(&mut session, &tokenizer, identity.max_tokens)?;
    identity.dimensions = check_golden(config, &golden, recipe)?;
    check_labels(&identity)?;
    Ok(Manifest::new(config.name.clone(), identity, golden))
}
