//! Logins: each way that NATS and Qdrant know, from the first request to the points; and what happens with a wrong one.

pub(crate) mod credentials;

use std::ffi::OsString;
use std::path::Path;

use anyhow::Context as _;
use fixtures::nats::NatsServer;
use fixtures::process::Process;
use fixtures::qdrant::{LocalProcess, QdrantServer};
use tests::{Bed, tiny_embed};
use tokio::process::Command;

use credentials::{Authority, Operator};

const PASSWORD: &str = "open-sesame-4711";
const WRONG: &str = "not-the-secret-0815";

type Login<'a> = Vec<(&'a str, String)>;

async fn bed() -> anyhow::Result<Bed> {
    Bed::unprovisioned(&tiny_embed(), "tiny").await
}

/// A server beside that of the bed, with a login.
async fn nats(bed: &Bed, settings: &str) -> anyhow::Result<NatsServer> {
    let program = &bed.stack.tools.runtime.nats_server;
    NatsServer::start_with(program, &bed.directory.path().join("guarded"), settings).await
}

fn program(bed: &Bed, name: &str, login: &Login<'_>) -> Command {
    let mut command = bed.stack.program(name);
    command.envs(login.iter().map(|(name, value)| (*name, value)));
    command
}

async fn succeeds(bed: &Bed, mut command: Command, arguments: &[&str]) -> anyhow::Result<()> {
    command.args(arguments);
    let log = bed.directory.path().join("program.log");
    let status = Process::start(command, arguments[0], &log)?.wait().await?;
    let shown = std::fs::read_to_string(&log)?;
    anyhow::ensure!(status.success(), "{arguments:?}: {status}\n{shown}");
    Ok(())
}

/// Provisions, publishes a document and indexes it, all with this login.
async fn one_document_passes(bed: &Bed, login: &Login<'_>) -> anyhow::Result<()> {
    let corpus = bed.write("doc.md", "# Title\n\nSome text.\n")?;
    let corpus = corpus.display().to_string();
    succeeds(bed, program(bed, "indexer", login), &["provision"]).await?;
    succeeds(bed, program(bed, "indexer", login), &["publish", &corpus]).await?;
    succeeds(bed, program(bed, "worker", login), &["run", "--drain"]).await
}

/// All programs end with an error that names `setting` and shows no secret.
async fn all_are_refused(
    bed: &Bed,
    login: &Login<'_>,
    (setting, secret): (&str, &str),
) -> anyhow::Result<()> {
    for (name, verb) in [("indexer", "provision"), ("worker", "run")] {
        let mut command = program(bed, name, login);
        command.arg(verb).env("RUST_LOG", "debug");
        let log = bed.directory.path().join(format!("refused-{name}.log"));
        let status = Process::start(command, name, &log)?.wait().await?;
        let shown = std::fs::read_to_string(&log)?;
        assert!(!status.success(), "{name}:\n{shown}");
        let last = shown.lines().rfind(|line| line.contains(setting));
        last.with_context(|| format!("{name} does not name {setting}:\n{shown}"))?;
        assert!(!shown.contains(secret), "{name} shows the secret");
    }
    Ok(())
}

fn password(nats: &NatsServer, password: &str) -> Login<'static> {
    vec![
        ("NATS_URL", nats.url()),
        ("NATS_USER", "ebb".to_owned()),
        ("NATS_PASSWORD", password.to_owned()),
    ]
}

fn users() -> String {
    format!("authorization {{ users: [{{ user: ebb, password: \"{PASSWORD}\" }}] }}\n")
}

#[tokio::test]
async fn a_user_and_a_password_let_all_programs_in() -> anyhow::Result<()> {
    let bed = bed().await?;
    let nats = nats(&bed, &users()).await?;
    one_document_passes(&bed, &password(&nats, PASSWORD)).await?;
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

#[tokio::test]
async fn a_wrong_password_ends_all_programs_and_names_its_setting() -> anyhow::Result<()> {
    let bed = bed().await?;
    let nats = nats(&bed, &users()).await?;
    let login = password(&nats, WRONG);
    all_are_refused(&bed, &login, ("--nats-password", WRONG)).await?;
    bed.end().await
}

#[tokio::test]
async fn a_server_that_wants_a_login_ends_all_programs_that_have_none() -> anyhow::Result<()> {
    let bed = bed().await?;
    let nats = nats(&bed, &users()).await?;
    let login = vec![("NATS_URL", nats.url())];
    all_are_refused(&bed, &login, ("--nats-user", PASSWORD)).await?;
    bed.end().await
}

#[tokio::test]
async fn an_address_with_a_password_is_refused_because_addresses_are_logged() -> anyhow::Result<()>
{
    let bed = bed().await?;
    let nats = nats(&bed, &users()).await?;
    let url = nats.url().replace("//", &format!("//ebb:{PASSWORD}@"));
    let login = vec![("NATS_URL", url)];
    all_are_refused(&bed, &login, ("--nats-url", PASSWORD)).await?;
    bed.end().await
}

#[tokio::test]
async fn a_certificate_of_a_private_authority_is_trusted_where_it_is_named() -> anyhow::Result<()> {
    let bed = bed().await?;
    let authority = Authority::new(bed.directory.path())?;
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\" }}\n",
        authority.certificate.display(),
        authority.key.display()
    );
    let nats = nats(&bed, &(users() + &tls)).await?;
    let mut login = password(&nats, PASSWORD);
    let refused = succeeds(&bed, program(&bed, "indexer", &login), &["provision"]).await;
    let refused = refused.err().context("an unknown authority was trusted")?;
    let reason = refused.to_string();
    assert!(reason.contains("certificate"), "{reason}");
    login.push(("NATS_CA", authority.ca.display().to_string()));
    one_document_passes(&bed, &login).await?;
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

#[tokio::test]
async fn a_client_certificate_lets_all_programs_in() -> anyhow::Result<()> {
    let bed = bed().await?;
    let authority = Authority::new(bed.directory.path())?;
    let file = |path: &Path| path.display().to_string();
    let tls = format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}\n",
        file(&authority.certificate),
        file(&authority.key),
        file(&authority.ca),
    );
    let nats = nats(&bed, &tls).await?;
    let login = vec![
        ("NATS_URL", nats.url()),
        ("NATS_CA", file(&authority.ca)),
        ("NATS_CERT", file(&authority.certificate)),
        ("NATS_KEY", file(&authority.key)),
    ];
    one_document_passes(&bed, &login).await?;
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

