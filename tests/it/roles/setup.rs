//! What the tests of roles start from: the deployed server, a Qdrant, and programs that log in by role.

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use contract::topology::JOBS;
use fixtures::process::Process;
use fixtures::wait::until;
use serde_json::{Value, json};
use tests::{Bed, LIMIT, tiny_embed};
use tokio::process::Command;

use super::server::{AckForm, Role, Server};

/// Servers of one test. The open NATS of the bed is not used.
pub(crate) struct Setup {
    pub(crate) bed: Bed,
    pub(crate) nats: Server,
}

impl Setup {
    pub(crate) async fn start(form: AckForm) -> anyhow::Result<Self> {
        let bed = Bed::unprovisioned(&tiny_embed(), "tiny").await?;
        let nats = Server::committed(bed.directory.path(), form).await?;
        Ok(Self { bed, nats })
    }

    /// With another configuration than the committed one.
    pub(crate) async fn with(
        config: impl Fn(&Path) -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<Self> {
        Self::on(Bed::unprovisioned(&tiny_embed(), "tiny").await?, config).await
    }

    /// With another configuration, made in the directory of a bed.
    pub(crate) async fn on(
        bed: Bed,
        config: impl Fn(&Path) -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<Self> {
        let config = config(bed.directory.path())?;
        let nats = Server::start(&config, bed.directory.path()).await?;
        Ok(Self { bed, nats })
    }

    /// A program that logs in by a role.
    pub(crate) fn program(&self, name: &str, role: Role) -> Command {
        let mut command = self.bed.stack.program(name);
        command.envs(self.nats.login(role)).kill_on_drop(true);
        command
    }

    /// Runs a program to its end, which must be a good one, and gives what it printed.
    pub(crate) async fn run(
        &self,
        name: &str,
        role: Role,
        arguments: &[&str],
    ) -> anyhow::Result<String> {
        let output = self.program(name, role).args(arguments).output().await?;
        let log = [&*output.stdout, &*output.stderr].concat();
        let log = String::from_utf8_lossy(&log);
        anyhow::ensure!(
            output.status.success(),
            "{role:?} {arguments:?}: {}\n{log}",
            output.status
        );
        anyhow::ensure!(
            !log.contains("ermissions"),
            "{role:?} {arguments:?}:\n{log}"
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    pub(crate) async fn indexer(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run("indexer", Role::Indexer, arguments).await
    }

    pub(crate) async fn json(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let printed = self.indexer(&[arguments, &["--json"]].concat()).await?;
        Ok(serde_json::from_str(&printed)?)
    }

    /// Runs a worker until its lanes are empty.
    pub(crate) async fn drain(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let drain = [&["run", "--drain", "--grace", "3s"], arguments].concat();
        self.run("worker", Role::Worker, &drain).await.map(drop)
    }

    /// Starts a worker that goes on.
    pub(crate) async fn worker(&self) -> anyhow::Result<Process> {
        let mut command = self.program("worker", Role::Worker);
        command.args(["run", "--grace", "3s"]);
        let log = self.bed.directory.path().join("roles-worker.log");
        let mut worker = Process::start(command, "worker", &log)?;
        worker
            .wait_for_log(LIMIT, |line| line.contains("startup.seconds").then_some(()))
            .await?;
        Ok(worker)
    }

    /// Ends a worker, to which nothing may have been denied.
    pub(crate) async fn end(&self, worker: Process) -> anyhow::Result<()> {
        let log = worker.log().to_owned();
        let status = worker.terminate().await?;
        let log = std::fs::read_to_string(log)?;
        anyhow::ensure!(
            status.success() && !log.contains("ermissions"),
            "{status}\n{log}"
        );
        Ok(())
    }

    /// A plain client.
    pub(crate) async fn client(&self, role: Role) -> anyhow::Result<async_nats::Client> {
        let options = async_nats::ConnectOptions::with_user_and_password(
            role.name().to_owned(),
            role.password(),
        );
        let options = options.custom_inbox_prefix(role.inbox());
        Ok(options.connect(self.nats.url()).await?)
    }

    /// Publishes a document on the live lane by a plain client.
    pub(crate) async fn publish(&self, id: &str, text: &str) -> anyhow::Result<()> {
        let job = json!({
            "version": "1.0", "kind": "embed", "collection": self.bed.stack.collection,
            "documents": [{ "id": id, "chunks": [{ "text": text }] }],
        });
        self.publish_bytes(job.to_string()).await
    }

    pub(crate) async fn publish_bytes(&self, bytes: String) -> anyhow::Result<()> {
        let jetstream = jetstream::new(self.client(Role::Publisher).await?);
        let subject = self.bed.lanes()[0].subject();
        jetstream.publish(subject, bytes.into()).await?.await?;
        Ok(())
    }

    /// Has the jobs on the live lane delivered and given back some times, as a worker in trouble would.
    pub(crate) async fn give_back(&self, times: usize) -> anyhow::Result<()> {
        let jetstream = jetstream::new(self.client(Role::Worker).await?);
        let lane = self.bed.lanes()[0].consumer();
        let consumer: PullConsumer = jetstream.get_consumer_from_stream(lane, JOBS).await?;
        for _ in 0..times {
            let messages = super::work::pull(&consumer).await?;
            anyhow::ensure!(!messages.is_empty(), "nothing was delivered");
            for message in &messages {
                let ack = message.double_ack_with(jetstream::AckKind::Nak(None));
                ack.await.map_err(anyhow::Error::from_boxed)?;
            }
        }
        Ok(())
    }

    /// Waits until the indexer lists this many dead letters, for the causes.
    pub(crate) async fn dead_letters(&self, wanted: usize) -> anyhow::Result<Vec<String>> {
        until("dead letters", LIMIT, async || {
            let listed = self.json(&["dlq", "ls"]).await?;
            let listed = listed["dead_letters"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            let cause = |letter: &Value| letter["cause"].as_str().map(str::to_owned);
            let causes: Vec<_> = listed.iter().filter_map(cause).collect();
            Ok((causes.len() == wanted).then_some(causes))
        })
        .await
    }

    /// Waits until nothing waits on the lanes, as the indexer sees it.
    pub(crate) async fn drained(&self) -> anyhow::Result<()> {
        until("the lanes to drain", LIMIT, async || {
            let status = self.json(&["status"]).await?;
            let lanes = status["lanes"].as_array().cloned().unwrap_or_default();
            anyhow::ensure!(lanes.len() == 2, "{status:#}");
            Ok(lanes.iter().all(|lane| lane["lag"] == 0).then_some(()))
        })
        .await
    }
}

/// Longest wait of a pull.
pub(crate) const PULL: Duration = Duration::from_millis(500);
