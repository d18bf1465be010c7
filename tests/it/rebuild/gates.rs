//! Gates: each stops a rebuild, says why, and leaves the alias where it was.

mod golden;
mod points;

use std::os::unix::process::ExitStatusExt as _;

use contract::topology::JOBS;
use rustix::process::Signal;
use tests::Bed;

use super::{Corpus, Ran, corpus, found, rebuild, rebuild_with, serving, wanted};

/// A bed whose alias holds a corpus, with a worker.
struct Indexed {
    bed: Bed,
    worker: fixtures::stack::Worker,
    corpus: Corpus,
    generation: String,
}

impl Indexed {
    async fn start(documents: usize) -> anyhow::Result<Self> {
        let bed = Bed::start().await?;
        let worker = bed.stack.worker("worker", &[]).await?;
        let corpus = corpus(documents);
        rebuild(&bed, &corpus, &[]).await?.done();
        let generation = serving(&bed).await?;
        Ok(Self {
            bed,
            worker,
            corpus,
            generation,
        })
    }

    /// A stopped run has changed nothing that people see.
    async fn is_untouched(&self) -> anyhow::Result<()> {
        assert_eq!(serving(&self.bed).await?, self.generation);
        assert_eq!(found(&self.bed).await?, wanted(&self.corpus));
        Ok(())
    }

    /// Starts a run and kills it at a point; gives the name of its generation.
    async fn killed_at(&self, point: &str) -> anyhow::Result<String> {
        let arguments = ["--run-id", "bad"];
        let killed = rebuild_with(
            &self.bed,
            &self.corpus,
            &arguments,
            &format!("{point}=kill"),
        )
        .await?;
        assert_eq!(
            killed.status.signal(),
            Some(Signal::KILL.as_raw()),
            "{}",
            killed.log
        );
        Ok(format!("{}--bad", self.bed.stack.collection))
    }

    async fn resumed(&self) -> anyhow::Result<Ran> {
        rebuild(&self.bed, &self.corpus, &[]).await
    }

    async fn end(self) -> anyhow::Result<()> {
        self.worker.process.kill().await?;
        self.bed.end().await
    }
}

#[tokio::test]
async fn a_source_that_has_shrunk_is_refused_unless_it_is_allowed() -> anyhow::Result<()> {
    let indexed = Indexed::start(20).await?;
    let mut smaller = indexed.corpus.clone();
    smaller.retain(|id, _| id.len() > 2);
    let ran = rebuild(&indexed.bed, &smaller, &[]).await?;
    assert!(
        ran.stopped_by("shrink").contains("50.0 % less"),
        "{}",
        ran.log
    );
    assert!(ran.log.contains("shrink"), "{}", ran.log);
    indexed.is_untouched().await?;
    rebuild(&indexed.bed, &smaller, &["--max-shrink", "50"])
        .await?
        .done();
    assert_eq!(found(&indexed.bed).await?, wanted(&smaller));
    indexed.end().await
}

#[tokio::test]
async fn documents_that_cannot_be_read_stop_a_rebuild_unless_they_are_allowed() -> anyhow::Result<()>
{
    let indexed = Indexed::start(10).await?;
    let broken = indexed
        .bed
        .write("broken.jsonl", "{\"_id\":\"x\",\"text\":")?;
    let ran = rebuild(&indexed.bed, &indexed.corpus, &[]).await?;
    ran.stopped_by("refused");
    indexed.is_untouched().await?;
    rebuild(&indexed.bed, &indexed.corpus, &["--max-refused", "1"])
        .await?
        .done();
    drop(broken);
    indexed.end().await
}

/// Without a worker nothing that was published is done.
#[tokio::test]
async fn a_run_that_is_stopped_says_which_jobs_it_leaves_and_a_fresh_one_removes_them()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.write("broken.jsonl", "{\"_id\":\"x\",\"text\":")?;
    let corpus = corpus(5);
    let stopped = rebuild(&bed, &corpus, &["--run-id", "first"]).await?;
    stopped.stopped_by("refused");
    let queued = stopped.report["queued"].as_u64().unwrap_or_default();
    assert_eq!(stopped.report["published"], 5, "{:#}", stopped.report);
    assert!(queued > 0, "{:#}", stopped.report);
    let waiting = async || {
        let jobs = bed.jetstream().get_stream(JOBS).await?;
        anyhow::Ok(jobs.get_info().await?.state.messages)
    };
    assert_eq!(waiting().await?, queued);
    let fresh = rebuild(&bed, &corpus, &["--fresh", "--run-id", "second"]).await?;
    fresh.stopped_by("refused");
    assert_eq!(fresh.report["queued"], queued, "{:#}", fresh.report);
    assert_eq!(waiting().await?, queued, "those of the first run are gone");
    bed.end().await
}

#[tokio::test]
async fn a_document_that_is_in_the_source_twice_is_refused() -> anyhow::Result<()> {
    let indexed = Indexed::start(10).await?;
    indexed
        .bed
        .write("more.jsonl", "{\"_id\":\"d1\",\"text\":\"again\"}")?;
    let ran = rebuild(&indexed.bed, &indexed.corpus, &[]).await?;
    ran.stopped_by("refused");
    assert!(
        ran.log.contains("`d1` is in the source twice"),
        "{}",
        ran.log
    );
    indexed.is_untouched().await?;
    indexed.end().await
}

#[tokio::test]
async fn dead_letters_stop_a_rebuild_until_they_are_replayed() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let corpus = corpus(12);
    let before = serving(&bed).await?;
    // A worker that may not write to the collection gives every job up.
    let refusing = bed.refusing_worker()?;
    let ran = rebuild(&bed, &corpus, &["--run-id", "night"]).await?;
    let reason = ran.stopped_by("dead letters");
    assert!(
        reason.contains("12 chunks are in dead letters, 0 are allowed"),
        "{reason}"
    );
    assert_eq!(serving(&bed).await?, before);
    refusing.kill().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.stack
        .indexer(&["dlq", "replay", "--run", "night"])
        .await?;
    rebuild(&bed, &corpus, &["--run-id", "night"]).await?.done();
    assert_eq!(found(&bed).await?, wanted(&corpus));
    assert_eq!(worker.metric("worker_chunks_total").await?, 12.0);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn dead_letters_within_the_limit_are_counted_and_let_pass() -> anyhow::Result<()> {
    let indexed = Indexed::start(30).await?;
    let mut corpus = indexed.corpus.clone();
    corpus.insert("d1".to_owned(), "This text is given up.".to_owned());
    indexed.worker.process.terminate().await?;
    let refusing = indexed.bed.refusing_worker()?;
    let ran = rebuild(&indexed.bed, &corpus, &["--max-dead-letters", "1"]).await?;
    let balanced = ran.done()["phases"].as_array().unwrap().iter();
    let dead: u64 = balanced
        .filter_map(|phase| phase["dead_lettered"].as_u64())
        .sum();
    assert_eq!(dead, 1, "{:#}", ran.report);
    corpus.remove("d1");
    assert_eq!(found(&indexed.bed).await?, wanted(&corpus));
    refusing.kill().await?;
    indexed.bed.end().await
}
