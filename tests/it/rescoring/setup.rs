//! What the tests of rescoring start from: servers with two models, and scores that are known.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::topology::{Lane, RESULTS, Task};
use fixtures::install::cache_dir;
use fixtures::programs::workspace;
use qdrant_client::qdrant::RetrievedPoint;
use serde_json::Value;
use tests::{Bed, tools};

/// The query of the first golden pairs.
pub(super) const QUERY: &str = "How are the points of a late delivery removed from the collection?";

/// Servers with an embedding model and a cross-encoder.
pub(super) struct Setup {
    pub(super) bed: Bed,
    /// Directory of the staged cross-encoder.
    pub(super) model: String,
}

/// A pair with the score that it must have.
pub(super) struct Golden {
    pub(super) query: String,
    pub(super) passage: String,
    pub(super) logit: f64,
}

impl Golden {
    pub(super) fn score(&self) -> f64 {
        1.0 / (1.0 + (-self.logit).exp())
    }
}

/// The golden pairs, computed without ONNX Runtime. A job has no room for the one without a passage.
pub(super) fn golden() -> anyhow::Result<Vec<Golden>> {
    let path = workspace().join("fixtures/golden/scores-tiny-rerank.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    let text = |pair: &Value, name: &str| pair[name].as_str().unwrap_or_default().to_owned();
    let pairs = golden["pairs"].as_array().expect("golden pairs are a list");
    let pairs = pairs.iter().map(|pair| Golden {
        query: text(pair, "query"),
        passage: text(pair, "passage"),
        logit: pair["logit"].as_f64().unwrap_or(f64::NAN),
    });
    let pairs: Vec<_> = pairs.filter(|pair| !pair.passage.is_empty()).collect();
    assert!(pairs.len() > 10);
    Ok(pairs)
}

pub(crate) async fn stage(more: &[&str], models: &Path) -> anyhow::Result<PathBuf> {
    let mut command = tools().await?.program("worker");
    command.arg("stage");
    command.arg(workspace().join("fixtures/models/tiny-rerank"));
    command
        .args(["--name", "tiny-rerank", "--models"])
        .arg(models);
    let output = command.args(more).output().await?;
    assert!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?.trim().into())
}

impl Setup {
    pub(super) async fn start() -> anyhow::Result<Self> {
        Self::on(Bed::start().await?, &[]).await
    }

    /// Jobs of a dead worker come back soon.
    pub(super) async fn impatient() -> anyhow::Result<Self> {
        Self::on(Bed::impatient().await?, &["--ack-wait", "5s"]).await
    }

    pub(super) async fn on(bed: Bed, provision: &[&str]) -> anyhow::Result<Self> {
        let model = stage(&[], &cache_dir().join("models")).await?;
        let model = model.display().to_string();
        let provision = [&["provision", "--model", &model], provision].concat();
        bed.stack.indexer(&provision).await?;
        Ok(Self { bed, model })
    }

    /// Documents with the passages of the golden pairs of [`QUERY`], as `g0`, `g1` and so on.
    pub(super) async fn with_golden_documents(self) -> anyhow::Result<Self> {
        for (id, pair) in Self::golden()? {
            self.bed.publish_document(&id, 1, &[&pair.passage]).await?;
        }
        self.bed.drain().await?;
        Ok(self)
    }

    pub(super) fn golden() -> anyhow::Result<BTreeMap<String, Golden>> {
        let pairs = golden()?.into_iter().filter(|pair| pair.query == QUERY);
        let pairs = (0..).zip(pairs).map(|(n, pair)| (format!("g{n}"), pair));
        Ok(pairs.collect())
    }

    pub(super) async fn rescore(&self, more: &[&str]) -> anyhow::Result<Value> {
        let verb = ["rescore", "--model", &self.model, "--json"];
        let printed = self.bed.stack.indexer(&[&verb, more].concat()).await?;
        Ok(serde_json::from_str(&printed)?)
    }

    /// Runs a worker with the cross-encoder until its lanes are empty.
    pub(super) async fn drain(&self, more: &[&str]) -> anyhow::Result<()> {
        let drain = ["--model", &self.model, "--drain", "--grace", "3s"];
        let mut worker = self
            .bed
            .stack
            .worker("rescorer", &[&drain, more].concat())
            .await?;
        let status = worker.process.wait().await?;
        anyhow::ensure!(status.success(), "the rescorer ended with {status}");
        Ok(())
    }

    pub(super) async fn publish(&self, job: &Value) -> anyhow::Result<()> {
        let model = "tiny-rerank".parse()?;
        let [live, _] = Lane::of(Task::Rescore, &model);
        let jetstream = self.bed.jetstream();
        let sent = jetstream.publish(live.subject(), job.to_string().into());
        sent.await?.await?;
        Ok(())
    }

    pub(super) async fn answer(&self, reply: &str) -> anyhow::Result<Value> {
        let results = self.bed.jetstream().get_stream(RESULTS).await?;
        let subject = format!("results.{reply}");
        let answer = results.get_last_raw_message_by_subject(&subject).await?;
        Ok(serde_json::from_slice(&answer.payload)?)
    }

    /// The score of each document's first chunk that has one.
    pub(super) async fn scores(&self) -> anyhow::Result<BTreeMap<String, f64>> {
        let points = self.bed.points().await?.into_iter();
        let scores = points.filter_map(|((doc_id, _), point)| Some((doc_id, score(&point)?)));
        Ok(scores.collect())
    }
}

pub(super) fn score(point: &RetrievedPoint) -> Option<f64> {
    let scores = point.payload.get("scores")?.as_struct()?;
    scores.fields.get("tiny-rerank")?.as_double()
}

pub(super) fn assert_golden(scores: &BTreeMap<String, f64>, golden: &BTreeMap<String, Golden>) {
    assert_eq!(scores.len(), golden.len());
    for (id, pair) in golden {
        assert!((scores[id] - pair.score()).abs() < 1e-5, "{id}: {scores:?}");
    }
}
