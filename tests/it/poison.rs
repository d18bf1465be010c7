//! Poison: a job that kills the process, or crashes at any line, takes nothing with it and ends once.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::Signal;
use tests::Bed;

/// A text that the failpoints of these tests look for.
const POISON: &str = "kills whoever reads it";

async fn crashes_until_drained(bed: &Bed, rules: &str) -> anyhow::Result<usize> {
    let mut crashes = 0;
    loop {
        let status = bed.run_with_failpoints(rules).await?;
        if status.success() {
            return Ok(crashes);
        }
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
        crashes += 1;
        assert!(crashes <= 5, "the job has killed {crashes} workers");
    }
}

async fn poison_is_isolated(point: &str) -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    for n in 0..6 {
        bed.publish_document(&format!("before{n}"), 1, &["harmless"])
            .await?;
    }
    bed.publish_document("poison", 1, &[POISON]).await?;
    for n in 0..6 {
        bed.publish_document(&format!("after{n}"), 1, &["harmless too"])
            .await?;
    }
    let crashes = crashes_until_drained(&bed, &format!("{point}=kill/{POISON}/")).await?;
    assert_eq!(crashes, 5);
    let letters = bed.dead_letters().await?;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].cause, "crashed_worker");
    assert!(!letters[0].reason.contains(POISON));
    let points = bed.points().await?;
    assert_eq!(points.len(), 12);
    assert!(!points.contains_key(&("poison".to_owned(), 0)));
    bed.end().await
}

#[tokio::test]
async fn a_job_that_kills_the_process_while_it_is_decoded_is_given_up_after_five()
-> anyhow::Result<()> {
    poison_is_isolated("before-encode").await
}

#[tokio::test]
async fn a_job_that_kills_the_process_in_the_model_is_given_up_after_five() -> anyhow::Result<()> {
    poison_is_isolated("before-embed").await
}

/// More often than a job may crash its worker, after the deliveries at which it travels in company.
const BREAKS: usize = 7;

#[tokio::test]
async fn a_device_that_breaks_by_itself_is_not_held_against_the_job_in_it() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    bed.publish_document("good", 1, &["harmless"]).await?;
    for end in 0..BREAKS {
        let status = bed.run_with_failpoints("broken-device=fail").await?;
        assert_eq!(status.code(), Some(1), "{end}: {status}");
    }
    let status = bed.run_with_failpoints("").await?;
    assert!(status.success(), "{status}");
    assert_eq!(bed.dead_letters().await?.len(), 0);
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

#[tokio::test]
async fn two_jobs_that_kill_the_process_do_not_hide_behind_each_other() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    for id in ["one", "two"] {
        bed.publish_document(id, 1, &[POISON]).await?;
    }
    bed.publish_document("good", 1, &["harmless"]).await?;
    let mut crashes = 0;
    while !bed
        .run_with_failpoints(&format!("before-embed=kill/{POISON}/"))
        .await?
        .success()
    {
        crashes += 1;
        assert!(crashes <= 10, "two jobs have killed {crashes} workers");
    }
    let letters = bed.dead_letters().await?;
    assert_eq!(letters.len(), 2, "{letters:?}");
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

#[tokio::test]
async fn a_job_that_was_redelivered_by_outages_is_no_poison() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    bed.publish_document("doc", 1, &["text"]).await?;
    // Each of these workers has the job embedded and dies before it can write: no fault of the job.
    for _ in 0..7 {
        let status = bed.run_with_failpoints("before-upsert=kill").await?;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}");
    }
    bed.drain().await?;
    assert_eq!(bed.points().await?.len(), 1);
    assert!(bed.dead_letters().await?.is_empty());
    bed.end().await
}

#[tokio::test]
async fn a_crash_between_any_two_steps_loses_and_doubles_nothing() -> anyhow::Result<()> {
    let bed = Bed::impatient().await?;
    let of_documents = [
        "before-encode",
        "after-encode",
        "before-embed",
        "after-embed",
        "before-upsert",
        "after-head",
        "after-body",
        "after-upsert",
        "before-ack",
        "after-ack",
    ];
    let of_dead_letters = [
        "before-dead-letter",
        "after-dead-letter",
        "before-term",
        "after-term",
    ];
    for (n, point) in of_documents.iter().enumerate() {
        let id = format!("d{n}");
        bed.publish_document(&id, 1, &["one", "two", "three"])
            .await?;
        bed.publish_document(&id, 2, &["one", "two"]).await?;
        let status = bed.run_with_failpoints(&format!("{point}=kill")).await?;
        assert_eq!(
            status.signal(),
            Some(Signal::KILL.as_raw()),
            "{point}: {status}"
        );
    }
    for point in of_dead_letters {
        bed.publish_bytes(format!("no job, dies {point}")).await?;
        let status = bed.run_with_failpoints(&format!("{point}=kill")).await?;
        assert_eq!(
            status.signal(),
            Some(Signal::KILL.as_raw()),
            "{point}: {status}"
        );
    }
    bed.drain().await?;
    let points = bed.points().await?;
    assert_eq!(points.len(), of_documents.len() * 2);
    assert!(
        points
            .values()
            .all(|point| tests::integer(point, "version") == 2)
    );
    assert_eq!(bed.dead_letters().await?.len(), of_dead_letters.len());
    bed.end().await
}
