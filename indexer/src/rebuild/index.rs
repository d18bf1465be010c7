//! Index: creates the generation with the profile of a bulk load; later has its graph built, and waits until Qdrant has
//! nothing left to do.
//!
//! No graph is built while points come in (`m: 0`), and payload indexes are there before the first point, because the
//! graph takes account of those that exist when it is built.
//!
//! Right after the request a collection may be green for a moment, because the optimizers have not begun; so green has to
//! be seen several times in a row. Grey means that optimizations are pending and nobody has asked for them, as after a
//! restart: an empty change of the settings asks.

use anyhow::Context as _;
use contract::names::CollectionName;
use points::collection::{self, PAYLOAD_INDEXES};
use qdrant_client::qdrant::{
    CollectionInfo, CollectionStatus, CreateCollection, CreateFieldIndexCollectionBuilder,
    HnswConfigDiff, OptimizersConfigDiff, UpdateCollection,
};
use runtime::failpoint;
use tokio::time::Instant;

use super::Rebuild;
use crate::generation::collection::look_up;
use crate::generation::record::{Phase, PhaseReport};
use crate::retrieval::Searched;

/// Green in a row.
const GREEN: u32 = 3;
/// Links of a node of the graph where the serving collection does not say: Qdrant's default.
const DEFAULT_M: u64 = 16;

impl Rebuild<'_> {
    pub async fn create(&self) -> anyhow::Result<PhaseReport> {
        let name = self.record().generation.clone();
        match look_up(self.context.qdrant, &name).await? {
            Some(info) => collection::check(&name, &info, self.manifest)?,
            None => {
                let mut request = self.new_collection(&name).await?;
                request.hnsw_config = Some(HnswConfigDiff {
                    m: Some(0),
                    ..HnswConfigDiff::default()
                });
                let created = self.context.qdrant.create_collection(request).await;
                created.with_context(|| format!("failed to create collection `{name}`"))?;
            }
        }
        for (field, kind) in PAYLOAD_INDEXES {
            let index = CreateFieldIndexCollectionBuilder::new(name.as_str(), field, kind);
            let created = self
                .context
                .qdrant
                .create_field_index(index.wait(true))
                .await;
            created.with_context(|| format!("failed to index `{field}` of `{name}`"))?;
        }
        Ok(PhaseReport::new(Phase::Created))
    }

    /// What the serving collection has beside its model's vector is kept, unless something else is asked for.
    async fn new_collection(&self, name: &CollectionName) -> anyhow::Result<CreateCollection> {
        let serving = &self.record().serving;
        let info = look_up(self.context.qdrant, serving).await?;
        let serving = info.map(|info| Searched::of(serving, &info)).transpose()?;
        let kept = serving.as_ref().map(|serving| serving.bm25.clone());
        let bm25 = self.config.bm25.of_new(kept)?;
        let mut request = collection::create(name, self.manifest, bm25.as_ref());
        let searched = Searched {
            collection: name.clone(),
            bm25,
            recorded: serving.and_then(|serving| serving.recorded),
        };
        let metadata = self.config.search.asked().recorded(&searched)?;
        request.metadata.extend(metadata);
        Ok(request)
    }

    pub async fn index(&self) -> anyhow::Result<PhaseReport> {
        let serving = look_up(self.context.qdrant, &self.record().serving).await?;
        let links = serving.as_ref().and_then(links).filter(|links| *links > 0);
        self.configure(Some(links.unwrap_or(DEFAULT_M)), false)
            .await?;
        failpoint::pass("rebuild-indexing");
        let (mut green, mut last, mut waits_since) = (0, None, Instant::now());
        while green < GREEN {
            tokio::time::sleep(self.config.poll).await;
            self.context.check()?;
            let info = self.info().await?;
            match info.status() {
                CollectionStatus::Green => green += 1,
                CollectionStatus::Grey => self.configure(None, true).await?,
                CollectionStatus::Red => anyhow::bail!(
                    "qdrant failed to build the index of `{}`: {}",
                    self.record().generation,
                    info.optimizer_status.unwrap_or_default().error
                ),
                CollectionStatus::Yellow | CollectionStatus::UnknownCollectionStatus => green = 0,
            }
            let progress = Some((info.indexed_vectors_count, info.segments_count));
            if progress != last {
                (last, waits_since) = (progress, Instant::now());
            }
            anyhow::ensure!(
                green > 0 || waits_since.elapsed() < self.config.stall_limit,
                "qdrant has not built the index of `{}` and makes no progress: status {}",
                self.record().generation,
                info.status().as_str_name()
            );
        }
        let mut report = PhaseReport::new(Phase::Indexed);
        report.chunks = self.info().await?.points_count.unwrap_or(0);
        Ok(report)
    }

    async fn info(&self) -> anyhow::Result<CollectionInfo> {
        let name = &self.record().generation;
        let info = look_up(self.context.qdrant, name).await?;
        info.with_context(|| format!("collection `{name}` is gone; give --fresh to start anew"))
    }

    async fn configure(&self, links: Option<u64>, wake: bool) -> anyhow::Result<()> {
        let name = &self.record().generation;
        let request = UpdateCollection {
            collection_name: name.to_string(),
            hnsw_config: links.map(|links| HnswConfigDiff {
                m: Some(links),
                ..HnswConfigDiff::default()
            }),
            optimizers_config: wake.then(OptimizersConfigDiff::default),
            ..UpdateCollection::default()
        };
        let updated = self.context.qdrant.update_collection(request).await;
        updated.with_context(|| format!("failed to change the settings of `{name}`"))?;
        Ok(())
    }
}

fn links(info: &CollectionInfo) -> Option<u64> {
    info.config.as_ref()?.hnsw_config.as_ref()?.m
}
