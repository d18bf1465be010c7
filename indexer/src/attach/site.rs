//! Site: the collection behind an alias, whose vectors are changed, and the servers.

use anyhow::Context as _;
use async_nats::jetstream::{self, stream::Stream};
use contract::names::{CollectionName, VectorName};
use contract::topology::JOBS;
use points::attachment::IN_PLACE_SINCE;
use points::connect::check_feature;
use points::vectors::CollectionVectors;
use points::{Points, Qdrant};
use qdrant_client::qdrant::UpdateCollection;

use crate::additions::record::Record;
use crate::bucket::Bucket;
use crate::config::Servers;
use crate::generation::alias;
use crate::streams::stream;

pub struct Site<'a> {
    pub alias: &'a CollectionName,
    pub collection: CollectionName,
    pub qdrant: Qdrant,
    pub jetstream: jetstream::Context,
    pub jobs: Stream,
}

impl<'a> Site<'a> {
    pub async fn open(alias: &'a CollectionName, servers: &Servers) -> anyhow::Result<Self> {
        let jetstream = servers.jetstream().await?;
        let qdrant = servers.qdrant_to_write().await?;
        check_feature(&qdrant, "vectors that are added in place", IN_PLACE_SINCE).await?;
        Ok(Self {
            collection: alias::target(&qdrant, alias).await?,
            jobs: stream(&jetstream, JOBS).await?,
            alias,
            qdrant,
            jetstream,
        })
    }

    pub fn points(&self) -> Points<'_> {
        Points::new(&self.qdrant, &self.collection)
    }

    pub async fn vectors(&self) -> anyhow::Result<CollectionVectors> {
        Ok(self.points().confirmed_schema().await?.vectors)
    }

    pub async fn update(&self, request: UpdateCollection) -> anyhow::Result<()> {
        let updated = self.qdrant.update_collection(request).await;
        updated.map(drop).with_context(|| {
            let collection = &self.collection;
            format!("failed to record the vectors of `{collection}`")
        })
    }

    /// Key of what is recorded of runs for a vector.
    pub fn record_key(&self, name: &VectorName) -> String {
        format!("attach.{}/{name}", self.alias)
    }

    /// Removes what is recorded of runs for a vector.
    pub async fn forget_runs(&self, name: &VectorName) -> anyhow::Result<()> {
        let (bucket, key) = (Bucket::open(&self.jetstream).await?, self.record_key(name));
        let Some(found) = bucket.find::<Record>(&key).await? else {
            return Ok(());
        };
        let removed = bucket.remove(&found).await;
        removed.with_context(|| format!("failed to remove the record `{key}`; run it again"))
    }

    /// The alias may have been moved by a rebuild between the first look and the lease.
    pub async fn still_there(&self) -> anyhow::Result<()> {
        let found = alias::target(&self.qdrant, self.alias).await?;
        anyhow::ensure!(
            found == self.collection,
            "alias `{}` has moved from `{}` to `{found}` meanwhile; run it again",
            self.alias,
            self.collection
        );
        Ok(())
    }
}
