//! A sync goes on while its alias is rebuilt.

use tests::Bed;

use super::{command, sync};
use crate::rebuild::{self, corpus, found, spawn, wanted, write};

#[tokio::test]
async fn what_a_sync_writes_during_a_rebuild_is_there_after_it() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let mut corpus = corpus(20);
    rebuild::rebuild(&bed, &corpus, &[]).await?.done();
    let mut slow = rebuild::command(&bed, &corpus, &[])?;
    slow.env("EBB_FAILPOINTS", "rebuild-balanced=stall:6000");
    let mut running = spawn(&bed, slow)?;
    running.reaches("balanced").await?;
    corpus.insert("d1".to_owned(), "Changed in the meantime.".to_owned());
    corpus.insert("new".to_owned(), "Written in the meantime.".to_owned());
    corpus.remove("d2");
    sync(&bed, &corpus, &[]).await?.done();
    running.ended().await?.done();
    assert_eq!(found(&bed).await?, wanted(&corpus));
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_sync_starts_over_when_its_alias_has_moved() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let old = corpus(20);
    rebuild::rebuild(&bed, &old, &[]).await?.done();
    let mut corpus = old.clone();
    corpus.insert("d1".to_owned(), "Changed in the meantime.".to_owned());
    corpus.remove("d2");
    let folder = bed.directory.path().join("of-the-sync");
    std::fs::create_dir(&folder)?;
    std::fs::copy(
        write(&bed, &corpus)?.join("records.jsonl"),
        folder.join("records.jsonl"),
    )?;
    let mut slow = command(&bed, &folder, &[]);
    slow.env("EBB_FAILPOINTS", "sync-read=stall:8000");
    let syncing = spawn(&bed, slow)?;
    fixtures::wait::until("its jobs", tests::LIMIT, async || {
        Ok(syncing
            .log()?
            .contains("published 1 document of")
            .then_some(()))
    })
    .await?;
    rebuild::rebuild(&bed, &old, &[]).await?.done();
    let ran = syncing.ended().await?;
    ran.done();
    assert!(ran.log.contains("starting over"), "{}", ran.log);
    assert_eq!(ran.report["collection"], rebuild::serving(&bed).await?);
    assert_eq!(found(&bed).await?, wanted(&corpus));
    worker.process.kill().await?;
    bed.end().await
}
