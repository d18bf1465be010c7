//! Relative: the path from one folder to another, because kustomize takes no absolute ones.

use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;

/// The path from `folder`, which need not exist, to `target`, which does. Symbolic links on the way are followed first:
/// kustomize does so too.
pub fn path(folder: &Path, target: &Path) -> anyhow::Result<String> {
    let (folder, target) = (resolve(folder)?, resolve(target)?);
    let shared = folder
        .components()
        .zip(target.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = folder
        .components()
        .skip(shared)
        .map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(target.components().skip(shared)).collect();
    let path = path.to_str();
    let path = path.with_context(|| format!("the path to `{}` is no text", target.display()))?;
    Ok(if path.is_empty() { "." } else { path }.to_owned())
}

/// The path without symbolic links, as far as it exists.
fn resolve(path: &Path) -> anyhow::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let mut missing = Vec::new();
    let mut known = path.as_path();
    loop {
        match known.canonicalize() {
            Ok(known) => return Ok(known.join(missing.iter().rev().collect::<PathBuf>())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let name = known.file_name();
                let (Some(name), Some(parent)) = (name, known.parent()) else {
                    return Err(error).with_context(|| format!("cannot find `{}`", path.display()));
                };
                missing.push(name.to_owned());
                known = parent;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot look at `{}`", known.display()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_leads_to_one_that_is() {
        let root = tempfile::tempdir().unwrap();
        let deploy = root.path().join("deploy");
        std::fs::create_dir_all(&deploy).unwrap();
        let to = |folder: &str| path(&root.path().join(folder), &deploy).unwrap();
        assert_eq!(to("clusters/home"), "../../deploy");
        std::fs::create_dir_all(root.path().join("keda")).unwrap();
        let beside = path(
            &root.path().join("deploy/home/keda"),
            &deploy.join("../keda"),
        );
        assert_eq!(beside.unwrap(), "../../../keda");
        assert_eq!(to("deploy"), ".");
        assert_eq!(to("deploy/rendered/home"), "../..");
        assert_eq!(to(""), "deploy");
    }

    #[cfg(unix)]
    #[test]
    fn a_symbolic_link_is_followed_before_it_is_left() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["deploy", "far/away"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path().join("far/away"), &link).unwrap();
        let found = path(&link.join("home"), &root.path().join("deploy")).unwrap();
        assert_eq!(found, "../../../deploy");
    }
}
