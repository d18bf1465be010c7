//! Target: a collection to search, with the model of its vectors.

use std::collections::HashSet;

use anyhow::Context as _;
use contract::bm25::Bm25Options;
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
use crate::retrieval::options::SearchSettings;
use crate::retrieval::{Mode, Search, Searched};

#[derive(Clone, Debug)]
pub struct Target {
    pub subject: Subject,
    pub manifest: Manifest,
    /// How quantized copies are searched in, as every search of the alias does.
    pub quantization: Option<QuantizationSearchParams>,
    /// How the words of its texts are made.
    pub bm25: Option<Bm25Options>,
}

/// Finds what an alias leads to, to be searched as is asked, else as it is served. The whole evaluation runs against that collection, even if the alias moves on. Gives what
/// it can be searched by, too.
pub async fn target(
    qdrant: &Qdrant,
    alias: &CollectionName,
    manifest: Manifest,
    asked: SearchSettings,
    exact: bool,
) -> anyhow::Result<(Target, Searched)> {
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
    let searched = Searched::of(&collection, &info)?;
    let search = asked.of(&searched)?;
    let subject = Subject {
        alias: alias.clone(),
        collection,
        model: manifest.name.clone(),
        fingerprint: manifest.fingerprint.clone(),
        exact,
        search,
    };
    let target = Target {
        subject,
        manifest,
        quantization: Settings::of(&info).0.search_params(),
        bm25: searched.bm25.clone(),
    };
    Ok((target, searched))
}

impl Target {
    /// This collection, searched by another mode.
    pub fn by(&self, mode: Mode) -> Self {
        let mut target = self.clone();
        target.subject.search = Search {
            mode,
            ..self.subject.search
        };
        target
    }
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
