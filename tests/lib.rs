//! What every integration test starts from: servers of its own, a tiny model, and ways to look at the outcome.
//!
//! With `QDRANT_URL` set the tests share that server; each has a collection of its own either way.

pub mod conformance;
mod point;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use contract::job::Job;
use contract::model::Manifest;
use contract::topology::{DLQ, Lane, Task, header};
use fixtures::install::cache_dir;
use fixtures::process::Process;
use fixtures::programs::workspace;
use fixtures::stack::{Stack, Tools};
use fixtures::wait::until;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{RetrievedPoint, ScrollPointsBuilder};
use tokio::sync::OnceCell;

pub use point::{cosine, flag, integer, terms, text, vector};

/// Longest time that anything in a test may take; a condition ends the wait, not this.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Programs that tests start beside those of a stack.
const MORE_PROGRAMS: [&str; 3] = ["bench", "chaos", "stand-in-worker"];

static TOOLS: OnceCell<Tools> = OnceCell::const_new();
static COLLECTIONS: AtomicU32 = AtomicU32::new(0);

/// Installed and built once for all tests of a process.
///
/// # Errors
/// If something cannot be installed or built.
pub async fn tools() -> anyhow::Result<&'static Tools> {
    TOOLS
        .get_or_try_init(|| Tools::prepare(&MORE_PROGRAMS, |line| eprintln!("{line}")))
        .await
}

/// The tiny embedding model of this project, as a model directory.
#[must_use]
pub fn tiny_embed() -> PathBuf {
    workspace().join("fixtures/models/tiny-embed")
}

/// Servers of one test.
#[derive(Debug)]
pub struct Bed {
    /// The servers.
    pub stack: Stack,
    /// Manifest of the staged model.
    pub manifest: Manifest,
    /// Directory of the test, removed at its end.
    pub directory: tempfile::TempDir,
}

/// A dead letter.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Its cause code.
    pub cause: String,
    /// Its reason.
    pub reason: String,
    /// The job as it was published.
    pub payload: Vec<u8>,
}

impl Bed {
    /// Starts and provisions servers for the tiny embedding model.
    ///
    /// # Errors
    /// If anything does not start.
    pub async fn start() -> anyhow::Result<Self> {
        Self::with_model(&tiny_embed(), "tiny").await
    }

    /// Starts and provisions servers for another model.
    ///
    /// # Errors
    /// If anything does not start.
    pub async fn with_model(source: &Path, name: &str) -> anyhow::Result<Self> {
        let bed = Self::unprovisioned(source, name).await?;
        bed.stack.indexer(&["provision"]).await?;
        Ok(bed)
    }

    /// Starts and provisions servers that redeliver the jobs of a silent worker as soon as JetStream may.
    ///
    /// # Errors
    /// If anything does not start.
    pub async fn impatient() -> anyhow::Result<Self> {
        let bed = Self::unprovisioned(&tiny_embed(), "tiny").await?;
        bed.stack
            .indexer(&["provision", "--ack-wait", "5s"])
            .await?;
        Ok(bed)
    }

