//! Nodes: one Qdrant, or the nodes of a cluster of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use fixtures::qdrant::{LocalProcess, Peer, free_port};
use fixtures::wait::until;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{GetPointsBuilder, PointId, ReadConsistencyType, read_consistency};
use rustix::process::Signal;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::links::Links;
use crate::message::COLLECTION;
use crate::settings::Settings;

/// Shards of the collection in a cluster: every pair of nodes has one.
const SHARDS: u32 = 3;
const JOIN_LIMIT: Duration = Duration::from_secs(60);
/// Replicas that were dead are made anew within this.
const RECOVERY_LIMIT: Duration = Duration::from_secs(180);
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// Where the points are.
#[derive(Debug)]
pub(crate) struct Nodes {
    nodes: Vec<Mutex<LocalProcess>>,
    urls: Vec<String>,
    /// Between the nodes of a cluster.
    pub(crate) links: Option<Links>,
    /// The node that is restarted next.
    turn: AtomicUsize,
}

/// Reads what all replicas have.
pub(crate) fn all_replicas() -> read_consistency::Value {
    read_consistency::Value::Type(ReadConsistencyType::All.into())
}

impl Nodes {
    /// Starts them with their data in `directory`.
    ///
    /// # Errors
    /// If one does not start.
    pub(crate) async fn start(
        local: &Path,
        directory: &Path,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let node = match &settings.qdrant {
            Some(program) if settings.is_cluster() => {
                return Self::cluster(program, directory, settings).await;
            }
            Some(program) => LocalProcess::start_real(program, &directory.join("qdrant")).await?,
            None => LocalProcess::start(local, &directory.join("qdrant")).await?,
        };
        Ok(Self::of(vec![node], None))
    }

    async fn cluster(
        program: &Path,
        directory: &Path,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        let ports = (0..settings.qdrant_nodes).map(|_| free_port());
        let ports: Vec<_> = ports.collect::<anyhow::Result<_>>()?;
        let links = Links::new(&ports).await?;
        let mut nodes = Vec::new();
        for (number, port) in ports.iter().enumerate() {
            let peer = Peer {
                port: *port,
                uri: links.uri(number),
                bootstrap: (number > 0).then(|| links.uri(0)),
                shards_and_replicas: (SHARDS, settings.replicas),
            };
            let data = directory.join(format!("qdrant-{number}"));
            nodes.push(LocalProcess::start_peer(program, &data, Some(peer)).await?);
        }
        for node in &nodes {
            until("the nodes to know each other", JOIN_LIMIT, async || {
                let cluster: serde_json::Value =
                    serde_json::from_str(&node.http("/cluster").await?)?;
                let peers = cluster["result"]["peers"]
                    .as_object()
                    .map(|peers| peers.len());
                Ok((peers == Some(ports.len())).then_some(()))
            })
            .await?;
        }
        Ok(Self::of(nodes, Some(links)))
    }

    fn of(nodes: Vec<LocalProcess>, links: Option<Links>) -> Self {
        Self {
            urls: nodes.iter().map(LocalProcess::url).collect(),
            nodes: nodes.into_iter().map(Mutex::new).collect(),
            links,
            turn: AtomicUsize::new(0),
        }
    }

    /// File of the fault rules of the first one, if it is a local one.
    pub(crate) async fn faults(&self) -> PathBuf {
        self.nodes[0].lock().await.faults()
    }

    /// Addresses, one for each node.
    pub(crate) fn urls(&self) -> &[String] {
        &self.urls
    }

    /// A client of each node, without a proxy between.
    ///
    /// # Errors
    /// If an address is none.
    pub(crate) fn clients(&self) -> anyhow::Result<Vec<Qdrant>> {
        let client = |url: &String| {
            let client = Qdrant::from_url(url).skip_compatibility_check();
            Ok(client.timeout(ANSWER_LIMIT).build()?)
        };
        self.urls.iter().map(client).collect()
    }

    /// Kills a node, one after the other in turn, and starts it again after `pause`.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) async fn restart(&self, pause: Duration) -> anyhow::Result<()> {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        let mut node = self.nodes[turn % self.nodes.len()].lock().await;
        node.kill().await?;
        sleep(pause).await;
        node.resume().await
    }

    /// Stops a node, which knows nothing of it, for a while.
    ///
    /// # Errors
    /// If it is not running.
    pub(crate) async fn suspend(&self, number: usize, lasts: Duration) -> anyhow::Result<()> {
        let node = self.nodes[number].lock().await;
        let process = node.process().context("the node is not running")?;
        process.signal(Signal::STOP)?;
        sleep(lasts).await;
        process.signal(Signal::CONT)
    }

    /// Waits until all replicas of all shards are there again, as each node sees it.
    ///
    /// # Errors
    /// If one stays away.
    pub(crate) async fn recovered(&self) -> anyhow::Result<()> {
        for client in self.clients()? {
            until("all replicas", RECOVERY_LIMIT, async || {
                let nobody = PointId::from(0_u64);
                let request = GetPointsBuilder::new(COLLECTION, vec![nobody]);
                let request = request.read_consistency(all_replicas());
                Ok(client.get_points(request).await.ok().map(drop))
            })
            .await?;
        }
        Ok(())
    }
}
