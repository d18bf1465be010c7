//! Download: gets single files of a remote folder, one after the other, up to a number of bytes.
//!
//! The client repeats requests that fail, and resumes an object whose server sends an entity tag. A download that breaks
//! off all the same is begun anew. A file that is not there is not an error.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures::TryStreamExt as _;
use object_store::path::Path as StorePath;
use object_store::{Error, ObjectStoreExt as _};
use runtime::object_stores::{reason, wait_for_store};
use runtime::wait::Wait;
use tokio::runtime::{Builder, Runtime};

use super::source::Remote;

/// How often the download of a file is begun.
const ATTEMPTS: u32 = 4;
/// Pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(500);

/// A download of several files into one directory.
pub(super) struct Download<'a> {
    remote: &'a Remote,
    to: &'a Path,
    /// Most bytes of all files.
    most: u64,
    left: u64,
    runtime: Runtime,
}

/// Why an attempt failed.
#[derive(Debug)]
enum Failed {
    /// The store refused the request, or did not answer.
    Store(Error),
    /// Something failed on this machine.
    Local(anyhow::Error),
}

impl<'a> Download<'a> {
    pub(super) fn start(remote: &'a Remote, to: &'a Path, most: u64) -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            remote,
            to,
            most,
            left: most,
            runtime,
        })
    }

    /// Waits until the store answers.
    pub(super) fn wait_for_store(&self, wait: Wait) {
        let Remote {
            store, folder, url, ..
        } = self.remote;
        let answered = wait_for_store(&**store, folder, url, wait);
        self.runtime.block_on(answered);
    }

    /// Gets a file that may be missing. Returns whether it is there.
    pub(super) fn get(&mut self, file: &str) -> anyhow::Result<bool> {
        // A model that names a file with `..` or a root is refused here.
        let path = StorePath::parse(file);
        let path = path.with_context(|| format!("the model names a file `{file}`"))?;
        let url = format!("{}/{path}", self.remote.url);
        match self.attempts(&path, &url) {
            Ok(bytes) => {
                self.left -= bytes;
                tracing::info!(%url, bytes, "downloaded");
                Ok(true)
            }
            Err(Failed::Store(Error::NotFound { .. })) => Ok(false),
            Err(Failed::Local(error)) => Err(error.context(format!("failed to download `{url}`"))),
            Err(Failed::Store(error)) => Err(self.refused(&url, &error)),
        }
    }

    pub(super) fn need(&mut self, file: &str) -> anyhow::Result<()> {
        self.first(&[file]).map(drop)
    }

    /// Gets the first of several files that is there.
    pub(super) fn first<'f>(&mut self, files: &[&'f str]) -> anyhow::Result<&'f str> {
        for file in files {
            if self.get(file)? {
                return Ok(file);
            }
        }
        let url = |file: &&str| format!("{}/{file}", self.remote.url);
        let urls: Vec<_> = files.iter().map(url).collect();
        anyhow::bail!("`{}` is not there (404)", urls.join("` or `"))
    }

    fn attempts(&self, path: &StorePath, url: &str) -> Result<u64, Failed> {
        for attempt in 1..ATTEMPTS {
            match self.runtime.block_on(self.receive(path)) {
                Err(Failed::Store(error)) if is_passing(&error) => {
                    let reason = reason(&error);
                    tracing::warn!(%url, attempt, reason, "the download broke off and is begun anew");
                    std::thread::sleep(PAUSE * 2_u32.pow(attempt - 1));
                }
                ended => return ended,
            }
        }
        self.runtime.block_on(self.receive(path))
    }

    /// Makes one attempt, and returns how many bytes the file has.
    async fn receive(&self, path: &StorePath) -> Result<u64, Failed> {
        let parts = self.remote.folder.parts().chain(path.parts());
        let found = self.remote.store.get(&StorePath::from_iter(parts)).await?;
        let size = found.meta.size;
        self.afford(size)?;
        let target = self.to.join(path.as_ref());
        let not_written = || format!("failed to write `{path}` below the directory of --models");
        let mut file = create(&target).with_context(not_written)?;
        let mut content = found.into_stream();
        let mut bytes = 0;
        while let Some(part) = content.try_next().await? {
            bytes += part.len() as u64;
            self.afford(bytes)?;
            file.write_all(&part).with_context(not_written)?;
        }
        if bytes != size {
            let source = format!("it ended after {bytes} of {size} bytes").into();
            return Err(Failed::Store(Error::Generic { store: "", source }));
        }
        file.sync_all().with_context(not_written)?;
        Ok(bytes)
    }

    fn afford(&self, bytes: u64) -> anyhow::Result<()> {
        anyhow::ensure!(
            bytes <= self.left,
            "with {bytes} bytes of it the model has more than --max-download-bytes {}",
            self.most
        );
        Ok(())
    }

    fn refused(&self, url: &str, error: &Error) -> anyhow::Error {
        let denied = matches!(
            error,
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. }
        );
        let hint = if denied && self.remote.is_hub {
            "; HF_TOKEN must be that of somebody who may read the model"
        } else {
            ""
        };
        anyhow::anyhow!("failed to download `{url}`: {}{hint}", reason(error))
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Local(error)
    }
}

fn create(path: &Path) -> io::Result<File> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    folder.and_then(|()| File::create(path))
}

/// Whether another attempt may succeed: the client has no more specific kind for such an error. It has repeated the request
/// already.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Generic { .. })
}
