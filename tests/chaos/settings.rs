//! Settings of a run.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::fault::FaultKind;

/// Breaks everything around the workers while documents are published, heals it, and checks that every
/// acknowledged publish has ended exactly once in the index or in the dead letters
#[derive(Parser, Clone, Debug)]
pub(crate) struct Settings {
    /// Everything that is drawn comes from it: documents, operations, faults
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How long documents are published and faults injected
    #[arg(long, default_value_t = 3.0)]
    pub(crate) minutes: f64,
    /// Worker processes
    #[arg(long, default_value_t = 3)]
    pub(crate) workers: usize,
    /// Publishes per second
    #[arg(long, default_value_t = 50)]
    pub(crate) rate: u32,
    /// Ack wait of the consumers: short, so that redelivery is frequent
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) ack_wait: Duration,
    /// Kinds of faults to inject, separated by commas; all of them by default, none with `none`
    #[arg(long, value_delimiter = ',', value_parser = one_kind)]
    pub(crate) faults: Option<Vec<Option<FaultKind>>>,
    /// Program of a real Qdrant to start instead of the local one; no faults are injected inside it then
    #[arg(long)]
    pub(crate) qdrant: Option<PathBuf>,
    /// Nodes of the real Qdrant: more than one are a cluster, whose nodes are killed, stopped and cut off from each other
    #[arg(long, default_value_t = 1, requires = "qdrant")]
    pub(crate) qdrant_nodes: usize,
    /// Replicas of each shard in a cluster
    #[arg(long, default_value_t = 1, requires = "qdrant")]
    pub(crate) replicas: u32,
    /// Nodes that workers talk to: all of them by default, each worker one
    #[arg(long)]
    pub(crate) entry_nodes: Option<usize>,
    /// Attach another vector to all points, by workers of its model: half as many more
    #[arg(long)]
    pub(crate) attached: bool,
    /// Defect to plant in the workers, so that the checker has something to find
    #[arg(long)]
    pub(crate) plant: Option<Plant>,
    /// Print the summary as JSON on the last line
    #[arg(long)]
    pub(crate) json: bool,
    /// Keep servers' data and logs here; by default they are removed unless something is found
    #[arg(long)]
    pub(crate) directory: Option<PathBuf>,
}

/// A defect of the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Plant {
    /// Some jobs are acknowledged without having been written
    AckBeforeWrite,
    /// Points are written without a look at their version
    NoVersionGuard,
    /// Some dead letters are not stored
    DroppedDeadLetter,
    /// Chunks of older versions stay
    NoPrune,
    /// A delete leaves no tombstone
    NoTombstone,
    /// A tombstone keeps the vector of the point that it replaced
    TombstoneVector,
    /// Vectors are not those of their texts
    WrongVector,
    /// On SIGTERM nothing is given back
    LostSigterm,
    /// What was written is not confirmed by all replicas
    WeakOrdering,
    /// Some jobs are acknowledged before their jobs for the workers of the attached model are stored
    AckBeforeAttachJobs,
    /// Attached vectors are written without a look at the version of their points
    NoAttachGuard,
}

impl Settings {
    /// How long faults are injected.
    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    /// Worker processes, those of the attached model included, which come last.
    pub(crate) fn processes(&self) -> usize {
        let attached = if self.attached {
            self.workers.div_ceil(2)
        } else {
            0
        };
        self.workers + attached
    }

    /// Whether a worker serves the attached model.
    pub(crate) fn is_of_attached(&self, worker: usize) -> bool {
        worker >= self.workers
    }

    /// Whether faults of this kind are injected.
    pub(crate) fn injects(&self, kind: FaultKind) -> bool {
        let chosen = self.faults.as_ref();
        let inside = kind != FaultKind::QdrantFailure || self.qdrant.is_none();
        let possible = inside && (!kind.is_of_nodes() || self.is_cluster());
        possible && chosen.is_none_or(|kinds| kinds.contains(&Some(kind)))
    }

    /// Whether Qdrant has several nodes.
    pub(crate) fn is_cluster(&self) -> bool {
        self.qdrant_nodes > 1
    }

    /// The node that a worker talks to.
    pub(crate) fn node_of(&self, worker: usize) -> usize {
        let all = self.qdrant_nodes.max(1);
        worker % self.entry_nodes.unwrap_or(all).clamp(1, all)
    }

    /// Grace of the workers, which must be below the ack wait.
    pub(crate) fn grace(&self) -> Duration {
        self.ack_wait * 4 / 5
    }
}

fn one_kind(text: &str) -> Result<Option<FaultKind>, String> {
    if text == "none" {
        return Ok(None);
    }
    FaultKind::from_str(text, true).map(Some)
}
