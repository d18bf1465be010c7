//! Manifests: what is wrong with a system that is not there yet, by the objects that somebody is about to apply.

mod fleet;
mod objects;
mod pool;
mod triggers;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::Finding;
use objects::Objects;

/// Reads manifests and judges them.
pub fn look(path: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut objects = Objects::default();
    if path == Path::new("-") {
        let mut yaml = String::new();
        std::io::stdin().read_to_string(&mut yaml)?;
        objects.add(&yaml).context("standard input")?;
    }
    for file in files(path)? {
        let name = || format!("`{}`", file.display());
        let yaml = std::fs::read_to_string(&file).with_context(name)?;
        objects.add(&yaml).with_context(name)?;
    }
    judge(&objects)
}

fn judge(objects: &Objects) -> anyhow::Result<Vec<Finding>> {
    let pairs = fleet::pairs(objects);
    anyhow::ensure!(
        !pairs.is_empty(),
        "no Deployment of workers and no ScaledObject for JetStream among {} objects; give what `kubectl kustomize` prints",
        objects.len()
    );
    let mut findings = Vec::new();
    for pair in &pairs {
        findings.extend(fleet::look(objects, pair));
        findings.extend(triggers::look(objects, pair));
    }
    findings.extend(pool::look(objects));
    Ok(findings)
}

/// The file, or all files of YAML below a directory, in the order of their names.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path == Path::new("-") {
        return Ok(Vec::new());
    }
    let metadata = std::fs::metadata(path).with_context(|| format!("`{}`", path.display()))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in ignore::WalkBuilder::new(path)
        .sort_by_file_path(Path::cmp)
        .build()
    {
        let path = entry?.into_path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if path.is_file() && matches!(extension, Some("yaml" | "yml")) {
            found.push(path);
        }
    }
    anyhow::ensure!(
        !found.is_empty(),
        "`{}` has no file of YAML in it",
        path.display()
    );
    Ok(found)
}

#[cfg(test)]
mod tests;
