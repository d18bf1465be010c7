//! Target: a collection to search, with the model of its vectors.

use std::collections::HashSet;

use anyhow::Context as _;
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::topology::Task;
use points::collection;
use points::options::Settings;
use points::{Points, Qdrant};
use qdrant_client::qdrant::QuantizationSearchParams;

use super::evaluation::Subject;
use super::read::Topic;
use crate::generation::alias;

#[derive(Clone, Debug)]
pub struct Target {
    pub subject: Subject,
    pub manifest: Manifest,
    /// How quantized copies are searched in, as every search of the alias does.
    pub quantization: Option<QuantizationSearchParams>,
}

/// Finds what an alias leads to. The whole evaluation runs against that collection, even if the alias moves on.
pub async fn target(
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
    let collection = alias::find(qdrant, alias).await?;
    let collection = collection.unwrap_or_else(|| alias.clone());
    let info = qdrant.collection_info(collection.as_str()).await;
    let info = info.with_context(|| format!("failed to look up collection `{alias}`"))?;
    let info = info.result.unwrap_or_default();
    collection::check(&collection, &info, &manifest)?;
    let subject = Subject {
        alias: alias.clone(),
        collection,
        model: manifest.name.clone(),
        fingerprint: manifest.fingerprint.clone(),
        exact,
    };
    Ok(Target {
        subject,
        manifest,
        quantization: Settings::of(&info).0.search_params(),
    })
}

/// How many of the judged documents the collection does not have. Nothing can find them.
pub async fn missing(
    qdrant: &Qdrant,
    collection: &CollectionName,
    topics: &[Topic],
) -> anyhow::Result<usize> {
    let judged: HashSet<_> = topics
        .iter()
        .flat_map(|topic| topic.grades.keys())
        .collect();
    let judged: Vec<_> = judged.into_iter().collect();
    let heads = Points::new(qdrant, collection).heads(&judged).await?;
    let there = heads.values().filter(|head| !head.deleted).count();
    Ok(judged.len() - there)
}
