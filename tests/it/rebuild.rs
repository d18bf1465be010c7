//! Rebuilds: a new generation is filled, proved and switched to, whatever happens meanwhile.

mod from_collection;
mod gates;
mod generations;
mod interrupted;
mod live;
mod mixed_up;
mod model_changes;
mod models;
mod options;
mod restarts;
mod rollbacks;
mod run_ids;
mod running;
mod switches;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use qdrant_client::qdrant::{Filter, SetPayloadPointsBuilder};
use qdrant_client::{Payload, Qdrant};
use serde_json::{Value, json};
use tests::{Bed, flag, integer, text, vector};
use tokio::process::Command;

pub(crate) use running::spawn;

/// A corpus of short documents, each one chunk, by id.
pub(crate) type Corpus = BTreeMap<String, String>;

/// How a rebuild ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) report: Value,
    pub(crate) log: String,
}

impl Ran {
    /// The report of a run that is done.
    pub(crate) fn done(&self) -> &Value {
        assert!(self.status.success(), "{}\n{}", self.status, self.log);
        assert_eq!(self.report["done"], true, "{:#}", self.report);
        &self.report
    }

    /// The reason why a gate stopped the run.
    pub(crate) fn stopped_by(&self, gate: &str) -> &str {
        assert!(!self.status.success(), "{:#}", self.report);
        assert_eq!(self.report["done"], false, "{}", self.log);
        let reason = self.report["failed"].as_str().unwrap_or_default();
        assert!(
            reason.starts_with(gate),
            "stopped by {reason:?}, not by {gate}"
        );
        reason
    }
}

/// Documents `d0` to `d<n - 1>`.
pub(crate) fn corpus(documents: usize) -> Corpus {
    let text = |n| {
        format!(
            "Document number {n} speaks of queue {} and vector {}.",
            n % 7,
            n * 31
        )
    };
    (0..documents).map(|n| (format!("d{n}"), text(n))).collect()
}

/// Writes a corpus as records; gives the path of its folder.
pub(crate) fn write(bed: &Bed, corpus: &Corpus) -> anyhow::Result<PathBuf> {
    let record = |(id, text): (&String, &String)| json!({ "_id": id, "text": text }).to_string();
    let lines: Vec<_> = corpus.iter().map(record).collect();
    bed.write("records.jsonl", lines.join("\n"))
}

/// The command of a rebuild that waits for nothing longer than it must.
pub(crate) fn command(bed: &Bed, corpus: &Corpus, arguments: &[&str]) -> anyhow::Result<Command> {
    let mut command = without_source(bed, arguments);
    command.arg(write(bed, corpus)?);
    Ok(command)
}

