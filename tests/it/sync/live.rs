//! What publishers write or delete since the start of a sync is newer than its source, and stays.

use tests::{Bed, flag};

use super::{changes, counts, sync};
use crate::rebuild::{corpus, found, now_micros, wanted};

#[tokio::test]
async fn what_was_written_since_the_start_is_neither_replaced_nor_deleted() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(20);
    sync(&bed, &corpus, &[]).await?.done();
    let later = now_micros() + 3_600_000_000;
    bed.publish_document("d1", later, &["Late one.", "Late two."])
        .await?;
    bed.publish_document("live", later, &["Not in the source."])
        .await?;
    bed.publish_removal("d2", later).await?;
    bed.publish_document("old", 1, &["Older than the source."])
        .await?;
    bed.drained().await?;
    corpus.insert("d3".to_owned(), "The source has changed this.".to_owned());
    let ran = sync(&bed, &corpus, &[]).await?;
    assert_eq!(changes(&ran), [17, 1, 1, 2]);
    assert_eq!(counts(&ran.report, ["newer"]), [2]);
    let mut model = wanted(&corpus);
    model.remove("d2");
    let late = ["Late one.", "Late two."];
    model.insert("d1".to_owned(), late.map(str::to_owned).to_vec());
    model.insert("live".to_owned(), vec!["Not in the source.".to_owned()]);
    assert_eq!(found(&bed).await?, model);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_live_write_wins_over_jobs_of_a_sync_that_are_done_after_it() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let mut corpus = corpus(10);
    let worker = bed.stack.worker("worker", &["--grace", "3s"]).await?;
    sync(&bed, &corpus, &[]).await?.done();
    worker.process.terminate().await?;
    corpus.insert("d1".to_owned(), "By the source.".to_owned());
    corpus.remove("d2");
    let ran = sync(&bed, &corpus, &["--no-wait"]).await?;
    assert!(ran.status.success(), "{}", ran.log);
    assert_eq!(ran.report["done"], false, "nothing is settled yet");
    assert_eq!(counts(&ran.report, ["published", "deleted"]), [1, 1]);
    let version = now_micros();
    bed.publish_document("d1", version, &["By hand."]).await?;
    bed.publish_document("d2", version, &["Back again."])
        .await?;
    bed.drain().await?;
    let mut model = wanted(&corpus);
    model.insert("d1".to_owned(), vec!["By hand.".to_owned()]);
    model.insert("d2".to_owned(), vec!["Back again.".to_owned()]);
    assert_eq!(found(&bed).await?, model);
    bed.end().await
}

#[tokio::test]
async fn live_changes_during_a_sync_are_what_people_find_after_it() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(60);
    sync(&bed, &corpus, &[]).await?.done();
    for n in 0..40 {
        corpus.insert(format!("d{n}"), format!("The source has changed {n}."));
    }
    for n in 50..55 {
        corpus.remove(&format!("d{n}"));
    }
    let source = crate::rebuild::write(&bed, &corpus)?;
    let mut slow = super::command(&bed, &source, &["--job-tokens", "1"]);
    let points = ["waited", "claimed", "read", "removing", "published"];
    let rules = points.map(|point| format!("sync-{point}=stall:300"));
    slow.env("EBB_FAILPOINTS", rules.join(";"));
    let running = crate::rebuild::spawn(&bed, slow)?;
    fixtures::wait::until("the start", tests::LIMIT, async || {
        Ok(running.log()?.contains("waiting for jobs").then_some(()))
    })
    .await?;
    let running = tokio::spawn(running.ended());
    let mut model = wanted(&corpus);
    let mut number: usize = 0;
    while !running.is_finished() {
        let id = format!("d{}", number * 7 % 60);
        let text = format!("Change {number} of {id}.");
        if number.is_multiple_of(4) {
            bed.publish_removal(&id, now_micros()).await?;
            model.remove(&id);
        } else {
            bed.publish_document(&id, now_micros(), &[&text]).await?;
            model.insert(id, vec![text]);
        }
        number += 1;
        // Spread over the whole run.
        tokio::time::sleep(fixtures::wait::POLL).await;
    }
    running.await??.done();
    bed.drained().await?;
    assert_eq!(found(&bed).await?, model, "{number} changes");
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_document_that_was_deleted_before_comes_back_with_the_source() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(10);
    sync(&bed, &corpus, &[]).await?.done();
    bed.publish_removal("d1", now_micros()).await?;
    bed.publish_removal("elsewhere", now_micros()).await?;
    let ran = sync(&bed, &corpus, &[]).await?;
    assert_eq!(changes(&ran), [9, 1, 0, 1]);
    assert_eq!(found(&bed).await?, wanted(&corpus));
    let points = bed.points().await?;
    let tombstone = &points[&("elsewhere".to_owned(), 0)];
    assert!(flag(tombstone, "deleted"), "a tombstone outlives a sync");
    worker.process.kill().await?;
    bed.end().await
}
