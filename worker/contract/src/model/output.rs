//! Output: which kind of vectors a model makes, and all that decides what they are beside its graph.
//!
//! A manifest that does not speak of it is that of a dense model, so that fingerprints of dense models stay what they are.

use serde::{Deserialize, Serialize};

use crate::embedding::{Embedding, OutputKind};

/// What a model makes of texts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Output {
    /// One vector for each text; for a rescorer, its scores.
    #[default]
    Dense,
    /// Weights of terms.
    Sparse(Terms),
    /// A vector for each token.
    Multi(TokenVectors),
}

/// How the logits of a masked language model become weights of terms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terms {
    /// What is done with the largest logit of each term.
    pub weight: TermWeight,
    /// A weight has to be larger than this.
    pub threshold: f32,
    /// Most terms of a text: the heaviest are kept.
    pub most: usize,
    /// Ids that are no terms: those of special tokens, in ascending order.
    pub excluded: Vec<u32>,
    /// A staged file with the weight of each token in queries. Left out, the model makes the terms of queries too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_weights: Option<String>,
}

/// What is done with the largest logit of a term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TermWeight {
    /// log(1 + max(x, 0)).
    #[default]
    Log,
    /// log(1 + log(1 + max(x, 0))).
    LogLog,
}

/// Which token vectors are kept, and what is put around texts for that.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenVectors {
    /// Token that is put behind the first one of a query.
    pub query_marker: Option<u32>,
    /// Token that is put behind the first one of a document.
    pub document_marker: Option<u32>,
    /// Most tokens of a query, the marker included.
    pub query_tokens: usize,
    /// With which token queries are filled up to `query_tokens`; left out, they are not.
    pub expansion: Option<u32>,
    /// Whether other tokens attend to those that queries are filled up with.
    pub attend_to_expansion: bool,
    /// Tokens of documents that have no vector: punctuation, in ascending order.
    pub skipped: Vec<u32>,
}

impl Terms {
    /// A sparse vector of these terms, which come in the order of their ids: without those that are no terms or have no
    /// weight, and of the others the heaviest. Of terms of the same weight those with smaller ids are kept, so that a text has
    /// the same terms each time.
    #[must_use]
    pub fn embedding(&self, mut found: Vec<(u32, f32)>) -> Embedding {
        found.retain(|(id, weight)| *weight > 0.0 && self.excluded.binary_search(id).is_err());
        if found.len() > self.most {
            found.sort_unstable_by(|(id, weight), (other, others)| {
                others.total_cmp(weight).then(id.cmp(other))
            });
            found.truncate(self.most);
            found.sort_unstable_by_key(|(id, _)| *id);
        }
        let (indices, values) = found.into_iter().unzip();
        Embedding::Sparse { indices, values }
    }
}

impl Output {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> OutputKind {
        match self {
            Self::Dense => OutputKind::Dense,
            Self::Sparse(_) => OutputKind::Sparse,
            Self::Multi(_) => OutputKind::Multi,
        }
    }

    /// How the terms of a sparse vector are made.
    #[must_use]
    pub fn terms(&self) -> Option<&Terms> {
        match self {
            Self::Sparse(terms) => Some(terms),
            Self::Dense | Self::Multi(_) => None,
        }
    }

    /// How a multivector is made.
    #[must_use]
    pub fn token_vectors(&self) -> Option<&TokenVectors> {
        match self {
            Self::Multi(vectors) => Some(vectors),
            Self::Dense | Self::Sparse(_) => None,
        }
    }

    pub(super) fn is_dense(&self) -> bool {
        self.kind() == OutputKind::Dense
    }
}
