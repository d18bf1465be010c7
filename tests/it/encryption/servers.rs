//! NATS and Qdrant that speak TLS alone, and programs with the environment that the component gives them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fixtures::programs::workspace;
use fixtures::qdrant::{LocalProcess, QdrantServer};
use serde_json::Value;
use tokio::process::Command;

use crate::logins::credentials::Authority;
use crate::roles::server::{Role, edited};
use crate::roles::setup::Setup;

pub(super) const KEY: &str = "full-4711";
pub(super) const READ_ONLY_KEY: &str = "look-0815";

fn component(file: &str) -> PathBuf {
    workspace().join("deploy/components/tls").join(file)
}

/// Certificates for this machine, by the names that the script of the component gives them.
fn certificates(directory: &Path) -> anyhow::Result<PathBuf> {
    let certificates = directory.join("certificates");
    std::fs::create_dir_all(&certificates)?;
    let authority = Authority::new(&certificates)?;
    for (made, name) in [
        (&authority.ca, "ca.crt"),
        (&authority.certificate, "nats.crt"),
        (&authority.key, "nats.key"),
        (&authority.certificate, "qdrant.crt"),
        (&authority.key, "qdrant.key"),
    ] {
        std::fs::copy(made, certificates.join(name))?;
    }
    Ok(certificates)
}

/// Certificates by the script of the component.
pub(super) async fn certificates_of_the_script(directory: &Path) -> anyhow::Result<PathBuf> {
    let certificates = directory.join("certificates");
    let mut script = Command::new(component("certificates.sh"));
    script.arg(&certificates);
    let output = script.output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "certificates.sh needs bash and openssl: {said}"
    );
    Ok(certificates)
}

/// The configuration of NATS with the component's, where the certificates of this test are.
fn config(directory: &Path) -> anyhow::Result<PathBuf> {
    let certificates = directory.join("certificates");
    let patch: Value =
        yaml_serde::from_str(&std::fs::read_to_string(component("nats-config.yaml"))?)?;
    let tls = patch["data"]["tls.conf"].as_str().context("no tls.conf")?;
    let here = |name: &str| format!("\"{}\"", certificates.join(name).display());
    let tls = tls
        .replace("\"/etc/nats-tls/tls.crt\"", &here("nats.crt"))
        .replace("\"/etc/nats-tls/tls.key\"", &here("nats.key"))
        .replace("\"/etc/nats-tls/ca.crt\"", &here("ca.crt"));
    let copy = edited(directory, |name, text| {
        if name == "tls.conf" {
            tls.clone()
        } else {
            text
        }
    })?;
    Ok(copy.join("nats.conf"))
}

/// NATS and Qdrant that speak TLS alone, with logins.
pub(super) struct Encrypted {
    pub(super) setup: Setup,
    pub(super) qdrant: LocalProcess,
    trusted: PathBuf,
}

impl Encrypted {
    /// `None` with a real Qdrant, whose certificate is its own.
    pub(super) async fn start() -> anyhow::Result<Option<Self>> {
        let bed = tests::Bed::unprovisioned(&tests::tiny_embed(), "tiny").await?;
        if matches!(bed.stack.qdrant, QdrantServer::External(_)) {
            bed.end().await?;
            return Ok(None);
        }
        let certificates = certificates(bed.directory.path())?;
        let setup = Setup::on(bed, config).await?;
        let qdrant = qdrant(&setup, guarded(&certificates)).await?;
        // As the volume of the authority, with nothing else in it.
        let trusted = setup.bed.directory.path().join("trusted");
        std::fs::create_dir_all(&trusted)?;
        std::fs::copy(certificates.join("ca.crt"), trusted.join("ca.crt"))?;
        Ok(Some(Self {
            setup,
            qdrant,
            trusted,
        }))
    }

    /// A program with the environment that the component gives it.
    pub(super) fn program(
        &self,
        name: &str,
        role: Role,
        arguments: &[&str],
    ) -> anyhow::Result<Command> {
        let patch: Value =
            yaml_serde::from_str(&std::fs::read_to_string(component("environment.yaml"))?)?;
        let mut command = self.setup.program(name, role);
        for (setting, value) in patch["data"].as_object().context("no environment")? {
            let value = value.as_str().context("not a text")?;
            command.env(
                setting,
                value.replace("/etc/ebb/ca", &self.trusted.display().to_string()),
            );
        }
        command
            .env("QDRANT_URL", self.qdrant.url())
            .env("QDRANT_API_KEY", KEY);
        command.args(arguments);
        Ok(command)
    }

    pub(super) async fn succeeds(&self, command: Command) -> anyhow::Result<String> {
        let (good, said) = ended(command).await?;
        anyhow::ensure!(good, "{said}");
        Ok(said)
    }

    /// What a program says in the end that must fail.
    pub(super) async fn fails(&self, command: Command) -> anyhow::Result<String> {
        let (good, said) = ended(command).await?;
        anyhow::ensure!(!good, "it succeeds: {said}");
        Ok(said.lines().last().unwrap_or_default().to_owned())
    }

    pub(super) async fn indexed(&self) -> anyhow::Result<()> {
        let corpus = self
            .setup
            .bed
            .write("doc.md", "# Title\n\nSome text.\n")?
            .display()
            .to_string();
        self.succeeds(self.program("indexer", Role::Provision, &["provision"])?)
            .await?;
        self.succeeds(self.program("indexer", Role::Indexer, &["publish", &corpus])?)
            .await?;
        let drain = ["run", "--drain", "--grace", "3s"];
        self.succeeds(self.program("worker", Role::Worker, &drain)?)
            .await?;
        Ok(())
    }
}

pub(super) async fn qdrant(
    setup: &Setup,
    arguments: Vec<OsString>,
) -> anyhow::Result<LocalProcess> {
    let program = setup.bed.stack.tools.programs.path("local-qdrant");
    LocalProcess::start_with(
        &program,
        &setup.bed.directory.path().join("encrypted-qdrant"),
        arguments,
    )
    .await
}

fn guarded(certificates: &Path) -> Vec<OsString> {
    vec![
        "--tls-cert".into(),
        certificates.join("qdrant.crt").into(),
        "--tls-key".into(),
        certificates.join("qdrant.key").into(),
        "--api-key".into(),
        KEY.into(),
        "--read-only-api-key".into(),
        READ_ONLY_KEY.into(),
    ]
}

async fn ended(mut command: Command) -> anyhow::Result<(bool, String)> {
    let output = command.output().await?;
    let said = [output.stdout, output.stderr].concat();
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&said).trim_end().to_owned(),
    ))
}
