//! Target: a collection to search, with the model of its vectors.

use std::collections::HashSet;

use anyhow::Context as _;
use contract::collection;
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::point::{Head, point_id};
use contract::topology::Task;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{GetPointsBuilder, PayloadIncludeSelector, PointId};

use super::evaluation::Subject;
use super::read::Topic;

/// Heads that are looked up with one request.
const HEADS: usize = 1000;

/// A collection to search.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) subject: Subject,
    pub(super) manifest: Manifest,
}

/// Finds what an alias leads to. The whole evaluation runs against that collection, even if the alias moves on.
pub(super) async fn target(
    qdrant: &Qdrant,
    alias: &CollectionName,
    manifest: Manifest,
    exact: bool,
) -> anyhow::Result<Target> {
    anyhow::ensure!(
        manifest.identity.task == Task::Embed,
        "model `{}` is a rescorer; a search needs an embedding model",
        manifest.name
    );
    let aliases = qdrant.list_aliases().await;
    let aliases = aliases
        .context("failed to list the aliases of qdrant")?
        .aliases;
    let behind = aliases.iter().find(|it| it.alias_name == alias.as_str());
    let collection = match behind {
        Some(found) => found.collection_name.parse()?,
        None => alias.clone(),
    };
    let info = qdrant.collection_info(collection.as_str()).await;
    let info = info.with_context(|| format!("failed to look up collection `{alias}`"))?;
    collection::check(&collection, &info.result.unwrap_or_default(), &manifest)?;
    let subject = Subject {
        alias: alias.clone(),
        collection,
        model: manifest.name.clone(),
        fingerprint: manifest.fingerprint.clone(),
        exact,
    };
    Ok(Target { subject, manifest })
}

/// How many of the judged documents the collection does not have. Nothing can find them.
pub(super) async fn missing(
    qdrant: &Qdrant,
    collection: &CollectionName,
    topics: &[Topic],
) -> anyhow::Result<usize> {
    let judged: HashSet<_> = topics
        .iter()
        .flat_map(|topic| topic.grades.keys())
        .collect();
    let judged: Vec<_> = judged.into_iter().collect();
    let mut there = 0;
    for ids in judged.chunks(HEADS) {
        let ids: Vec<_> = ids
            .iter()
            .map(|id| PointId::from(point_id(id, 0).to_string()))
            .collect();
        let request = GetPointsBuilder::new(collection.as_str(), ids);
        let fields = PayloadIncludeSelector::from(Head::FIELDS.map(str::to_owned).to_vec());
        let heads = qdrant.get_points(request.with_payload(fields)).await;
        let heads =
            heads.with_context(|| format!("failed to look up documents of `{collection}`"))?;
        let heads = heads.result.iter().filter_map(Head::read);
        there += heads.filter(|(_, head)| !head.deleted).count();
    }
    Ok(judged.len() - there)
}