    /// Runs a worker with failpoints on an [`Bed::impatient`] bed, until both lanes are empty or it dies.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn run_with_failpoints(&self, rules: &str) -> anyhow::Result<ExitStatus> {
        let mut command = self.stack.program("worker");
        command.args(["run", "--drain", "--grace", "3s"]);
        command.env("EBB_FAILPOINTS", rules);
        let log = self.directory.path().join("failpoints.log");
        Process::start(command, "worker with failpoints", &log)?
            .wait()
            .await
    }

    /// Starts a worker that gives up every job at once: it may not write to the collection, and has no patience with that.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn refusing_worker(&self) -> anyhow::Result<Process> {
        let mut command = self.stack.program("worker");
        command.args(["run", "--collections", "other"]);
        command.env("EBB_FAILPOINTS", "refusal-patience=skip");
        let log = self.directory.path().join("refusing.log");
        Process::start(command, "refusing worker", &log)
    }

    /// Starts servers and creates nothing on them.
    ///
    /// # Errors
    /// If anything does not start.
    pub async fn unprovisioned(source: &Path, name: &str) -> anyhow::Result<Self> {
        let tools = tools().await?.clone();
        let model = tools
            .stage(source, name, &cache_dir().join("models"))
            .await?;
        let directory = tempfile::tempdir()?;
        let number = COLLECTIONS.fetch_add(1, Ordering::Relaxed);
        let collection = format!("test-{}-{number}", std::process::id());
        let manifest = Manifest::load(&model)?;
        let stack = Stack::start(tools, model, directory.path(), &collection).await?;
        Ok(Self {
            stack,
            manifest,
            directory,
        })
    }

    /// Ends the test: on a shared Qdrant its collections would stay.
    ///
    /// # Errors
    /// If Qdrant refuses.
    pub async fn end(self) -> anyhow::Result<()> {
        let client = Qdrant::from_url(&self.stack.qdrant.url())
            .skip_compatibility_check()
            .build()?;
        // Aliases that a test provisions beside its own are called after it.
        let ours = format!("{}-", self.stack.collection);
        for found in client.list_collections().await?.collections {
            if found.name.starts_with(&ours) {
                client.delete_collection(found.name).await?;
            }
        }
        self.stack.forget().await
    }

    /// JetStream of this test.
    #[must_use]
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.stack.jetstream
    }

    /// The live and the bulk lane of the model.
    #[must_use]
    pub fn lanes(&self) -> [Lane; 2] {
        Lane::of(Task::Embed, &self.manifest.name)
    }

    /// Writes a file of the corpus; gives the directory to publish.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<PathBuf> {
        let corpus = self.directory.path().join("corpus");
        let path = corpus.join(name);
        std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        std::fs::write(path, content)?;
        Ok(corpus)
    }

    /// Publishes bytes on the live lane, as any NATS client could.
    ///
    /// # Errors
    /// If JetStream refuses.
    pub async fn publish_bytes(&self, bytes: impl Into<Vec<u8>>) -> anyhow::Result<u64> {
        let bytes: Vec<u8> = bytes.into();
        let [live, _] = self.lanes();
        Ok(self
            .stack
            .jetstream
            .publish(live.subject(), bytes.into())
            .await?
            .await?
            .sequence)
    }

    /// Publishes a job on the live lane.
    ///
    /// # Errors
    /// If JetStream refuses.
    pub async fn publish(&self, job: &Job) -> anyhow::Result<u64> {
        self.publish_bytes(job.encode()).await
    }

    /// Publishes a document of one version with chunks of text alone.
    ///
    /// # Errors
    /// If JetStream refuses.
    pub async fn publish_document(
        &self,
        id: &str,
        version: u64,
        texts: &[&str],
    ) -> anyhow::Result<u64> {
        let chunks: Vec<_> = texts
            .iter()
            .map(|text| serde_json::json!({ "text": text }))
            .collect();
        let job = serde_json::json!({
            "version": "1.0", "kind": "embed", "collection": self.stack.collection,
            "documents": [{ "id": id, "version": version, "chunks": chunks }],
        });
        self.publish_bytes(job.to_string()).await
    }

    /// Publishes the removal of a document.
    ///
    /// # Errors
    /// If JetStream refuses.
    pub async fn publish_removal(&self, id: &str, version: u64) -> anyhow::Result<u64> {
        let job = serde_json::json!({
            "version": "1.0", "kind": "delete", "collection": self.stack.collection,
            "documents": [{ "id": id, "version": version }],
        });
        self.publish_bytes(job.to_string()).await
    }

    /// Runs a worker until both lanes are empty.
    ///
    /// # Errors
    /// If it fails.
    pub async fn drain(&self) -> anyhow::Result<()> {
        let arguments = ["--drain", "--grace", "3s"];
        let mut worker = self.stack.worker("drain", &arguments).await?;
        let status = worker.process.wait().await?;
        anyhow::ensure!(status.success(), "the draining worker ended with {status}");
        Ok(())
    }

    /// Waits until nothing waits and nothing is in flight.
    ///
    /// # Errors
    /// If that takes too long.
    pub async fn drained(&self) -> anyhow::Result<()> {
        until("the lanes to drain", LIMIT, async || {
            Ok(self.stack.is_drained().await?.then_some(()))
        })
        .await
    }

    /// All points with payload and vectors, by document and chunk.
    ///
    /// # Errors
    /// If Qdrant refuses, or two points are the same chunk.
    pub async fn points(&self) -> anyhow::Result<BTreeMap<(String, i64), RetrievedPoint>> {
        let client = Qdrant::from_url(&self.stack.qdrant.url())
            .skip_compatibility_check()
            .build()?;
        let scroll = ScrollPointsBuilder::new(self.stack.collection.as_str());
        let scroll = scroll.limit(100_000).with_payload(true).with_vectors(true);
        let mut points = BTreeMap::new();
        for point in client.scroll(scroll).await?.result {
            let key = (text(&point, "doc_id"), integer(&point, "chunk"));
            anyhow::ensure!(
                points.insert(key.clone(), point).is_none(),
                "{key:?} is there twice"
            );
        }
        Ok(points)
    }

    /// All dead letters, oldest first.
    ///
    /// # Errors
    /// If JetStream refuses.
    pub async fn dead_letters(&self) -> anyhow::Result<Vec<DeadLetter>> {
        let stream = self.stack.jetstream.get_stream(DLQ).await?;
        let state = &stream.cached_info().state;
        let mut letters = Vec::new();
        for sequence in state.first_sequence.max(1)..=state.last_sequence {
            let message = stream.get_raw_message(sequence).await?;
            let of = |name| {
                message
                    .headers
                    .get(name)
                    .map(|v| v.as_str().to_owned())
                    .unwrap_or_default()
            };
            letters.push(DeadLetter {
                cause: of(header::CAUSE),
                reason: of(header::REASON),
                payload: message.payload.to_vec(),
            });
        }
        Ok(letters)
    }
}
