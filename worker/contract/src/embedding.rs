//! Embedding: what a model makes of one text.
//!
//! In JSON each kind has the form that Qdrant's REST API takes: numbers, an object of indices and values, or rows of numbers.

use std::fmt;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Which kind of vectors a model makes of texts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema, ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// One vector for each text
    #[default]
    Dense,
    /// Weights of terms, by the words that a masked language model expects (SPLADE)
    Sparse,
    /// A vector for each token, compared token by token (ColBERT)
    Multi,
}

impl OutputKind {
    /// `dense`, `sparse` or `multi`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
            Self::Multi => "multi",
        }
    }
}

impl fmt::Display for OutputKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
/// What a model makes of one text. The scores of a rescorer are dense: one number for each label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub enum Embedding {
    /// One vector.
    Dense(Vec<f32>),
    /// Weights of terms: the ids of tokens in ascending order, and the weight of each. A text may have no term at all.
    Sparse {
        /// Ids of the terms, ascending.
        indices: Vec<u32>,
        /// Their weights.
        values: Vec<f32>,
    },
    /// A vector for each token that counts, one behind the other.
    Multi {
        /// Length of each vector.
        dim: usize,
        /// All of their values.
        values: Vec<f32>,
    },
}

/// Rows of different lengths, or as many indices as there are no values for.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum MalformedEmbedding {
    /// An index without a value, or a value without an index.
    #[error("a sparse vector has {indices} indices and {values} values")]
    Unpaired {
        /// How many indices there are.
        indices: usize,
        /// How many values there are.
        values: usize,
    },
    /// The vectors of tokens differ in their length.
    #[error("the vectors of tokens have different lengths")]
    Ragged,
}

/// How an embedding is written in JSON.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Form {
    /// A dense vector.
    Dense(Vec<f32>),
    /// A sparse vector: ids of terms in ascending order, and the weight of each; empty where no word is known.
    Sparse { indices: Vec<u32>, values: Vec<f32> },
    /// A multivector: a row for each token that counts.
    Multi(Vec<Vec<f32>>),
}

impl TryFrom<Form> for Embedding {
    type Error = MalformedEmbedding;

    fn try_from(form: Form) -> Result<Self, MalformedEmbedding> {
        match form {
            Form::Dense(values) => Ok(Self::Dense(values)),
            Form::Sparse { indices, values } if indices.len() == values.len() => {
                Ok(Self::Sparse { indices, values })
            }
            Form::Sparse { indices, values } => Err(MalformedEmbedding::Unpaired {
                indices: indices.len(),
                values: values.len(),
            }),
            Form::Multi(rows) => {
                let dim = rows.first().map_or(0, Vec::len);
                if rows.iter().any(|row| row.len() != dim) {
                    return Err(MalformedEmbedding::Ragged);
                }
                let values = rows.concat();
                Ok(Self::Multi { dim, values })
            }
        }
    }
}

impl From<Embedding> for Form {
    fn from(embedding: Embedding) -> Self {
        match embedding {
            Embedding::Dense(values) => Self::Dense(values),
            Embedding::Sparse { indices, values } => Self::Sparse { indices, values },
            Embedding::Multi { dim, values } => {
                let rows = values.chunks_exact(dim.max(1));
                Self::Multi(rows.map(<[f32]>::to_vec).collect())
            }
        }
    }
}

impl JsonSchema for Embedding {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Embedding".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Form::json_schema(generator)
    }
}

impl From<Vec<f32>> for Embedding {
    fn from(values: Vec<f32>) -> Self {
        Self::Dense(values)
    }
}

impl Embedding {
    /// Which kind it is.
    #[must_use]
    pub fn kind(&self) -> OutputKind {
        match self {
            Self::Dense(_) => OutputKind::Dense,
            Self::Sparse { .. } => OutputKind::Sparse,
            Self::Multi { .. } => OutputKind::Multi,
        }
    }

    /// The values of a dense vector; `None` for any other.
    #[must_use]
    pub fn dense(&self) -> Option<&[f32]> {
        match self {
            Self::Dense(values) => Some(values),
            Self::Sparse { .. } | Self::Multi { .. } => None,
        }
    }

