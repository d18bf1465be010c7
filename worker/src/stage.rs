//! Stage: turns a model directory in the Hugging Face layout into one that workers trust.
//!
//! The files are brought into a temporary directory beside the target, digested, run once on the golden texts, and
//! renamed into place last: a reader sees all of a model or nothing. Staged models are named
//! `<name>-<fingerprint>` and never change, so staging twice is staging once, and workers of an old and a new
//! version can share a volume. A model that was staged elsewhere is taken as it is, with its manifest and signature.

mod adopt;
mod bring;
mod download;
mod golden;
mod golden_set;
mod publish;
mod quality;
mod quantize;
mod sign;
mod source;
mod workshop;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use contract::connect::{ConfigFault, unreadable};
use contract::digest::Digest;
use contract::model::{
    Activation, Identity, MANIFEST, Manifest, ModelDir, Pooling, StagedFile, TOKENIZER,
};
use contract::names::ModelName;
use contract::tokenizer::Tokenizer;

use crate::calibrate::{CalibrateConfig, calibrate};
use crate::calibration::{Calibration, device};
use crate::config::{ModelConfig, SessionConfig};
use crate::layout::Layout;
use crate::pool::Recipe;
use crate::session::Session;
use adopt::adopt;
use bring::{Arrival, bring};
use golden::{check_golden, check_labels, record, run_longest};
use publish::{find_pinned, publish};
use quality::check_quality;
pub use quantize::Quantization;
use quantize::quantize;
use source::Source;
use workshop::{Workshop, write_durably};

/// Settings of `worker stage`.
#[derive(Args, Clone, Debug)]
pub struct StageConfig {
    /// Model in the Hugging Face layout, or one that was staged before: a directory, an http(s) or s3 URL of one, or
    /// `hf://ORGANIZATION/NAME[@REVISION]`. Credentials and endpoints come from the environment: AWS_*, HF_TOKEN,
    /// HF_ENDPOINT
    pub source: String,
    /// Directory of staged models
    #[arg(long, env = "EBB_MODELS")]
    pub models: PathBuf,
    /// Name of the model in subjects, consumers and vectors
    #[arg(long)]
    pub name: ModelName,
    /// Fingerprint that the model must have; nothing is staged if it has another, nothing is fetched if it is there
    #[arg(long, env = "EBB_FINGERPRINT")]
    pub fingerprint: Option<Digest>,
    /// File with minisign's signature of the manifest, to be put beside it
    #[arg(long, requires = "public_key")]
    pub signature: Option<PathBuf>,
    /// File with the minisign public key with which the manifest must be signed
    #[arg(long, env = "EBB_PUBLIC_KEY")]
    pub public_key: Option<PathBuf>,
    /// How long to measure the size of tensors on this device, where nobody has; 0s for not at all
    #[arg(long, env = "EBB_CALIBRATE", default_value = "6s", value_parser = humantime::parse_duration)]
    pub calibrate: Duration,
    /// Most bytes to download
    #[arg(long, env = "EBB_MAX_DOWNLOAD_BYTES", default_value_t = 20 << 30)]
    pub max_download_bytes: u64,
    /// Graph to use, relative to the model directory
    #[arg(long)]
    pub onnx: Option<String>,
    /// Make a smaller model of the graph, which must be in 32-bit floats; what that costs is measured and printed
    #[arg(long, value_enum)]
    pub quantize: Option<Quantization>,
    /// What the cost is measured with, in the shape of BEIR: a directory with corpus.jsonl, queries.jsonl and one
    /// qrels/*.tsv; by default 37 questions about Ebb's own documents, in English
    #[arg(long, requires = "quantize")]
    pub golden_set: Option<PathBuf>,
    /// Most nDCG@10 that a smaller embedding model may lose, 0 to 1
    #[arg(long, requires = "quantize", default_value_t = 0.01)]
    pub max_ndcg_loss: f64,
    /// How token vectors become one vector, where the directory does not say
    #[arg(long, value_enum)]
    pub pooling: Option<Pooling>,
    /// Whether vectors are scaled to length 1, where the directory does not say
    #[arg(long)]
    pub normalize: Option<bool>,
    /// How logits of a rescorer become scores, where the directory does not say
    #[arg(long, value_enum)]
    pub activation: Option<Activation>,
    /// Longest input in tokens, where the directory does not say
    #[arg(long)]
    pub max_tokens: Option<usize>,
    /// Leading dimensions to keep of a Matryoshka model
    #[arg(long)]
    pub dimensions: Option<usize>,
    /// Text in front of each query
    #[arg(long)]
    pub query_prefix: Option<String>,
    /// Text in front of each chunk of a document
    #[arg(long)]
    pub document_prefix: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub session: SessionConfig,
}

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

impl StageConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.session.faults();
        if let Err(problem) = Source::understand(&self.source) {
            faults.push(ConfigFault::new("SOURCE", problem));
        }
        faults.extend(unreadable("--public-key", self.public_key.as_ref()));
        faults.extend(unreadable("--signature", self.signature.as_ref()));
        if self.max_tokens.is_some_and(|tokens| tokens < 3) {
            faults.push(ConfigFault::new("--max-tokens", "must be at least 3"));
        }
        if !(0.0..=1.0).contains(&self.max_ndcg_loss) {
            let problem = format!("`{}` is not 0 to 1", self.max_ndcg_loss);
            faults.push(ConfigFault::new("--max-ndcg-loss", problem));
        }
        if let Some(set) = self.golden_set.as_ref().filter(|set| !set.is_dir()) {
            let problem = format!("`{}` is not a directory", set.display());
            faults.push(ConfigFault::new("--golden-set", problem));
        }
        if self.dimensions == Some(0) {
            faults.push(ConfigFault::new("--dimensions", "must be at least 1"));
        }
        faults
    }

    /// Options that make another model of what the source holds.
    fn changes(&self) -> Vec<&'static str> {
        let changes = [
            ("--onnx", self.onnx.is_some()),
            ("--quantize", self.quantize.is_some()),
            ("--pooling", self.pooling.is_some()),
            ("--normalize", self.normalize.is_some()),
            ("--activation", self.activation.is_some()),
            ("--max-tokens", self.max_tokens.is_some()),
            ("--dimensions", self.dimensions.is_some()),
            ("--query-prefix", self.query_prefix.is_some()),
            ("--document-prefix", self.document_prefix.is_some()),
        ];
        let given = changes.into_iter().filter(|(_, given)| *given);
        given.map(|(option, _)| option).collect()
    }
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
    measure(config, &staged);
    Ok(staged)
}

/// Finds the size of tensors on this device, unless it is known. A model that nobody has measured runs too.
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
    };
    if let Err(error) = calibrate(&calibration) {
        tracing::warn!(error = format!("{error:#}"), "not calibrated");
    }
}

fn bring_and_publish(config: &StageConfig) -> anyhow::Result<Staged> {
    let workshop = Workshop::open(&config.models, &config.name)?;
    let arrival = bring(config, &workshop)?;
    let model = workshop.model();
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
    publish(config, manifest, workshop)
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
