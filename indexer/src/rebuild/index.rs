//! Index: creates the generation with the options of the alias and the profile of a bulk load; later has its graph built,
//! and waits until Qdrant has nothing left to do.
//!
//! The options are those that were given, else what the serving collection has ([`points::options`]). They are read again
//! when the load is over, so that what remains is what the serving collection has by then.
//!
//! No graph is built while points come in (`m: 0`), and payload indexes are there before the first point, because the
//! graph takes account of those that exist when it is built.
//!
//! Right after the request a collection may be green for a moment, because the optimizers have not begun; so green has to
//! be seen several times in a row. Grey means that optimizations are pending and nobody has asked for them, as after a
//! restart: an empty change of the settings asks.

use anyhow::Context as _;
use points::collection;
use points::options::{self, Difference, Next, Settings};
use qdrant_client::qdrant::{
    CollectionInfo, CollectionStatus, OptimizersConfigDiff, UpdateCollection,
};
use runtime::failpoint;
use tokio::time::Instant;

use super::{Rebuild, attached};
use crate::generation::collection::look_up;
use crate::generation::record::{Phase, PhaseReport, SettingsReport};
use crate::progress::note;

/// Green in a row.
const GREEN: u32 = 3;

impl Rebuild<'_> {
    /// Settings that the serving collection has or that were asked for are there before the first point.
    pub async fn create(&mut self) -> anyhow::Result<PhaseReport> {
        let name = self.record().generation.clone();
        let mut next = self.next_generation().await?;
        let serving = self.serving().schema().await?.vectors;
        let (model, fingerprint) = (&self.manifest.name, self.manifest.fingerprint.as_str());
        let (attached, dropped) = attached::kept(&serving, model, fingerprint);
        next.named.extend(dropped);
        let found = look_up(self.context.qdrant, &name).await?;
        if let Some(info) = &found {
            collection::check(&name, info, self.manifest)?;
        } else {
            let loading = next.settings.clone().for_bulk_load();
            let mut request = loading.create(&name, self.manifest);
            request.metadata.extend([next.record.entry()]);
            loading.reserve_attached(&mut request, &attached);
            let created = self.context.qdrant.create_collection(request).await;
            created.with_context(|| format!("failed to create collection `{name}`"))?;
        }
        let (found, _) = Settings::of(&found.unwrap_or_default());
        self.make_indexes(&found, &next.settings).await?;
        for sentence in &next.named {
            note(&format!("not kept: {sentence}"));
        }
        let Next { changed, named, .. } = next;
        self.stored.record.settings = SettingsReport {
            changed,
            not_kept: named,
        };
        Ok(PhaseReport::new(Phase::Created))
    }

    /// The settings that the generation is to have, derived from what the serving collection has now.
    async fn next_generation(&self) -> anyhow::Result<Next> {
        let serving = look_up(self.context.qdrant, &self.record().serving).await?;
        self.config
            .next_generation(&self.record().serving, serving.as_ref())
    }

    async fn make_indexes(&self, found: &Settings, wanted: &Settings) -> anyhow::Result<()> {
        let name = &self.record().generation;
        let (create, _) = options::index_changes(name, found, wanted);
        for request in create {
            let field = request.field_name.clone();
            let created = self.context.qdrant.create_field_index(request).await;
            created.with_context(|| format!("failed to index `{field}` of `{name}`"))?;
        }
        Ok(())
    }

    pub async fn index(&mut self) -> anyhow::Result<PhaseReport> {
        self.end_bulk_load().await?;
        failpoint::pass("rebuild-indexing");
        let (mut green, mut last, mut waits_since) = (0, None, Instant::now());
        while green < GREEN {
            tokio::time::sleep(self.config.poll).await;
            self.context.check()?;
            let info = self.info().await?;
            match info.status() {
                CollectionStatus::Green => green += 1,
                CollectionStatus::Grey => self.wake().await?,
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
        self.name_differences().await?;
        let mut report = PhaseReport::new(Phase::Indexed);
        report.chunks = self.info().await?.points_count.unwrap_or(0);
        Ok(report)
    }

    /// What the server says of the collection of the generation.
    pub async fn info(&self) -> anyhow::Result<CollectionInfo> {
        let name = &self.record().generation;
        let info = look_up(self.context.qdrant, name).await?;
        info.with_context(|| format!("collection `{name}` is gone; give --fresh to start anew"))
    }

    /// Takes the profile of a bulk load back. What somebody has changed of the serving collection meanwhile is taken over
    /// as well.
    async fn end_bulk_load(&self) -> anyhow::Result<()> {
        let name = &self.record().generation;
        let next = self.next_generation().await?;
        let info = self.info().await?;
        let (found, _) = Settings::of(&info);
        self.make_indexes(&found, &next.settings).await?;
        let update = next
            .settings
            .update(name, self.manifest.name.as_str(), &found);
        let mut update = update.unwrap_or_else(|| UpdateCollection {
            collection_name: name.to_string(),
            ..UpdateCollection::default()
        });
        update.metadata.extend([next.record.entry()]);
        self.configure(update).await
    }

    /// Names what the generation has in another way than it should, whatever the reason is.
    async fn name_differences(&mut self) -> anyhow::Result<()> {
        let next = self.next_generation().await?;
        let (found, _) = Settings::of(&self.info().await?);
        let differing = options::differences(&found, &next.settings);
        let mut not_kept = next.named;
        for Difference {
            name,
            found,
            wanted,
        } in differing
        {
            // What nobody asked for the server decides.
            if next.settings.get(&name).is_some() {
                not_kept.push(format!("`{name}` should be {wanted} and is {found}"));
            }
        }
        for sentence in &not_kept {
            tracing::warn!(generation = %self.record().generation, "not kept: {sentence}");
        }
        self.stored.record.settings = SettingsReport {
            changed: next.changed,
            not_kept,
        };
        Ok(())
    }

    /// An empty change of the settings, which has the server optimize.
    async fn wake(&self) -> anyhow::Result<()> {
        let request = UpdateCollection {
            collection_name: self.record().generation.to_string(),
            optimizers_config: Some(OptimizersConfigDiff::default()),
            ..UpdateCollection::default()
        };
        self.configure(request).await
    }

    async fn configure(&self, request: UpdateCollection) -> anyhow::Result<()> {
        let name = &self.record().generation;
        let updated = self.context.qdrant.update_collection(request).await;
        updated.with_context(|| format!("failed to change the settings of `{name}`"))?;
        Ok(())
    }
}
