//! Collections: what the aliases point to, and whether it is whole.

use std::collections::BTreeMap;

use anyhow::Context as _;
use contract::model::OutputKind;
use contract::names::CollectionName;
use points::guard::tombstones;
use points::options::Record;
use points::vectors::{Attached, CollectionVectors};
use points::{Points, Qdrant};
use qdrant_client::qdrant::{CollectionInfo, CollectionStatus as Health, Filter};
use schemars::JsonSchema;
use serde::Serialize;

use super::runs::{RunRecords, rfc3339};
use crate::clock::as_time;
use crate::generation::alias;
use crate::generation::collection::CollectionModel;
use crate::outcome::explained;

/// An alias with the collection behind it, or a collection.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct CollectionStatus {
    pub name: String,
    /// The collection behind it, where it is an alias: its generation.
    pub generation: Option<String>,
    /// The model that it is for.
    pub model: Option<String>,
    /// Exact number of points, tombstones included; `None` where Qdrant does not tell.
    pub points: Option<u64>,
    /// Of these, heads of deleted documents.
    pub tombstones: Option<u64>,
    /// How many points lack each vector, where any do; tombstones have none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lacking: BTreeMap<String, u64>,
    /// Vectors that other models make.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<AttachedStatus>,
    /// What Qdrant says of it: `green`, `yellow` while it builds indexes, `grey` until somebody writes, `red` where
    /// something failed.
    pub health: Option<&'static str>,
    /// Options of the alias that were chosen.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
    /// Since when the alias has pointed to it, RFC 3339, where a rebuild has put it there.
    pub since: Option<String>,
    /// Where a rollback would lead, where there is a way back.
    pub rollback: Option<PreviousGeneration>,
}

/// A vector that another model makes.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct AttachedStatus {
    pub vector: String,
    pub kind: OutputKind,
    /// The model whose workers make it.
    pub model: String,
    /// Points that have it.
    pub complete: u64,
    /// Points that lack it; tombstones have none.
    pub lacking: u64,
}

/// The generation that a rollback would bring back.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct PreviousGeneration {
    pub generation: String,
    /// Its points; `None` where it was dropped.
    pub points: Option<u64>,
}

/// What there is, and what could not be looked at.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Collections {
    pub collections: Vec<CollectionStatus>,
    pub unknown: Vec<String>,
}

/// Looks at some aliases and collections, or at all aliases. Counts what can be counted, and says what cannot: a shard
/// that is down hides nothing else.
pub async fn look(qdrant: &Qdrant, names: &[CollectionName], book: &RunRecords) -> Collections {
    let mut found = Collections::default();
    let aliases = match alias::pairs(qdrant).await {
        Ok(aliases) => aliases,
        Err(error) => {
            found.unknown.push(on_one_line(error));
            Vec::new()
        }
    };
    let all: Vec<_> = aliases.iter().map(|(alias, _)| alias.clone()).collect();
    for name in if names.is_empty() { &all } else { names } {
        let generation = aliases.iter().find(|(alias, _)| alias == name);
        let mut status = CollectionStatus {
            name: name.to_string(),
            generation: generation.map(|(_, generation)| generation.to_string()),
            ..CollectionStatus::default()
        };
        if let Err(error) = status.look(qdrant, name, book).await {
            found.unknown.push(on_one_line(error));
        }
        found.collections.push(status);
    }
    found
}

impl CollectionStatus {
    async fn look(
        &mut self,
        qdrant: &Qdrant,
        name: &CollectionName,
        book: &RunRecords,
    ) -> anyhow::Result<()> {
        let points = Points::new(qdrant, name);
        let info = qdrant.collection_info(name.as_str()).await;
        let info = info.with_context(|| format!("failed to look up `{name}`"))?;
        let info = info.result.unwrap_or_default();
        self.describe(&info);
        self.points = Some(points.count(Filter::default()).await?);
        self.tombstones = Some(points.count(Filter::must([tombstones()])).await?);
        let vectors = points.schema_of(&info)?.vectors;
        self.lacking = points.lacking(&vectors).await?;
        self.attached = self.attached(&vectors);
        let Some(run) = self.generation.as_deref().and_then(|it| book.behind(it)) else {
            return Ok(());
        };
        self.since = run.switched.map(|at| rfc3339(as_time(at)));
        if let Some(serving) = &run.serving {
            let points = Points::new(qdrant, serving).count(Filter::default()).await;
            self.rollback = Some(PreviousGeneration {
                generation: serving.to_string(),
                points: points.ok(),
            });
        }
        Ok(())
    }

    fn attached(&self, vectors: &CollectionVectors) -> Vec<AttachedStatus> {
        let all = self.points.unwrap_or(0);
        let live = all.saturating_sub(self.tombstones.unwrap_or(0));
        let status = |attached: Attached<'_>| {
            let lacking = self.lacking.get(attached.name).copied().unwrap_or(0);
            AttachedStatus {
                vector: attached.name.to_owned(),
                kind: attached.kind,
                model: attached.model.name.to_string(),
                complete: live.saturating_sub(lacking),
                lacking,
            }
        };
        vectors.attached().map(status).collect()
    }

    fn describe(&mut self, info: &CollectionInfo) {
        self.model = CollectionModel::of(info).map(|found| found.model.to_string());
        self.health = Health::try_from(info.status)
            .ok()
            .map(|health| match health {
                Health::Green => "green",
                Health::Yellow => "yellow",
                Health::Grey => "grey",
                Health::Red => "red",
                Health::UnknownCollectionStatus => "unknown",
            });
        let options = Record::of(info).options;
        self.options = options
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
    }
}

/// Qdrant tells of the errors of its peers on lines of their own.
pub fn on_one_line(error: anyhow::Error) -> String {
    let text = format!("{:#}", explained(error));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
