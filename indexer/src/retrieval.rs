//! Retrieval: by which vectors an alias is searched, and how what they find is fused: as verbs are told, and as the
//! collection behind the alias records it, so that a rollback brings back the search of its generation too.

pub mod explain;
pub mod options;
pub mod query_client;
pub mod request;

use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use clap::ValueEnum;
use contract::bm25::{self, Bm25Options};
use contract::names::CollectionName;
use points::Qdrant;
use points::collection::SEARCH;
use points::connect::check_feature;
use points::vectors::CollectionVectors;
use qdrant_client::qdrant::{CollectionInfo, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The constant of reciprocal rank fusion. Cormack et al. found 60 to be good over many collections, and a large one is
/// the safe side: with the server's own 2 the first hit of the worse part outranks most of the better one.
pub const RRF_K: u32 = 60;
/// The first server that takes weights of a fusion; older ones ignore them.
const WEIGHTS_SINCE: &str = "1.17";

/// By which vectors a collection is searched.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    ValueEnum,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// By the model's vector
    Dense,
    /// By the words of BM25
    Sparse,
    /// By both, fused
    Hybrid,
}

/// How the hits of several parts become one list.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// By ranks: each part gives 1 / (k + rank - 1)
    #[default]
    Rrf,
    /// By scores, each part scaled by its mean and deviation
    Dbsf,
}

/// How much each part counts in a fusion by ranks: a weight divides the ranks of its part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Weights {
    pub dense: f32,
    pub bm25: f32,
}

/// How a collection is searched.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Search {
    pub mode: Mode,
    #[serde(default)]
    pub fusion: Fusion,
    #[serde(default = "rrf_k")]
    pub rrf_k: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
}

/// The vectors by which a collection can be searched.
#[derive(Clone, Debug)]
pub struct Searched {
    pub collection: CollectionName,
    pub bm25: Option<Bm25Options>,
    /// The search that the collection records.
    pub recorded: Option<Search>,
}

async fn check_weights(qdrant: &Qdrant) -> anyhow::Result<()> {
    check_feature(qdrant, "weights of a fusion", WEIGHTS_SINCE).await?;
    Ok(())
}

const fn rrf_k() -> u32 {
    RRF_K
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
            Self::Hybrid => "hybrid",
        }
    }

    pub fn has_dense(self) -> bool {
        self != Self::Sparse
    }

    pub fn has_words(self) -> bool {
        self != Self::Dense
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Search {
    /// An old server ignores weights.
    pub async fn check_server(&self, qdrant: &Qdrant) -> anyhow::Result<()> {
        if self.mode == Mode::Hybrid && self.weights.is_some() {
            check_weights(qdrant).await?;
        }
        Ok(())
    }

    /// A search by one mode, fused as it is by default.
    pub const fn of(mode: Mode) -> Self {
        Self {
            mode,
            fusion: Fusion::Rrf,
            rrf_k: RRF_K,
            weights: None,
        }
    }

    /// The search as key and value of the metadata of a collection.
    pub fn metadata(&self) -> (String, Value) {
        (SEARCH.to_owned(), serde_json::json!(self).into())
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mode.fmt(f)?;
        match (self.mode, self.fusion) {
            (Mode::Dense | Mode::Sparse, _) => Ok(()),
            (Mode::Hybrid, Fusion::Dbsf) => write!(f, " (dbsf)"),
            (Mode::Hybrid, Fusion::Rrf) => match self.weights {
                Some(weights) => write!(f, " (rrf, k {}, {weights})", self.rrf_k),
                None => write!(f, " (rrf, k {})", self.rrf_k),
            },
        }
    }
}

impl fmt::Display for Weights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dense={},bm25={}", self.dense, self.bm25)
    }
}

