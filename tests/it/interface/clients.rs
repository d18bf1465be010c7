//! Clients: the published examples, each run with the login of a publisher, end as points.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use contract::job::Job;
use fixtures::install::{cache_dir, install_go, install_python_client};
use fixtures::programs::workspace;
use tests::text;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::roles::server::{AckForm, Role};
use crate::roles::setup::Setup;

const TEXT: &str = "The tide goes out twice a day.";

fn example(path: &str) -> PathBuf {
    workspace().join("deploy/contract").join(path)
}

async fn setup() -> anyhow::Result<Setup> {
    let setup = Setup::start(AckForm::V1).await?;
    setup
        .run("indexer", Role::Provision, &["provision"])
        .await?;
    Ok(setup)
}

/// A program with the login of a publisher and the model of the setup.
fn client(setup: &Setup, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.envs(setup.nats.login(Role::Publisher));
    command
        .env("EBB_MODEL_NAME", setup.bed.manifest.name.as_str())
        .kill_on_drop(true);
    command
}

/// Runs an example that publishes a document of two chunks, and has a worker do the job.
async fn ends_as_points(setup: Setup, mut command: Command) -> anyhow::Result<()> {
    command.args([
        &setup.bed.stack.collection,
        "tides",
        TEXT,
        "And comes back.",
    ]);
    let output = command
        .output()
        .await
        .context("the example does not start")?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    anyhow::ensure!(output.status.success(), "{}\n{said}", output.status);
    assert!(said.contains("stored as job 1, version "), "{said}");
    setup.drain(&[]).await?;
    let points = setup.bed.points().await?;
    assert_eq!(points.len(), 2);
    assert_eq!(text(&points[&("tides".to_owned(), 0)], "text"), TEXT);
    setup.bed.end().await
}

/// Says what is wrong when the login is, instead of waiting.
async fn refuses_a_wrong_login(setup: &Setup, mut command: Command) -> anyhow::Result<()> {
    command
        .env("NATS_PASSWORD", "wrong")
        .args(["docs", "tides", TEXT]);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("not published: "),
        "{said}"
    );
    assert!(said.contains("Authorization Violation"), "{said}");
    let status = setup.json(&["status"]).await?;
    assert_eq!(status["lanes"][0]["lag"], 0, "{status:#}");
    Ok(())
}

#[tokio::test]
async fn the_example_in_python_publishes() -> anyhow::Result<()> {
    let setup = setup().await?;
    let python = tokio::task::spawn_blocking(|| {
        install_python_client(&cache_dir(), &mut |line| eprintln!("{line}"))
    });
    let python = python.await??;
    let command = || {
        let mut command = client(&setup, &python.python);
        command
            .env("PYTHONPATH", &python.wheel)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg(example("python/publish.py"));
        command
    };
    refuses_a_wrong_login(&setup, command()).await?;
    let command = command();
    ends_as_points(setup, command).await
}

#[tokio::test]
async fn the_example_in_go_publishes() -> anyhow::Result<()> {
    let setup = setup().await?;
    let built = setup.bed.directory.path().join("publish");
    let go =
        tokio::task::spawn_blocking(|| install_go(&cache_dir(), &mut |line| eprintln!("{line}")));
    let mut build = Command::new(go.await??);
    build
        .args(["build", "-mod=readonly", "-o"])
        .arg(&built)
        .arg(".")
        .current_dir(example("go"));
    let output = build.output().await.context("failed to start go")?;
    anyhow::ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    refuses_a_wrong_login(&setup, client(&setup, &built)).await?;
    let command = client(&setup, &built);
    ends_as_points(setup, command).await
}

/// Stands in for the nats CLI: writes down what it is called with and what it is given.
const RECORDER: &str =
    "#!/bin/sh\nprintf '%s\\n' \"$@\" >\"$RECORD/arguments\"\ncat >\"$RECORD/body\"\n";

#[tokio::test]
async fn the_example_for_the_nats_cli_says_what_the_cli_takes() -> anyhow::Result<()> {
    let setup = setup().await?;
    let record = setup.bed.directory.path().join("cli");
    std::fs::create_dir_all(&record)?;
    let recorder = record.join("nats");
    std::fs::write(&recorder, RECORDER)?;
    std::fs::set_permissions(&recorder, std::fs::Permissions::from_mode(0o755))?;
    let mut command = client(&setup, &example("cli/publish.sh"));
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{}:{path}", record.display()))
        .env("RECORD", &record);
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    let job = std::fs::read(example("cli/job.json"))?;
    child
        .stdin
        .take()
        .context("no standard input")?
        .write_all(&job)
        .await?;
    assert!(child.wait().await?.success());
    let arguments = std::fs::read_to_string(record.join("arguments"))?;
    let wanted = "pub\njobs.embed.tiny.live\n--force-stdin\n--no-templates\n--jetstream\n--inbox-prefix\n_INBOX_publisher\n";
    assert_eq!(arguments, wanted);
    assert_eq!(std::fs::read(record.join("body"))?, job);
    // And a worker does it, in a collection of this test.
    let mut job: serde_json::Value = serde_json::from_slice(&job)?;
    job["collection"] = setup.bed.stack.collection.clone().into();
    Job::decode(job.to_string().as_bytes())?;
    setup.publish_bytes(job.to_string()).await?;
    setup.drain(&[]).await?;
    assert_eq!(setup.bed.points().await?.len(), 2);
    setup.bed.end().await
}
