//! The optimized graph: what the runtime has made of a graph for a device, kept beside the staged model.
//!
//! A session that is loaded from it optimizes and packs nothing, and maps its weights into memory instead of copying them,
//! so that all sessions of a node share them, even those of several processes. With MiniLM-L6, which has 90 MB, a session
//! loads in 0.02 s instead of 0.13 s. The price is a file of 132 MB, which is read whole at the start to verify its digest.
//!
//! It depends on the build of the runtime, the provider and the processor. All of these are in its record and in the name
//! of its folder, `optimized/<device>-<digest>/`, so that several lie side by side. A mapped file must stay readable and
//! unchanged for as long as the process lives. So it is read from local file systems alone: if it were on a server that is
//! lost, the worker would die, and its jobs would be suspected of that. It is replaced by renaming. No signature and no
//! fingerprint covers it: whoever uses it trusts everybody who can write to the directory of the model, and has to say so
//! by an option.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::digest::Digest;
use contract::model::{Manifest, StagedFile};
use serde::{Deserialize, Serialize};

use super::{PoolOn, SessionError, Sessions, device};
use crate::config::SessionConfig;
use crate::hardware;

/// Folder of a staged model that holds its optimized graphs.
pub const OPTIMIZED: &str = "optimized";
pub(super) const GRAPH: &str = "model.onnx";
pub(super) const WEIGHTS: &str = "model.weights";
const RECORD: &str = "optimized.json";
/// A larger file is not a record.
const RECORD_BYTES: u64 = 1 << 20;
/// Raised when the edits before the runtime gets a graph change, or the options with which it is written.
const FORMAT: u32 = 1;

/// An optimized graph whose files were verified.
#[derive(Clone, Debug)]
pub struct Optimized {
    folder: PathBuf,
    pools: bool,
}

/// All that an optimized graph depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    format: u32,
    fingerprint: Digest,
    /// The provider, and the name of the hardware.
    device: String,
    /// Everything about the processor and the driver that decides which kernels run.
    processor: String,
    /// The build of the runtime, and the size of its library.
    runtime: String,
}

/// The record that lies beside the files.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    key: Key,
    pools: bool,
    /// The files by their names.
    files: BTreeMap<String, StagedFile>,
}

impl Optimized {
    /// Finds the one of a model for this device, and verifies it.
    ///
    /// # Errors
    /// If there is one that cannot be used, or the runtime cannot be loaded.
    pub fn find(
        model: &Path,
        manifest: &Manifest,
        config: &SessionConfig,
    ) -> anyhow::Result<Option<Self>> {
        let key = Key::of(model, manifest, config)?;
        let folder = key.folder(model);
        match fs::symlink_metadata(&folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            _ => read(folder, &key).map(Some),
        }
    }

    /// Where the one of a model for this device belongs.
    ///
    /// # Errors
    /// [`SessionError`] if the runtime cannot be loaded.
    pub(crate) fn folder_of(
        model: &Path,
        manifest: &Manifest,
        config: &SessionConfig,
    ) -> Result<PathBuf, SessionError> {
        Ok(Key::of(model, manifest, config)?.folder(model))
    }

    /// Has the runtime write the one of a model into an empty folder. Returns it, and the folder where it belongs.
    ///
    /// # Errors
    /// If the graph does not load, or the folder cannot be written or is not on a local file system.
    pub fn write(
        sessions: &Sessions,
        model: &Path,
        manifest: &Manifest,
        pool_on: PoolOn,
        made: &Path,
    ) -> anyhow::Result<(Self, PathBuf)> {
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
        let belongs = key.folder(model);
        let json = serde_json::to_vec_pretty(&Record { key, pools, files })?;
        fs::write(made.join(RECORD), json)
            .and_then(|()| seal(made))
            .context("failed to write its record")?;
        let folder = made.to_owned();
        Ok((Self { folder, pools }, belongs))
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub(super) fn graph(&self) -> PathBuf {
        self.folder.join(GRAPH)
    }

    pub(super) fn pools(&self) -> bool {
        self.pools
    }
}

impl Key {
    fn of(model: &Path, manifest: &Manifest, config: &SessionConfig) -> Result<Self, SessionError> {
        device::environment(&config.onnxruntime, &model.join(&manifest.identity.onnx))?;
        let library = fs::metadata(&config.onnxruntime).map_or(0, |library| library.len());
        Ok(Self {
            format: FORMAT,
            fingerprint: manifest.fingerprint.clone(),
            device: hardware::name(config),
            processor: hardware::details(config.provider),
            runtime: format!("{}, {library} bytes", ort::info()),
        })
    }

