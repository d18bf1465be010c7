//! A rebuild that is killed anywhere is as good as one that was not, once it has gone on.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;
use tests::{Bed, cosine, integer, text, vector};

use super::{corpus, found, rebuild, rebuild_with, serving, wanted};

#[tokio::test]
async fn a_rebuild_that_is_killed_while_it_fills_ends_as_one_that_was_not() -> anyhow::Result<()> {
    killed_at(&[
        "rebuild-planned",
        "rebuild-created",
        "rebuild-copying",
        "rebuild-copied",
        "rebuild-balanced",
    ])
    .await
}

#[tokio::test]
async fn a_rebuild_that_is_killed_while_it_is_proved_ends_as_one_that_was_not() -> anyhow::Result<()>
{
    killed_at(&[
        "rebuild-catching-up",
        "rebuild-caught-up",
        "rebuild-indexing",
        "rebuild-indexed",
        "rebuild-verified",
    ])
    .await
}

#[tokio::test]
async fn a_rebuild_that_is_killed_around_the_switch_ends_as_one_that_was_not() -> anyhow::Result<()>
{
    killed_at(&[
        "rebuild-before-switch",
        "rebuild-after-switch",
        "rebuild-switched",
        "rebuild-finishing",
        "rebuild-done",
    ])
    .await
}

async fn killed_at(points: &[&str]) -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(40);
    rebuild(&bed, &corpus, &[]).await?.done();
    for (round, point) in points.iter().enumerate() {
        let before = found(&bed).await?;
        for n in 0..3 {
            let text = format!("Text {n} of round {round} is new.");
            corpus.insert(format!("d{}", (round + n * 7) % 38), text);
        }
        let embedded = worker.metric("worker_chunks_total").await?;
        let id = format!("round-{round}");
        let arguments = ["--run-id", id.as_str()];
        let killed = rebuild_with(&bed, &corpus, &arguments, &format!("{point}=kill")).await?;
        let signal = killed.status.signal();
        assert_eq!(
            signal,
            Some(Signal::KILL.as_raw()),
            "{point}: {}",
            killed.log
        );
        let half_way = found(&bed).await?;
        let is_old_or_new = half_way == before || half_way == wanted(&corpus);
        assert!(is_old_or_new, "{point}: {half_way:?}");

        rebuild(&bed, &corpus, &arguments).await?.done();
        assert_eq!(found(&bed).await?, wanted(&corpus), "{point}");
        let embedded = worker.metric("worker_chunks_total").await? - embedded;
        assert_eq!(
            embedded, 3.0,
            "{point}: only what has changed is embedded, once"
        );
        let generation = format!("{}--{id}", bed.stack.collection);
        assert_eq!(serving(&bed).await?, generation, "{point}");
        is_as_one_that_was_not_killed(&bed, &corpus, point).await?;
    }
    worker.process.kill().await?;
    bed.end().await
}

/// Compares with a whole rebuild that embeds everything again.
async fn is_as_one_that_was_not_killed(
    bed: &Bed,
    corpus: &super::Corpus,
    point: &str,
) -> anyhow::Result<()> {
    let resumed = bed.points().await?;
    rebuild(bed, corpus, &["--full"]).await?.done();
    let whole = bed.points().await?;
    let keys =
        |points: &std::collections::BTreeMap<_, _>| points.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&resumed), keys(&whole), "{point}");
    let versions: std::collections::BTreeSet<_> = resumed
        .values()
        .map(|point| integer(point, "version"))
        .collect();
    assert_eq!(versions.len(), 1, "{point}: {versions:?}");
    for (key, one) in &resumed {
        let other = &whole[key];
        for field in ["text", "digest", "fingerprint"] {
            assert_eq!(text(one, field), text(other, field), "{point}: {key:?}");
        }
        let (one, other) = (
            vector(one).expect("a vector"),
            vector(other).expect("a vector"),
        );
        assert!(cosine(&one, &other) > 0.9999, "{point}: {key:?}");
    }
    Ok(())
}

#[tokio::test]
async fn jobs_that_were_published_before_a_crash_are_not_published_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let corpus = corpus(30);
    // No worker yet: everything is in flight when the process dies.
    let killed = rebuild_with(&bed, &corpus, &[], "rebuild-copied=kill").await?;
    assert_eq!(
        killed.status.signal(),
        Some(Signal::KILL.as_raw()),
        "{}",
        killed.log
    );
    let worker = bed.stack.worker("worker", &[]).await?;
    rebuild(&bed, &corpus, &[]).await?.done();
    assert_eq!(worker.metric("worker_chunks_total").await?, 30.0);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn jobs_that_were_lost_with_their_stream_are_published_again() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let corpus = corpus(30);
    let killed = rebuild_with(&bed, &corpus, &[], "rebuild-copied=kill").await?;
    assert_eq!(
        killed.status.signal(),
        Some(Signal::KILL.as_raw()),
        "{}",
        killed.log
    );
    bed.jetstream()
        .get_stream(contract::topology::JOBS)
        .await?
        .purge()
        .await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let ran = rebuild(&bed, &corpus, &[]).await?;
    assert_eq!(ran.done()["chunks"], 30);
    assert_eq!(found(&bed).await?, wanted(&corpus));
    assert_eq!(worker.metric("worker_chunks_total").await?, 30.0);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_run_whose_source_has_changed_is_given_up_for_a_new_one() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let mut corpus = corpus(20);
    let killed = rebuild_with(&bed, &corpus, &["--run-id", "old"], "rebuild-copied=kill").await?;
    assert_eq!(
        killed.status.signal(),
        Some(Signal::KILL.as_raw()),
        "{}",
        killed.log
    );
    corpus.remove("d7");
    corpus.insert("d8".to_owned(), "Changed while nobody looked.".to_owned());
    let worker = bed.stack.worker("worker", &[]).await?;
    let ran = rebuild(&bed, &corpus, &["--run-id", "new"]).await?;
    assert_eq!(ran.done()["run"], "new");
    assert!(ran.log.contains("run old is given up"), "{}", ran.log);
    assert_eq!(found(&bed).await?, wanted(&corpus));
    worker.process.kill().await?;
    bed.end().await
}
