//! What the tests of attached vectors start from: servers with the tiny model, and two others that are made of it.

use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};

use contract::topology::{JOBS, Lane, Task};
use fixtures::install::cache_dir;
use fixtures::process::Process;
use futures::TryStreamExt as _;
use qdrant_client::qdrant::{Condition, CountPointsBuilder, Filter, RetrievedPoint};
use rustix::process::Signal;
use serde_json::Value;
use tests::{Bed, cosine, flag, text, tiny_embed, tools};

use crate::rebuild::qdrant;

/// Name of the attached vector in the collection.
pub(crate) const NAME: &str = "second";

/// Servers with three models.
pub(crate) struct Setup {
    pub(crate) bed: Bed,
    /// Directory of a model that gives a short text the vector that the primary one gives it, by another fingerprint: what
    /// an attached vector must be is told by the primary one.
    pub(crate) second: String,
    /// Directory of a model that gives it another one.
    pub(crate) third: String,
}

async fn stage(name: &str, more: &[&str]) -> anyhow::Result<String> {
    stage_from(&tiny_embed(), name, more).await
}

/// Stages another model of this project.
pub(crate) async fn stage_from(source: &Path, name: &str, more: &[&str]) -> anyhow::Result<String> {
    let mut command = tools().await?.program("worker");
    command.arg("stage").arg(source);
    command.args(["--name", name, "--models"]);
    command.arg(cache_dir().join("models"));
    let output = command.args(more).output().await?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    let directory: PathBuf = String::from_utf8(output.stdout)?.trim().into();
    Ok(directory.display().to_string())
}

/// The attached vector of a point.
pub(crate) fn attached(point: &RetrievedPoint) -> Option<Vec<f32>> {
    points::payload::vector(point, NAME)
}

/// Id of the point of a chunk.
pub(crate) fn point(document: &str, chunk: u32) -> String {
    points::point_id(document, chunk).to_string()
}

