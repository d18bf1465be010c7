//! Attachment: the requests that give a collection another vector, and that take it away again.
//!
//! The steps stand in this order because a process may die between any two of them: the name is reserved for its model, the
//! vector is made, and only then it is listed, which is when workers begin to hand on what they write. To take it away, it
//! is unlisted first, with its name reserved, and then removed. A vector whose name is reserved and that is there is what a
//! process has left that died: nobody has kept it complete, so it is made anew.

use contract::model::OutputKind;
use contract::names::CollectionName;
use qdrant_client::qdrant::create_vector_name_request::VectorConfig;
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::{
    CreateCollection, CreateVectorNameRequest, DeleteVectorNameRequest, DenseVectorCreationConfig,
    Distance, HnswConfigDiff, MultiVectorComparator, MultiVectorConfig, SparseVectorCreationConfig,
    SparseVectorParams, UpdateCollection, VectorParams, VectorParamsDiff, VectorParamsDiffMap,
    VectorsConfigDiff, vectors_config_diff,
};
use serde_json::json;

use crate::vectors::{Attached, CollectionVectors, MakerModel, OtherVector, RESERVED, VECTORS};

/// First version of Qdrant that gives a collection another vector in place.
pub const IN_PLACE_SINCE: &str = "1.18";

/// Makes the vector of an attached model.
#[must_use]
pub fn create(
    collection: &CollectionName,
    name: &str,
    kind: OutputKind,
    model: &MakerModel,
) -> CreateVectorNameRequest {
    let dense = |multivector_config| {
        VectorConfig::DenseConfig(DenseVectorCreationConfig {
            size: model.dimensions,
            distance: distance(model).into(),
            multivector_config,
            datatype: None,
        })
    };
    let config = match kind {
        OutputKind::Dense => dense(None),
        // The weights are the model's own: nothing is known of how rare a term is.
        OutputKind::Sparse => VectorConfig::SparseConfig(SparseVectorCreationConfig::default()),
        OutputKind::Multi => dense(Some(max_sim())),
    };
    CreateVectorNameRequest {
        collection_name: collection.to_string(),
        wait: Some(true),
        vector_name: name.to_owned(),
        vector_config: Some(config),
        ..CreateVectorNameRequest::default()
    }
}

/// A search by a multivector looks at all points that an earlier stage has found, so that a graph would be of no use: takes
/// it away. `None` where the vector keeps it.
#[must_use]
pub fn without_graph(
    collection: &CollectionName,
    name: &str,
    kind: OutputKind,
) -> Option<UpdateCollection> {
    let diff = VectorParamsDiff {
        hnsw_config: Some(no_graph()),
        ..VectorParamsDiff::default()
    };
    let map = VectorParamsDiffMap {
        map: [(name.to_owned(), diff)].into(),
    };
    (kind == OutputKind::Multi).then(|| UpdateCollection {
        collection_name: collection.to_string(),
        vectors_config: Some(VectorsConfigDiff {
            config: Some(vectors_config_diff::Config::ParamsMap(map)),
        }),
        ..UpdateCollection::default()
    })
}

/// Adds the vector of an attached model to the request that creates a collection. A dense one lies where `like` does.
pub(crate) fn add_to(request: &mut CreateCollection, vector: Attached<'_>, like: &VectorParams) {
    let Attached { name, kind, model } = vector;
    let dense = VectorParams {
        size: model.dimensions,
        distance: distance(model).into(),
        ..VectorParams::default()
    };
    let params = match kind {
        OutputKind::Dense => VectorParams {
            size: dense.size,
            distance: dense.distance,
            hnsw_config: None,
            ..*like
        },
        OutputKind::Sparse => {
            let sparse = request.sparse_vectors_config.get_or_insert_default();
            let params = SparseVectorParams::default();
            sparse.map.insert(name.to_owned(), params);
            return;
        }
        OutputKind::Multi => VectorParams {
            hnsw_config: Some(no_graph()),
            multivector_config: Some(max_sim()),
            ..dense
        },
    };
    let vectors = request.vectors_config.as_mut();
    if let Some(Config::ParamsMap(map)) = vectors.and_then(|vectors| vectors.config.as_mut()) {
        map.map.insert(name.to_owned(), params);
    }
}

