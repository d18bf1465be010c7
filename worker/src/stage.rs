//! Stage: turns a model directory in the Hugging Face layout into one that workers trust.
//!
//! The files are copied into a temporary directory beside the target, digested, run once on the golden texts, and
//! renamed into place last: a reader sees all of a model or nothing. Staged models are named
//! `<name>-<fingerprint>` and never change, so staging twice is staging once, and workers of an old and a new
//! version can share a volume.

mod golden;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use contract::connect::ConfigFault;
use contract::model::{Activation, Identity, MANIFEST, Manifest, Pooling, StagedFile, TOKENIZER};
use contract::names::ModelName;
use contract::tokenizer::Tokenizer;

use crate::config::SessionConfig;
use crate::layout::Layout;
use crate::pool::Recipe;
use crate::session::Session;
use golden::{check_golden, check_labels, record, run_longest};

/// Settings of `worker stage`.
#[derive(Args, Clone, Debug)]
pub struct StageConfig {
    /// Model directory in the Hugging Face layout
    pub source: PathBuf,
    /// Directory of staged models
    #[arg(long, env = "EBB_MODELS")]
    pub models: PathBuf,
    /// Name of the model in subjects, consumers and vectors
    #[arg(long)]
    pub name: ModelName,
    /// Graph to use, relative to the model directory
    #[arg(long)]
    pub onnx: Option<String>,
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
        let mut faults = Vec::new();
        if !self.source.is_dir() {
            let problem = format!("`{}` is not a directory", self.source.display());
            faults.push(ConfigFault::new("SOURCE", problem));
        }
        if self.max_tokens.is_some_and(|tokens| tokens < 3) {
            faults.push(ConfigFault::new("--max-tokens", "must be at least 3"));
        }
        if self.dimensions == Some(0) {
            faults.push(ConfigFault::new("--dimensions", "must be at least 1"));
        }
        faults
    }
}

/// Stages a model.
///
/// # Errors
/// If the directory is not a model, the graph does not run, or the target cannot be written.
pub fn stage(config: &StageConfig) -> anyhow::Result<Staged> {
    let onnx = config.onnx.as_deref();
    let layout = Layout::read(&config.source, onnx, config.max_tokens, config.pooling)?;
    fs::create_dir_all(&config.models)
        .with_context(|| format!("failed to create `{}`", config.models.display()))?;
    let temporary = tempfile::Builder::new()
        .prefix(&format!(".{}.", config.name))
        .tempdir_in(&config.models)
        .with_context(|| format!("failed to write to `{}`", config.models.display()))?;
    let files = copy_files(&layout, temporary.path())?;
    let manifest = describe(config, &layout, files, temporary.path())?;
    write_manifest(&manifest, temporary.path())?;
    publish(config, manifest, temporary)
}

fn copy_files(layout: &Layout, target: &Path) -> anyhow::Result<BTreeMap<String, StagedFile>> {
    let mut files = BTreeMap::new();
    for file in &layout.files {
        let (from, to) = (layout.directory.join(file), target.join(file));
        copy_durably(&from, &to).with_context(|| format!("failed to copy `{}`", from.display()))?;
        files.insert(file.clone(), StagedFile::of(&to)?);
    }
    Ok(files)
}

fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    io::copy(&mut File::open(from)?, &mut File::create(to)?)?;
    File::open(to)?.sync_all()
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

fn write_manifest(manifest: &Manifest, directory: &Path) -> anyhow::Result<()> {
    let path = directory.join(MANIFEST);
    let write = || {
        fs::write(&path, serde_json::to_vec_pretty(manifest)?)?;
        File::open(&path)?.sync_all()
    };
    write().with_context(|| format!("failed to write `{}`", path.display()))
}

/// Renames the finished directory into place, unless the same model is there already.
fn publish(
    config: &StageConfig,
    manifest: Manifest,
    temporary: tempfile::TempDir,
) -> anyhow::Result<Staged> {
    let name = format!("{}-{}", config.name, manifest.fingerprint.short());
    let directory = config.models.join(name);
    let existed = directory.exists();
    if existed {
        let there = Manifest::load(&directory)?;
        let hint = || {
            format!(
                "`{}` is damaged; remove it and stage again",
                directory.display()
            )
        };
        there.verify(&directory).with_context(hint)?;
        return Ok(Staged {
            directory,
            manifest: there,
            existed,
        });
    }
    allow_reading(temporary.path()).context("failed to set permissions")?;
    match fs::rename(temporary.path(), &directory) {
        Ok(()) => drop(temporary.keep()),
        // Somebody else was faster with the same model.
        Err(_) if directory.join(MANIFEST).exists() => {}
        Err(error) => {
            return Err(error)
                .with_context(|| format!("failed to create `{}`", directory.display()));
        }
    }
    File::open(&config.models)
        .and_then(|models| models.sync_all())
        .context("failed to sync")?;
    Ok(Staged {
        directory,
        manifest,
        existed,
    })
}

/// A temporary directory is private; a staged model is read by other users.
fn allow_reading(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}
