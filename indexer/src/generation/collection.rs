//! Collection: which model a collection is for.

use anyhow::Context as _;
use contract::field;
use contract::model::Manifest;
use contract::names::{CollectionName, ModelName};
use points::Qdrant;
use points::collection::{self, FINGERPRINT, MODEL};
use points::status_code;
use qdrant_client::qdrant::{CollectionInfo, Condition, Filter};

/// The model that a collection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionModel {
    /// Its name, and that of its vectors.
    pub model: ModelName,
    pub fingerprint: String,
}

impl CollectionModel {
    /// The model that the metadata of a collection name.
    pub fn of(info: &CollectionInfo) -> Option<Self> {
        let metadata = &info.config.as_ref()?.metadata;
        Some(Self {
            model: metadata.get(MODEL)?.as_str()?.parse().ok()?,
            fingerprint: metadata.get(FINGERPRINT)?.as_str()?.clone(),
        })
    }

    pub async fn find(qdrant: &Qdrant, name: &CollectionName) -> anyhow::Result<Self> {
        let info = look_up(qdrant, name).await?;
        let info = info.with_context(|| format!("collection `{name}` is gone"))?;
        Self::of(&info).with_context(|| format!("collection `{name}` does not say its model"))
    }
}

/// A collection or what an alias points to, `None` if it is not there.
pub async fn look_up(
    qdrant: &Qdrant,
    name: &CollectionName,
) -> anyhow::Result<Option<CollectionInfo>> {
    match qdrant.collection_info(name.as_str()).await {
        Ok(response) => Ok(response.result),
        Err(error) if status_code::is(&error, status_code::NOT_FOUND) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to look up `{name}`")),
    }
}

/// Whether vectors of the serving collection may be copied to one of this model.
pub async fn is_same_model(
    qdrant: &Qdrant,
    serving: &CollectionName,
    manifest: &Manifest,
) -> anyhow::Result<bool> {
    let info = look_up(qdrant, serving).await?;
    let info = info
        .with_context(|| format!("collection `{serving}`, which served at the start, is gone"))?;
    Ok(collection::check(serving, &info, manifest).is_ok())
}

/// Heads of documents that are not deleted.
pub fn documents() -> Filter {
    Filter {
        must: vec![Condition::matches(field::CHUNK, 0)],
        must_not: vec![Condition::matches(field::DELETED, true)],
        ..Filter::default()
    }
}
