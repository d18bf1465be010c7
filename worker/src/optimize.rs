//! Optimize: has the runtime optimize the graph of a staged model for this device, and keeps the result beside the model.
//! See [`Optimized`].

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use contract::model::{Manifest, TOKENIZER};
use contract::tokenizer::Tokenizer;
use runtime::settings::ConfigFault;

use crate::config::{ModelConfig, SessionConfig};
use crate::load::{manifest, prove, recipe};
use crate::session::{OPTIMIZED, Optimized, Sessions, runtime};
use crate::staging_dir::{StagingDir, sweep};

/// Settings of `worker optimize`.
#[derive(Args, Clone, Debug)]
pub struct OptimizeConfig {
    #[command(flatten)]
    pub model: ModelConfig,
    #[command(flatten)]
    pub session: SessionConfig,
}

impl OptimizeConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        self.model.faults(&SessionConfig {
            optimized: true,
            ..self.session.clone()
        })
    }
}

/// Writes the optimized graph of a model for this device, unless it is there already. Returns its folder.
///
/// # Errors
/// If the model is not what was staged, its directory cannot be written, or what the runtime has written does not give
/// the model's vectors: then it is not kept.
pub fn optimize(config: &OptimizeConfig) -> anyhow::Result<PathBuf> {
    let model = Model::open(config)?;
    let kept = model.directory.join(OPTIMIZED);
    sweep(&kept);
    let there = model.there()?;
    if let Some(folder) = model.usable() {
        return Ok(folder);
    }
    let staging = StagingDir::open(&kept, &model.manifest.name)?;
    let folder = model.write(&staging.model());
    let folder = folder
        .with_context(|| format!("failed to write an optimized graph to `{}`", kept.display()))?;
    publish(&staging, &folder, there)?;
    Ok(folder)
}

/// Device and inode: tells a folder from another one that has its name.
type Inode = (u64, u64);

fn inode(folder: &Path) -> Option<Inode> {
    let metadata = fs::symlink_metadata(folder).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// A staged model whose files were verified.
struct Model<'a> {
    directory: &'a Path,
    graph: PathBuf,
    manifest: Manifest,
    tokenizer: Tokenizer,
    /// For one session: the optimized graph is the same for any number of them.
    device: SessionConfig,
}

impl<'a> Model<'a> {
    fn open(config: &'a OptimizeConfig) -> anyhow::Result<Self> {
        let directory = &config.model.staged.model;
        let manifest = manifest(&config.model)?;
        manifest.verify(directory)?;
        let (device, graph) = (
            config.session.single(),
            directory.join(&manifest.identity.onnx),
        );
        runtime(&device, &graph)?;
        Ok(Self {
            tokenizer: Tokenizer::load(&directory.join(TOKENIZER))?,
            directory,
            graph,
            manifest,
            device,
        })
    }

    /// The folder that is in the place of the optimized graph, if there is one.
    fn there(&self) -> anyhow::Result<Option<Inode>> {
        let folder = Optimized::folder_of(self.directory, &self.manifest, &self.device)?;
        Ok(inode(&folder))
    }

    /// The folder that is there, if a worker can use it.
    fn usable(&self) -> Option<PathBuf> {
        let found = Optimized::find(self.directory, &self.manifest, &self.device).transpose()?;
        let proved = found.and_then(|found| {
            let folder = found.folder().to_owned();
            self.prove(found).map(|()| folder)
        });
        proved
            .inspect_err(|error| tracing::warn!("{error:#}; it is written again"))
            .ok()
    }

    /// Writes the optimized graph into an empty folder. Returns the folder where it belongs.
    fn write(&self, made: &Path) -> anyhow::Result<PathBuf> {
        let recipe = recipe(&self.manifest.identity);
        let sessions = Sessions::of(&self.graph, &self.device, recipe)?;
        let pool_on = sessions.pool_on();
        let (made, folder) =
            Optimized::write(&sessions, self.directory, &self.manifest, pool_on, made)?;
        self.prove(made)?;
        Ok(folder)
    }

    /// Checks that an optimized graph gives the vectors or scores of the model.
    fn prove(&self, optimized: Optimized) -> anyhow::Result<()> {
        let recipe = recipe(&self.manifest.identity);
        let sessions = Sessions::optimized(optimized, &self.graph, &self.device, recipe);
        let proved = prove(&mut sessions.load()?, &self.tokenizer, &self.manifest);
        proved.with_context(|| format!("{sessions} is another model"))?;
        Ok(())
    }
}

/// Renames the new folder into place. The one that was `there` before could not be used, and is removed with the staging
/// directory. One that another process has put there since is as good as this.
fn publish(staging: &StagingDir, folder: &Path, there: Option<Inode>) -> anyhow::Result<()> {
    let failed = || format!("failed to create `{}`", folder.display());
    if there.is_some() && inode(folder) == there {
        let moved = fs::rename(folder, staging.source().join("replaced"));
        if moved.is_err() && inode(folder) == there {
            moved.with_context(failed)?;
        }
    }
    match fs::rename(staging.model(), folder) {
        Err(_) if folder.is_dir() => {}
        renamed => renamed.with_context(failed)?,
    }
    let parent = folder.parent().unwrap_or(folder);
    File::open(parent)
        .and_then(|parent| parent.sync_all())
        .with_context(failed)
}
