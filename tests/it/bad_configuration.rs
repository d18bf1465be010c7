//! Settings that cannot be: all of them are reported before anything is opened.

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
    ]);
    command.args(["--nats-user", "somebody", "--qdrant-url", "localhost:6333"]);
    let output = command.output().await?;
    let log = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64), "{log}");
    for setting in [
        "--model",
        "--batch-tokens",
        "--grace",
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
