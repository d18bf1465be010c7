//! Head: what a model makes of token vectors beyond one pooling, and what staging measures of it.
//!
//! Everything here is left out of a manifest where it says nothing, so that fingerprints of other models stay what they are.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Pooling;

/// What follows the token vectors, in the order in which it is done: pooling, layers, and then truncation and
/// normalization, which every model has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Further poolings, whose vectors are put behind that of the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub concatenated: Vec<Pooling>,
    /// Whether the tokens of the prefix, and those before it, take no part in means and maxima.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exclude_prompt: bool,
    /// Layers that a pooled vector goes through.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<Layer>,
}

/// A layer that a pooled vector goes through. Its weights are in a staged file in the format of safetensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Layer {
    /// A matrix product, a bias where there is one, and a curve.
    Dense {
        /// The file with `linear.weight` and `linear.bias`.
        weights: String,
        /// What is done with each value at the end.
        curve: Curve,
    },
    /// Mean 0 and variance 1, then a factor and a summand for each dimension.
    LayerNorm {
        /// The file with `norm.weight` and `norm.bias`.
        weights: String,
    },
    /// Length 1. The last one is not here: it is `normalize` of the identity.
    Normalize,
}

/// What a dense layer does with each value at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Curve {
    /// Nothing.
    Identity,
    /// The hyperbolic tangent.
    Tanh,
    /// Negative values become 0.
    Relu,
    /// x times the share of the normal distribution below x.
    Gelu,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// x / (1 + e^-x).
    Silu,
}

/// What staging has measured of a model. It changes no vector, and is no part of the fingerprint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The device: `cpu` or `cuda`.
    pub provider: String,
    /// Memory of the process that one row of full length took, weights included.
    pub memory_bytes: u64,
    /// How much neighbours change a result.
    pub invariance: Invariance,
    /// How many token ids the graph has rows for, where it says so. A tokenizer may give larger ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<usize>,
}

/// How far the result of a text alone may be from that beside others: padding, and the scales that all rows of a tensor
/// share, change its last digits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariance {
    /// Smallest cosine of the two vectors.
    Cosine(f32),
    /// Largest difference of a score, relative to scores above 1.
    Difference(f32),
}

impl fmt::Display for Invariance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosine(cosine) => write!(f, "cosine {cosine:.6}"),
            Self::Difference(difference) => write!(f, "scores within {difference:.6}"),
        }
    }
}

impl Head {
    /// Whether it does nothing.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

impl Layer {
    /// The staged file with its weights.
    #[must_use]
    pub fn weights(&self) -> Option<&str> {
        match self {
            Self::Dense { weights, .. } | Self::LayerNorm { weights } => Some(weights),
            Self::Normalize => None,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
