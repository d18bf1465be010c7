//! The staging directory: a temporary directory in which a model is made, on the volume of the target.
//!
//! The process that works in one holds a lock on a file in it. What a killed process has left is removed by the next one,
//! if nobody holds the lock and nothing was written for a while: on file systems whose locks are not seen by other
//! machines, the time alone decides.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use contract::names::ModelName;
use tempfile::TempDir;

/// Prefix of the name of a staging directory. No worker takes it for a model.
const PREFIX: &str = ".staging-";
const LOCK: &str = "lock";
/// A process that still works writes more often than this.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Dropping it removes all that is left in it.
#[derive(Debug)]
pub(crate) struct StagingDir {
    directory: TempDir,
    _lock: File,
}

impl StagingDir {
    /// Opens one in the directory of models, after removing those that were abandoned.
    pub(crate) fn open(models: &Path, name: &ModelName) -> anyhow::Result<Self> {
        let unwritable = || format!("failed to write to `{}`", models.display());
        fs::create_dir_all(models).with_context(unwritable)?;
        sweep(models);
        let directory = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{name}."))
            .tempdir_in(models)
            .with_context(unwritable)?;
        let lock = File::create(directory.path().join(LOCK)).with_context(unwritable)?;
        if let Err(TryLockError::Error(error)) = lock.try_lock() {
            tracing::debug!(%error, "the volume has no locks");
        }
        for folder in [Self::source_in(&directory), Self::model_in(&directory)] {
            fs::create_dir(folder).with_context(unwritable)?;
        }
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    /// The folder for what is downloaded.
    pub(crate) fn source(&self) -> PathBuf {
        Self::source_in(&self.directory)
    }

    /// The folder for the model that is made.
    pub(crate) fn model(&self) -> PathBuf {
        Self::model_in(&self.directory)
    }

    fn source_in(directory: &TempDir) -> PathBuf {
        directory.path().join("source")
    }

    fn model_in(directory: &TempDir) -> PathBuf {
        directory.path().join("model")
    }
}

/// Writes a small file and syncs it to the disk.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().with_context(|| format!("failed to write `{}`", path.display()))
}

/// Removes the staging directories that were abandoned. One that cannot be removed stays.
fn sweep(models: &Path) {
    let entries = fs::read_dir(models).into_iter().flatten().flatten();
    for entry in entries {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let path = entry.path();
        match remove_abandoned(&path) {
            Ok(true) => {
                tracing::info!(path = %path.display(), "removed what a killed staging had left")
            }
            Ok(false) => {}
            // Another process may be removing it as well.
            Err(error) => tracing::debug!(path = %path.display(), %error, "failed to remove"),
        }
    }
}

fn remove_abandoned(path: &Path) -> io::Result<bool> {
    // The file is not truncated, so that a process that holds the lock is not disturbed.
    let lock = match File::options().write(true).open(path.join(LOCK)) {
        Ok(lock) => Some(lock),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if let Some(Err(TryLockError::WouldBlock)) = lock.as_ref().map(File::try_lock) {
        return Ok(false);
    }
    let silent = SystemTime::now().duration_since(last_write(path)?);
    // A time in the future comes from the clock of another machine.
    if silent.unwrap_or_default() < ABANDONED {
        return Ok(false);
    }
    fs::remove_dir_all(path)?;
    Ok(true)
}

/// When something in a directory was last written.
fn last_write(path: &Path) -> io::Result<SystemTime> {
    let metadata = fs::symlink_metadata(path)?;
    let mut last = metadata.modified()?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path)? {
            last = last.max(last_write(&entry?.path())?);
        }
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A staging directory whose files were written `age` ago.
    fn staging(models: &Path, name: &str, age: Duration) -> PathBuf {
        let path = models.join(name);
        fs::create_dir_all(path.join("source/onnx")).unwrap();
        for file in [LOCK, "source/onnx/model.onnx"] {
            fs::write(path.join(file), "").unwrap();
        }
        let long_ago = SystemTime::now() - age;
        for file in ["source/onnx/model.onnx", "source/onnx", "source", LOCK, ""] {
            File::open(path.join(file))
                .unwrap()
                .set_modified(long_ago)
                .unwrap();
        }
        path
    }

    #[test]
    fn only_what_nobody_works_in_is_removed() {
        let models = tempfile::tempdir().unwrap();
        let old = ABANDONED * 2;
        let abandoned = staging(models.path(), ".staging-m.1", old);
        let young = staging(models.path(), ".staging-m.2", Duration::ZERO);
        let held = staging(models.path(), ".staging-m.3", old);
        let lock = File::open(held.join(LOCK)).unwrap();
        lock.lock().unwrap();
        let writing = staging(models.path(), ".staging-m.4", old);
        fs::write(writing.join("source/onnx/model.onnx"), "more").unwrap();
        let model = staging(models.path(), "m-0123456789ab", old);
        let without_lock = staging(models.path(), ".staging-m.5", old);
        fs::remove_file(without_lock.join(LOCK)).unwrap();
        File::open(&without_lock)
            .unwrap()
            .set_modified(SystemTime::now() - old)
            .unwrap();
        let opened = StagingDir::open(models.path(), &"m".parse().unwrap()).unwrap();
        let stays = |path: &PathBuf| path.exists();
        assert_eq!([&abandoned, &without_lock].map(stays), [false, false]);
        assert_eq!([&young, &held, &writing, &model].map(stays), [true; 4]);
        drop(lock);
        let second = StagingDir::open(models.path(), &"m".parse().unwrap()).unwrap();
        assert!(!held.exists() && opened.model().exists());
        assert_ne!(opened.model(), second.model());
    }
}
