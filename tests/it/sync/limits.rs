//! Limits: what a sync refuses to do, and what it then leaves as it was.

use tests::Bed;

use super::{changes, command, counts, jobs, sync, versions};
use crate::rebuild::{corpus, ended, found, now_micros, wanted};

#[tokio::test]
async fn a_source_that_lacks_too_much_changes_nothing_unless_it_is_allowed() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let all = corpus(20);
    sync(&bed, &all, &[]).await?.done();
    let (jobs_before, before) = (jobs(&bed).await?, versions(&bed).await?);
    let mut smaller = all.clone();
    smaller.retain(|id, _| id.len() > 2);
    smaller.insert("d11".to_owned(), "A change that waits.".to_owned());
    let ran = sync(&bed, &smaller, &[]).await?;
    let reason = ran.stopped_by("shrink");
    assert!(reason.contains("10 of 20 documents"), "{reason}");
    assert_eq!(
        counts(&ran.report, ["published", "deleted", "kept"]),
        [0, 0, 10]
    );
    assert_eq!(jobs(&bed).await?, jobs_before);
    assert_eq!(versions(&bed).await?, before);

    let ran = sync(&bed, &smaller, &["--max-shrink", "50"]).await?;
    assert_eq!(changes(&ran)[..3], [9, 1, 10]);
    assert_eq!(found(&bed).await?, wanted(&smaller));
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn an_empty_folder_deletes_nothing() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let corpus = corpus(5);
    sync(&bed, &corpus, &[]).await?.done();
    let empty = bed.directory.path().join("mount");
    std::fs::create_dir(&empty)?;
    for arguments in [&[][..], &["--max-shrink", "100"]] {
        let ran = ended(command(&bed, &empty, arguments)).await?;
        let reason = ran.stopped_by("refused");
        assert!(reason.contains("5 documents were not deleted"), "{reason}");
    }
    let allowed = ["--max-shrink", "100", "--max-refused", "1"];
    let ran = ended(command(&bed, &empty, &allowed)).await?;
    let reason = ran.stopped_by("empty");
    assert!(reason.contains("5 documents"), "{reason}");
    assert_eq!(found(&bed).await?, wanted(&corpus));
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn documents_of_an_empty_folder_are_not_deleted_before_it_is_removed() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    for n in 0..20 {
        bed.write(&format!("{n}.md"), format!("# Page {n}\n\nA text."))?;
    }
    let source = bed.write("mount/a.md", "# A\n\nA text on a mount.")?;
    ended(command(&bed, &source, &[])).await?.done();
    std::fs::remove_file(source.join("mount/a.md"))?;
    std::fs::remove_file(source.join("1.md"))?;
    for arguments in [&[][..], &["--max-refused", "9", "--max-shrink", "100"]] {
        let ran = ended(command(&bed, &source, arguments)).await?;
        let reason = ran.stopped_by("empty");
        assert!(reason.contains("mount/"), "{reason}");
        assert_eq!(counts(&ran.report, ["kept"]), [1]);
    }
    let ids = found(&bed).await?;
    assert!(ids.contains_key("mount/a.md") && !ids.contains_key("1.md"));
    std::fs::remove_dir(source.join("mount"))?;
    let ran = ended(command(&bed, &source, &[])).await?;
    assert_eq!(changes(&ran)[2], 1);
    assert!(!found(&bed).await?.contains_key("mount/a.md"));
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn documents_behind_what_cannot_be_read_are_not_deleted() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    for n in 0..8 {
        bed.write(&format!("{n}.md"), format!("# Page {n}\n\nA text."))?;
    }
    let records = r#"{"_id": "a", "text": "A."}
{"_id": "b", "text": "B."}"#;
    let source = bed.write("records.jsonl", records)?;
    ended(command(&bed, &source, &[])).await?.done();
    let ids = async || anyhow::Ok(found(&bed).await?.into_keys().collect::<Vec<_>>());
    let all = ids().await?;
    assert_eq!(all.len(), 10);

    // One page cannot be read, another is gone, a third has changed: whose ids these are is known.
    bed.write("0.md", [0xff, 0x00])?;
    std::fs::remove_file(source.join("1.md"))?;
    bed.write("2.md", "# Page 2\n\nA text that has changed.")?;
    let ran = ended(command(&bed, &source, &[])).await?;
    assert!(
        ran.stopped_by("refused")
            .contains("0 documents were not deleted"),
        "{}",
        ran.log
    );
    let left: Vec<_> = all.iter().filter(|id| *id != "1.md").cloned().collect();
    assert_eq!(ids().await?, left);

    // A line that cannot be read: nobody knows which document it was.
    std::fs::remove_file(source.join("3.md"))?;
    bed.write("4.md", "# Page 4\n\nAnother that has changed.")?;
    bed.write(
        "records.jsonl",
        "{\"_id\": \"a\", \"text\": \"A.\"}\n{\"_id\": \"b\", \"te",
    )?;
    let ran = ended(command(&bed, &source, &[])).await?;
    assert!(
        ran.stopped_by("refused")
            .contains("2 documents were not deleted"),
        "{}",
        ran.log
    );
    assert_eq!(
        counts(&ran.report, ["published", "deleted", "kept"]),
        [1, 0, 2]
    );
    assert_eq!(ids().await?, left);

    let ran = ended(command(
        &bed,
        &source,
        &["--max-refused", "2", "--max-shrink", "30"],
    ))
    .await?;
    assert_eq!(changes(&ran)[1..3], [0, 2]);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_quote_that_is_never_closed_deletes_nothing() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let table = |open: usize| {
        let row = |number: usize| match number == open {
            true => format!("{number},\"A text of {number}.\n"),
            false => format!("{number},A text of {number}.\n"),
        };
        format!("id,text\n{}", (1..=40).map(row).collect::<String>())
    };
    let source = bed.write("table.csv", table(0))?;
    ended(command(&bed, &source, &[])).await?.done();
    // Behind row 36 are fewer rows than the shrink limit allows to delete.
    bed.write("table.csv", table(36))?;
    let ran = ended(command(&bed, &source, &[])).await?;
    let reason = ran.stopped_by("refused");
    assert!(reason.contains("5 documents were not deleted"), "{reason}");
    assert!(
        ran.log
            .contains("line 37 opens a quote that is never closed"),
        "{}",
        ran.log
    );
    assert_eq!(found(&bed).await?.len(), 40);
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn dead_letters_fail_a_sync_that_says_how_many() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let all = corpus(12);
    let refusing = bed.refusing_worker()?;
    let ran = sync(&bed, &all, &["--run-id", "night"]).await?;
    let reason = ran.stopped_by("dead letters");
    assert!(reason.contains("12 chunks and deletions"), "{reason}");
    refusing.kill().await?;
    // The same run goes on, and what has died is published again.
    let worker = bed.stack.worker("worker", &[]).await?;
    let again = sync(&bed, &all, &["--run-id", "night"]).await?;
    assert_eq!(counts(again.done(), ["published", "dead_letters"]), [12, 0]);
    assert_eq!(found(&bed).await?, wanted(&all));
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_second_sync_of_an_alias_is_refused_while_one_runs() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let corpus = corpus(5);
    let source = crate::rebuild::write(&bed, &corpus)?;
    // Without a worker it waits.
    let first = crate::rebuild::spawn(&bed, command(&bed, &source, &[]))?;
    fixtures::wait::until("its jobs", tests::LIMIT, async || {
        Ok((jobs(&bed).await? > 0).then_some(()))
    })
    .await?;
    let second = sync(&bed, &corpus, &[]).await?;
    assert!(!second.status.success());
    assert!(second.log.contains("is held by process"), "{}", second.log);
    let worker = bed.stack.worker("worker", &[]).await?;
    first.ended().await?.done();
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_report_that_cannot_be_written_is_refused_before_anything_is_done() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let before = crate::rebuild::serving(&bed).await?;
    let nowhere = ["--report", "/nonexistent/report.json"];
    for ran in [
        sync(&bed, &corpus(5), &nowhere).await?,
        crate::rebuild::rebuild(&bed, &corpus(5), &nowhere).await?,
    ] {
        assert_eq!(ran.status.code(), Some(64), "{}", ran.log);
        assert!(ran.log.contains("cannot be written"), "{}", ran.log);
    }
    assert_eq!(crate::rebuild::serving(&bed).await?, before);
    assert_eq!(jobs(&bed).await?, 0);
    bed.end().await
}

#[tokio::test]
async fn a_collection_of_another_model_is_left_to_a_rebuild() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("a", now_micros(), &["Text."]).await?;
    bed.drain().await?;
    let models = bed.directory.path().join("models");
    let other = bed
        .stack
        .tools
        .stage(&tests::tiny_embed(), "other", &models)
        .await?;
    let source = crate::rebuild::write(&bed, &corpus(1))?;
    let model = other.display().to_string();
    let ran = ended(command(&bed, &source, &["--model", &model])).await?;
    assert!(!ran.status.success());
    assert!(
        ran.log.contains("`indexer rebuild` changes it"),
        "{}",
        ran.log
    );
    bed.end().await
}
