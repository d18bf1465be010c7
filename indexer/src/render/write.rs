//! Write: files appear whole or not at all, and no file of somebody else is lost.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::digest::Digest;
use schemars::JsonSchema;
use serde::Serialize;

use crate::fleet::Derived;

const MARK: &str = "# Rendered by `indexer render`: change the decisions and render again.";
const DIGEST: &str = "# Digest of what follows: ";

/// The result for a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The file was as it should be.
    Unchanged,
    /// The file was written anew, or would be.
    Changed,
    /// The file was not there.
    Created,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Written {
    pub path: PathBuf,
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

/// Puts a header in front of a file: it says who wrote the file, proves that nobody has changed it since, and explains
/// its numbers.
pub fn with_header(content: &str, derived: &Derived) -> String {
    let mut body = String::from("#\n");
    for (name, value, why) in derived.explained() {
        let line = format!("# {name:<20} {value:<32} {why}");
        body.push_str(line.trim_end());
        body.push('\n');
    }
    body.push_str("#\n");
    body.push_str(content);
    let digest = Digest::of(body.as_bytes());
    format!("{MARK}\n{DIGEST}{}\n{body}", digest.as_str())
}

/// Whether a file is as it was rendered, by this version or another.
fn is_ours(file: &str) -> bool {
    let Some(rest) = file
        .strip_prefix(MARK)
        .and_then(|rest| rest.strip_prefix('\n'))
    else {
        return false;
    };
    let told = rest
        .strip_prefix(DIGEST)
        .and_then(|rest| rest.split_once('\n'));
    told.is_some_and(|(digest, body)| digest == Digest::of(body.as_bytes()).as_str())
}