fn no_graph() -> HnswConfigDiff {
    HnswConfigDiff {
        m: Some(0),
        ..HnswConfigDiff::default()
    }
}

fn max_sim() -> MultiVectorConfig {
    MultiVectorConfig {
        comparator: MultiVectorComparator::MaxSim.into(),
    }
}

/// Removes a vector with all that points have of it.
#[must_use]
pub fn remove(collection: &CollectionName, name: &str) -> DeleteVectorNameRequest {
    DeleteVectorNameRequest {
        collection_name: collection.to_string(),
        wait: Some(true),
        vector_name: name.to_owned(),
        ..DeleteVectorNameRequest::default()
    }
}

/// Reserves a name for a vector, which is not in service any more if it was.
#[must_use]
pub fn reserve(
    collection: &CollectionName,
    vectors: &CollectionVectors,
    vector: &OtherVector,
) -> UpdateCollection {
    let (listed, mut reserved) = without(vectors, &vector.name);
    reserved.push(vector.clone());
    recorded(collection, &listed, &reserved)
}

/// Lists a vector: from now on it is in service.
#[must_use]
pub fn list(
    collection: &CollectionName,
    vectors: &CollectionVectors,
    vector: &OtherVector,
) -> UpdateCollection {
    let (mut listed, reserved) = without(vectors, &vector.name);
    listed.push(vector.clone());
    recorded(collection, &listed, &reserved)
}

fn without(vectors: &CollectionVectors, name: &str) -> (Vec<OtherVector>, Vec<OtherVector>) {
    let others = |all: &[OtherVector]| {
        let others = all.iter().filter(|vector| vector.name != name);
        others.cloned().collect()
    };
    (others(vectors.others()), others(vectors.reserved()))
}

fn recorded(
    collection: &CollectionName,
    listed: &[OtherVector],
    reserved: &[OtherVector],
) -> UpdateCollection {
    UpdateCollection {
        collection_name: collection.to_string(),
        metadata: [
            (VECTORS.to_owned(), json!(listed).into()),
            (RESERVED.to_owned(), json!(reserved).into()),
        ]
        .into(),
        ..UpdateCollection::default()
    }
}

/// Cosine scales vectors to length 1; the dot product of vectors that have it already is the same for less.
fn distance(model: &MakerModel) -> Distance {
    if model.normalize {
        Distance::Dot
    } else {
        Distance::Cosine
    }
}

#[cfg(test)]
mod tests {
    use contract::digest::Digest;
    use qdrant_client::qdrant::{CollectionConfig, CollectionInfo};

    use super::*;
    use crate::vectors::Maker;

    fn vector(name: &str) -> OtherVector {
        OtherVector {
            name: name.to_owned(),
            kind: OutputKind::Dense,
            maker: Maker::Model(MakerModel {
                name: "second".parse().unwrap(),
                fingerprint: Digest::of(name.as_bytes()),
                dimensions: 2,
                normalize: true,
            }),
        }
    }

    fn after(update: UpdateCollection) -> CollectionVectors {
        let info = CollectionInfo {
            config: Some(CollectionConfig {
                metadata: update.metadata,
                ..CollectionConfig::default()
            }),
            ..CollectionInfo::default()
        };
        CollectionVectors::of(&info).unwrap()
    }

    #[test]
    fn a_vector_is_reserved_listed_and_reserved_again_and_others_stay_as_they_are() {
        let docs: CollectionName = "docs".parse().unwrap();
        let other = after(list(&docs, &CollectionVectors::default(), &vector("a")));
        let names = |all: &[OtherVector]| {
            let names = all.iter().map(|vector| vector.name.clone());
            names.collect::<Vec<_>>()
        };
        let reserved = after(reserve(&docs, &other, &vector("b")));
        assert_eq!(names(reserved.others()), ["a"]);
        assert_eq!(names(reserved.reserved()), ["b"]);
        let listed = after(list(&docs, &reserved, &vector("b")));
        assert_eq!(names(listed.others()), ["a", "b"]);
        assert!(listed.reserved().is_empty());
        let detached = after(reserve(&docs, &listed, &vector("a")));
        assert_eq!(names(detached.others()), ["b"]);
        assert_eq!(names(detached.reserved()), ["a"]);
    }
}
