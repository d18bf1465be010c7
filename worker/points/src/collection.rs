//! Collections: their schema, and the fingerprint that guards them.

use contract::bm25::Bm25Options;
use contract::digest::Digest;
use contract::field;
use contract::model::{Manifest, OutputKind};
use contract::names::{CollectionName, ModelName};
use qdrant_client::qdrant::{
    CollectionInfo, CreateCollection, CreateCollectionBuilder, Distance, FieldType, Modifier,
    SparseVectorParamsBuilder, SparseVectorsConfigBuilder, VectorParamsBuilder,
    VectorsConfigBuilder,
};
use serde_json::json;
use thiserror::Error;

use crate::vectors::{OtherVector, VECTORS, named_vectors};

/// Key of the model's fingerprint in the collection's metadata.
pub const FINGERPRINT: &str = "ebb_fingerprint";
/// Key of the model's name in the collection's metadata.
pub const MODEL: &str = "ebb_model";

/// Key of how the collection is searched in its metadata. It is of the alias, and kept from generation to generation.
pub const SEARCH: &str = "ebb_search";

/// Payload fields with an index. They are created before any point is loaded, because HNSW graphs take account
/// of the indexes that exist when they are built.
///
/// Every field that a filter of Ebb names is here, so that a collection may forbid filters without an index. The index of
/// the time costs some tens of bytes a point; without it, each look of a rebuild for what has changed would read every
/// point. The fingerprint has none: all points of a collection have the same, so that its index would select nothing, and
/// readers compare it themselves.
pub const PAYLOAD_INDEXES: [(&str, FieldType); 7] = [
    (field::DOC_ID, FieldType::Keyword),
    (field::VERSION, FieldType::Integer),
    (field::CHUNK, FieldType::Integer),
    (field::DIGEST, FieldType::Keyword),
    (field::RUN, FieldType::Keyword),
    (field::DELETED, FieldType::Bool),
    (field::INDEXED_AT, FieldType::Datetime),
];

/// The collection of a model: its named vector, the others, the fingerprint and their list in the metadata.
#[must_use]
pub fn create(
    name: &CollectionName,
    manifest: &Manifest,
    bm25: Option<&Bm25Options>,
) -> CreateCollection {
    let mut vectors = VectorsConfigBuilder::default();
    vectors.add_named_vector_params(
        manifest.name.as_str(),
        VectorParamsBuilder::new(manifest.identity.dimensions as u64, distance(manifest)),
    );
    let mut request: CreateCollection = CreateCollectionBuilder::new(name.as_str())
        .vectors_config(vectors)
        .into();
    request.metadata = [
        (FINGERPRINT.to_owned(), json!(manifest.fingerprint).into()),
        (MODEL.to_owned(), json!(manifest.name).into()),
    ]
    .into();
    if let Some(options) = bm25 {
        let vector = OtherVector::bm25(options.clone());
        let mut sparse = SparseVectorsConfigBuilder::default();
        let params = SparseVectorParamsBuilder::default().modifier(Modifier::Idf);
        sparse.add_named_vector_params(vector.name.clone(), params);
        request.sparse_vectors_config = Some(sparse.into());
        let listed = json!([vector]).into();
        request.metadata.insert(VECTORS.to_owned(), listed);
    }
    request
}

/// Cosine scales vectors to length 1; the dot product of vectors that have it already is the same for less.
fn distance(manifest: &Manifest) -> Distance {
    if manifest.identity.normalize {
        Distance::Dot
    } else {
        Distance::Cosine
    }
}

/// Why a model must not write to a collection.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Mismatch {
    /// The collection has no vector of the model's name.
    #[error("model `{model}` needs a vector of that name, collection `{collection}` has {found}")]
    NoVector {
        collection: CollectionName,
        model: ModelName,
        /// The vectors it has.
        found: String,
    },
    /// A vector of another length.
    #[error(
        "model `{model}` yields {expected} dimensions, collection `{collection}` expects {found}"
    )]
    Dimensions {
        collection: CollectionName,
        model: ModelName,
        /// Dimensions of the model.
        expected: u64,
        /// Dimensions of the collection.
        found: u64,
    },
    /// The model makes no dense vectors.
    #[error(
        "model `{model}` makes {kind} vectors, the primary vector of collection `{collection}` is dense; add such a model \
         to a collection with `indexer attach`"
    )]
    NotDense {
        collection: CollectionName,
        model: ModelName,
        /// The kind of its vectors.
        kind: OutputKind,
    },
    /// Vectors of another model or of another version of it.
    #[error(
        "model `{model}` has fingerprint {expected}, collection `{collection}` holds vectors of {found}; \
         rebuild it with this model or use the one that it was made with"
    )]
    Fingerprint {
        collection: CollectionName,
        model: ModelName,
        expected: Digest,
        found: String,
    },
}

impl Mismatch {
    #[must_use]
    pub fn collection(&self) -> &CollectionName {
        match self {
            Self::NoVector { collection, .. }
            | Self::Dimensions { collection, .. }
            | Self::NotDense { collection, .. }
            | Self::Fingerprint { collection, .. } => collection,
        }
    }
}

/// Checks that vectors of a model may be written to, or searched in, a collection.
///
/// # Errors
/// [`Mismatch`], the first that is found.
pub fn check(
    name: &CollectionName,
    info: &CollectionInfo,
    manifest: &Manifest,
) -> Result<(), Mismatch> {
    let vectors = named_vectors(info);
    let model = manifest.name.clone();
    let collection = name.clone();
    let kind = manifest.identity.output.kind();
    if kind != OutputKind::Dense {
        return Err(Mismatch::NotDense {
            collection,
            model,
            kind,
        });
    }
    let Some((_, found)) = vectors.iter().find(|(vector, _)| vector == model.as_str()) else {
        let names: Vec<_> = vectors
            .into_iter()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let found = if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        };
        return Err(Mismatch::NoVector {
            collection,
            model,
            found,
        });
    };
    let expected = manifest.identity.dimensions as u64;
    if *found != expected {
        return Err(Mismatch::Dimensions {
            collection,
            model,
            expected,
            found: *found,
        });
    }
    match recorded_fingerprint(info) {
        Some(found) if found == manifest.fingerprint.as_str() => Ok(()),
        found => Err(Mismatch::Fingerprint {
            collection,
            model,
            expected: manifest.fingerprint.clone(),
            found: found.unwrap_or_else(|| "no recorded model".to_owned()),
        }),
    }
}

fn recorded_fingerprint(info: &CollectionInfo) -> Option<String> {
    let metadata = &info.config.as_ref()?.metadata;
    metadata.get(FINGERPRINT)?.as_str().cloned()
}