#[tokio::test]
async fn an_nkey_lets_all_programs_in_and_a_wrong_one_ends_them() -> anyhow::Result<()> {
    let bed = bed().await?;
    let (user, stranger) = (nkeys::KeyPair::new_user(), nkeys::KeyPair::new_user());
    let settings = format!(
        "authorization {{ users: [{{ nkey: {} }}] }}\n",
        user.public_key()
    );
    let nats = nats(&bed, &settings).await?;
    let path = bed.directory.path().join("user.nk");
    let login = vec![
        ("NATS_URL", nats.url()),
        ("NATS_NKEY", path.display().to_string()),
    ];
    std::fs::write(&path, format!("{}\n", stranger.seed()?))?;
    all_are_refused(&bed, &login, ("--nats-nkey", &stranger.seed()?)).await?;
    std::fs::write(&path, format!("{}\n", user.seed()?))?;
    one_document_passes(&bed, &login).await?;
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

#[tokio::test]
async fn a_credentials_file_lets_all_programs_in_and_a_strange_one_ends_them() -> anyhow::Result<()>
{
    let bed = bed().await?;
    let operator = Operator::new()?;
    let nats = nats(&bed, &operator.settings()?).await?;
    let path = bed.directory.path().join("user.creds");
    let login = vec![
        ("NATS_URL", nats.url()),
        ("NATS_CREDS", path.display().to_string()),
    ];
    let (strange, seed) = Operator::new()?.user_credentials()?;
    std::fs::write(&path, strange)?;
    all_are_refused(&bed, &login, ("--nats-creds", &seed)).await?;
    let (credentials, _) = operator.user_credentials()?;
    std::fs::write(&path, credentials)?;
    one_document_passes(&bed, &login).await?;
    assert_eq!(bed.points().await?.len(), 1);
    bed.end().await
}

/// A local Qdrant beside that of the bed, with a login. `None` with a real server, whose login is its own.
async fn qdrant(bed: &Bed, arguments: Vec<OsString>) -> anyhow::Result<Option<LocalProcess>> {
    if matches!(bed.stack.qdrant, QdrantServer::External(_)) {
        return Ok(None);
    }
    let program = bed.stack.tools.programs.path("local-qdrant");
    let directory = bed.directory.path().join("guarded-qdrant");
    let qdrant = LocalProcess::start_with(&program, &directory, arguments).await?;
    Ok(Some(qdrant))
}

fn guarded(authority: &Authority) -> Vec<OsString> {
    vec![
        "--tls-cert".into(),
        authority.certificate.clone().into(),
        "--tls-key".into(),
        authority.key.clone().into(),
        "--api-key".into(),
        PASSWORD.into(),
    ]
}

fn key(qdrant: &LocalProcess, authority: &Authority, key: &str) -> Login<'static> {
    vec![
        ("QDRANT_URL", qdrant.url()),
        ("QDRANT_API_KEY", key.to_owned()),
        ("SSL_CERT_FILE", authority.ca.display().to_string()),
    ]
}

#[tokio::test]
async fn an_api_key_over_tls_lets_all_programs_in() -> anyhow::Result<()> {
    let bed = bed().await?;
    let authority = Authority::new(bed.directory.path())?;
    let Some(mut guard) = qdrant(&bed, guarded(&authority)).await? else {
        return bed.end().await;
    };
    one_document_passes(&bed, &key(&guard, &authority, PASSWORD)).await?;
    guard.kill().await?;
    // Without the guard the test can look at what is stored.
    let Some(open) = qdrant(&bed, Vec::new()).await? else {
        return bed.end().await;
    };
    let client = qdrant_client::Qdrant::from_url(&open.url()).skip_compatibility_check();
    let count = qdrant_client::qdrant::CountPointsBuilder::new(bed.stack.collection.as_str());
    let counted = client.build()?.count(count.exact(true)).await?;
    assert_eq!(counted.result.map(|result| result.count), Some(1));
    bed.end().await
}

#[tokio::test]
async fn a_wrong_api_key_ends_all_programs_and_names_its_setting() -> anyhow::Result<()> {
    let bed = bed().await?;
    let authority = Authority::new(bed.directory.path())?;
    let Some(guard) = qdrant(&bed, guarded(&authority)).await? else {
        return bed.end().await;
    };
    // The worker must find its consumers before it looks at Qdrant.
    bed.stack.indexer(&["provision"]).await?;
    let login = key(&guard, &authority, WRONG);
    all_are_refused(&bed, &login, ("--qdrant-api-key", WRONG)).await?;
    let torn = format!("{WRONG}\n");
    let login = key(&guard, &authority, &torn);
    all_are_refused(&bed, &login, ("--qdrant-api-key", WRONG)).await?;
    bed.end().await
}
