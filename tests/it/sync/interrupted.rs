//! A sync that is killed anywhere is as good as one that was not, once it has been run again.

use std::os::unix::process::ExitStatusExt as _;

use contract::topology::JOBS;
use rustix::process::Signal;
use tests::Bed;

use super::{changes, command, counts, jobs, sync, sync_with};
use crate::rebuild::{corpus, found, spawn, wanted, write};

#[tokio::test]
async fn a_sync_that_is_killed_anywhere_ends_as_one_that_was_not() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(120);
    sync(&bed, &corpus, &[]).await?.done();
    let rules = [
        "sync-waited=kill",
        "sync-claimed=kill",
        // The last of many: jobs are on their way.
        "sync-publishing=kill/d79/",
        "sync-read=kill",
        "sync-removing=kill",
        "sync-published=kill",
        "sync-done=kill",
    ];
    for (round, rule) in rules.iter().enumerate() {
        for n in 0..40 {
            let text = format!("Text {n} of round {round} is new.");
            corpus.insert(format!("d{}", 40 + n), text);
        }
        corpus.remove(&format!("d{}", 100 + round));
        let embedded = worker.metric("worker_chunks_total").await?;
        let id = format!("round-{round}");
        let arguments = ["--run-id", id.as_str(), "--job-tokens", "1"];
        let killed = sync_with(&bed, &corpus, &arguments, rule).await?;
        let signal = killed.status.signal();
        assert_eq!(
            signal,
            Some(Signal::KILL.as_raw()),
            "{rule}: {}",
            killed.log
        );

        sync(&bed, &corpus, &arguments).await?.done();
        assert_eq!(found(&bed).await?, wanted(&corpus), "{rule}");
        let embedded = worker.metric("worker_chunks_total").await? - embedded;
        assert_eq!(embedded, 40.0, "{rule}: what has changed is embedded once");
        let before = jobs(&bed).await?;
        assert_eq!(changes(&sync(&bed, &corpus, &[]).await?)[1..], [0, 0, 0]);
        assert_eq!(jobs(&bed).await?, before, "{rule}");
    }
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn what_is_in_flight_is_awaited_and_not_published_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let corpus = corpus(30);
    // No worker yet: everything is in flight when the process dies.
    let killed = sync_with(&bed, &corpus, &[], "sync-published=kill").await?;
    let signal = killed.status.signal();
    assert_eq!(signal, Some(Signal::KILL.as_raw()), "{}", killed.log);
    let worker = bed.stack.worker("worker", &[]).await?;
    assert_eq!(changes(&sync(&bed, &corpus, &[]).await?), [30, 0, 0, 0]);
    assert_eq!(worker.metric("worker_chunks_total").await?, 30.0);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn jobs_that_are_lost_with_their_stream_are_published_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let corpus = corpus(30);
    let running = spawn(&bed, command(&bed, &write(&bed, &corpus)?, &[]))?;
    fixtures::wait::until("its jobs", tests::LIMIT, async || {
        Ok(running.log()?.contains("published 30").then_some(()))
    })
    .await?;
    let stream = bed.jetstream().get_stream(JOBS).await?;
    stream.purge().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let ran = running.ended().await?;
    assert_eq!(counts(ran.done(), ["documents", "published"]), [30, 60]);
    assert_eq!(found(&bed).await?, wanted(&corpus));
    assert_eq!(worker.metric("worker_chunks_total").await?, 30.0);
    worker.process.kill().await?;
    bed.end().await
}
