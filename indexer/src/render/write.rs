//! Write: files appear whole or not at all, and no file of somebody else is lost.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::header::is_ours;

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It was as it should be.
    Unchanged,
    /// It was written anew, or would be.
    Changed,
    /// It was not there.
    Created,
}

/// A file that was rendered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
    /// What became of it.
    pub state: State,
}

/// Says what writing would do.
///
/// # Errors
/// All files of others that are in the way.
pub fn compare(files: &[(PathBuf, String)]) -> anyhow::Result<Vec<Written>> {
    let looked: Vec<_> = files
        .iter()
        .map(|(path, content)| look(path, content))
        .collect();
    let faults: Vec<_> = looked
        .iter()
        .filter_map(|looked| looked.as_ref().err().map(ToString::to_string))
        .collect();
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("; "));
    looked.into_iter().collect()
}

/// Writes what has changed.
///
/// # Errors
/// All files of others that are in the way; then nothing is written.
pub fn write(files: &[(PathBuf, String)]) -> anyhow::Result<Vec<Written>> {
    let written = compare(files)?;
    for ((path, content), written) in files.iter().zip(&written) {
        if written.state != State::Unchanged {
            let replaced = replace(path, content);
            replaced.with_context(|| format!("failed to write `{}`", path.display()))?;
        }
    }
    Ok(written)
}

fn look(path: &Path, content: &str) -> anyhow::Result<Written> {
    let state = match fs::read(path) {
        Ok(found) if found == content.as_bytes() => State::Unchanged,
        Ok(found) => {
            let ours = std::str::from_utf8(&found).is_ok_and(is_ours);
            anyhow::ensure!(
                ours,
                "`{}` was not written by render, or was changed since; move it away",
                path.display()
            );
            State::Changed
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => State::Created,
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at `{}`", path.display()));
        }
    };
    let path = path.to_owned();
    Ok(Written { path, state })
}

/// Writes beside the file and puts it in its place. What a killed run left there is overwritten by the next one with
/// the same process id, or stays and does no harm.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".kustomization.{}.tmp", std::process::id()));
    let written = (|| {
        let mut file = File::create(&beside)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    if written.is_err() {
        // The first error counts.
        drop(fs::remove_file(&beside));
    }
    written?;
    File::open(folder)?.sync_all()
}