    fn folder(&self, model: &Path) -> PathBuf {
        let rest = format!("{}\n{}\n{}", self.format, self.processor, self.runtime);
        let name = format!("{}-{}", self.device, Digest::of(rest.as_bytes()).short());
        model.join(OPTIMIZED).join(name)
    }
}

fn read(folder: PathBuf, key: &Key) -> anyhow::Result<Optimized> {
    let record = read_record(&folder.join(RECORD))?;
    let shown = folder.display();
    anyhow::ensure!(
        record.key == *key,
        "`{shown}` is of another model, processor or runtime"
    );
    anyhow::ensure!(record.files.contains_key(GRAPH), "`{shown}` has no {GRAPH}");
    check_local(&folder)?;
    for (name, file) in &record.files {
        let path = folder.join(name);
        let known = [GRAPH, WEIGHTS].contains(&&**name);
        anyhow::ensure!(known, "`{}` is none of its files", path.display());
        // A link could lead to another file system.
        let link = fs::symlink_metadata(&path).is_ok_and(|it| it.is_symlink());
        anyhow::ensure!(!link, "`{}` is a link", path.display());
        file.verify(&path)?;
    }
    Ok(Optimized {
        folder,
        pools: record.pools,
    })
}

fn read_record(path: &Path) -> anyhow::Result<Record> {
    let read = || -> anyhow::Result<_> {
        // Opening a pipe would wait for its other end.
        let metadata = fs::metadata(path)?;
        anyhow::ensure!(metadata.is_file(), "it is no regular file");
        let bytes = metadata.len();
        anyhow::ensure!(bytes <= RECORD_BYTES, "it has {bytes} bytes");
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    };
    read().with_context(|| format!("failed to read `{}`", path.display()))
}

/// Syncs all files to the disk, and makes them read-only, because workers map them.
fn seal(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let file = File::open(entry?.path())?;
        file.set_permissions(Permissions::from_mode(0o444))?;
        file.sync_all()?;
    }
    fs::set_permissions(folder, Permissions::from_mode(0o755))?;
    File::open(folder)?.sync_all()
}

/// Types of local file systems, by their numbers in Linux's `magic.h` and in OpenZFS: ext, XFS, Btrfs, F2FS, ZFS, EROFS,
/// SquashFS, overlayfs, tmpfs and ramfs. Files of any other may be on another machine.
const LOCAL: [u64; 10] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0xF2F5_2010,
    0x2FC1_2FC1,
    0xE0F5_E1E2,
    0x7371_7368,
    0x794C_7630,
    0x0102_1994,
    0x8584_58F6,
];

/// Refuses a folder that may be on another machine.
fn check_local(folder: &Path) -> anyhow::Result<()> {
    let kind = kind(folder)
        .map_err(|error| anyhow::anyhow!("no file system of `{}`: {error}", folder.display()))?;
    anyhow::ensure!(
        kind.is_none_or(|kind| LOCAL.contains(&kind)),
        "`{}` is on a file system (type {:x}) that is not known to be local; what is mapped from it would end the \
         worker when its server is lost",
        folder.display(),
        kind.unwrap_or_default()
    );
    Ok(())
}

#[cfg(target_os = "linux")]
fn kind(folder: &Path) -> io::Result<Option<u64>> {
    // The kernel may have extended the sign of a 32-bit number.
    let kind = rustix::fs::statfs(folder)?.f_type & 0xFFFF_FFFF;
    Ok(Some(u64::try_from(kind).unwrap_or_default()))
}

#[cfg(not(target_os = "linux"))]
fn kind(_folder: &Path) -> io::Result<Option<u64>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_to_be_local_is_taken() {
        check_local(&std::env::temp_dir()).unwrap();
        #[cfg(target_os = "linux")]
        {
            let error = check_local(Path::new("/proc")).unwrap_err().to_string();
            assert!(
                error.contains("`/proc`") && error.contains("9fa0"),
                "{error}"
            );
        }
        assert!(check_local(Path::new("/nowhere")).is_err());
    }
}
