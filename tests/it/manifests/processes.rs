//! The containers of the manifests as processes, with exactly their arguments and environment: what stands in a manifest
//! stages a model, provisions, indexes a corpus, rebuilds, sweeps and evaluates, each role with the login that it has.

mod server;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitStatus;

use anyhow::Context as _;
use fixtures::process::Process;
use fixtures::qdrant::LocalProcess;
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{LIMIT, tools};
use tokio::process::Command;

use super::names::words;
use super::render::{Rendered, deploy, documents, list, overlay, text};

const API_KEY: &str = "key-of-qdrant";
const READ_ONLY_API_KEY: &str = "key-to-read-qdrant";

/// A cluster of one machine: servers, and a folder in the place of each volume.
struct Cluster {
    rendered: Rendered,
    root: TempDir,
    qdrant: LocalProcess,
    _server: Process,
    nats: server::Addresses,
}

impl Cluster {
    async fn start() -> anyhow::Result<Self> {
        let rendered = overlay("cpu").await?;
        let root = tempfile::tempdir()?;
        let tools = tools().await?;
        let qdrant = tools.programs.path("local-qdrant");
        let keys = [
            "--api-key",
            API_KEY,
            "--read-only-api-key",
            READ_ONLY_API_KEY,
        ];
        let arguments = keys.map(Into::into).into();
        let qdrant =
            LocalProcess::start_with(&qdrant, &root.path().join("qdrant"), arguments).await?;
        let (server, nats) = server::start(&rendered, &root.path().join("nats")).await?;
        Ok(Self {
            rendered,
            root,
            qdrant,
            _server: server,
            nats,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, content: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        Ok(std::fs::write(path, content)?)
    }

    /// What is outside of the pod, put in the place of what the manifest names.
    fn at_home(&self, value: &str) -> String {
        let mut value = value.to_owned();
        for volume in ["models", "eval"] {
            if value.contains(&format!("/{volume}")) {
                value = value.replace(
                    &format!("/{volume}"),
                    &self.path(volume).display().to_string(),
                );
            }
        }
        value
            .replace("nats://nats.ebb-data.svc:4222", &self.nats.clients)
            .replace(
                "http://nats-headless.ebb-data.svc:8222",
                &self.nats.monitoring,
            )
            .replace("http://qdrant.ebb-data.svc:6334", &self.qdrant.url())
            .replace("s3://corpus", &self.path("corpus").display().to_string())
            .replace("0.0.0.0:9090", "127.0.0.1:0")
    }

    /// A program of the image of a pod's only container, with the environment of the container.
    async fn program(&self, container: &Value) -> anyhow::Result<Command> {
        let program = words(container).into_iter().next().context("not ours")?;
        let mut command = tools().await?.program(&program);
        let library = tools().await?.runtime.onnxruntime.clone();
        command.env_clear().env("ORT_DYLIB_PATH", library);
        let environment = self.environment(container)?;
        command.envs(
            environment
                .iter()
                .map(|(name, value)| (name, self.at_home(value))),
        );
        Ok(command)
    }

    fn environment(&self, container: &Value) -> anyhow::Result<BTreeMap<String, String>> {
        let mut environment = self.rendered.environment()?;
        for variable in list(container, "/env") {
            environment.insert(text(variable, "/name").to_owned(), value_of(variable)?);
        }
        Ok(environment)
    }

    async fn start_container(&self, pod: &str) -> anyhow::Result<Process> {
        let container = self.rendered.pod(pod)?.containers()[0];
        let environment = self.environment(container)?;
        let mut command = self.program(container).await?;
        let arguments = list(container, "/args").iter().filter_map(Value::as_str);
        command.args(arguments.map(|it| self.at_home(&expand(it, &environment))));
        Process::start(command, pod, &self.path(&format!("{pod}.log")))
    }

    /// Runs a container to its end; gives all that it printed.
    async fn run(&self, pod: &str) -> anyhow::Result<String> {
        let mut process = self.start_container(pod).await?;
        let status: ExitStatus = process.wait().await?;
        let said = std::fs::read_to_string(process.log())?;
        anyhow::ensure!(status.success(), "{pod}: {status}\n{said}");
        Ok(said)
    }

    /// What the indexer answers from the pod of a rebuild.
    async fn ask(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let container = self.rendered.pod("rebuild")?.containers()[0];
        let mut command = self.program(container).await?;
        let output = command.args(arguments).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{arguments:?}: {said}");
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// A value given directly, from a secret, or from the pod.
fn value_of(variable: &Value) -> anyhow::Result<String> {
    if let Some(value) = variable["value"].as_str() {
        return Ok(value.to_owned());
    }
    let secret = text(variable, "/valueFrom/secretKeyRef/name");
    let value = match (secret, text(variable, "/valueFrom/secretKeyRef/key")) {
        ("qdrant", "api-key") => API_KEY.to_owned(),
        ("qdrant", "read-only-api-key") => READ_ONLY_API_KEY.to_owned(),
        (secret, "user") => secret.trim_start_matches("nats-").to_owned(),
        (secret, "password") => format!("password-of-{}", secret.trim_start_matches("nats-")),
        (_, _) => match text(variable, "/valueFrom/fieldRef/fieldPath") {
            "metadata.name" => "nats-0".to_owned(),
            "metadata.labels['batch.kubernetes.io/job-name']" => "rebuild-29384732".to_owned(),
            other => anyhow::bail!("no value for {variable} ({other})"),
        },
    };
    Ok(value)
}

/// `$(NAME)` in an argument, as the kubelet expands it.
fn expand(argument: &str, environment: &BTreeMap<String, String>) -> String {
    let mut argument = argument.to_owned();
    for (name, value) in environment {
        argument = argument.replace(&format!("$({name})"), value);
    }
    argument
}

fn is_ready(line: &str) -> Option<()> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line["fields"]["message"] == "ready").then_some(())
}

/// Stages and provisions; the order is that of the Jobs' retries.
async fn prepare(cluster: &Cluster) -> anyhow::Result<()> {
    let incoming = cluster.path("models/incoming");
    std::fs::create_dir_all(&incoming)?;
    let minilm = &tools().await?.runtime.minilm;
    std::os::unix::fs::symlink(minilm, incoming.join("all-MiniLM-L6-v2"))?;
    // The volume has no model yet: the Job fails, and is tried again.
    let early = cluster.start_container("provision").await?.wait().await?;
    anyhow::ensure!(!early.success(), "provisioned without a model");
    cluster.run("model-stage").await?;
    cluster.run("provision").await?;
    Ok(())
}

#[tokio::test]
async fn the_containers_of_the_manifests_index_a_corpus() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    prepare(&cluster).await?;
    let mut worker = cluster.start_container("worker").await?;
    worker.wait_for_log(LIMIT, is_ready).await?;

    cluster.write(
        "corpus/tide.md",
        "# Tide\n\nThe tide goes out twice a day.\n",
    )?;
    cluster.write(
        "corpus/lanes.md",
        "# Lanes\n\nLive work goes before bulk work.\n",
    )?;
    let report = cluster.run("rebuild").await?;
    assert!(report.contains("rebuild-29384732"), "{report}");
    // Another attempt of the same Job: the run is done, and is not done again.
    cluster.run("rebuild").await?;
    let runs = cluster.ask(&["status", "--json"]).await?["runs"].clone();
    let over = (&runs[0]["run"], &runs[0]["over"], &runs[1]);
    assert_eq!(
        over,
        (&json!("rebuild-29384732"), &json!(true), &Value::Null)
    );

    cluster.write(
        "eval/queries.jsonl",
        "{\"_id\":\"q\",\"text\":\"who goes first?\"}\n",
    )?;
    cluster.write(
        "eval/qrels.tsv",
        "query-id\tcorpus-id\tscore\nq\tlanes.md\t1\n",
    )?;
    let evaluated = cluster.run("eval").await?;
    assert!(evaluated.contains("ndcg"), "{evaluated}");
    cluster.run("dlq-sweep").await?;
    let findings: Value = serde_json::from_str(&cluster.run("doctor").await?)?;
    assert_eq!(findings["findings"], json!([]), "{findings:#}");
    assert!(worker.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn the_server_of_compose_takes_its_configuration_and_syncs_every_write() -> anyhow::Result<()>
{
    let compose = documents(&std::fs::read_to_string(deploy().join("compose.yaml"))?)?;
    let config = text(&compose[0], "/configs/nats/content");
    assert!(config.contains("sync_interval: always"));
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("nats.conf");
    let store = folder.path().display().to_string();
    std::fs::write(&file, config.replace("/data", &store))?;
    let mut command = Command::new(&tools().await?.runtime.nats_server);
    let output = command
        .arg("-t")
        .arg("--config")
        .arg(&file)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Ok(())
}
