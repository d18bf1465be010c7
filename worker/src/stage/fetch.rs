//! Fetch: makes the files of a source available locally, and puts those of the model into the staging directory.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use contract::model::{MANIFEST, Manifest, SIGNATURE, TOKENIZER};

use super::StageConfig;
use super::download::Download;
use super::source::{Remote, Source};
use crate::layout::{
    CONFIG, DESCRIPTIONS, SENTENCE_CONFIGS, external_data, files_of_kinds, graphs, module_files,
};
use crate::staging_dir::StagingDir;

/// The files of a source, in a local directory.
pub(super) enum SourceFiles {
    /// The files belong to the user, and are copied.
    Local(PathBuf),
    /// The files were downloaded, and may be moved.
    Downloaded(PathBuf),
}

/// Downloads all files of a source that a model may need, unless they are local.
pub(super) fn fetch(config: &StageConfig, staging: &StagingDir) -> anyhow::Result<SourceFiles> {
    match Source::parse(&config.source).map_err(anyhow::Error::msg)? {
        Source::Directory(directory) => Ok(SourceFiles::Local(directory)),
        Source::Remote(remote) => {
            let directory = staging.source();
            download(config, &remote, &directory)?;
            Ok(SourceFiles::Downloaded(directory))
        }
    }
}

/// Downloads the files that describe a model first, because they name the others.
fn download(config: &StageConfig, remote: &Remote, to: &Path) -> anyhow::Result<()> {
    let mut download = Download::start(remote, to, config.max_download_bytes)?;
    download.wait_for_store(config.wait.wait());
    if !download.get(CONFIG)? {
        return download_staged(&mut download, to);
    }
    download.need(TOKENIZER)?;
    for file in DESCRIPTIONS {
        download.get(file)?;
    }
    for file in SENTENCE_CONFIGS {
        if download.get(file)? {
            break;
        }
    }
    for file in files_of_kinds(to)? {
        download.get(file)?;
    }
    for file in module_files(to)? {
        download.get(&file)?;
    }
    let graph = download.first(&graphs(config.onnx.as_deref()))?;
    for file in external_data(to, graph)? {
        download.need(&file)?;
    }
    Ok(())
}

/// A model that was staged elsewhere names all its files.
fn download_staged(download: &mut Download, to: &Path) -> anyhow::Result<()> {
    download.first(&[MANIFEST]).with_context(|| {
        format!("neither `{CONFIG}` of a model nor `{MANIFEST}` of a staged one is there")
    })?;
    download.get(SIGNATURE)?;
    for file in Manifest::load(to)?.identity.files.keys() {
        download.need(file)?;
    }
    Ok(())
}

impl SourceFiles {
    pub(super) fn directory(&self) -> &Path {
        match self {
            Self::Local(directory) | Self::Downloaded(directory) => directory,
        }
    }

    pub(super) fn is_staged(&self) -> bool {
        let has = |file: &str| self.directory().join(file).is_file();
        has(MANIFEST) && !has(CONFIG)
    }

    /// Puts a file into the model, and returns its new path.
    pub(super) fn place(&self, file: &str, model: &Path) -> anyhow::Result<PathBuf> {
        let (from, to) = (self.directory().join(file), model.join(file));
        let placed = create_parent(&to).and_then(|()| match self {
            Self::Local(_) => copy_durably(&from, &to),
            Self::Downloaded(_) => fs::rename(&from, &to),
        });
        placed.with_context(|| {
            format!(
                "failed to copy `{}` below the directory of --models",
                from.display()
            )
        })?;
        Ok(to)
    }
}

pub(super) fn create_parent(file: &Path) -> io::Result<()> {
    file.parent().map_or(Ok(()), fs::create_dir_all)
}

fn copy_durably(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = File::create(to)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.sync_all()
}
