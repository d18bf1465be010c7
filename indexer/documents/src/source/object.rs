//! Objects: what lies in an object store, read like a file.
//!
//! Stores are asynchronous, reading is not: a small runtime of its own does the requests, and whoever reads waits for
//! one range after the other. Nothing is read ahead: a reader holds one range, whatever the size of the object, and no
//! connection stays open while the reader has other things to do.

use std::future::Future;
use std::io::{self, Read};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use bytes::{Buf as _, Bytes};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore};
use runtime::object_stores::reason;
use tokio::runtime::{Builder, Runtime};

/// Bytes of one request. Large enough that its delay does not count, small enough to be repeated.
const RANGE_BYTES: u64 = 2 << 20;

static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).thread_name("objects");
    builder.enable_all().build()
});

/// Waits for an answer of a store. Must not be called from a thread that runs asynchronous code.
pub fn wait<F: Future>(future: F) -> object_store::Result<F::Output> {
    match &*RUNTIME {
        Ok(runtime) => Ok(runtime.block_on(future)),
        Err(error) => Err(object_store::Error::Generic {
            store: "threads",
            source: error.to_string().into(),
        }),
    }
}

/// An object, as it was when it was found.
#[derive(Clone, Debug)]
pub struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    url: Arc<str>,
    bytes: u64,
    /// What tells this content of the object from others.
    mark: Arc<str>,
    /// Tag of the first answer: another one later means other content.
    tag: Arc<RwLock<Option<String>>>,
}

impl Object {
    pub fn new(store: Arc<dyn ObjectStore>, path: Path, url: String, meta: &ObjectMeta) -> Self {
        let tag = meta.e_tag.as_deref().unwrap_or_default();
        let mark = format!(
            "{} {tag} {}",
            meta.size,
            meta.last_modified.timestamp_micros()
        );
        Self {
            store,
            path,
            url: url.into(),
            bytes: meta.size,
            mark: mark.into(),
            tag: Arc::default(),
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// The last part of its path.
    pub fn file_name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }

    /// Its size in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Size, tag and time of change: another content has another mark, as far as the store tells.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Reads it from its start.
    pub fn reader(&self) -> ObjectReader {
        ObjectReader {
            object: self.clone(),
            next: 0,
            buffer: Bytes::new(),
            rest: None,
        }
    }

    /// Reads a part of it.
    ///
    /// # Errors
    /// If the store refuses, does not answer in parts, or the object has changed meanwhile.
    pub fn part(&self, start: u64, bytes: u64) -> io::Result<Bytes> {
        self.ask(start, bytes).map_err(into_io)
    }

    fn ask(&self, start: u64, bytes: u64) -> object_store::Result<Bytes> {
        let end = start.saturating_add(bytes).min(self.bytes);
        if start >= end {
            return Ok(Bytes::new());
        }
        let options = GetOptions {
            range: Some(GetRange::Bounded(start..end)),
            ..GetOptions::default()
        };
        wait(async {
            let found = self.store.get_opts(&self.path, options).await?;
            self.unchanged(&found)?;
            found.bytes().await
        })?
    }

    /// The whole of it, for servers that give no parts.
    fn whole(&self) -> object_store::Result<BoxStream<'static, object_store::Result<Bytes>>> {
        wait(async {
            let found = self
                .store
                .get_opts(&self.path, GetOptions::default())
                .await?;
            self.unchanged(&found)?;
            Ok(found.into_stream())
        })?
    }

    /// Listings write tags differently from answers, so that answers are compared among themselves.
    fn unchanged(&self, found: &GetResult) -> object_store::Result<()> {
        let mut tag = self.tag.write().unwrap_or_else(PoisonError::into_inner);
        let same = tag.is_none() || *tag == found.meta.e_tag;
        tag.clone_from(&found.meta.e_tag);
        if same && found.meta.size == self.bytes {
            return Ok(());
        }
        Err(object_store::Error::Generic {
            store: "object",
            source: "it changed while it was being read: publish it again".into(),
        })
    }
}

/// The bytes of an object, one range after the other.
pub struct ObjectReader {
    object: Object,
    /// Where the next range starts.
    next: u64,
    buffer: Bytes,
    /// The rest of the object, if its server gives no parts.
    rest: Option<BoxStream<'static, object_store::Result<Bytes>>>,
}

impl std::fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectReader")
            .field("url", &self.object.url)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

impl Read for ObjectReader {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        while self.buffer.is_empty() && self.next < self.object.bytes {
            self.buffer = self.fetch().map_err(into_io)?;
            self.next += self.buffer.len() as u64;
        }
        let bytes = output.len().min(self.buffer.len());
        self.buffer.copy_to_slice(&mut output[..bytes]);
        Ok(bytes)
    }
}

impl ObjectReader {
    fn fetch(&mut self) -> object_store::Result<Bytes> {
        if self.rest.is_none() {
            match self.object.ask(self.next, RANGE_BYTES) {
                Err(object_store::Error::NotSupported { .. }) if self.next == 0 => {
                    self.rest = Some(self.object.whole()?);
                }
                other => return other,
            }
        }
        match &mut self.rest {
            Some(rest) => wait(rest.next())?.unwrap_or_else(|| Err(cut_off())),
            None => Err(cut_off()),
        }
    }
}

fn cut_off() -> object_store::Error {
    object_store::Error::Generic {
        store: "object",
        source: "it ended before its end".into(),
    }
}

fn into_io(error: object_store::Error) -> io::Error {
    io::Error::other(reason(&error))
}