/// The same without a source.
pub(crate) fn without_source(bed: &Bed, arguments: &[&str]) -> Command {
    let mut command = bed.stack.program("indexer");
    command.args(["rebuild", "--clock-skew", "0s", "--poll", "20ms"]);
    // Short, because the lock of a process that was killed has to lapse; a test that kills none may say otherwise.
    if !arguments.contains(&"--lease") {
        command.args(["--lease", "3s"]);
    }
    command
        .args(["--stall-limit", "60s", "--json"])
        .args(arguments);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub(crate) async fn ended(mut command: Command) -> anyhow::Result<Ran> {
    let output = command.output().await?;
    Ok(Ran {
        status: output.status,
        report: serde_json::from_slice(&output.stdout).unwrap_or(Value::Null),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Rebuilds the alias of a bed.
pub(crate) async fn rebuild(bed: &Bed, corpus: &Corpus, arguments: &[&str]) -> anyhow::Result<Ran> {
    ended(command(bed, corpus, arguments)?).await
}

/// Rebuilds with failpoints.
pub(crate) async fn rebuild_with(
    bed: &Bed,
    corpus: &Corpus,
    arguments: &[&str],
    failpoints: &str,
) -> anyhow::Result<Ran> {
    let mut command = command(bed, corpus, arguments)?;
    command.env("EBB_FAILPOINTS", failpoints);
    ended(command).await
}

/// Microseconds since the epoch, as versions are.
pub(crate) fn now_micros() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_micros()).unwrap_or(0)
}

pub(crate) fn qdrant(bed: &Bed) -> anyhow::Result<Qdrant> {
    let qdrant = Qdrant::from_url(&bed.stack.qdrant.url());
    Ok(qdrant.skip_compatibility_check().build()?)
}

/// The collection behind the alias of a bed, which must be there.
pub(crate) async fn serving(bed: &Bed) -> anyhow::Result<String> {
    let aliases = qdrant(bed)?.list_aliases().await?.aliases;
    let found = aliases
        .into_iter()
        .find(|alias| alias.alias_name == bed.stack.collection);
    Ok(found.context("the alias is gone")?.collection_name)
}

/// Generations of the alias of a bed.
pub(crate) async fn generations(bed: &Bed) -> anyhow::Result<Vec<String>> {
    let prefix = format!("{}--", bed.stack.collection);
    let all = qdrant(bed)?.list_collections().await?.collections;
    let names = all.into_iter().map(|found| found.name);
    let mut names: Vec<_> = names.filter(|name| name.starts_with(&prefix)).collect();
    names.sort();
    Ok(names)
}

/// What people find: the texts of each document that is not deleted, in the order of its chunks.
pub(crate) async fn found(bed: &Bed) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((doc_id, chunk), point) in bed.points().await? {
        if flag(&point, "deleted") {
            continue;
        }
        let vector = vector(&point).with_context(|| format!("{doc_id} has no vector"))?;
        anyhow::ensure!(vector.len() == bed.manifest.identity.dimensions);
        let texts = found.entry(doc_id.clone()).or_default();
        anyhow::ensure!(
            texts.len() == usize::try_from(chunk)?,
            "{doc_id} lacks a chunk before {chunk}"
        );
        texts.push(text(&point, "text"));
        let (chunks, all) = (integer(&point, "chunks"), texts.len());
        anyhow::ensure!(
            chunk < chunks,
            "{doc_id} has chunk {chunk} of {chunks}, {all} found"
        );
    }
    Ok(found)
}

/// The same of a corpus.
pub(crate) fn wanted(corpus: &Corpus) -> BTreeMap<String, Vec<String>> {
    let one = |(id, text): (&String, &String)| (id.clone(), vec![text.clone()]);
    corpus.iter().map(one).collect()
}

#[tokio::test]
async fn a_rebuild_makes_the_alias_equal_to_its_source_and_says_what_it_did() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(60);
    let report = bed.directory.path().join("report.json");
    let arguments = ["--report", &report.display().to_string()];
    let first = rebuild(&bed, &corpus, &arguments).await?;
    let counts = |report: &Value| {
        ["documents", "chunks", "reused", "published"].map(|name| report[name].as_u64().unwrap())
    };
    assert_eq!(counts(first.done()), [60, 60, 0, 60]);
    assert_eq!(found(&bed).await?, wanted(&corpus));
    let stored: Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    assert_eq!(stored, first.report);

    corpus.remove("d3");
    corpus.insert("d4".to_owned(), "Another text about streams.".to_owned());
    // The same text under another id needs no worker either.
    corpus.insert("moved".to_owned(), corpus["d5"].clone());
    let second = rebuild(&bed, &corpus, &[]).await?;
    assert_eq!(counts(second.done()), [60, 60, 59, 1]);
    assert_eq!(found(&bed).await?, wanted(&corpus));
    assert_eq!(worker.metric("worker_chunks_total").await?, 61.0);
    assert_eq!(
        serving(&bed).await?,
        second.report["generation"].as_str().unwrap()
    );
    let gates: Vec<_> = second.report["gates"].as_array().unwrap().iter().collect();
    assert_eq!(gates.len(), 8, "{gates:#?}");
    assert!(
        gates.iter().all(|gate| gate["passed"] == true),
        "{gates:#?}"
    );

    let full = rebuild(&bed, &corpus, &["--full"]).await?;
    assert_eq!(counts(full.done()), [60, 60, 0, 60]);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_rebuild_embeds_little_more_than_what_has_changed() -> anyhow::Result<()> {
    let documents = std::env::var("EBB_REBUILD_CHUNKS").map_or(Ok(2000), |n| n.parse::<usize>())?;
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(documents);
    // Nobody is killed, and a busy machine may keep a run from its lock for a while.
    let arguments = ["--lease", "60s"];
    rebuild(&bed, &corpus, &arguments).await?.done();
    let before = worker.metric("worker_chunks_total").await?;
    for n in (0..documents).step_by(100) {
        corpus.insert(
            format!("d{n}"),
            format!("Document {n} has changed its text."),
        );
    }
    let ran = rebuild(&bed, &corpus, &arguments).await?;
    let embedded = worker.metric("worker_chunks_total").await? - before;
    let changed = u32::try_from(documents.div_ceil(100))?;
    assert!(embedded >= f64::from(changed), "{embedded}");
    let most = f64::from(u32::try_from(documents)?) * 0.015;
    assert!(embedded <= most, "{embedded} of at most {most}");
    assert_eq!(ran.done()["published"].as_u64(), Some(u64::from(changed)));
    assert_eq!(found(&bed).await?, wanted(&corpus));
    eprintln!(
        "{documents} chunks, {changed} changed, {embedded} embedded\n{:#}",
        ran.report["phases"]
    );
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn scores_of_texts_that_have_not_changed_are_kept() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(4);
    rebuild(&bed, &corpus, &[]).await?.done();
    let scores = Payload::try_from(json!({ "scores": { "reranker": 0.5 } }))?;
    let set = SetPayloadPointsBuilder::new(bed.stack.collection.as_str(), scores)
        .points_selector(Filter::default())
        .wait(true);
    qdrant(&bed)?.set_payload(set).await?;
    corpus.insert("d1".to_owned(), "Another text.".to_owned());
    rebuild(&bed, &corpus, &[]).await?.done();
    for ((doc_id, _), point) in bed.points().await? {
        let scored = point.payload.contains_key("scores");
        assert_eq!(scored, doc_id != "d1", "{doc_id}");
    }
    worker.process.kill().await?;
    bed.end().await
}
