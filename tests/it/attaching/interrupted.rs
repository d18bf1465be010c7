//! Processes that are killed between any two steps.

use std::os::unix::process::ExitStatusExt as _;

use contract::topology::RUNS;
use fixtures::wait::until;
use rustix::process::Signal;
use tests::LIMIT;

use super::scene::{NAME, Scene, attached};

#[tokio::test]
async fn an_attach_that_is_killed_anywhere_and_run_again_completes_it() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.write_documents(40).await?;
    scene.bed.drain().await?;
    for point in [
        "attach-reserved",
        "attach-created",
        "attach-listed",
        "addition-stored",
        "addition-saved",
    ] {
        let mut command = scene.bed.stack.program("indexer");
        let alias = &scene.bed.stack.collection;
        command.args(["attach", "--alias", alias, "--model", &scene.second]);
        command.args(["--as", NAME, "--job-tokens", "1", "--lease", "1s"]);
        command.env("EBB_FAILPOINTS", format!("{point}=kill"));
        let killed = command.output().await?;
        let signal = killed.status.signal();
        assert_eq!(signal, Some(Signal::KILL.as_raw()), "{point}: {killed:?}");
        // Meanwhile others write.
        let version = 10 + point.len() as u64;
        scene
            .bed
            .publish_document(point, version, &["written meanwhile"])
            .await?;
        scene.bed.drain().await?;
    }
    let report = scene
        .attach(&["--job-tokens", "1", "--lease", "1s"])
        .await?;
    let count = |name: &str| report[name].as_u64().unwrap_or_default();
    assert!(count("points") >= 80, "{report}");
    assert!(count("duplicates") > 0, "it begins where it was: {report}");
    scene.drain_second().await?;
    scene.assert_complete(85).await?;
    scene.bed.end().await
}

#[tokio::test]
async fn a_detach_that_loses_its_lease_removes_nothing_more() -> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.write_documents(2).await?;
    scene.bed.drain().await?;
    let bucket = scene.bed.jetstream().get_key_value(RUNS).await?;
    let lease = format!("lease.rebuild.{}", scene.bed.stack.collection);
    let has_vectors = async || -> anyhow::Result<bool> {
        let points = scene.bed.points().await?;
        Ok(points.values().any(|point| attached(point).is_some()))
    };
    for (point, is_kept) in [("detach-reserved", true), ("detach-removed", false)] {
        scene.attach(&[]).await?;
        scene.drain_second().await?;
        scene.bed.publish_document(point, 1, &["a text"]).await?;
        scene.bed.drain().await?;
        let mut detach = scene.bed.stack.program("indexer");
        detach.args(["detach", "--vector", NAME, "--lease", "1s"]);
        detach.env("EBB_COLLECTION", &scene.bed.stack.collection);
        detach.env("EBB_FAILPOINTS", format!("{point}=stall:4000"));
        let detach = detach.kill_on_drop(true).output();
        let lost = async || -> anyhow::Result<()> {
            until("the detach", LIMIT, async || {
                let reserved = super::listed(&scene, "ebb_reserved_vectors").await?;
                let is_there = !reserved.is_empty() && has_vectors().await? == is_kept;
                Ok(is_there.then_some(()))
            })
            .await?;
            Ok(bucket.purge(&lease).await?)
        };
        let (detached, lost) = tokio::join!(detach, lost());
        let (detached, ()) = (detached?, lost?);
        let said = String::from_utf8_lossy(&detached.stderr);
        assert!(!detached.status.success(), "{point}: {said}");
        assert!(said.contains("lost the lease"), "{point}: {said}");
        assert_eq!(has_vectors().await?, is_kept, "{point}");
        assert_eq!(scene.waiting().await?, 1, "{point}");
    }
    scene.bed.end().await
}

#[tokio::test]
async fn a_vector_that_is_detached_and_attached_again_forgets_the_run_that_was_killed()
-> anyhow::Result<()> {
    let scene = Scene::start().await?;
    scene.write_documents(20).await?;
    scene.bed.drain().await?;
    // Both ways to a vector that is made anew: a detach that has come to its end, and one that has not.
    for point in [None, Some("detach-removed")] {
        let attach = ["attach", "--model", &scene.second, "--as", NAME];
        let more = ["--job-tokens", "1", "--lease", "1s"];
        let attach = [&attach[..], &more].concat();
        scene.killed_at("addition-saved", &attach).await?;
        let detach = ["detach", "--vector", NAME, "--lease", "1s"];
        match point {
            Some(point) => scene.killed_at(point, &detach).await?,
            None => drop(scene.indexer(&detach).await?),
        }
        let report = scene.attach(&more).await?;
        let counts = (&report["points"], &report["existed"]);
        assert_eq!(counts, (&40.into(), &false.into()), "{report}");
        assert_eq!(report["duplicates"], 0, "{report}");
        scene.drain_second().await?;
        scene.assert_complete(40).await?;
        scene.indexer(&detach).await?;
    }
    scene.bed.end().await
}

#[tokio::test]
async fn a_worker_that_dies_before_it_acknowledges_hands_on_what_it_has_written()
-> anyhow::Result<()> {
    let scene = Scene::impatient().await?;
    scene.attach(&["--lease", "1s"]).await?;
    let points = [
        "after-upsert",
        "before-hand-on",
        "after-hand-on",
        "before-ack",
    ];
    for (number, point) in points.into_iter().enumerate() {
        scene.write_documents_at(4, 1 + number as u64).await?;
        let status = scene
            .bed
            .run_with_failpoints(&format!("{point}=kill"))
            .await?;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{point}");
        // What was handed on is done before it is handed on once more.
        scene.drain_second().await?;
        scene.bed.drain().await?;
        scene.drain_second().await?;
        scene.assert_complete(8).await?;
    }
    assert!(scene.bed.dead_letters().await?.is_empty());
    scene.bed.end().await
}

#[tokio::test]
async fn a_worker_of_the_attached_model_that_dies_does_its_job_again() -> anyhow::Result<()> {
    let scene = Scene::impatient().await?;
    scene.write_documents(4).await?;
    scene.bed.drain().await?;
    scene.attach(&["--lease", "1s"]).await?;
    for point in ["before-embed", "after-additions", "before-ack"] {
        let mut command = scene.bed.stack.program("worker");
        command.args(["run", "--drain", "--grace", "3s", "--model", &scene.second]);
        command.env("EBB_FAILPOINTS", format!("{point}=kill"));
        let killed = command.output().await?;
        assert_eq!(
            killed.status.signal(),
            Some(Signal::KILL.as_raw()),
            "{point}"
        );
    }
    scene.drain_second().await?;
    scene.assert_complete(8).await?;
    scene.bed.end().await
}