    /// The values of a dense vector; `None` for any other.
    #[must_use]
    pub fn into_dense(self) -> Option<Vec<f32>> {
        match self {
            Self::Dense(values) => Some(values),
            Self::Sparse { .. } | Self::Multi { .. } => None,
        }
    }

    /// All numbers of it, indices left out.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        match self {
            Self::Dense(values) | Self::Sparse { values, .. } | Self::Multi { values, .. } => {
                values
            }
        }
    }

    /// The vectors of a multivector, or the one vector of a dense one; none for a sparse one.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        let (dim, values): (usize, &[f32]) = match self {
            Self::Dense(values) => (values.len(), values),
            Self::Sparse { .. } => (1, &[]),
            Self::Multi { dim, values } => (*dim, values),
        };
        values.chunks_exact(dim.max(1))
    }

    /// How alike two embeddings of one text are: the cosine of their angle, and of the least alike token of a multivector.
    /// NaN where they are not of one kind and size, or where one has no direction. Two texts without any term are alike.
    #[must_use]
    pub fn cosine(&self, other: &Self) -> f32 {
        match (self, other) {
            (Self::Dense(a), Self::Dense(b)) => cosine(a, b),
            (Self::Sparse { .. }, Self::Sparse { .. }) => {
                if self.values().is_empty() && other.values().is_empty() {
                    return 1.0;
                }
                narrowed(
                    self.terms_of(other) / (self.terms_of(self) * other.terms_of(other)).sqrt(),
                )
            }
            (Self::Multi { dim: a, .. }, Self::Multi { dim: b, .. }) if a == b => {
                if self.values().len() != other.values().len() {
                    return f32::NAN;
                }
                let cosines = self.rows().zip(other.rows()).map(|(a, b)| cosine(a, b));
                // `f32::min` would lose a NaN.
                cosines.fold(
                    1.0,
                    |least, it| if it.is_nan() || it < least { it } else { least },
                )
            }
            _ => f32::NAN,
        }
    }

    /// How well a document answers a query by its embedding: the product of vectors, and for multivectors the sum of what
    /// each token of the query finds best. NaN where they are of two kinds.
    #[must_use]
    pub fn score(&self, document: &Self) -> f32 {
        match (self, document) {
            (Self::Dense(query), Self::Dense(document)) if query.len() == document.len() => {
                narrowed(dot(query, document))
            }
            (Self::Sparse { .. }, Self::Sparse { .. }) => narrowed(self.terms_of(document)),
            (Self::Multi { dim: a, .. }, Self::Multi { dim: b, .. }) if a == b => {
                let best = |token: &[f32]| {
                    let found = document.rows().map(|it| dot(token, it));
                    found.fold(f64::NEG_INFINITY, f64::max)
                };
                narrowed(self.rows().map(best).sum())
            }
            _ => f32::NAN,
        }
    }

    /// The sum over all terms that two sparse vectors have in common.
    fn terms_of(&self, other: &Self) -> f64 {
        let (
            Self::Sparse { indices, values },
            Self::Sparse {
                indices: others,
                values: theirs,
            },
        ) = (self, other)
        else {
            return f64::NAN;
        };
        let weight = |(id, value): (&u32, &f32)| {
            let at = others.binary_search(id).ok()?;
            Some(f64::from(*value) * f64::from(theirs[at]))
        };
        indices.iter().zip(values).filter_map(weight).sum()
    }

    /// Bytes that its numbers take, in memory and in a request.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let indices: &[u32] = match self {
            Self::Sparse { indices, .. } => indices,
            Self::Dense(_) | Self::Multi { .. } => &[],
        };
        size_of_val(indices) + size_of_val(self.values())
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    products.sum()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    if a.len() != b.len() {
        return f32::NAN;
    }
    narrowed(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt())
}

