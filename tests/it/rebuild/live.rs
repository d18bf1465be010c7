//! Live writes go on while an alias is rebuilt, and none is lost.

use std::collections::BTreeMap;

use tests::Bed;

use super::{command, corpus, found, now_micros, rebuild, rebuild_with, spawn, wanted};

/// What must hold: the texts of each document.
type Model = BTreeMap<String, Vec<String>>;

/// Publishes changes one after the other, each with a version of its own.
struct Writer<'a> {
    bed: &'a Bed,
    model: Model,
    random: fastrand::Rng,
    version: u64,
}

impl Writer<'_> {
    fn next_version(&mut self) -> u64 {
        self.version = now_micros().max(self.version + 1);
        self.version
    }

    async fn change(&mut self, number: usize) -> anyhow::Result<()> {
        let version = self.next_version();
        let id = match self.random.u8(..3) {
            0 => format!("live{}", self.random.u8(..40)),
            _ => format!("d{}", self.random.u16(..200)),
        };
        if self.random.u8(..4) == 0 {
            self.model.remove(&id);
            self.bed.publish_removal(&id, version).await?;
            return Ok(());
        }
        let chunks = self.random.usize(1..5);
        let texts: Vec<_> = (0..chunks)
            .map(|chunk| format!("Change {number} of {id}, part {chunk}."))
            .collect();
        let parts: Vec<_> = texts.iter().map(String::as_str).collect();
        self.bed.publish_document(&id, version, &parts).await?;
        self.model.insert(id, texts);
        Ok(())
    }
}

#[tokio::test]
async fn live_changes_during_a_rebuild_are_what_people_find_after_it() -> anyhow::Result<()> {
    let changes = std::env::var("EBB_REBUILD_CHANGES").map_or(Ok(300), |n| n.parse::<usize>())?;
    let bed = Bed::start().await?;
    // Few jobs at a time, so that many are in flight at the switch.
    let worker = bed.stack.worker("worker", &["--batch-jobs", "4"]).await?;
    let mut corpus = corpus(200);
    rebuild(&bed, &corpus, &[]).await?.done();
    for n in 0..50 {
        corpus.insert(
            format!("d{n}"),
            format!("The source has changed document {n}."),
        );
    }
    let mut stalled = command(&bed, &corpus, &[])?;
    let points = [
        "created",
        "copied",
        "balanced",
        "caught-up",
        "before-switch",
        "after-switch",
        "switched",
    ];
    let pause = 200 + changes;
    let rules: Vec<_> = points
        .iter()
        .map(|point| format!("rebuild-{point}=stall:{pause}"))
        .collect();
    stalled.env("EBB_FAILPOINTS", rules.join(";"));
    let mut writer = Writer {
        bed: &bed,
        model: wanted(&corpus),
        random: fastrand::Rng::with_seed(7),
        version: 0,
    };
    let mut running = spawn(&bed, stalled)?;
    running.reaches("created").await?;
    let running = tokio::spawn(running.ended());
    let mut number = 0;
    while !running.is_finished() && number < changes {
        writer.change(number).await?;
        number += 1;
        // Spread over the whole run.
        tokio::time::sleep(fixtures::wait::POLL).await;
    }
    let ran = running.await??;
    ran.done();
    while number < changes {
        writer.change(number).await?;
        number += 1;
    }
    bed.drained().await?;
    let (found, model) = (found(&bed).await?, writer.model);
    for id in found.keys().chain(model.keys()) {
        assert_eq!(found.get(id), model.get(id), "{id}");
    }
    eprintln!("{number} changes\n{:#}", ran.report["phases"]);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_live_change_between_the_last_look_and_the_switch_is_carried_over() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(10);
    rebuild(&bed, &corpus, &[]).await?.done();
    let mut late = command(&bed, &corpus, &[])?;
    late.env("EBB_FAILPOINTS", "rebuild-before-switch=stall:3000");
    let mut running = spawn(&bed, late)?;
    running.reaches("verified").await?;
    let version = now_micros();
    bed.publish_document("d1", version, &["Late one.", "Late two."])
        .await?;
    bed.publish_removal("d2", version).await?;
    bed.publish_document("new", version, &["A new one."])
        .await?;
    let ran = running.ended().await?;
    ran.done();
    bed.drained().await?;
    let mut model = wanted(&corpus);
    model.insert(
        "d1".to_owned(),
        vec!["Late one.".to_owned(), "Late two.".to_owned()],
    );
    model.remove("d2");
    model.insert("new".to_owned(), vec!["A new one.".to_owned()]);
    assert_eq!(found(&bed).await?, model);
    // The generation had the document's vector when the removal was carried over.
    let points = bed.points().await?;
    let tombstone = &points[&("d2".to_owned(), 0)];
    assert!(
        tests::flag(tombstone, "deleted") && tests::vector(tombstone).is_none(),
        "{tombstone:?}"
    );
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_write_that_is_half_done_at_the_switch_is_whole_after_it() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    let worker = bed.stack.worker("worker", &["--grace", "3s"]).await?;
    let corpus = corpus(10);
    rebuild(&bed, &corpus, &[]).await?.done();
    worker.process.terminate().await?;
    let killed = rebuild_with(&bed, &corpus, &[], "rebuild-before-switch=kill").await?;
    assert!(!killed.status.success());
    // The head is written to the old generation, the rest to the new one, long after the switch.
    let mut slow = bed.stack.program("worker");
    slow.args(["run", "--grace", "3s"]);
    slow.env("EBB_FAILPOINTS", "after-head=stall:7000");
    let log = bed.directory.path().join("slow.log");
    let slow = fixtures::process::Process::start(slow, "slow worker", &log)?;
    let texts = ["Half one.", "Half two.", "Half three."];
    bed.publish_document("d1", now_micros(), &texts).await?;
    fixtures::wait::until("the head", tests::LIMIT, async || {
        let points = bed.points().await?;
        let head = &points[&("d1".to_owned(), 0)];
        Ok((tests::integer(head, "chunks") == 3).then_some(()))
    })
    .await?;
    let ran = rebuild(&bed, &corpus, &[]).await?;
    ran.done();
    bed.drained().await?;
    let mut model = wanted(&corpus);
    model.insert("d1".to_owned(), texts.map(str::to_owned).to_vec());
    assert_eq!(found(&bed).await?, model);
    slow.kill().await?;
    bed.end().await
}
