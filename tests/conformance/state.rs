//! State: a collection with the documents that requests are about, and as many others as bring it into a state.

use std::time::Duration;

use anyhow::Context as _;
use contract::field;
use fixtures::wait::until;
use points::collection::PAYLOAD_INDEXES;
use points::point_id;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    CollectionStatus, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder, Distance,
    NamedVectors, OptimizersConfigDiffBuilder, PointStruct, UpdateCollectionBuilder,
    UpsertPointsBuilder, Value, VectorParamsBuilder, VectorsConfigBuilder,
};
use serde_json::json;

/// Name of the vector.
pub(super) const VECTOR: &str = "v";
pub(super) const DIMENSIONS: usize = 16;
/// Documents that requests are about; each has two chunks.
pub(super) const DOCUMENTS: [&str; 12] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
/// Version of all of them.
pub(super) const VERSION: u64 = 10;
/// Other points, where there are many: twenty thousand take a moment to be indexed.
const MANY: u64 = 20_000;
const POINTS_PER_REQUEST: usize = 1000;
/// Longest time until a collection is in its state.
const LIMIT: Duration = Duration::from_secs(180);

/// What a collection is like while requests are played.
#[derive(Clone, Copy, Debug)]
pub(super) enum State {
    /// Too few points for an index.
    Small,
    /// All points lie in indexed segments.
    Indexed,
    /// Segments are being optimized.
    Optimizing,
}

/// A collection in its state.
#[derive(Debug)]
pub(super) struct Collection {
    name: String,
}

impl State {
    /// All of them.
    pub(super) const ALL: [Self; 3] = [Self::Small, Self::Indexed, Self::Optimizing];

    /// Its name, with which the names of requests begin.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Indexed => "indexed",
            Self::Optimizing => "optimizing",
        }
    }

    pub(super) async fn create(self, qdrant: &Qdrant, prefix: &str) -> anyhow::Result<Collection> {
        let name = format!("{prefix}-{}", self.name());
        let mut vectors = VectorsConfigBuilder::default();
        let params = VectorParamsBuilder::new(DIMENSIONS as u64, Distance::Dot);
        vectors.add_named_vector_params(VECTOR, params);
        // Nothing is optimized while points are loaded.
        let optimizers = OptimizersConfigDiffBuilder::default()
            .default_segment_number(1)
            .indexing_threshold(0);
        let create = CreateCollectionBuilder::new(&name)
            .vectors_config(vectors)
            .optimizers_config(optimizers);
        qdrant.create_collection(create).await?;
        for (field, kind) in PAYLOAD_INDEXES {
            let index = CreateFieldIndexCollectionBuilder::new(&name, field, kind).wait(true);
            qdrant.create_field_index(index).await?;
        }
        let collection = Collection { name };
        collection.load(qdrant, self).await?;
        Ok(collection)
    }
}

impl Collection {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn remove(self, qdrant: &Qdrant) -> anyhow::Result<()> {
        qdrant.delete_collection(self.name).await?;
        Ok(())
    }

    async fn load(&self, qdrant: &Qdrant, state: State) -> anyhow::Result<()> {
        let mut points: Vec<_> = DOCUMENTS
            .iter()
            .flat_map(|doc_id| [0, 1].map(|chunk| point(doc_id, chunk, VERSION)))
            .collect();
        if !matches!(state, State::Small) {
            points.extend((0..MANY).map(|number| point(&format!("other-{number}"), 0, VERSION)));
        }
        for points in points.chunks(POINTS_PER_REQUEST) {
            let upsert = UpsertPointsBuilder::new(&self.name, points).wait(true);
            qdrant.upsert_points(upsert).await?;
        }
        if matches!(state, State::Small) {
            return Ok(());
        }
        let optimizers = OptimizersConfigDiffBuilder::default().indexing_threshold(10);
        let update = UpdateCollectionBuilder::new(&self.name).optimizers_config(optimizers);
        qdrant.update_collection(update).await?;
        if matches!(state, State::Indexed) {
            until("the collection to be indexed", LIMIT, async || {
                let info = qdrant.collection_info(&self.name).await?;
                let info = info.result.context("a collection has an info")?;
                let is_indexed = info.status() == CollectionStatus::Green
                    && info.indexed_vectors_count.unwrap_or(0) >= MANY;
                Ok(is_indexed.then_some(()))
            })
            .await?;
        }
        Ok(())
    }
}

/// A chunk of a document with two chunks, as Ebb writes it.
pub(super) fn point(doc_id: &str, chunk: u32, version: u64) -> PointStruct {
    let payload = json!({
        (field::DOC_ID): doc_id, (field::VERSION): version, (field::CHUNK): chunk, (field::CHUNKS): 2,
        (field::TEXT): format!("text {chunk} of {doc_id} {version}"), (field::DELETED): false,
        (field::FINGERPRINT): "sha256:1", (field::INDEXED_AT): "2026-01-02T03:04:05.678901Z",
        (field::RUN): "run-1", (field::DIGEST): format!("digest-{doc_id}-{chunk}"),
        (field::META): { "lang": "en", "price": 1.5, "tags": ["x", "y"] },
    });
    let named = NamedVectors::default().add_vector(VECTOR, vector(doc_id, chunk));
    PointStruct::new(point_id(doc_id, chunk).to_string(), named, fields(payload))
}

/// The tombstone of a document.
pub(super) fn tombstone(doc_id: &str, version: u64) -> PointStruct {
    let payload = json!({
        (field::DOC_ID): doc_id, (field::VERSION): version, (field::CHUNK): 0, (field::CHUNKS): 0,
        (field::DELETED): true,
    });
    let none = NamedVectors::default();
    PointStruct::new(point_id(doc_id, 0).to_string(), none, fields(payload))
}

fn fields(payload: serde_json::Value) -> std::collections::HashMap<String, Value> {
    let serde_json::Value::Object(map) = payload else {
        return std::collections::HashMap::new();
    };
    map.into_iter()
        .map(|(key, value)| (key, Value::from(value)))
        .collect()
}

/// A vector of length 1, always the same for a chunk. No two documents are close to each other.
pub(super) fn vector(doc_id: &str, chunk: u32) -> Vec<f32> {
    let mut random =
        fastrand::Rng::with_seed(doc_id.bytes().fold(u64::from(chunk), |seed, byte| {
            seed.wrapping_mul(31).wrapping_add(u64::from(byte))
        }));
    let values: Vec<_> = (0..DIMENSIONS).map(|_| random.f32() - 0.5).collect();
    let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
    values.into_iter().map(|value| value / length).collect()
}