/// Sums are made in 64 bits, so that long vectors lose no digits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the result is wanted in 32 bits"
)]
fn narrowed(value: f64) -> f32 {
    value as f32
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_kind_is_written_as_qdrant_takes_it_and_read_again() {
        let sparse = |indices: &[u32], values: &[f32]| Embedding::Sparse {
            indices: indices.to_vec(),
            values: values.to_vec(),
        };
        let multi = Embedding::Multi {
            dim: 2,
            values: vec![1.0, 0.0, 0.0, 1.0],
        };
        for (embedding, expected) in [
            (Embedding::Dense(vec![0.5, -1.0]), json!([0.5, -1.0])),
            (
                sparse(&[3, 7], &[0.5, 2.0]),
                json!({"indices": [3, 7], "values": [0.5, 2.0]}),
            ),
            (sparse(&[], &[]), json!({"indices": [], "values": []})),
            (multi, json!([[1.0, 0.0], [0.0, 1.0]])),
        ] {
            let written = serde_json::to_value(&embedding).expect("only finite numbers");
            assert_eq!(written, expected);
            let read: Embedding = serde_json::from_value(written).expect("an embedding");
            assert_eq!(read, embedding);
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (json, word) in [
            (json!([[1.0], [1.0, 2.0]]), "different lengths"),
            (
                json!({"indices": [1, 2], "values": [1.0]}),
                "2 indices and 1 values",
            ),
        ] {
            let refused = serde_json::from_value::<Embedding>(json).expect_err("malformed");
            assert!(refused.to_string().contains(word), "{refused}");
        }
    }

    fn multi(rows: &[[f32; 2]]) -> Embedding {
        Embedding::Multi {
            dim: 2,
            values: rows.concat(),
        }
    }

    fn sparse(terms: &[(u32, f32)]) -> Embedding {
        let (indices, values) = terms.iter().copied().unzip();
        Embedding::Sparse { indices, values }
    }

    #[test]
    fn alike_is_what_has_the_direction_of_the_other_in_each_of_its_vectors() {
        let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
        let words = sparse(&[(1, 3.0), (5, 4.0)]);
        assert!(near(words.cosine(&words), 1.0));
        assert!(near(
            words.cosine(&sparse(&[(5, 1.0), (6, 1.0)])),
            0.8 / 2.0_f32.sqrt()
        ));
        assert!(near(sparse(&[]).cosine(&sparse(&[])), 1.0));
        assert!(sparse(&[]).cosine(&words).is_nan());
        let tokens = multi(&[[1.0, 0.0], [0.0, 1.0]]);
        assert!(near(
            tokens.cosine(&multi(&[[2.0, 0.0], [1.0, 1.0]])),
            0.5_f32.sqrt()
        ));
        assert!(tokens.cosine(&multi(&[[1.0, 0.0]])).is_nan());
        assert!(tokens.cosine(&multi(&[[0.0, 0.0], [0.0, 1.0]])).is_nan());
        assert!(tokens.cosine(&words).is_nan());
    }

    #[test]
    fn each_token_of_a_query_counts_by_what_it_finds_best() {
        let query = multi(&[[1.0, 0.0], [0.0, 1.0]]);
        let document = multi(&[[0.6, 0.8], [1.0, 0.0], [-1.0, 0.0]]);
        assert!((query.score(&document) - 1.8).abs() < 1e-6);
        let (asked, found) = (sparse(&[(2, 2.0), (9, 1.0)]), sparse(&[(2, 0.5), (3, 9.0)]));
        assert!((asked.score(&found) - 1.0).abs() < 1e-6);
        assert!(asked.score(&query).is_nan());
    }

    #[test]
    fn rows_are_the_vectors_that_a_document_is_compared_by() {
        let multi = Embedding::Multi {
            dim: 2,
            values: vec![1.0, 2.0, 3.0, 4.0],
        };
        let rows: Vec<_> = multi.rows().collect();
        assert_eq!(rows, [[1.0, 2.0], [3.0, 4.0]]);
        assert_eq!(multi.bytes(), 16);
        let sparse = Embedding::Sparse {
            indices: vec![1],
            values: vec![2.0],
        };
        assert_eq!((sparse.rows().count(), sparse.bytes()), (0, 8));
    }
}
