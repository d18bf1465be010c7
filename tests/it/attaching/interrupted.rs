//! Processes that are killed between any two steps.

use std::os::unix::process::ExitStatusExt as _;

use contract::topology::RUNS;
use fixtures::wait::until;
use rustix::process::Signal;
use tests::LIMIT;

use super::setup::{NAME, Setup, attached};

#[tokio::test]
async fn an_attach_that_is_killed_anywhere_and_run_again_completes_it() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.write_documents(40).await?;
    setup.bed.drain().await?;
    for point in [
        "attach-reserved",
        "attach-created",
        "attach-listed",
        "addition-stored",
        "addition-saved",
    ] {
        let mut command = setup.bed.stack.program("indexer");
        let alias = &setup.bed.stack.collection;
        command.args(["attach", "--alias", alias, "--model", &setup.second]);
        command.args(["--as", NAME, "--job-tokens", "1", "--lease", "1s"]);
        command.env("EBB_FAILPOINTS", format!("{point}=kill"));
        let killed = command.output().await?;
        let signal = killed.status.signal();
        assert_eq!(signal, Some(Signal::KILL.as_raw()), "{point}: {killed:?}");
        // Meanwhile others write.
        let version = 10 + point.len() as u64;
        setup
            .bed
            .publish_document(point, version, &["written meanwhile"])
            .await?;
        setup.bed.drain().await?;
    }
    let report = setup
        .attach(&["--job-tokens", "1", "--lease", "1s"])
        .await?;
    let count = |name: &str| report[name].as_u64().unwrap_or_default();
    assert!(count("points") >= 80, "{report}");
    assert!(count("duplicates") > 0, "it begins where it was: {report}");
    setup.drain_second().await?;
    setup.assert_complete(85).await?;
    setup.bed.end().await
}

#[tokio::test]
async fn a_detach_that_loses_its_lease_removes_nothing_more() -> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.write_documents(2).await?;
    setup.bed.drain().await?;
    let bucket = setup.bed.jetstream().get_key_value(RUNS).await?;
    let lease = format!("lease.rebuild.{}", setup.bed.stack.collection);
    let has_vectors = async || -> anyhow::Result<bool> {
        let points = setup.bed.points().await?;
        Ok(points.values().any(|point| attached(point).is_some()))
    };
    for (point, is_kept) in [("detach-reserved", true), ("detach-removed", false)] {
        setup.attach(&[]).await?;
        setup.drain_second().await?;
        setup.bed.publish_document(point, 1, &["a text"]).await?;
        setup.bed.drain().await?;
        let mut detach = setup.bed.stack.program("indexer");
        detach.args(["detach", "--vector", NAME, "--lease", "1s"]);
        detach.env("EBB_COLLECTION", &setup.bed.stack.collection);
        detach.env("EBB_FAILPOINTS", format!("{point}=stall:4000"));
        let detach = detach.kill_on_drop(true).output();
        let lost = async || -> anyhow::Result<()> {
            until("the detach", LIMIT, async || {
                let reserved = super::listed(&setup, "ebb_reserved_vectors").await?;
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
        assert_eq!(setup.waiting().await?, 1, "{point}");
    }
    setup.bed.end().await
}

#[tokio::test]
async fn a_vector_that_is_detached_and_attached_again_forgets_the_run_that_was_killed()
-> anyhow::Result<()> {
    let setup = Setup::start().await?;
    setup.write_documents(20).await?;
    setup.bed.drain().await?;
    // Both ways to a vector that is made anew: a detach that has come to its end, and one that has not.
    for point in [None, Some("detach-removed")] {
        let attach = ["attach", "--model", &setup.second, "--as", NAME];
        let more = ["--job-tokens", "1", "--lease", "1s"];
        let attach = [&attach[..], &more].concat();
        setup.killed_at("addition-saved", &attach).await?;
        let detach = ["detach", "--vector", NAME, "--lease", "1s"];
        match point {
            Some(point) => setup.killed_at(point, &detach).await?,
            None => drop(setup.indexer(&detach).await?),
        }
        let report = setup.attach(&more).await?;
        let counts = (&report["points"], &report["existed"]);
        assert_eq!(counts, (&40.into(), &false.into()), "{report}");
        assert_eq!(report["duplicates"], 0, "{report}");
        setup.drain_second().await?;
        setup.assert_complete(40).await?;
        setup.indexer(&detach).await?;
    }
    setup.bed.end().await
}

#[tokio::test]
async fn a_worker_that_dies_before_it_acknowledges_hands_on_what_it_has_written()
-> anyhow::Result<()> {
    let setup = Setup::impatient().await?;
    setup.attach(&["--lease", "1s"]).await?;
    let points = [
        "after-upsert",
        "before-attach-jobs",
        "after-attach-jobs",
        "before-ack",
    ];
    for (number, point) in points.into_iter().enumerate() {
        setup.write_documents_at(4, 1 + number as u64).await?;
        let status = setup
            .bed
            .run_with_failpoints(&format!("{point}=kill"))
            .await?;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{point}");
        // What was handed on is done before it is handed on once more.
        setup.drain_second().await?;
        setup.bed.drain().await?;
        setup.drain_second().await?;
        setup.assert_complete(8).await?;
    }
    assert!(setup.bed.dead_letters().await?.is_empty());
    setup.bed.end().await
}

#[tokio::test]
async fn a_worker_of_the_attached_model_that_dies_does_its_job_again() -> anyhow::Result<()> {
    let setup = Setup::impatient().await?;
    setup.write_documents(4).await?;
    setup.bed.drain().await?;
    setup.attach(&["--lease", "1s"]).await?;
    for point in ["before-embed", "after-additions", "before-ack"] {
        let mut command = setup.bed.stack.program("worker");
        command.args(["run", "--drain", "--grace", "3s", "--model", &setup.second]);
        command.env("EBB_FAILPOINTS", format!("{point}=kill"));
        let killed = command.output().await?;
        assert_eq!(
            killed.status.signal(),
            Some(Signal::KILL.as_raw()),
            "{point}"
        );
    }
    setup.drain_second().await?;
    setup.assert_complete(8).await?;
    setup.bed.end().await
}
