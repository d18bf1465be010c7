//! Faults: what may happen to the workers, to the servers, and between them.

use std::time::Duration;

use clap::ValueEnum;

/// Kind of a fault, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum FaultKind {
    Kill,
    Term,
    Stop,
    NatsRestart,
    QdrantRestart,
    Cut,
    Delay,
    HalfOpen,
    Refuse,
    LostAnswers,
    QdrantFailure,
    /// A node of a cluster is stopped for a while.
    NodeStop,
    /// A node and its peers do not reach each other; clients reach it.
    NodeIsolated,
    /// A node reaches its peers, and they do not reach it.
    NodeDeaf,
    /// Peers reach a node, and it does not reach them.
    NodeMute,
    /// Two nodes do not reach each other, and others reach both.
    NodesParted,
    /// What a node and its peers send each other comes late.
    NodeSlow,
    /// A worker that kills, stalls or fails itself between two steps.
    Failpoint,
}

impl FaultKind {
    /// Name in summaries.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Term => "term",
            Self::Stop => "stop",
            Self::NatsRestart => "nats_restart",
            Self::QdrantRestart => "qdrant_restart",
            Self::Cut => "cut",
            Self::Delay => "delay",
            Self::HalfOpen => "half_open",
            Self::Refuse => "refuse",
            Self::LostAnswers => "lost_answers",
            Self::QdrantFailure => "qdrant_failure",
            Self::NodeStop => "node_stop",
            Self::NodeIsolated => "node_isolated",
            Self::NodeDeaf => "node_deaf",
            Self::NodeMute => "node_mute",
            Self::NodesParted => "nodes_parted",
            Self::NodeSlow => "node_slow",
            Self::Failpoint => "failpoint_kill",
        }
    }

    /// Whether it needs several nodes.
    pub(crate) fn is_of_nodes(self) -> bool {
        matches!(
            self,
            Self::NodeStop
                | Self::NodeIsolated
                | Self::NodeDeaf
                | Self::NodeMute
                | Self::NodesParted
                | Self::NodeSlow
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Nats,
    Qdrant,
}

/// A fault with all that was drawn for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL to a worker.
    Kill { worker: usize },
    /// SIGTERM to a worker.
    Term { worker: usize },
    /// SIGSTOP to a worker, SIGCONT at the end.
    Stop { worker: usize },
    /// SIGKILL to a server, which starts again at the end.
    Restart(Server),
    /// Trouble between workers and a server.
    Network {
        server: Server,
        /// One worker, or all.
        worker: Option<usize>,
        trouble: Trouble,
    },
    /// A rule of the local Qdrant, in JSON.
    Qdrant { rule: &'static str },
    /// SIGSTOP to a node of a cluster, SIGCONT at the end.
    NodeStop { node: usize },
    /// Trouble between a node and its peers.
    Nodes {
        node: usize,
        between: Between,
        trouble: Trouble,
    },
}

/// Which ways between a node and its peers are in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    /// All of them.
    Both,
    /// From the peers to it.
    Hears,
    /// From it to the peers.
    Sends,
    /// Those between it and this one.
    With(usize),
}

impl Between {
    /// Whether the way from a node to another is in trouble, and the way back.
    pub(crate) fn closes(self, other: usize) -> (bool, bool) {
        match self {
            Self::Both => (true, true),
            Self::Hears => (false, true),
            Self::Sends => (true, false),
            Self::With(one) => (one == other, one == other),
        }
    }
}

/// Trouble on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Cut,
    Delay(Duration),
    HalfOpen,
    Refuse,
    LostAnswers,
}

impl Fault {
    /// What it counts as.
    pub(crate) fn kind(&self) -> FaultKind {
        match self {
            Self::Kill { .. } => FaultKind::Kill,
            Self::Term { .. } => FaultKind::Term,
            Self::Stop { .. } => FaultKind::Stop,
            Self::Restart(Server::Nats) => FaultKind::NatsRestart,
            Self::Restart(Server::Qdrant) => FaultKind::QdrantRestart,
            Self::Network { trouble, .. } => trouble.kind(),
            Self::Qdrant { .. } => FaultKind::QdrantFailure,
            Self::NodeStop { .. } => FaultKind::NodeStop,
            Self::Nodes {
                trouble: Trouble::Delay(_),
                ..
            } => FaultKind::NodeSlow,
            Self::Nodes { between, .. } => match between {
                Between::Both => FaultKind::NodeIsolated,
                Between::Hears => FaultKind::NodeDeaf,
                Between::Sends => FaultKind::NodeMute,
                Between::With(_) => FaultKind::NodesParted,
            },
        }
    }
}

impl Trouble {
    /// What it counts as.
    pub(crate) fn kind(self) -> FaultKind {
        match self {
            Self::Cut => FaultKind::Cut,
            Self::Delay(_) => FaultKind::Delay,
            Self::HalfOpen => FaultKind::HalfOpen,
            Self::Refuse => FaultKind::Refuse,
            Self::LostAnswers => FaultKind::LostAnswers,
        }
    }
}
