//! The server of the queue, as its manifest starts it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use fixtures::process::Process;
use fixtures::wait::until;
use serde_json::Value;
use tests::tools;
use tokio::process::Command;

use super::super::render::{Rendered, list, table, text};
use super::{expand, value_of};

/// Where the server is reached.
pub(super) struct Addresses {
    pub(super) clients: String,
    pub(super) monitoring: String,
}

/// The server with the configuration and arguments of the StatefulSet, on free ports.
pub(super) async fn start(
    rendered: &Rendered,
    folder: &Path,
) -> anyhow::Result<(Process, Addresses)> {
    std::fs::create_dir_all(folder)?;
    for (name, content) in table(rendered.find("ConfigMap", "nats")?, "/data") {
        std::fs::write(folder.join(name), content)?;
    }
    let pod = rendered.pod("nats")?;
    let container = pod.containers()[0];
    let mut environment = BTreeMap::new();
    for variable in list(container, "/env") {
        let store = folder.join("store").display().to_string();
        let value = value_of(variable)?;
        let value = if value == "/data" { store } else { value };
        environment.insert(text(variable, "/name").to_owned(), value);
    }
    for role in ["publisher", "worker", "indexer", "provision"] {
        let name = format!("NATS_{}_PASSWORD", role.to_uppercase());
        environment.insert(name, format!("password-of-{role}"));
    }
    let mut command = Command::new(&tools().await?.runtime.nats_server);
    let arguments = list(container, "/args").iter().filter_map(Value::as_str);
    let home = folder.display().to_string();
    command.args(arguments.map(|it| expand(it, &environment).replace("/etc/nats", &home)));
    command.args(["--addr", "127.0.0.1", "--port", "-1", "--http_port", "-1"]);
    command
        .arg("--ports_file_dir")
        .arg(folder)
        .envs(&environment);
    let server = Process::start(command, "nats-server", &folder.join("nats.log"))?;
    let ports = folder.join(format!(
        "nats-server_{}.ports",
        server.pid()?.as_raw_nonzero()
    ));
    let addresses = until("nats-server", Duration::from_secs(30), async || {
        let file = std::fs::read(&ports).ok();
        let json: Option<Value> = file.and_then(|it| serde_json::from_slice(&it).ok());
        let address = |kind: &str| Some(json.as_ref()?[kind][0].as_str()?.to_owned());
        Ok(address("nats").zip(address("monitoring")))
    });
    let (clients, monitoring) = addresses.await?;
    let addresses = Addresses {
        clients,
        monitoring,
    };
    Ok((server, addresses))
}
