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
            Self::Failpoint => "failpoint_kill",
        }
    }
}

/// A server.
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
