//! Settings that cannot be: all of them are reported before anything is opened.

use anyhow::Context as _;

#[tokio::test]
async fn all_faults_of_a_configuration_are_reported_at_once() -> anyhow::Result<()> {
    let tools = tests::tools().await?;
    let mut command = tools.program("worker");
    command.args([
        "run",
        "--model",
        "/nowhere",
        "--batch-tokens",
        "0",
        "--grace",
        "2h",
        "--sessions",
        "65",
    ]);
    command.args(["--nats-user", "somebody", "--qdrant-url", "localhost:6333"]);
    let output = command.output().await?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64), "{log}");
    for setting in [
        "--model",
        "--batch-tokens",
        "--grace",
        "--sessions",
        "--nats-password",
        "--qdrant-url",
    ] {
        assert!(log.contains(setting), "{setting} is not blamed in {log}");
    }
    Ok(())
}

#[tokio::test]
async fn all_values_that_cannot_be_read_are_reported_at_once() -> anyhow::Result<()> {
    let mut command = tests::tools().await?.program("worker");
    command.args([
        "run",
        "--model",
        ".",
        "--threads",
        "abc",
        "--provider",
        "abacus",
    ]);
    command
        .env("EBB_GRACE", "soon")
        .env("EBB_COLLECTIONS", "docs,a b");
    let output = command.output().await?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64), "{log}");
    for part in [
        "--threads",
        "abc",
        "--provider",
        "abacus",
        "--grace",
        "soon",
        "--collections",
        "a b",
    ] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    Ok(())
}

#[tokio::test]
async fn an_option_without_its_value_ends_the_program() -> anyhow::Result<()> {
    let tools = tests::tools().await?;
    for (program, arguments) in [
        ("worker", &["run", "--grace"][..]),
        ("worker", &["run", "--model"]),
        ("indexer", &["dlq", "ls", "--cause"]),
        ("indexer", &["publish", "--lane"]),
        ("indexer", &["dlq", "show", "x"]),
    ] {
        let mut command = tools.program(program);
        command.args(arguments).kill_on_drop(true);
        let ended = tokio::time::timeout(tests::LIMIT, command.output()).await;
        let output = ended.with_context(|| format!("{program} {arguments:?} does not end"))??;
        assert_eq!(output.status.code(), Some(64), "{program} {arguments:?}");
        assert!(!output.stderr.is_empty(), "{program} {arguments:?}");
    }
    Ok(())
}
