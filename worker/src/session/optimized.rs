//! Optimized: a graph as the runtime has optimized it for a device, kept beside the staged model.
//!
//! A session that is loaded from it optimizes and packs nothing, and maps its weights into memory instead of copying them:
//! all sessions of a node share them, of one process and of several. With MiniLM-L6, which has 90 MB, a session loads in
//! 0.02 s instead of 0.13 s, and two sessions take 50 MB of their own instead of 240. The price is a file of 132 MB, which
//! is read whole at the start, to be compared with its digest; on a cold disk that takes longer than what it saves.
//!
//! What the runtime makes of a graph belongs to its build, to the provider and to the processor, all of which are in the
//! name of the folder, `optimized/<device>-<digest>/`, and in its record. What is mapped has to stay readable for as long
//! as the process lives, so that it is used on local file systems alone: a worker that a lost file server ends would
//! take its jobs for the cause. Nobody has signed it, so that it is not used where models must be signed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::digest::Digest;
use contract::model::{Manifest, StagedFile};
use serde::{Deserialize, Serialize};

use super::local::check_local;
use super::{PoolOn, SessionError, Sessions, device};
use crate::config::SessionConfig;
use crate::hardware;

/// Folder of a staged model that holds its optimized graphs.
pub const OPTIMIZED: &str = "optimized";
/// File name of the graph.
pub(super) const GRAPH: &str = "model.onnx";
/// File name of its weights.
pub(super) const WEIGHTS: &str = "model.weights";
/// File name of the record.
const RECORD: &str = "optimized.json";

/// An optimized graph that is what was written.
#[derive(Clone, Debug)]
pub struct Optimized {
    folder: PathBuf,
    pools: bool,
}

/// All that an optimized graph depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    /// Fingerprint of the model.
    fingerprint: Digest,
    /// Provider and hardware by its name.
    device: String,
    /// Processor, by all that decides which kernels run on it.
    processor: String,
    /// Build of the runtime, and the size of its library.
    runtime: String,
}

/// What lies beside the files.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    key: Key,
    /// Whether the graph pools.
    pools: bool,
    /// The files by their names.
    files: BTreeMap<String, StagedFile>,
}

impl Optimized {
    /// The one of a model for this device, if there is one that can be used. Reads all of it.
    #[must_use]
    pub fn find(model: &Path, manifest: &Manifest, config: &SessionConfig) -> Option<Self> {
        if !model.join(OPTIMIZED).is_dir() {
            return None;
        }
        let found = Key::of(model, manifest, config).map_err(anyhow::Error::from);
        let found = found.and_then(|key| {
            let folder = key.folder(model);
            folder.is_dir().then(|| read(folder, &key)).transpose()
        });
        found
            .inspect_err(|error| tracing::warn!("{error:#}; the optimized graph is not used"))
            .ok()
            .flatten()
    }

    /// Has the runtime write the one of a model into the folder `made`. Gives where it belongs.
    ///
    /// # Errors
    /// If the graph does not load, or the folder cannot be written or is not on a local file system.
    pub fn write(
        sessions: &Sessions,
        (model, manifest): (&Path, &Manifest),
        pool_on: PoolOn,
        made: &Path,
    ) -> anyhow::Result<PathBuf> {
        let key = Key::of(model, manifest, sessions.config())?;
        check_local(made)?;
        let pools = sessions.write_optimized(pool_on, made)?;
        let mut files = BTreeMap::new();
        // A graph without large weights has no second file.
        for name in [GRAPH, WEIGHTS] {
            let path = made.join(name);
            if path.exists() {
                files.insert(name.to_owned(), StagedFile::of(&path)?);
            }
        }
        let folder = key.folder(model);
        let json = serde_json::to_vec_pretty(&Record { key, pools, files })?;
        fs::write(made.join(RECORD), json).and_then(|()| sync(made))?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The graph's file.
    pub(super) fn graph(&self) -> PathBuf {
        self.folder.join(GRAPH)
    }

    /// Whether the graph pools.
    pub(super) fn pools(&self) -> bool {
        self.pools
    }
}

impl Key {
    fn of(model: &Path, manifest: &Manifest, config: &SessionConfig) -> Result<Self, SessionError> {
        device::environment(&config.onnxruntime, &model.join(&manifest.identity.onnx))?;
        let library = fs::metadata(&config.onnxruntime).map_or(0, |library| library.len());
        Ok(Self {
            fingerprint: manifest.fingerprint.clone(),
            device: hardware::name(config),
            processor: hardware::processor(),
            runtime: format!("{}, {library} bytes", ort::info()),
        })
    }

    fn folder(&self, model: &Path) -> PathBuf {
        let rest = Digest::of(format!("{}\n{}", self.processor, self.runtime).as_bytes());
        let name = format!("{}-{}", self.device, rest.short());
        model.join(OPTIMIZED).join(name)
    }
}

fn read(folder: PathBuf, key: &Key) -> anyhow::Result<Optimized> {
    let path = folder.join(RECORD);
    let unreadable = || format!("failed to read `{}`", path.display());
    let record: Record = fs::read(&path)
        .map_err(anyhow::Error::from)
        .and_then(|json| Ok(serde_json::from_slice(&json)?))
        .with_context(unreadable)?;
    let (other, folder_name) = (record.key != *key, folder.display());
    anyhow::ensure!(
        !other,
        "`{folder_name}` is of another model, processor or runtime"
    );
    check_local(&folder)?;
    anyhow::ensure!(
        record.files.contains_key(GRAPH),
        "`{folder_name}` has no {GRAPH}"
    );
    for name in record.files.keys() {
        anyhow::ensure!(
            [GRAPH, WEIGHTS].contains(&&**name),
            "`{name}` in `{folder_name}`"
        );
    }
    for (name, file) in &record.files {
        file.verify(&folder.join(name))?;
    }
    Ok(Optimized {
        folder,
        pools: record.pools,
    })
}

fn sync(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(folder)?.sync_all()
}
