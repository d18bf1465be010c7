//! Optimized: a graph as the runtime has optimized it for a device, kept beside the staged model.
//!
//! A session that is loaded from it optimizes and packs nothing, and maps its weights into memory instead of copying them:
//! all sessions of a node share them, of one process and of several. With MiniLM-L6, which has 90 MB, a session loads in
//! 0.02 s instead of 0.13 s. The price is a file of 132 MB, which is read whole at the start, to be compared with its
//! digest.
//!
//! What the runtime makes of a graph belongs to its build, to the provider and to the processor, all of which are in the
//! name of the folder, `optimized/<device>-<digest>/`, so that several lie side by side, and in its record. What is mapped has to stay readable and as it is
//! for as long as the process lives. So it is taken from local file systems alone, where no lost server ends a worker that
//! would take its jobs for the cause, and is replaced by renaming. No signature and no fingerprint covers it: who uses it
//! trusts whoever can write to the model's directory, and has to say so.

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
/// File name of the graph.
pub(super) const GRAPH: &str = "model.onnx";
/// File name of its weights.
pub(super) const WEIGHTS: &str = "model.weights";
/// File name of the record.
const RECORD: &str = "optimized.json";
/// No record is as large.
const RECORD_BYTES: u64 = 1 << 20;
/// Counts up with what is done to a graph before the runtime gets it, and with the options under which it is written.
const FORMAT: u32 = 1;

/// An optimized graph that is what was written.
#[derive(Clone, Debug)]
pub struct Optimized {
    folder: PathBuf,
    pools: bool,
}

/// All that an optimized graph depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Key {
    /// [`FORMAT`].
    format: u32,
    /// Fingerprint of the model.
    fingerprint: Digest,
    /// Provider and hardware by its name.
    device: String,
    /// Processor and driver, by all that decides which kernels run.
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
    /// The one of a model for this device, if there is one. Reads all of it.
    ///
    /// # Errors
    /// If there is one that cannot be used, or no runtime whose it could be.
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
    /// [`SessionError`] if there is no runtime.
    pub(crate) fn folder_of(
        model: &Path,
        manifest: &Manifest,
        config: &SessionConfig,
    ) -> Result<PathBuf, SessionError> {
        Ok(Key::of(model, manifest, config)?.folder(model))
    }

    /// Has the runtime write the one of a model into an empty folder. Gives it, and the folder where it belongs.
    ///
    /// # Errors
    /// If the graph does not load, or the folder cannot be written or is not on a local file system.
    pub fn write(
        sessions: &Sessions,
        (model, manifest): (&Path, &Manifest),
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
    let place = folder.display();
    anyhow::ensure!(
        record.key == *key,
        "`{place}` is of another model, processor or runtime"
    );
    anyhow::ensure!(record.files.contains_key(GRAPH), "`{place}` has no {GRAPH}");
    check_local(&folder)?;
    for (name, file) in &record.files {
        let path = folder.join(name);
        let known = [GRAPH, WEIGHTS].contains(&&**name);
        anyhow::ensure!(known, "`{}` is none of its files", path.display());
        // It could lead to another file system.
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
        // Whoever opens a pipe waits for its other end.
        let metadata = fs::metadata(path)?;
        anyhow::ensure!(metadata.is_file(), "it is no regular file");
        let bytes = metadata.len();
        anyhow::ensure!(bytes <= RECORD_BYTES, "it has {bytes} bytes");
        Ok(serde_json::from_slice(&fs::read(path)?)?)
    };
    read().with_context(|| format!("failed to read `{}`", path.display()))
}

/// Sees all files to the disk. From then on nobody has a reason to write into them: they are mapped by whoever runs them.
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
/// SquashFS, overlayfs, tmpfs and ramfs. Of all others a part may be elsewhere.
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
    // The kernel extends the sign of 32 bits.
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
