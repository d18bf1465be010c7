//! Provisioning: what it makes, what it notices, and that it changes nothing that is right.

use std::process::Stdio;

use async_nats::jetstream::consumer::PullConsumer;
use contract::topology::{DEFAULT_ACK_WAIT, JOBS, MAX_DELIVER};
use queue::streams::{ConsumerSizes, lane_consumer_config};
use tests::Bed;

#[tokio::test]
async fn provisioning_twice_changes_nothing_the_second_time() -> anyhow::Result<()> {
    let bed = Bed::unprovisioned(&tests::tiny_embed(), "tiny").await?;
    let first = bed.stack.indexer(&["provision"]).await?;
    assert!(first.contains("+ stream `JOBS`"), "{first}");
    let second = bed.stack.indexer(&["provision"]).await?;
    assert!(second.contains("everything is as it should be"), "{second}");
    bed.end().await
}

#[tokio::test]
async fn checking_changes_nothing_and_fails_on_a_difference() -> anyhow::Result<()> {
    let bed = Bed::unprovisioned(&tests::tiny_embed(), "tiny").await?;
    for _ in 0..2 {
        let output = bed
            .stack
            .program("indexer")
            .args(["provision", "--check"])
            .output()
            .await?;
        let report = String::from_utf8(output.stdout)?;
        assert_eq!(output.status.code(), Some(1), "{report}");
        assert!(
            report.contains("+ stream `JOBS`") && report.contains("+ collection"),
            "{report}"
        );
    }
    bed.stack.indexer(&["provision"]).await?;
    bed.stack.indexer(&["provision", "--check"]).await?;
    bed.end().await
}

/// How the check ends when nobody reads what it prints.
async fn check_unread(bed: &Bed) -> anyhow::Result<Option<i32>> {
    let mut command = bed.stack.program("indexer");
    command.args(["provision", "--check"]);
    let mut check = command.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    drop(check.stdout.take());
    Ok(check.wait().await?.code())
}

#[tokio::test]
async fn the_exit_code_tells_how_it_ended_whether_or_not_anybody_reads_the_output()
-> anyhow::Result<()> {
    let bed = Bed::unprovisioned(&tests::tiny_embed(), "tiny").await?;
    assert_eq!(check_unread(&bed).await?, Some(1));
    bed.stack.indexer(&["provision"]).await?;
    assert_eq!(check_unread(&bed).await?, Some(0));
    bed.end().await
}

#[tokio::test]
async fn a_limit_that_somebody_gave_a_stream_is_noticed_and_taken_away() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    let mut limited = jobs.cached_info().config.clone();
    limited.max_messages = 10;
    bed.jetstream().update_stream(&limited).await?;
    let mut check = bed.stack.program("indexer");
    let output = check.args(["provision", "--check"]).output().await?;
    let report = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("max_msgs: 10 -> -1"), "{report}");
    bed.stack.indexer(&["provision"]).await?;
    bed.stack.indexer(&["provision", "--check"]).await?;
    bed.end().await
}

#[tokio::test]
async fn a_drifted_consumer_is_noticed_by_workers_and_mended_by_provisioning() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let [live, _] = bed.lanes();
    let consumer: PullConsumer = bed
        .jetstream()
        .get_consumer_from_stream(live.consumer(), JOBS)
        .await?;
    let sizes = ConsumerSizes {
        ack_wait: DEFAULT_ACK_WAIT,
        max_ack_pending: consumer.cached_info().config.max_ack_pending,
        replicas: 1,
    };
    let mut drifted = lane_consumer_config(&live, &sizes);
    drifted.max_deliver = 3;
    bed.jetstream()
        .create_consumer_on_stream(drifted, JOBS)
        .await?;
    let output = bed
        .stack
        .program("worker")
        .args(["run", "--drain"])
        .output()
        .await?;
    let log = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("max_deliver") && log.contains(&live.consumer()),
        "{log}"
    );
    let report = bed.stack.indexer(&["provision"]).await?;
    assert!(
        report.contains(&format!("max_deliver: 3 -> {MAX_DELIVER}")),
        "{report}"
    );
    bed.drain().await?;
    bed.end().await
}

#[tokio::test]
async fn provisioning_refuses_a_collection_of_another_model() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let models = bed.directory.path().join("models");
    let mut command = bed.stack.program("worker");
    command
        .arg("stage")
        .arg(tests::tiny_embed())
        .args(["--name", "tiny", "--dimensions", "8", "--models"])
        .arg(&models);
    let other = String::from_utf8(command.output().await?.stdout)?;
    let output = bed
        .stack
        .program("indexer")
        .args(["provision", "--model", other.trim()])
        .output()
        .await?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(
        log.contains("8 dimensions") && log.contains(&bed.stack.collection),
        "{log}"
    );
    bed.end().await
}

#[tokio::test]
async fn a_full_queue_refuses_new_jobs_and_loses_none_that_it_took() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.stack
        .indexer(&["provision", "--jobs-max-bytes", "16384"])
        .await?;
    let mut taken = 0;
    while bed
        .publish_document(&format!("d{taken}"), 1, &["some text"])
        .await
        .is_ok()
    {
        taken += 1;
        assert!(taken < 1000, "the queue is never full");
    }
    assert!(taken > 10, "only {taken} jobs were taken");
    bed.drain().await?;
    assert_eq!(bed.points().await?.len(), taken);
    bed.publish_document("after", 1, &["some text"]).await?;
    bed.drain().await?;
    assert_eq!(bed.points().await?.len(), taken + 1);
    assert!(bed.dead_letters().await?.is_empty());
    bed.end().await
}
