//! Create: the generation, empty, with the profile of a bulk load.
//!
//! No graph is built while points come in (`m: 0`), and payload indexes are there before the first point, because the
//! graph takes account of those that exist when it is built.

use anyhow::Context as _;
use points::collection::{self, PAYLOAD_INDEXES};
use qdrant_client::QdrantError;
use qdrant_client::qdrant::{CollectionInfo, CreateFieldIndexCollectionBuilder, HnswConfigDiff};

use super::Rebuild;
use super::report::PhaseReport;
use crate::run::Phase;

impl Rebuild {
    pub(super) async fn create(&self) -> anyhow::Result<PhaseReport> {
        let name = self.record().generation.clone();
        match look_up(&self.qdrant, name.as_str()).await? {
            Some(info) => collection::check(&name, &info, &self.manifest)?,
            None => {
                let mut request = collection::create(&name, &self.manifest);
                request.hnsw_config = Some(HnswConfigDiff {
                    m: Some(0),
                    ..HnswConfigDiff::default()
                });
                let created = self.qdrant.create_collection(request).await;
                created.with_context(|| format!("failed to create collection `{name}`"))?;
            }
        }
        for (field, kind) in PAYLOAD_INDEXES {
            let index = CreateFieldIndexCollectionBuilder::new(name.as_str(), field, kind);
            let created = self.qdrant.create_field_index(index.wait(true)).await;
            created.with_context(|| format!("failed to index `{field}` of `{name}`"))?;
        }
        Ok(PhaseReport::new(Phase::Created))
    }
}

/// A collection or what an alias points to, `None` if it is not there.
pub(crate) async fn look_up(
    qdrant: &qdrant_client::Qdrant,
    name: &str,
) -> anyhow::Result<Option<CollectionInfo>> {
    const NOT_FOUND: i32 = 5;
    match qdrant.collection_info(name).await {
        Ok(response) => Ok(response.result),
        Err(QdrantError::ResponseError { status }) if status.code() as i32 == NOT_FOUND => Ok(None),
        Err(error) => Err(error).with_context(|| format!("failed to look up `{name}`")),
    }
}
