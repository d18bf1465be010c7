//! Links: the ways between the nodes of a cluster, each direction a wire of its own. Every node tells the others the
//! address of its gate. The gate finds out which node has connected, by the owner of the other end of the connection, and
//! sends it over the wire from that node.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::fault::{Between, Trouble};
use crate::wire::Wire;

/// All ways between nodes. Dropping it closes them.
#[derive(Debug)]
pub(crate) struct Links {
    ways: Arc<Ways>,
    gates: Vec<SocketAddr>,
    accepting: Vec<JoinHandle<()>>,
}

/// The wire from each node to each other.
type Ways = Vec<Vec<Wire>>;

/// Troubles that are on: from where, to where, and the number of each.
pub(crate) type Disturbed = Vec<(usize, usize, u64)>;

impl Links {
    /// Between nodes that hear each other on these ports.
    ///
    /// # Errors
    /// If no port is free.
    pub(crate) async fn new(ports: &[u16]) -> anyhow::Result<Self> {
        let (mut ways, mut listeners, mut gates) = (Ways::new(), Vec::new(), Vec::new());
        for _ in ports {
            let mut of_node = Vec::new();
            for port in ports {
                of_node.push(Wire::new((Ipv4Addr::LOCALHOST, *port).into()).await?);
            }
            ways.push(of_node);
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            gates.push(listener.local_addr()?);
            listeners.push(listener);
        }
        let ways = Arc::new(ways);
        let accepting = listeners.into_iter().enumerate().map(|(to, listener)| {
            let gate = Gate {
                to,
                uris: gates.iter().map(uri).collect(),
                ways: ways.clone(),
            };
            tokio::spawn(gate.accept(listener))
        });
        Ok(Self {
            accepting: accepting.collect(),
            ways,
            gates,
        })
    }

    /// What a node tells the others.
    pub(crate) fn uri(&self, node: usize) -> String {
        uri(&self.gates[node])
    }

    /// Begins a trouble between a node and the others; gives what was disturbed.
    pub(crate) fn disturb(&self, node: usize, between: Between, trouble: Trouble) -> Disturbed {
        let mut disturbed = Disturbed::new();
        let others = (0..self.gates.len()).filter(|other| *other != node);
        for other in others {
            let (sends, hears) = between.closes(other);
            for (from, to) in [
                sends.then_some((node, other)),
                hears.then_some((other, node)),
            ]
            .into_iter()
            .flatten()
            {
                disturbed.push((from, to, self.ways[from][to].disturb(trouble)));
            }
        }
        disturbed
    }

    pub(crate) fn heal(&self, disturbed: &Disturbed) {
        for (from, to, number) in disturbed {
            self.ways[*from][*to].heal(*number);
        }
    }

    /// Ends whatever there is.
    pub(crate) fn heal_all(&self) {
        self.ways.iter().flatten().for_each(Wire::heal_all);
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.accepting.iter().for_each(JoinHandle::abort);
    }
}

fn uri(gate: &SocketAddr) -> String {
    format!("http://{gate}")
}

struct Gate {
    to: usize,
    /// Of all nodes, as they stand on their command lines.
    uris: Vec<String>,
    ways: Arc<Ways>,
}

impl Gate {
    async fn accept(self, listener: TcpListener) {
        let gate = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    if let Ok((stream, peer)) = accepted {
                        connections.spawn(gate.clone().carry(stream, peer));
                    }
                }
                Some(_ended) = connections.join_next() => {}
            }
        }
    }

    /// Whatever goes wrong closes the connection.
    async fn carry(self: Arc<Self>, mut stream: TcpStream, peer: SocketAddr) -> anyhow::Result<()> {
        let gate = self.clone();
        let found = tokio::task::spawn_blocking(move || owner(peer.port(), &gate.uris)).await??;
        let way = self.ways[found][self.to].address();
        let mut server = TcpStream::connect(way).await?;
        for side in [&stream, &server] {
            side.set_nodelay(true)?;
        }
        tokio::io::copy_bidirectional(&mut stream, &mut server).await?;
        Ok(())
    }
}

/// Which node has a connection that begins at this port of the loopback interface.
fn owner(port: u16, uris: &[String]) -> anyhow::Result<usize> {
    let begins = format!("0100007F:{port:04X}");
    let connections = std::fs::read_to_string("/proc/net/tcp")?;
    let inode = connections.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (*fields.get(1)? == begins).then(|| fields.get(9).copied())?
    });
    let socket = format!("socket:[{}]", inode.context("nobody has this connection")?);
    for process in std::fs::read_dir("/proc")?.flatten() {
        let path = process.path();
        let command = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command);
        let arguments: Vec<_> = command.split('\0').collect();
        let own = arguments.windows(2).find(|pair| pair[0] == "--uri");
        let node = own.and_then(|pair| uris.iter().position(|uri| uri == pair[1]));
        if let Some(node) = node
            && has_open(&path, &socket)
        {
            return Ok(node);
        }
    }
    anyhow::bail!("no node has this connection")
}

fn has_open(process: &Path, socket: &str) -> bool {
    let files = std::fs::read_dir(process.join("fd")).into_iter().flatten();
    let mut targets = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
    targets.any(|target| target.as_os_str() == socket)
}
