//! Decisions: what an installation has to decide. Everything else follows from them, see the module `fleet`.
//!
//! This is the only type that knows them: `deploy/decisions.schema.json` is generated from it, and [`read`](read()) takes
//! nothing that it does not name. What belongs to one model is a [`Serving`]; there is one at the top, and may be more in
//! `more_models`. The rest is of the whole installation.

mod agree;
mod gpu;
mod location;
mod options;
mod read;
mod schedule;
mod text;

use contract::digest::Digest;
use contract::names::{CollectionName, ModelName};
use contract::topology::Task;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use gpu::Gpu;
pub use location::{CorpusLocation, Location, ModelLocation};
pub use options::AliasOptions;
pub use read::{Fault, read};
pub use schedule::{Cron, TimeZone};
pub use text::{ObjectName, Quantity, Registry, Span};

/// Most workers, unless an installation decides otherwise.
pub const MAX_WORKERS: u32 = 8;

/// Shards of a collection on three servers of Qdrant: each has an equal share of the work.
const SHARDS_OF_THREE: u32 = 3;
/// Replicas of each shard on three servers of Qdrant: searches go on without any one of them. A third replica would cost as
/// much again, and nothing can be written without any of them in any case.
const REPLICAS_OF_THREE: u32 = 2;

/// What an installation of Ebb has to decide. `indexer render` derives everything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("additionalProperties" = false))]
pub struct Decisions {
    /// The first model; its objects have plain names.
    #[serde(flatten)]
    pub first: Serving,
    /// Further models, embedding, attached or rescoring ones, each with workers, lanes, an autoscaler and CronJobs of its
    /// own, whose names end with the name of the model
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_models: Vec<Serving>,
    /// The volume of the weights, which many nodes read at the same time
    #[serde(default)]
    pub storage: Storage,
    /// How many servers of NATS and of Qdrant there are: `one` of each, or `three`
    #[serde(default)]
    pub servers: Servers,
    /// Where the images are, like `registry.example.com/ebb`; left out, nodes have them as `ebb/worker` and `ebb/indexer`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Registry>,
}

/// A model, the workers that serve it, and the alias that it fills or scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Serving {
    /// The model that workers serve
    pub model: Model,
    /// What a worker runs on: `none`, `nvidia` for a whole GPU, or a MIG profile like `mig-1g.10gb`
    #[serde(default)]
    pub gpu: Gpu,
    /// Most workers at the same time; there are none while nothing waits
    #[serde(default = "max_workers")]
    #[schemars(range(min = 1))]
    pub max_workers: u32,
    /// Time in which a backlog is to be worked off, from the first job to the last, like `30m`
    #[serde(default = "drain_target")]
    pub drain_target: Span,
    /// The alias that people search, `docs` where it is left out. A further model that embeds names one of its own; one that
    /// is attached, or that rescores, adds to that of the first
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("pattern" = "^[A-Za-z0-9][-A-Za-z0-9_.]{0,109}$", "not" = {"pattern": "--"}))]
    pub alias: Option<CollectionName>,
    /// Whether a further model makes another vector, by `indexer attach`, for the points of an alias that a model before it
    /// fills
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attached: bool,
    /// Where the documents are: a URL that `indexer rebuild` reads, or `pvc://claim/path`; left out, nothing is rebuilt
    /// by itself
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<CorpusLocation>,
    /// When the alias is rebuilt from the source
    #[serde(default)]
    pub schedule: Schedule,
    /// How the collections of the alias are sharded, stored, indexed and limited
    #[serde(default)]
    pub options: AliasOptions,
    /// The LocalQueue of Kueue whose quota bounds these workers; left out, nothing but the cluster does
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<ObjectName>,
}

/// How many servers of each kind there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Servers {
    /// One of NATS and one of Qdrant
    #[default]
    One,
    /// Three of NATS, which hold each stream three times, and three of Qdrant, which hold each shard twice
    Three,
}

/// A model, by its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name in subjects, consumers and vectors
    #[schemars(extend("pattern" = "^[a-z0-9][-a-z0-9_]{0,47}$"))]
    pub name: ModelName,
    /// What it is for: to `embed` documents, or to `rescore` them
    #[serde(default = "embed")]
    pub task: Task,
    /// Where `worker stage` gets it from: `hf://owner/name`, `s3://...`, `https://...` or `pvc://claim/path`
    pub source: ModelLocation,
    /// Digest of all that changes a vector, as `worker stage` says; nothing else is served
    pub fingerprint: Digest,
    /// Tokens that one worker embeds in a second, as the report of a rebuild with one worker says; left out, that of a
    /// small model on what `gpu` names
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub tokens_per_second: Option<u32>,
}

/// When something is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Minute, hour, day of the month, month and day of the week, as a CronJob has them
    pub cron: Cron,
    /// Name of the time zone in the IANA database
    pub time_zone: TimeZone,
}

/// A volume that is claimed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    /// Storage class, one that offers ReadWriteMany; left out, that of the cluster
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<ObjectName>,
    /// Room for this model and for the one that will replace it
    pub size: Quantity,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            class: None,
            size: Quantity::gibibytes(20),
        }
    }
}

fn max_workers() -> u32 {
    MAX_WORKERS
}

fn drain_target() -> Span {
    Span::minutes(30)
}

fn embed() -> Task {
    Task::Embed
}

impl Decisions {
    /// All models, the first one first.
    pub fn all(&self) -> impl Iterator<Item = &Serving> {
        std::iter::once(&self.first).chain(&self.more_models)
    }

    /// The alias that a model fills or scores.
    pub fn alias(&self, serving: &Serving) -> CollectionName {
        let decided = serving.alias.as_ref().or(self.first.alias.as_ref());
        decided.cloned().unwrap_or_else(default_alias)
    }
}

impl Decisions {
    /// Options of the alias of a model: what was decided, and what follows from the number of servers.
    pub fn options(&self, serving: &Serving) -> AliasOptions {
        let mut options = serving.options.clone();
        if self.servers == Servers::Three && serving.fills_alias() {
            options.shards.get_or_insert(SHARDS_OF_THREE);
            options.replication.get_or_insert(REPLICAS_OF_THREE);
        }
        options
    }
}

impl Serving {
    /// Whether it makes the documents of its alias. Others add something to them.
    pub fn fills_alias(&self) -> bool {
        self.model.task == Task::Embed && !self.attached
    }

    /// Suffix of the names of the objects of a further model. Names of objects have no `_`.
    pub fn suffix(&self) -> String {
        self.model.name.as_str().replace('_', "-")
    }
}

fn default_alias() -> CollectionName {
    "docs".parse().expect("`docs` is a collection name")
}

#[cfg(test)]
mod tests;
