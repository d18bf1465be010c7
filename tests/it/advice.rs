//! Advice: an error ends with what to type next, and names nothing that has no part in it.

use std::process::Output;

use anyhow::Context as _;
use contract::topology::JOBS;
use futures::StreamExt as _;
use tests::{Bed, LIMIT};

/// The exit code of a verb, and what it logs.
///
/// # Errors
/// If a signal has ended it.
async fn said(bed: &Bed, arguments: &[&str], model: Option<&str>) -> anyhow::Result<(i32, String)> {
    let mut command = bed.stack.program("indexer");
    match model {
        Some(model) => command.env("EBB_MODEL", model),
        None => command.env_remove("EBB_MODEL"),
    };
    let Output { status, stderr, .. } = command.args(arguments).output().await?;
    let log = String::from_utf8(stderr)?;
    let code = status.code();
    let code = code.with_context(|| format!("{arguments:?} ended with {status}: {log}"))?;
    Ok((code, log))
}

#[tokio::test]
async fn an_error_ends_with_what_to_type_next() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let file = bed.write("doc.md", "# Title\n\nSome text.\n")?;
    let file = file.display().to_string();
    let staged = bed.stack.model.display().to_string();
    let model = Some(staged.as_str());
    for (arguments, model, code, part) in [
        (
            &["search", "x", "--collection", "nope"][..],
            model,
            1,
            "`indexer provision --collections nope`",
        ),
        (
            &["publish", &file],
            Some("/nope"),
            64,
            "`worker stage SOURCE",
        ),
        (&["publish", &file], None, 64, "`worker stage SOURCE"),
        (
            &["rollback", "--alias", "nope"],
            model,
            1,
            "`indexer status` shows the aliases",
        ),
        (
            &["gc", "--alias", "nope"],
            model,
            1,
            "`indexer status` shows the aliases",
        ),
        // It may be made later, and the jobs wait for it.
        (
            &["publish", &file, "--collection", "nope"],
            model,
            0,
            "`indexer provision --collections nope` makes it",
        ),
    ] {
        let (found, log) = said(&bed, arguments, model).await?;
        assert_eq!(found, code, "{arguments:?}: {log}");
        let log = log.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(log.contains(part), "{arguments:?}: {log}");
    }
    bed.end().await
}

#[tokio::test]
async fn a_server_that_is_away_is_named_without_the_other() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    bed.stack.nats.kill().await?;
    let (code, log) = said(&bed, &["status"], None).await?;
    assert_eq!(code, 69, "{log}");
    assert!(
        log.contains("--nats-url") && !log.contains("--qdrant-url"),
        "{log}"
    );
    bed.stack.nats.resume().await?;
    bed.end().await
}

#[tokio::test]
async fn a_search_behind_busy_workers_says_so() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("a", 1, &["text"]).await?;
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    let [live, _] = bed.lanes();
    let consumer: async_nats::jetstream::consumer::PullConsumer = jobs
        .get_consumer(&live.consumer())
        .await
        .map_err(anyhow::Error::from_boxed)?;
    // Somebody has it, and does not end it.
    let pull = consumer.batch().max_messages(1).expires(LIMIT);
    let mut taken = pull.messages().await?;
    let job = taken.next().await.context("no job came")?;
    job.map_err(anyhow::Error::from_boxed)?;
    let search = ["search", "x", "--timeout", "1s", "--mode", "dense"];
    let model = bed.stack.model.display().to_string();
    let (code, log) = said(&bed, &search, Some(&model)).await?;
    assert_ne!(code, 0, "{log}");
    assert!(
        log.contains("workers are busy, with 1 job in flight"),
        "{log}"
    );
    assert!(log.contains("--timeout 5m"), "{log}");
    bed.end().await
}
