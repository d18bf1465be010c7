//! Ids of runs: a CronJob repeats one until it is done, whatever has happened to the source meanwhile.

use tests::Bed;

use super::{command, corpus, found, generations, rebuild, rebuild_with, spawn, wanted};

#[tokio::test]
async fn a_run_whose_source_has_changed_starts_anew_under_its_id() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let mut corpus = corpus(10);
    for text in ["First.", "Second."] {
        corpus.insert("d1".to_owned(), text.to_owned());
        rebuild_with(&bed, &corpus, &["--run-id", "night"], "rebuild-copied=kill").await?;
    }
    corpus.insert("d1".to_owned(), "Third.".to_owned());
    let mut running = spawn(&bed, command(&bed, &corpus, &["--run-id", "night"])?)?;
    running.reaches("created").await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let ran = running.ended().await?;
    assert_eq!(ran.done()["run"], "night-3");
    assert_eq!(found(&bed).await?, wanted(&corpus));
    assert_eq!(
        worker.metric("worker_chunks_total").await?,
        10.0,
        "what was published for nothing is not embedded"
    );
    let all = generations(&bed).await?;
    let again = rebuild(&bed, &corpus, &["--run-id", "night"]).await?;
    assert_eq!(again.done()["phases"], ran.done()["phases"]);
    assert_eq!(generations(&bed).await?, all);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn an_unfinished_run_that_goes_on_under_another_id_is_done_under_both() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(10);
    rebuild_with(&bed, &corpus, &["--run-id", "one"], "rebuild-copied=kill").await?;
    let ran = rebuild(&bed, &corpus, &["--run-id", "two"]).await?;
    ran.done();
    assert!(ran.log.contains("run one is run two"), "{}", ran.log);
    let all = generations(&bed).await?;
    for id in ["one", "two"] {
        let again = rebuild(&bed, &corpus, &["--run-id", id]).await?;
        assert_eq!(again.done()["phases"], ran.done()["phases"]);
    }
    assert_eq!(generations(&bed).await?, all);
    worker.process.kill().await?;
    bed.end().await
}
