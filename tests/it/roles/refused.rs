//! Refused: whatever is not the work of a role.

use std::collections::BTreeSet;

use anyhow::Context as _;
use fixtures::programs::workspace;
use tokio::process::Command;

use super::server::{AckForm, HASH, Role, Server, environment};
use super::subjects::{may_publish, may_subscribe, publishes, subscriptions};
use super::wire::Wire;

async fn wire(server: &Server, role: Role) -> anyhow::Result<Wire> {
    Wire::open(server.address(), role.name(), &role.password()).await
}

/// What of all that a client can say or hear is let through to a role.
async fn let_through(server: &Server, role: Role) -> anyhow::Result<[BTreeSet<String>; 2]> {
    let mut wire = wire(server, role).await?;
    let all = publishes();
    for subject in &all {
        wire.publish(subject).await?;
    }
    let denied = wire.denied().await?;
    let published = all
        .into_iter()
        .filter(|subject| !denied.contains(subject))
        .collect();
    let all = subscriptions();
    for (number, subject) in all.iter().enumerate() {
        wire.subscribe(subject, number).await?;
    }
    let denied = wire.denied().await?;
    let heard = all
        .into_iter()
        .filter(|subject| !denied.contains(subject))
        .collect();
    Ok([published, heard])
}

#[tokio::test]
async fn each_role_may_say_and_hear_what_its_work_needs_and_nothing_else() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let server = Server::committed(directory.path(), AckForm::V1).await?;
    let (all, may_hear) = (publishes(), subscriptions());
    assert!(
        all.len() > 400 && may_hear.len() > 20,
        "{} {}",
        all.len(),
        may_hear.len()
    );
    for role in Role::ALL {
        let (says, hears) = (may_publish(role), may_subscribe(role));
        let unknown: Vec<_> = says
            .iter()
            .filter(|subject| !all.contains(subject))
            .collect();
        assert!(unknown.is_empty(), "the test never asks for {unknown:?}");
        let [published, heard] = let_through(&server, role).await?;
        let (much, little) = (&published - &says, &says - &published);
        assert!(
            much.is_empty() && little.is_empty(),
            "{role:?} may publish {much:#?}, may not publish {little:#?}"
        );
        assert_eq!(heard, hears, "{role:?} hears");
    }
    Ok(())
}

#[tokio::test]
async fn nobody_gets_in_without_the_password_of_a_role() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let server = Server::committed(directory.path(), AckForm::V1).await?;
    for role in Role::ALL {
        let mut good = wire(&server, role).await?;
        assert_eq!(good.errors().await?, [""; 0], "{role:?}");
        for password in ["", "wrong", "worker", "$NATS_WORKER_PASSWORD"] {
            let mut refused = Wire::open(server.address(), role.name(), password).await?;
            assert_eq!(
                refused.refusal().await?,
                "Authorization Violation",
                "{role:?} {password:?}"
            );
        }
    }
    for user in ["", "nobody", "admin", "sys"] {
        let mut refused = Wire::open(server.address(), user, &Role::Worker.password()).await?;
        assert_eq!(
            refused.refusal().await?,
            "Authorization Violation",
            "{user:?}"
        );
    }
    Ok(())
}

/// The hash of another program begins otherwise, and is no hash to the server.
#[tokio::test]
async fn the_hash_that_the_readme_makes_is_one_that_the_server_takes() -> anyhow::Result<()> {
    let readme = std::fs::read_to_string(workspace().join("deploy/README.md"))?;
    let mut commands = readme.split('`');
    let recipe = commands.find(|command| command.starts_with("htpasswd "));
    let recipe = recipe.context("the README makes no hash")?;
    let theirs = HASH.replace("$2a$", "$2y$");
    let script = format!("htpasswd() {{ printf ':%s\\n\\n' '{theirs}'; }}; {recipe}");
    let output = Command::new("bash").args(["-c", &script]).output().await?;
    assert_eq!(String::from_utf8(output.stdout)?, HASH);
    Ok(())
}

#[tokio::test]
async fn a_password_that_is_missing_keeps_the_server_from_starting() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let config = super::server::committed().join("nats.conf");
    let all = environment(directory.path());
    for (missing, _) in &all {
        let mut check = Command::new(&tests::tools().await?.runtime.nats_server);
        check.arg("--config").arg(&config).arg("-t").env_clear();
        check.envs(all.iter().filter(|(name, _)| name != missing).cloned());
        let output = check.output().await?;
        let shown = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "it starts without {missing}");
        assert!(shown.contains(missing), "{shown}");
    }
    Ok(())
}
