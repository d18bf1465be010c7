//! Selection: which vectors are read with points, and how many points of one answer they leave room for.
//!
//! A point may have a multivector of megabytes beside a vector of kilobytes, so whoever reads points names the vectors that it
//! needs. Qdrant refuses a name that the collection does not have, and a vector may be detached at any time: names are taken
//! from the collection, and a read that is refused looks at it anew. What it has not, or not any more, is missing
//! in all points, as it is in a point that lacks it.
//!
//! The length of a vector is known only when it is read. So the largest that each may be decides how many points are asked for
//! at once, and an answer is bounded. Sparse vectors are taken to have 8,192 terms at most, which nothing enforces.

use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::with_vectors_selector::SelectorOptions;
use qdrant_client::qdrant::{CollectionInfo, VectorsSelector, WithVectorsSelector};

use crate::vectors::vector_names;

/// Bytes of the vectors of one answer.
const BYTES_PER_READ: usize = 64 << 20;
/// Bytes of the largest multivector that Qdrant takes: 2^20 numbers.
const BYTES_OF_A_MULTIVECTOR: usize = 4 << 20;
/// Bytes of a sparse vector of 8,192 terms; those of models have some hundreds.
const BYTES_OF_A_SPARSE_VECTOR: usize = 64 << 10;

/// Which vectors of points are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VectorSelection {
    wanted: Vec<String>,
    /// The wanted names that the collection has.
    there: Vec<String>,
    /// Bytes of the vectors of one point.
    bytes: usize,
}

impl VectorSelection {
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The vectors of these names, as far as the collection has them.
    #[must_use]
    pub fn of(info: &CollectionInfo, wanted: Vec<String>) -> Self {
        let mut there = vector_names(info);
        there.retain(|name| wanted.contains(name));
        let bytes = there.iter().map(|name| most_bytes(info, name)).sum();
        Self {
            wanted,
            there,
            bytes,
        }
    }

    /// How many points are read at once, of those that are wanted.
    #[must_use]
    pub fn points(&self, wanted: usize) -> usize {
        wanted.min(BYTES_PER_READ / self.bytes.max(1)).max(1)
    }

    /// The same, where their vectors may take so many bytes; 0 where there is no room for one.
    #[must_use]
    pub fn points_within(&self, bytes: usize, wanted: usize) -> usize {
        self.points(wanted).min(bytes / self.bytes.max(1))
    }

    /// The names that were asked for, whether the collection has them or not.
    pub(crate) fn wanted(&self) -> &[String] {
        &self.wanted
    }

    /// Whether nothing is read.
    pub(crate) fn is_empty(&self) -> bool {
        self.there.is_empty()
    }

    pub(crate) fn selector(&self) -> WithVectorsSelector {
        let names = self.there.clone();
        WithVectorsSelector {
            selector_options: Some(match names.is_empty() {
                true => SelectorOptions::Enable(false),
                false => SelectorOptions::Include(VectorsSelector { names }),
            }),
        }
    }
}

/// Bytes of the largest vector that a point may have by this name.
fn most_bytes(info: &CollectionInfo, name: &str) -> usize {
    let params = info.config.as_ref().and_then(|it| it.params.as_ref());
    let vectors = params.and_then(|params| params.vectors_config.as_ref());
    let dense = match vectors.and_then(|vectors| vectors.config.as_ref()) {
        Some(Config::ParamsMap(map)) => map.map.get(name),
        Some(Config::Params(params)) => Some(params),
        None => None,
    };
    match dense {
        Some(params) if params.multivector_config.is_some() => BYTES_OF_A_MULTIVECTOR,
        Some(params) => usize::try_from(params.size).unwrap_or(usize::MAX) * size_of::<f32>(),
        None => BYTES_OF_A_SPARSE_VECTOR,
    }
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::{
        CollectionConfig, CollectionParams, Distance, MultiVectorComparator,
        MultiVectorConfigBuilder, SparseVectorParamsBuilder, SparseVectorsConfigBuilder,
        VectorParamsBuilder, VectorsConfigBuilder,
    };

    use super::*;

    fn info() -> CollectionInfo {
        let mut vectors = VectorsConfigBuilder::default();
        vectors.add_named_vector_params("dense", VectorParamsBuilder::new(1024, Distance::Dot));
        let tokens = VectorParamsBuilder::new(128, Distance::Dot)
            .multivector_config(MultiVectorConfigBuilder::new(MultiVectorComparator::MaxSim));
        vectors.add_named_vector_params("tokens", tokens);
        let mut sparse = SparseVectorsConfigBuilder::default();
        sparse.add_named_vector_params("terms", SparseVectorParamsBuilder::default());
        let params = CollectionParams {
            vectors_config: Some(vectors.into()),
            sparse_vectors_config: Some(sparse.into()),
            ..CollectionParams::default()
        };
        CollectionInfo {
            config: Some(CollectionConfig {
                params: Some(params),
                ..CollectionConfig::default()
            }),
            ..CollectionInfo::default()
        }
    }

    fn of(names: &[&str]) -> VectorSelection {
        let names = names.iter().map(|name| (*name).to_owned());
        VectorSelection::of(&info(), names.collect())
    }

    #[test]
    fn an_answer_is_bounded_by_the_largest_vectors_that_points_may_have() {
        assert_eq!(of(&["dense"]).points(1024), 1024);
        assert_eq!(of(&["terms"]).points(4096), 1024);
        assert_eq!(of(&["dense", "tokens"]).points(1024), 15);
        assert_eq!(of(&["tokens"]).points(4), 4);
        assert_eq!(of(&["tokens"]).points_within(9 << 20, 4), 2);
        assert_eq!(of(&["tokens"]).points_within(1 << 20, 4), 0);
        assert_eq!(VectorSelection::none().points(1024), 1024);
    }

    #[test]
    fn a_name_that_the_collection_does_not_have_is_not_asked_for() {
        let selected = |names: &[&str]| of(names).selector().selector_options;
        let names = vec!["dense".to_owned()];
        let dense = SelectorOptions::Include(VectorsSelector { names });
        assert_eq!(selected(&["gone", "dense"]), Some(dense));
        assert_eq!(selected(&["gone"]), Some(SelectorOptions::Enable(false)));
    }
}
