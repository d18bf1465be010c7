//! Decisions: what an installation has to decide. Everything else follows from them, see the module `fleet`.
//!
//! There are nine, and this is the only type that knows them: `deploy/decisions.schema.json` is generated from it, and
//! [`read`](read()) takes nothing that it does not name.

mod gpu;
mod location;
mod options;
mod read;
mod schedule;
mod text;

use contract::digest::Digest;
use contract::names::{CollectionName, ModelName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use gpu::Gpu;
pub use location::{CorpusPlace, Location, ModelPlace};
pub use options::AliasOptions;
pub use read::{Fault, read};
pub use schedule::{Cron, TimeZone};
pub use text::{Quantity, Span, StorageClass};

/// Most workers, unless an installation decides otherwise.
pub const MAX_WORKERS: u32 = 8;

/// What an installation of Ebb has to decide. `indexer render` derives everything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decisions {
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
    /// The alias that people search
    #[serde(default = "alias")]
    pub alias: CollectionName,
    /// Where the documents are: a URL that `indexer rebuild` reads, or `pvc://claim/path`; left out, nothing is rebuilt
    /// by itself
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<CorpusPlace>,
    /// When the alias is rebuilt from the source
    #[serde(default)]
    pub schedule: Schedule,
    /// The volume of the weights, which many nodes read at the same time
    #[serde(default)]
    pub storage: Storage,
    /// How the collections of the alias are sharded, stored, indexed and limited
    #[serde(default)]
    pub options: AliasOptions,
}

/// A model, by its content.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Its name in subjects, consumers and vectors
    pub name: ModelName,
    /// Where `worker stage` gets it from: `hf://owner/name`, `s3://...`, `https://...` or `pvc://claim/path`
    pub source: ModelPlace,
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
    pub class: Option<StorageClass>,
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

fn alias() -> CollectionName {
    "docs".parse().expect("`docs` is a collection name")
}

#[cfg(test)]
mod tests;