impl FromStr for Weights {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut weights = Self {
            dense: 1.0,
            bm25: 1.0,
        };
        for part in text.split(',') {
            let (name, number) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` is not NAME=WEIGHT, as in dense=1,bm25=0.5"))?;
            let weight: f32 = number
                .trim()
                .parse()
                .ok()
                .filter(|weight: &f32| weight.is_finite() && *weight > 0.0)
                .ok_or_else(|| format!("`{number}` is not a number above 0"))?;
            match name.trim() {
                "dense" => weights.dense = weight,
                "bm25" => weights.bm25 = weight,
                other => return Err(format!("`{other}` is not a part; they are dense and bm25")),
            }
        }
        Ok(weights)
    }
}

impl Searched {
    /// Reads what a collection says of itself.
    pub fn of(collection: &CollectionName, info: &CollectionInfo) -> anyhow::Result<Self> {
        let vectors = CollectionVectors::of(info)
            .with_context(|| format!("failed to read the vectors of collection `{collection}`"))?;
        let metadata = info.config.as_ref().map(|config| &config.metadata);
        let recorded = metadata.and_then(|metadata| metadata.get(SEARCH));
        let recorded = recorded
            .map(|recorded| serde_json::from_value(recorded.clone().into()))
            .transpose()
            .with_context(|| {
                format!("metadata `{SEARCH}` of collection `{collection}` is not a search")
            })?;
        Ok(Self {
            collection: collection.clone(),
            bm25: vectors.bm25().cloned(),
            recorded,
        })
    }

    /// The best that it can be searched by.
    pub fn best(&self) -> Mode {
        match self.bm25 {
            Some(_) => Mode::Hybrid,
            None => Mode::Dense,
        }
    }

    /// All modes in which it can be searched.
    pub fn modes(&self) -> Vec<Mode> {
        match self.bm25 {
            Some(_) => vec![Mode::Dense, Mode::Sparse, Mode::Hybrid],
            None => vec![Mode::Dense],
        }
    }

    /// How it is searched where nobody says otherwise.
    pub fn default(&self) -> Search {
        self.recorded.unwrap_or_else(|| Search::of(self.best()))
    }

    /// Whether it has what a mode needs.
    pub fn check(&self, mode: Mode) -> anyhow::Result<()> {
        anyhow::ensure!(
            !mode.has_words() || self.bm25.is_some(),
            "mode {mode} needs the vector `{}`, which collection `{}` does not have; make it with `indexer rebuild \
             --bm25 LANGUAGE`, or search it by --mode dense",
            bm25::VECTOR,
            self.collection
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_read_by_name_and_what_is_wrong_is_named() {
        let weights: Weights = "bm25=0.5".parse().unwrap();
        assert_eq!((weights.dense, weights.bm25), (1.0, 0.5));
        assert_eq!("dense=2,bm25=1".parse::<Weights>().unwrap().dense, 2.0);
        for (text, said) in [
            ("dense", "is not NAME=WEIGHT"),
            ("words=1", "they are dense and bm25"),
            ("dense=0", "above 0"),
            ("dense=x", "above 0"),
        ] {
            let error = text.parse::<Weights>().unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn a_search_is_recorded_and_read_again() {
        let search = Search {
            weights: "dense=2,bm25=1".parse().ok(),
            ..Search::of(Mode::Hybrid)
        };
        let (key, value) = search.metadata();
        let info = CollectionInfo {
            config: Some(qdrant_client::qdrant::CollectionConfig {
                metadata: [(key, value)].into(),
                ..Default::default()
            }),
            ..CollectionInfo::default()
        };
        let name = "docs".parse().unwrap();
        let searched = Searched::of(&name, &info).unwrap();
        assert_eq!(searched.recorded, Some(search));
        assert_eq!(searched.default(), search);
        assert_eq!(
            searched.modes(),
            [Mode::Dense],
            "it has no vector of its words"
        );
        let error = searched.check(Mode::Sparse).unwrap_err().to_string();
        assert!(error.contains("`bm25`, which collection `docs`"), "{error}");
    }
}
