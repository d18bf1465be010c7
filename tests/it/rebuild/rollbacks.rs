//! A rollback that dies anywhere loses nothing, and goes no generation further back when it is run again.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;

use fixtures::wait::until;
use rustix::process::Signal;
use tests::{Bed, LIMIT};

use super::generations::verb;
use super::{corpus, ended, found, now_micros, rebuild, serving, wanted, without_source};

/// An alias with two generations, and what has been written live since.
struct Setup {
    bed: Bed,
    worker: fixtures::stack::Worker,
    old: String,
    new: String,
    model: BTreeMap<String, Vec<String>>,
}

impl Setup {
    async fn start() -> anyhow::Result<Self> {
        let bed = Bed::start().await?;
        let worker = bed.stack.worker("worker", &[]).await?;
        let corpus = corpus(12);
        rebuild(&bed, &corpus, &[]).await?.done();
        let old = serving(&bed).await?;
        rebuild(&bed, &corpus, &[]).await?.done();
        let new = serving(&bed).await?;
        let mut model = wanted(&corpus);
        for id in ["after1", "after2"] {
            bed.publish_document(id, now_micros(), &["Written live."])
                .await?;
            model.insert(id.to_owned(), vec!["Written live.".to_owned()]);
        }
        bed.publish_removal("d7", now_micros()).await?;
        model.remove("d7");
        bed.drained().await?;
        Ok(Self {
            bed,
            worker,
            old,
            new,
            model,
        })
    }

    /// Rolls back and dies at a point.
    async fn killed_at(&self, point: &str) -> anyhow::Result<()> {
        let mut rollback = self.bed.stack.program("indexer");
        let alias = self.bed.stack.collection.as_str();
        rollback.args(["rollback", "--alias", alias, "--lease", "2s"]);
        rollback.env("EBB_FAILPOINTS", format!("{point}=kill"));
        let killed = rollback.output().await?;
        assert_eq!(killed.status.signal(), Some(Signal::KILL.as_raw()));
        Ok(())
    }

    async fn end(self) -> anyhow::Result<()> {
        self.worker.process.kill().await?;
        self.bed.end().await
    }
}

#[tokio::test]
async fn a_rollback_that_died_is_ended_by_the_next_one() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.killed_at("rollback-after-switch").await?;
    assert_eq!(serving(&setup.bed).await?, setup.old);
    assert!(!found(&setup.bed).await?.contains_key("after1"));
    let kept = verb(&setup.bed, "gc", &["--keep", "0"]).await?;
    let left = kept
        .iter()
        .find(|it| it["collection"] == setup.new.as_str());
    assert_eq!(left.unwrap()["fate"], "in_use", "{kept:?}");

    let again = verb(&setup.bed, "rollback", &[]).await?;
    assert_eq!(again[0]["to"], setup.old.as_str(), "{again:?}");
    assert_eq!(again[0]["resumed"], true, "{again:?}");
    assert_eq!(again[0]["carried"], 3, "{again:?}");
    assert_eq!(found(&setup.bed).await?, setup.model);
    setup.end().await
}

#[tokio::test]
async fn a_rollback_that_died_is_ended_by_the_next_rebuild() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.killed_at("rollback-after-switch").await?;
    let alias = setup.bed.stack.collection.as_str();
    let next = without_source(&setup.bed, &["--from-collection", alias]);
    let ran = ended(next).await?;
    ran.done();
    assert!(ran.log.contains("ending the rollback"), "{}", ran.log);
    assert_eq!(found(&setup.bed).await?, setup.model);
    setup.end().await
}

#[tokio::test]
async fn a_rollback_that_died_is_ended_by_the_next_sync() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.killed_at("rollback-after-switch").await?;
    // What the source says is newer than what was written live before it.
    let corpus = corpus(12);
    let ran = crate::sync::sync(&setup.bed, &corpus, &[]).await?;
    ran.done();
    assert!(ran.log.contains("ending the rollback"), "{}", ran.log);
    assert_eq!(found(&setup.bed).await?, wanted(&corpus));
    assert_eq!(ran.report["deleted"], 2, "{:#}", ran.report);
    setup.end().await
}

#[tokio::test]
async fn a_rollback_that_died_before_it_moved_the_alias_is_void() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.killed_at("rollback-before-switch").await?;
    assert_eq!(serving(&setup.bed).await?, setup.new);
    let alias = setup.bed.stack.collection.as_str();
    let next = without_source(&setup.bed, &["--from-collection", alias]);
    let ran = ended(next).await?;
    assert_eq!(ran.done()["previous"], setup.new.as_str());
    assert_eq!(found(&setup.bed).await?, setup.model);
    setup.end().await
}

#[tokio::test]
async fn a_rollback_that_died_before_it_moved_the_alias_can_be_run_again() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.killed_at("rollback-before-switch").await?;
    let again = verb(&setup.bed, "rollback", &[]).await?;
    assert_eq!(again[0]["to"], setup.old.as_str(), "{again:?}");
    assert_eq!(again[0]["resumed"], false, "{again:?}");
    assert_eq!(found(&setup.bed).await?, setup.model);
    setup.end().await
}

#[tokio::test]
async fn a_document_that_was_written_again_under_its_version_is_carried_over_as_it_is_now()
-> anyhow::Result<()> {
    let mut setup = Setup::start().await?;
    // Newer than the rebuild, which keeps it as it is.
    let version = now_micros() + 3_600_000_000;
    let bed = &setup.bed;
    bed.publish_document("again", version, &["One."]).await?;
    bed.drained().await?;
    let alias = bed.stack.collection.as_str();
    let next = without_source(bed, &["--from-collection", alias]);
    ended(next).await?.done();
    // Points say in whole seconds when they were written.
    let written = now_micros() / 1_000_000;
    until("the next second", LIMIT, async || {
        Ok((now_micros() / 1_000_000 > written).then_some(()))
    })
    .await?;
    let texts = ["Another one.", "Two.", "Three."];
    bed.publish_document("again", version, &texts).await?;
    bed.drained().await?;
    verb(bed, "rollback", &[]).await?;
    setup
        .model
        .insert("again".to_owned(), texts.map(str::to_owned).to_vec());
    assert_eq!(found(&setup.bed).await?, setup.model);
    setup.end().await
}
