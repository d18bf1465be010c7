//! Schema: what a writer must know of a collection, and whether its points have all that it says.

use std::collections::BTreeMap;

use qdrant_client::qdrant::{CollectionInfo, Condition, Filter};

use crate::Points;
use crate::guard::tombstones;
use crate::replicas::Replicas;
use crate::store::{PointsError, Store};
use crate::vectors::{Attached, CollectionVectors, UnknownVectors};

/// What to do about points that lack a vector.
pub const LACKING_ADVICE: &str = "upgrade all workers before indexers, then rebuild the alias from \
                                  its sources or --from-collection; vectors that are there are reused";

/// What to do about points that lack the vector of that name.
#[must_use]
pub fn lacking_advice(vectors: &CollectionVectors, name: &str) -> String {
    match vectors.attached_as(name) {
        Some(Attached { model, .. }) => format!(
            "workers of model `{}` make it; where none of its jobs is left, look at `indexer dlq ls` and run `indexer \
             attach` again, which publishes what lacks it",
            model.name
        ),
        None => LACKING_ADVICE.to_owned(),
    }
}

/// What a writer must know of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Schema {
    /// Which vectors its points have, and who makes them.
    pub vectors: CollectionVectors,
    /// On how many replicas a write has to be.
    pub replicas: Replicas,
}

impl Schema {
    /// What a collection says of itself.
    ///
    /// # Errors
    /// [`UnknownVectors`].
    pub fn of(info: &CollectionInfo) -> Result<Self, UnknownVectors> {
        Ok(Self {
            vectors: CollectionVectors::of(info)?,
            replicas: Replicas::of(info),
        })
    }
}

impl<S: Store> Points<'_, S> {
    /// What a writer must know of the collection.
    ///
    /// # Errors
    /// [`PointsError`].
    pub async fn schema(self) -> Result<Schema, PointsError> {
        self.schema_of(&self.info().await?)
    }

    /// What a writer must know of the collection, by a node that reaches all replicas.
    ///
    /// # Errors
    /// [`PointsError`].
    pub async fn confirmed_schema(self) -> Result<Schema, PointsError> {
        let schema = self.schema().await?;
        if !schema.replicas.are_several() {
            return Ok(schema);
        }
        self.ask_all_replicas().await?;
        self.schema().await
    }

    /// The same, as a look at the collection has found it.
    ///
    /// # Errors
    /// [`PointsError::Vectors`].
    pub fn schema_of(self, info: &CollectionInfo) -> Result<Schema, PointsError> {
        Schema::of(info).map_err(|source| PointsError::Vectors {
            collection: self.collection.clone(),
            source,
        })
    }

    /// How many points lack each vector, tombstones left out; a vector that all have is not named, nor one that is not in
    /// service. A worker of a version that does not know a vector writes points without it.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn lacking(
        self,
        vectors: &CollectionVectors,
    ) -> Result<BTreeMap<String, u64>, PointsError> {
        let mut lacking = BTreeMap::new();
        let reserved = vectors.reserved();
        let in_service = vectors.names().iter();
        let in_service = in_service.filter(|name| reserved.iter().all(|it| it.name != **name));
        for name in in_service {
            let without = Filter::must_not([tombstones(), Condition::has_vector(name.as_str())]);
            let points = self.count(without).await?;
            if points > 0 {
                lacking.insert(name.clone(), points);
            }
        }
        Ok(lacking)
    }
}
