//! Servers: a real nats-server, and a local or a real Qdrant, that can be killed, started again, and made to fail.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream;
use contract::model::Manifest;
use fixtures::install::cache_dir;
use fixtures::nats::NatsServer;
use fixtures::process::output;
use fixtures::stack::Tools;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::fault::Server;
use crate::message::COLLECTION;
use crate::nodes::Nodes;
use crate::settings::Settings;

/// Name of the staged model, the same as in the integration tests, and of its vector.
pub(crate) const MODEL: &str = "tiny";
/// Name of the attached model, and of its vector. It gives texts the vectors that the other gives them.
pub(crate) const ATTACHED: &str = "attached";

/// The servers of a run.
#[derive(Debug)]
pub(crate) struct Servers {
    /// What they run with.
    pub(crate) tools: Tools,
    /// Where the staged model is.
    pub(crate) model: PathBuf,
    pub(crate) manifest: Manifest,
    /// Where the attached model is, if one is attached.
    pub(crate) attached: Option<PathBuf>,
    /// JetStream, without a proxy between.
    pub(crate) jetstream: jetstream::Context,
    nats: Mutex<NatsServer>,
    /// The servers of the points.
    pub(crate) nodes: Nodes,
    nats_url: String,
    /// Begins and ends of restarts of Qdrant.
    qdrant_restarts: AtomicU64,
    rules: Mutex<Rules>,
}

/// Fault rules in force.
#[derive(Debug)]
struct Rules {
    file: PathBuf,
    next: u64,
    active: Vec<(u64, serde_json::Value)>,
}

impl Servers {
    /// Starts and provisions them with their data in `directory`.
    ///
    /// # Errors
    /// If anything does not start.
    pub(crate) async fn start(directory: &Path, settings: &Settings) -> anyhow::Result<Self> {
        let tools = Tools::prepare(&[], |line| eprintln!("{line}")).await?;
        let models = cache_dir().join("models");
        let model = tools.stage(&tests::tiny_embed(), MODEL, &models).await?;
        let nats = NatsServer::start(&tools.runtime.nats_server, &directory.join("nats")).await?;
        let local = tools.programs.path("local-qdrant");
        let nodes = Nodes::start(&local, directory, settings).await?;
        let rules = Rules {
            file: nodes.faults().await,
            next: 0,
            active: Vec::new(),
        };
        let client = async_nats::connect(nats.url())
            .await
            .context("failed to connect to nats")?;
        let attached = match settings.attached {
            true => Some(stage_attached(&tools, &models).await?),
            false => None,
        };
        let servers = Self {
            attached,
            manifest: Manifest::load(&model)?,
            jetstream: queue::nats::jetstream(client),
            nats_url: nats.url(),
            nats: Mutex::new(nats),
            nodes,
            qdrant_restarts: AtomicU64::new(0),
            rules: Mutex::new(rules),
            tools,
            model,
        };
        let wait = format!("{}s", settings.ack_wait.as_secs());
        let mut provision = servers.program("indexer");
        provision.args(["provision", "--ack-wait", &wait]);
        provision.args(["--collections", COLLECTION]);
        output(provision).await?;
        servers.attach(&wait).await?;
        Ok(servers)
    }

    /// Attaches the other model, if one is to be: workers publish jobs for it from now on.
    async fn attach(&self, ack_wait: &str) -> anyhow::Result<()> {
        let Some(model) = &self.attached else {
            return Ok(());
        };
        let verbs: [&[&str]; 2] = [
            &["provision", "--lanes", "--ack-wait", ack_wait],
            &["attach", "--alias", COLLECTION],
        ];
        for verb in verbs {
            let mut indexer = self.program("indexer");
            indexer.args(verb).env("EBB_MODEL", model);
            output(indexer).await?;
        }
        Ok(())
    }

    /// A program of the workspace that works with the servers without a proxy between.
    pub(crate) fn program(&self, name: &str) -> Command {
        let mut command = self.tools.program(name);
        command
            .env("NATS_URL", &self.nats_url)
            .env("QDRANT_URL", &self.nodes.urls()[0]);
        command.env("EBB_MODEL", &self.model);
        command
            .env("EBB_COLLECTION", COLLECTION)
            .env("EBB_COLLECTIONS", COLLECTION);
        command
    }

    /// Where a server listens, or of several the one with this number.
    ///
    /// # Errors
    /// If its address is none.
    pub(crate) fn address(&self, server: Server, node: usize) -> anyhow::Result<SocketAddr> {
        let url = match server {
            Server::Nats => &self.nats_url,
            Server::Qdrant => &self.nodes.urls()[node],
        };
        let address = url.rsplit('/').next().unwrap_or_default();
        address
            .parse()
            .with_context(|| format!("`{url}` is not an address"))
    }

    /// Kills a server and starts it again after `pause`.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn restart(&self, server: Server, pause: Duration) -> anyhow::Result<()> {
        match server {
            Server::Nats => {
                let mut nats = self.nats.lock().await;
                nats.kill().await?;
                sleep(pause).await;
                nats.resume().await
            }
            Server::Qdrant => {
                self.qdrant_restarts.fetch_add(1, Ordering::SeqCst);
                let started = self.nodes.restart(pause).await;
                self.qdrant_restarts.fetch_add(1, Ordering::SeqCst);
                started
            }
        }
    }

    /// Changes with each restart of Qdrant: what was read before may have been lost, if nobody had been told that it
    /// was durable.
    pub(crate) fn qdrant_restarts(&self) -> u64 {
        self.qdrant_restarts.load(Ordering::SeqCst)
    }

    /// Puts a fault rule in force; gives its number.
    ///
    /// # Errors
    /// If the rule is not JSON or the disk refuses.
    pub(crate) async fn add_rule(&self, rule: &str) -> anyhow::Result<u64> {
        let mut rules = self.rules.lock().await;
        rules.next += 1;
        let number = rules.next;
        rules.active.push((number, serde_json::from_str(rule)?));
        rules.write()?;
        Ok(number)
    }

    /// Ends a fault rule.
    ///
    /// # Errors
    /// If the disk refuses.
    pub(crate) async fn remove_rule(&self, number: u64) -> anyhow::Result<()> {
        let mut rules = self.rules.lock().await;
        rules.active.retain(|(active, _)| *active != number);
        rules.write()
    }
}

/// Another prompt of queries makes another fingerprint, and no other vector of a text.
async fn stage_attached(tools: &Tools, models: &Path) -> anyhow::Result<PathBuf> {
    let mut stage = tools.program("worker");
    stage.arg("stage").arg(tests::tiny_embed());
    stage.args(["--name", ATTACHED, "--query-prompt", "query: "]);
    stage.arg("--models").arg(models);
    Ok(output(stage).await?.trim().into())
}

impl Rules {
    /// Replaces the file as a whole, so that no request sees half of it.
    fn write(&self) -> anyhow::Result<()> {
        let fresh = self.file.with_extension("fresh");
        let rules: Vec<_> = self.active.iter().map(|(_, rule)| rule).collect();
        std::fs::write(&fresh, serde_json::to_vec(&rules)?)?;
        Ok(std::fs::rename(&fresh, &self.file)?)
    }
}
