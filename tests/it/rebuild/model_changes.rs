//! A change of models that dies or is taken back: what was written live is embedded by whichever model the alias ends at.

use std::os::unix::process::ExitStatusExt as _;

use contract::topology::{Lane, Priority, Task};
use fixtures::process::Process;
use fixtures::wait::until;
use rustix::process::Signal;
use serde_json::json;
use tests::{Bed, LIMIT, flag, text};

use super::generations::verb;
use super::models::{other_model, worker};
use super::{
    Corpus, Ran, command, corpus, ended, found, now_micros, rebuild, serving, spawn, wanted,
};

/// A bed whose alias is to change its model.
struct Setup {
    bed: Bed,
    corpus: Corpus,
    /// Directory of the other model.
    model: String,
    generation: String,
    new_worker: Process,
}

impl Setup {
    /// With a worker of the other model, but none of the first.
    async fn start() -> anyhow::Result<Self> {
        let bed = Bed::start().await?;
        let old_worker = bed.stack.worker("first", &[]).await?;
        let corpus = corpus(20);
        rebuild(&bed, &corpus, &[]).await?.done();
        old_worker.process.terminate().await?;
        let model = other_model(&bed).await?;
        let generation = format!("{}--new", bed.stack.collection);
        let new_worker = worker(&bed, &model, &generation)?;
        Ok(Self {
            bed,
            corpus,
            model,
            generation,
            new_worker,
        })
    }

    /// The change, with failpoints.
    fn change(&self, failpoints: &str) -> anyhow::Result<tokio::process::Command> {
        let mut command = command(&self.bed, &self.corpus, &["--run-id", "new"])?;
        command.env("EBB_MODEL", &self.model);
        command.env("EBB_FAILPOINTS", failpoints);
        Ok(command)
    }

    async fn killed_at(&self, point: &str) -> anyhow::Result<()> {
        was_killed(&ended(self.change(&format!("{point}=kill"))?).await?);
        Ok(())
    }

    /// Publishes a document for the alias on the live lane of the other model.
    async fn publish_for_other(&self, id: &str) -> anyhow::Result<()> {
        let lane = Lane::new(Task::Embed, "tiny-short".parse()?, Priority::Live);
        let job = json!({
            "version": "1.0", "kind": "embed", "collection": self.bed.stack.collection,
            "documents": [{ "id": id, "version": now_micros(), "chunks": [{ "text": "Written live." }] }],
        });
        let sent = self
            .bed
            .jetstream()
            .publish(lane.subject(), job.to_string().into());
        sent.await?.await?;
        Ok(())
    }

    /// All that people find is of the first model.
    async fn is_of_first_model(&self) -> anyhow::Result<()> {
        for ((doc_id, _), point) in self.bed.points().await? {
            let (found, first) = (text(&point, "fingerprint"), &self.bed.manifest.fingerprint);
            assert!(
                flag(&point, "deleted") || found == first.as_str(),
                "{doc_id}"
            );
        }
        Ok(())
    }
}

fn was_killed(ran: &Ran) {
    assert_eq!(
        ran.status.signal(),
        Some(Signal::KILL.as_raw()),
        "{}",
        ran.log
    );
}

#[tokio::test]
async fn a_change_of_models_that_died_after_it_embedded_live_writes_goes_on() -> anyhow::Result<()>
{
    let setup = Setup::start().await?;
    let bed = &setup.bed;
    let old_worker = bed.stack.worker("old", &[]).await?;
    let change = setup.change("rebuild-balanced=stall:2000;rebuild-caught-up=kill")?;
    let mut running = spawn(bed, change)?;
    running.reaches("balanced").await?;
    let version = now_micros();
    bed.publish_document("live", version, &["Live one.", "Live two."])
        .await?;
    bed.publish_document("d1", version, &["Live three."])
        .await?;
    bed.drained().await?;
    was_killed(&running.ended().await?);
    ended(setup.change("")?).await?.done();
    assert_eq!(serving(bed).await?, setup.generation);
    let mut model = wanted(&setup.corpus);
    let live = ["Live one.", "Live two."].map(str::to_owned);
    model.insert("live".to_owned(), live.to_vec());
    model.insert("d1".to_owned(), vec!["Live three.".to_owned()]);
    let mut texts = std::collections::BTreeMap::<String, Vec<String>>::new();
    for ((doc_id, _), point) in bed.points().await? {
        texts.entry(doc_id).or_default().push(text(&point, "text"));
    }
    assert_eq!(texts, model);
    old_worker.process.kill().await?;
    setup.new_worker.kill().await?;
    setup.bed.end().await
}

#[tokio::test]
async fn a_rollback_to_another_model_embeds_again_what_was_written_since() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    let bed = &setup.bed;
    ended(setup.change("")?).await?.done();
    // It may write to the generation alone, and would refuse what names the alias.
    setup.new_worker.signal(Signal::KILL)?;
    let live_worker = worker(bed, &setup.model, bed.stack.collection.as_str())?;
    setup.publish_for_other("done").await?;
    until("the document to be written", LIMIT, async || {
        let points = bed.points().await?;
        Ok(points.contains_key(&("done".to_owned(), 0)).then_some(()))
    })
    .await?;
    live_worker.kill().await?;
    setup.publish_for_other("waiting").await?;

    let old_worker = bed.stack.worker("old", &[]).await;
    assert!(old_worker.is_err(), "the alias is of another model");
    let rollback = verb(bed, "rollback", &["--stall-limit", "60s"]);
    let first = async {
        let moved = until("the alias to move", LIMIT, async || {
            Ok((serving(bed).await? != setup.generation).then_some(()))
        });
        moved.await?;
        bed.stack.worker("old again", &[]).await
    };
    let (rolled_back, old_worker) = tokio::join!(rollback, first);
    let (rolled_back, old_worker) = (rolled_back?, old_worker?);
    assert_eq!(rolled_back[0]["embedded"], 1, "{rolled_back:?}");
    assert_eq!(rolled_back[0]["left"], 0, "{rolled_back:?}");
    bed.drained().await?;
    let mut model = wanted(&setup.corpus);
    for id in ["done", "waiting"] {
        model.insert(id.to_owned(), vec!["Written live.".to_owned()]);
    }
    assert_eq!(found(bed).await?, model);
    setup.is_of_first_model().await?;
    assert!(bed.dead_letters().await?.is_empty());
    old_worker.process.kill().await?;
    setup.bed.end().await
}

#[tokio::test]
async fn jobs_that_were_handed_over_come_back_with_a_rollback() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    let bed = &setup.bed;
    let mut running = spawn(bed, setup.change("rebuild-switched=kill")?)?;
    running.reaches("created").await?;
    let version = now_micros();
    bed.publish_document("live", version, &["Live one."])
        .await?;
    bed.publish_removal("d3", version).await?;
    was_killed(&running.ended().await?);
    setup.new_worker.signal(Signal::KILL)?;
    setup.killed_at("rebuild-rerouted").await?;

    let rollback = verb(bed, "rollback", &["--stall-limit", "60s"]).await?;
    assert_eq!(rollback[0]["left"], 0, "{rollback:?}");
    let old_worker = bed.stack.worker("old", &[]).await?;
    bed.drained().await?;
    let mut model = wanted(&setup.corpus);
    model.insert("live".to_owned(), vec!["Live one.".to_owned()]);
    model.remove("d3");
    assert_eq!(found(bed).await?, model);
    setup.is_of_first_model().await?;
    old_worker.process.kill().await?;
    setup.bed.end().await
}