impl Setup {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        Self::on(Bed::start().await?, &[]).await
    }

    /// Jobs of a dead worker come back soon.
    pub(crate) async fn impatient() -> anyhow::Result<Self> {
        Self::on(Bed::impatient().await?, &["--ack-wait", "5s"]).await
    }

    pub(crate) async fn on(bed: Bed, provision: &[&str]) -> anyhow::Result<Self> {
        let second = stage("second", &["--max-tokens", "32"]).await?;
        let third = stage("third", &["--document-prompt", "passage: "]).await?;
        let lanes = ["provision", "--lanes", "--model", &second];
        bed.stack.indexer(&[&lanes, provision].concat()).await?;
        Ok(Self { bed, second, third })
    }

    pub(crate) async fn indexer(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let collection = self.bed.stack.collection.clone();
        let mut command = self.bed.stack.program("indexer");
        command.args(arguments).env("EBB_COLLECTION", collection);
        fixtures::process::output(command).await
    }

    pub(crate) async fn attach(&self, more: &[&str]) -> anyhow::Result<Value> {
        let verb = ["attach", "--model", &self.second, "--as", NAME, "--json"];
        Ok(serde_json::from_str(
            &self.indexer(&[&verb, more].concat()).await?,
        )?)
    }

    /// Runs the indexer, which dies at a failpoint.
    pub(crate) async fn killed_at(&self, point: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = self.bed.stack.program("indexer");
        command
            .args(arguments)
            .env("EBB_FAILPOINTS", format!("{point}=kill"));
        command.env("EBB_COLLECTION", &self.bed.stack.collection);
        let killed = command.output().await?;
        let signal = killed.status.signal();
        assert_eq!(signal, Some(Signal::KILL.as_raw()), "{point}: {killed:?}");
        Ok(())
    }

    /// What the indexer says when it refuses.
    pub(crate) async fn refused(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.bed.stack.program("indexer");
        let output = command.args(arguments).output().await?;
        anyhow::ensure!(!output.status.success(), "it was not refused: {output:?}");
        Ok(String::from_utf8(output.stderr)?)
    }

    /// Documents of two chunks each, as `d0`, `d1` and so on.
    pub(crate) async fn write_documents(&self, documents: usize) -> anyhow::Result<()> {
        self.write_documents_at(documents, 1).await
    }

    pub(crate) async fn write_documents_at(
        &self,
        documents: usize,
        version: u64,
    ) -> anyhow::Result<()> {
        for number in 0..documents {
            let texts = [0, 1].map(|chunk| format!("chunk {chunk} of {number} at {version}"));
            let texts = texts.each_ref().map(String::as_str);
            let id = format!("d{number}");
            self.bed.publish_document(&id, version, &texts).await?;
        }
        Ok(())
    }

    /// Runs a worker of the attached model until its lanes are empty.
    pub(crate) async fn drain_second(&self) -> anyhow::Result<()> {
        self.drain_model(&self.second).await
    }

    pub(crate) async fn drain_model(&self, model: &str) -> anyhow::Result<()> {
        let arguments = ["--model", model, "--drain", "--grace", "3s"];
        let mut worker = self.bed.stack.worker("attached", &arguments).await?;
        let status = worker.process.wait().await?;
        anyhow::ensure!(status.success(), "the worker ended with {status}");
        Ok(())
    }

    /// The same with a worker that gives up every job at once which another worker may be right for.
    pub(crate) async fn drain_second_impatiently(&self) -> anyhow::Result<()> {
        let mut command = self.bed.stack.program("worker");
        command.args(["run", "--model", &self.second, "--drain", "--grace", "3s"]);
        command.env("EBB_FAILPOINTS", "refusal-patience=skip");
        let log = self.bed.directory.path().join("impatient.log");
        let mut worker = Process::start(command, "impatient worker", &log)?;
        let status = worker.wait().await?;
        anyhow::ensure!(status.success(), "the worker ended with {status}");
        Ok(())
    }

    /// Jobs that wait on the bulk lane of the attached model.
    pub(crate) async fn waiting(&self) -> anyhow::Result<u64> {
        let [_, bulk] = Lane::of(Task::Embed, &NAME.parse()?);
        let jobs = self.bed.jetstream().get_stream(JOBS).await?;
        let subjects = jobs.info_with_subjects(bulk.subject()).await?;
        let counts: Vec<(String, usize)> = subjects.try_collect().await?;
        Ok(counts.iter().map(|(_, count)| *count as u64).sum())
    }

    /// Points that lack the attached vector, tombstones left out.
    pub(crate) async fn lacking(&self) -> anyhow::Result<u64> {
        let filter = Filter::must_not([
            Condition::has_vector(NAME),
            Condition::matches("deleted", true),
        ]);
        let count = CountPointsBuilder::new(self.bed.stack.collection.as_str());
        let count = count.filter(filter).exact(true);
        let found = qdrant(&self.bed)?.count(count).await?;
        Ok(found.result.map_or(0, |found| found.count))
    }

    /// Each point has the attached vector of its own text, and there are so many.
    pub(crate) async fn assert_complete(&self, expected: u64) -> anyhow::Result<()> {
        let points = self.bed.points().await?;
        let live: Vec<_> = points.values().filter(|it| !flag(it, "deleted")).collect();
        assert_eq!(live.len() as u64, expected);
        for point in live {
            let primary = points::payload::vector(point, "tiny").expect("a primary vector");
            let (id, read) = (text(point, "doc_id"), text(point, "text"));
            let attached = attached(point);
            assert!(attached.is_some(), "`{id}` lacks it: {read}");
            let cosine = cosine(&primary, &attached.unwrap_or_default());
            assert!(
                cosine > 0.9999,
                "`{id}` has that of another text: {cosine}: {read}"
            );
        }
        Ok(())
    }

    /// Publishes an attach job of these items by hand.
    pub(crate) async fn publish_attach(&self, items: &Value) -> anyhow::Result<()> {
        let manifest = contract::model::Manifest::load(self.second.as_ref())?;
        let job = serde_json::json!({
            "version": "1.0", "kind": "attach", "collection": self.bed.stack.collection,
            "vector": NAME, "fingerprint": manifest.fingerprint, "items": items,
        });
        let [_, bulk] = Lane::of(Task::Embed, &manifest.name);
        let jetstream = self.bed.jetstream();
        let sent = jetstream.publish(bulk.subject(), job.to_string().into());
        sent.await?.await?;
        Ok(())
    }
}
