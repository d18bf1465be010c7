//! Denied: a program to which something is denied ends and says what, instead of waiting in vain.

use tokio::process::Command;

use super::server::{AckForm, Role, edited};
use super::setup::Setup;

/// The server of an installation that has not heard of the second form, after the update that turns it on.
async fn without_the_second_form() -> anyhow::Result<Setup> {
    Setup::with(|directory| {
        let copy = edited(directory, |name, text| {
            let without = |line: &&str| !line.contains("$JS.ACK.*.*.");
            let text = match name {
                "roles.conf" => text.lines().filter(without).collect::<Vec<_>>().join("\n"),
                _ => text,
            };
            if name == "nats.conf" {
                format!("{text}\nfeature_flags {{ js_ack_fc_v2: true }}\n")
            } else {
                text
            }
        })?;
        Ok(copy.join("nats.conf"))
    })
    .await
}

#[tokio::test]
async fn a_worker_whose_acknowledgements_are_denied_ends_and_says_so() -> anyhow::Result<()> {
    let setup = without_the_second_form().await?;
    setup
        .run(
            "indexer",
            Role::Provision,
            &["provision", "--ack-wait", "5s"],
        )
        .await?;
    setup.publish("one", "text").await?;
    let mut command = setup.program("worker", Role::Worker);
    let output = command
        .args(["run", "--drain", "--grace", "3s"])
        .output()
        .await?;
    let log = [output.stdout, output.stderr].concat();
    let log = String::from_utf8_lossy(&log);
    assert!(!output.status.success(), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains("nats denied this login the publish to `$JS.ACK."),
        "{log}"
    );
    assert!(last.contains("deploy/nats/roles.conf"), "{log}");
    // Nothing was taken for acknowledged: the job is still there for a worker that may.
    let status = setup.json(&["status"]).await?;
    assert_eq!(status["lanes"][0]["lag"], 1, "{status:#}");
    assert_eq!(setup.dead_letters(0).await?, [""; 0]);
    setup.bed.end().await
}

/// The program ends with an error that names what was denied, and what to do.
async fn is_denied(mut command: Command, (what, advice): (&str, &str)) -> anyhow::Result<()> {
    let output = command.output().await?;
    let log = [output.stdout, output.stderr].concat();
    let log = String::from_utf8_lossy(&log);
    assert!(!output.status.success(), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.contains("nats denied this login") && last.contains(what) && last.contains(advice),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn a_program_with_the_login_of_another_role_ends_and_says_so() -> anyhow::Result<()> {
    let setup = Setup::start(AckForm::V1).await?;
    let roles = "deploy/nats/roles.conf";
    let with = |name: &str, role: Role, arguments: &[&str]| {
        let mut command = setup.program(name, role);
        command.args(arguments);
        command
    };
    is_denied(
        with("indexer", Role::Indexer, &["provision"]),
        ("STREAM.CREATE.JOBS", roles),
    )
    .await?;
    setup
        .run("indexer", Role::Provision, &["provision"])
        .await?;
    is_denied(
        with("indexer", Role::Publisher, &["status"]),
        ("STREAM.INFO.JOBS", roles),
    )
    .await?;
    is_denied(
        with("indexer", Role::Worker, &["dlq", "ls"]),
        ("STREAM.INFO.DLQ", roles),
    )
    .await?;
    is_denied(
        with("worker", Role::Indexer, &["run"]),
        ("CONSUMER.MSG.NEXT.JOBS", roles),
    )
    .await?;
    is_denied(
        with("worker", Role::Publisher, &["run"]),
        ("CONSUMER.INFO.JOBS", roles),
    )
    .await?;
    let mut inbox = with("indexer", Role::Indexer, &["status"]);
    inbox.env_remove("NATS_INBOX_PREFIX");
    is_denied(inbox, ("subscription to `_INBOX.", "NATS_INBOX_PREFIX")).await?;
    let mut check = with("worker", Role::Publisher, &["check"]);
    let output = check.output().await?;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(
        !output.status.success() && shown.contains("FAIL  nats: nats denied this login"),
        "{shown}"
    );
    setup.bed.end().await
}
