//! The real nats-server with the files of `deploy/nats`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fixtures::process::Process;
use fixtures::programs::workspace;
use fixtures::wait::until;
use serde_json::Value;
use tokio::process::Command;

const START_LIMIT: Duration = Duration::from_secs(30);
/// A bcrypt hash of `provision-secret`: the server takes passwords and hashes.
pub(super) const HASH: &str = "$2a$04$cM9acHA68juZPNTMSgExquBJmQ4XT/YPV1DbnJWegYO5Uh1Md7.RS";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Publisher,
    Worker,
    Indexer,
    Provision,
}

/// Which form of acknowledgements the server uses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AckForm {
    V1,
    V2,
}

/// A server with logins. Dropping it kills it.
pub(crate) struct Server {
    _process: Process,
    ports: Ports,
}

struct Ports {
    client: u16,
    monitoring: u16,
}

impl Role {
    pub(crate) const ALL: [Self; 4] = [
        Self::Publisher,
        Self::Worker,
        Self::Indexer,
        Self::Provision,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Worker => "worker",
            Self::Indexer => "indexer",
            Self::Provision => "provision",
        }
    }

    pub(crate) fn password(self) -> String {
        format!("{}-secret", self.name())
    }

    pub(crate) fn inbox(self) -> String {
        format!("_INBOX_{}", self.name())
    }
}

pub(crate) fn committed() -> PathBuf {
    workspace().join("deploy/nats")
}

/// A copy of the committed files, with `edit` applied to what the file of a name says.
pub(crate) fn edited(
    directory: &Path,
    edit: impl Fn(&str, String) -> String,
) -> anyhow::Result<PathBuf> {
    let copy = directory.join("edited");
    std::fs::create_dir_all(&copy)?;
    for entry in std::fs::read_dir(committed())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".conf") {
            let text = std::fs::read_to_string(committed().join(&name))?;
            std::fs::write(copy.join(&name), edit(&name, text))?;
        }
    }
    Ok(copy)
}

/// The settings that the files take from the environment.
pub(crate) fn environment(store: &Path) -> Vec<(&'static str, String)> {
    vec![
        ("NATS_STORE_DIR", store.display().to_string()),
        ("NATS_MAX_FILE_STORE", "22GB".to_owned()),
        ("NATS_PUBLISHER_PASSWORD", Role::Publisher.password()),
        ("NATS_WORKER_PASSWORD", Role::Worker.password()),
        ("NATS_INDEXER_PASSWORD", Role::Indexer.password()),
        ("NATS_PROVISION_PASSWORD", HASH.to_owned()),
    ]
}

impl Server {
    /// Starts one with exactly the committed files; the second form of acknowledgements is a feature that is opted for.
    pub(crate) async fn committed(directory: &Path, form: AckForm) -> anyhow::Result<Self> {
        match form {
            AckForm::V1 => Self::start(&committed().join("nats.conf"), directory).await,
            AckForm::V2 => {
                let copy = edited(directory, |_, text| text)?;
                let config = copy.join("with-feature.conf");
                std::fs::write(
                    &config,
                    "include nats.conf\nfeature_flags { js_ack_fc_v2: true }\n",
                )?;
                Self::start(&config, directory).await
            }
        }
    }

    /// Starts one with a configuration file, on free ports of the loopback interface.
    pub(crate) async fn start(config: &Path, directory: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(&tests::tools().await?.runtime.nats_server);
        command.arg("--config").arg(config);
        command.args(["--addr", "127.0.0.1", "--port", "-1", "--http_port", "-1"]);
        command.arg("--ports_file_dir").arg(directory);
        command.envs(environment(&directory.join("roles-store")));
        let log = directory.join("roles.log");
        let mut process = Process::start(command, "nats-server with roles", &log)?;
        let pid = process.pid()?.as_raw_nonzero();
        let file = directory.join(format!("nats-server_{pid}.ports"));
        // A server that refuses its configuration says so, and ends.
        process
            .wait_for_log(START_LIMIT, |line| {
                line.contains("Server is ready").then_some(())
            })
            .await?;
        let ports = until("the ports of nats-server", START_LIMIT, async || {
            Ok(Ports::read(&file))
        })
        .await?;
        Ok(Self {
            _process: process,
            ports,
        })
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports.client)
    }

    pub(crate) fn address(&self) -> (&'static str, u16) {
        ("127.0.0.1", self.ports.client)
    }

    pub(crate) fn monitoring(&self) -> String {
        format!("127.0.0.1:{}", self.ports.monitoring)
    }

    /// What a program needs to log in.
    pub(crate) fn login(&self, role: Role) -> Vec<(&'static str, String)> {
        vec![
            ("NATS_URL", self.url()),
            ("NATS_USER", role.name().to_owned()),
            ("NATS_PASSWORD", role.password()),
            ("NATS_INBOX_PREFIX", role.inbox()),
        ]
    }
}

impl Ports {
    fn read(file: &Path) -> Option<Self> {
        let json: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        let port = |kind: &str| json[kind][0].as_str()?.rsplit(':').next()?.parse().ok();
        Some(Self {
            client: port("nats").or_else(|| port("tls"))?,
            monitoring: port("monitoring")?,
        })
    }
}
