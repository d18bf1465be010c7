//! Pool: turns the output of a graph into one vector per text, into the scores of its labels, into weights of terms, or into a
//! vector for each token.
//!
//! Pooling, further layers, Matryoshka truncation, normalization and activation are done here in 32-bit floats, whatever the
//! graph computes in.

mod layers;
mod terms;

use std::ops::Range;

use contract::embedding::Embedding;
use contract::model::{Activation, Output, OutputKind, Pooling};
use ndarray::{ArrayView1, ArrayView2, ArrayView3, Axis};

use crate::batch::Tensor;
pub use layers::{Layers, LayersError};

/// How the outputs of a graph become vectors.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    pub pooling: Pooling,
    /// Leading dimensions that are kept: Matryoshka models pack most meaning into them.
    pub dimensions: usize,
    /// Whether vectors are scaled to length 1, after truncation.
    pub normalize: bool,
    pub activation: Activation,
    /// Which kind of vectors they are.
    pub kind: OutputKind,
}

/// Pools token vectors `[rows, tokens, hidden]` of a tensor.
pub fn pool_tokens(
    hidden: ArrayView3<'_, f32>,
    tensor: &Tensor,
    (recipe, layers): (Recipe, &Layers),
) -> Vec<Embedding> {
    let rows = hidden.axis_iter(Axis(0)).enumerate();
    let pooled = rows.map(|(row, tokens)| {
        if recipe.kind == OutputKind::Multi {
            return token_vectors(tokens, (tensor, row), (recipe, layers));
        }
        let length = tensor.lengths[row].min(tokens.nrows());
        let prompt = tensor.reading(row).prompt;
        // A text that was cut within its prompt is pooled whole.
        let start = if layers.exclude_prompt && prompt < length {
            prompt
        } else {
            0
        };
        let mut vector = pool_row(tokens, start..length, recipe.pooling);
        for pooling in &layers.concatenated {
            vector.extend(pool_row(tokens, start..length, *pooling));
        }
        Embedding::Dense(finish(layers.apply(vector), recipe))
    });
    pooled.collect()
}

/// Finishes rows that the graph has pooled itself, `[rows, hidden]`.
pub fn finish_rows(
    pooled: ArrayView2<'_, f32>,
    (recipe, layers): (Recipe, &Layers),
) -> Vec<Embedding> {
    let rows = pooled.axis_iter(Axis(0));
    let finished = rows.map(|row| match &layers.output {
        Output::Sparse(rules) => terms::terms(row, rules),
        Output::Dense | Output::Multi(_) => {
            Embedding::Dense(finish(layers.apply(row.to_vec()), recipe))
        }
    });
    finished.collect()
}

/// The vectors of the tokens of a row that have one: all of a query, those that are no punctuation of a document.
fn token_vectors(
    tokens: ArrayView2<'_, f32>,
    (tensor, row): (&Tensor, usize),
    (recipe, layers): (Recipe, &Layers),
) -> Embedding {
    let length = tensor.lengths[row].min(tokens.nrows());
    let is_query = tensor.reading(row).is_query;
    let (mut dim, mut values) = (recipe.dimensions, Vec::new());
    for place in 0..length {
        if !is_query && layers.skips(tensor.input_ids[[row, place]]) {
            continue;
        }
        let vector = finish(layers.apply(tokens.row(place).to_vec()), recipe);
        dim = vector.len();
        values.extend(vector);
    }
    Embedding::Multi { dim, values }
}

/// Pools the tokens of a row that count. The first and the last token are those of the whole row.
fn pool_row(tokens: ArrayView2<'_, f32>, counted: Range<usize>, pooling: Pooling) -> Vec<f32> {
    match pooling {
        Pooling::Mean => {
            let count = counted.len().max(1);
            sum(tokens, counted, count_of(count), |_| 1.0)
        }
        Pooling::MeanSqrtLen => {
            let count = counted.len().max(1);
            sum(tokens, counted, count_of(count).sqrt(), |_| 1.0)
        }
        Pooling::WeightedMean => {
            let weight = |place: usize| count_of(place + 1);
            let all: f32 = counted.clone().map(weight).sum();
            sum(tokens, counted, all.max(1.0), weight)
        }
        Pooling::Max => max(tokens, counted),
        Pooling::LastToken => tokens.row(counted.end.saturating_sub(1)).to_vec(),
        // A graph that pools itself gives no token vectors. If there are some all the same, the first is taken.
        Pooling::Cls | Pooling::Graph => tokens.row(0).to_vec(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a row has far fewer than 2^24 tokens"
)]
fn count_of(tokens: usize) -> f32 {
    tokens as f32
}

/// The sum of the tokens that count, each times its weight, by a divisor.
fn sum(
    tokens: ArrayView2<'_, f32>,
    counted: Range<usize>,
    divisor: f32,
    weight: impl Fn(usize) -> f32,
) -> Vec<f32> {
    let mut sum = vec![0.0; tokens.ncols()];
    for place in counted {
        add(&mut sum, tokens.row(place), weight(place));
    }
    sum.iter_mut().for_each(|value| *value /= divisor);
    sum
}

fn add(sum: &mut [f32], token: ArrayView1<'_, f32>, weight: f32) {
    for (total, value) in sum.iter_mut().zip(token) {
        *total += value * weight;
    }
}

fn max(tokens: ArrayView2<'_, f32>, counted: Range<usize>) -> Vec<f32> {
    let mut largest = vec![f32::NEG_INFINITY; tokens.ncols()];
    for place in counted {
        for (most, value) in largest.iter_mut().zip(tokens.row(place)) {
            // A value that is not a number must not vanish behind others.
            *most = if value.is_nan() || *value > *most {
                *value
            } else {
                *most
            };
        }
    }
    largest
}

fn finish(mut vector: Vec<f32>, recipe: Recipe) -> Vec<f32> {
    vector.truncate(recipe.dimensions);
    if recipe.normalize {
        normalize(&mut vector);
    }
    activate(&mut vector, recipe.activation);
    vector
}

/// Makes scores of logits. A logit that is not finite could give a finite score, so it makes all scores of its row NaN,
/// which [`is_sound`] rejects.
fn activate(logits: &mut [f32], activation: Activation) {
    if activation != Activation::Raw && !logits.iter().all(|logit| logit.is_finite()) {
        return logits.fill(f32::NAN);
    }
    match activation {
        Activation::Raw => {}
        Activation::Sigmoid => logits.iter_mut().for_each(|logit| *logit = sigmoid(*logit)),
        Activation::Softmax => softmax(logits),
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// Relative to the largest, so that large logits do not overflow.
fn softmax(logits: &mut [f32]) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits
        .iter_mut()
        .for_each(|logit| *logit = (*logit - largest).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|logit| *logit /= sum);
}

/// Scales to length 1. The zero vector has no direction and stays as it is; [`is_sound`] rejects it.
pub(crate) fn normalize(vector: &mut [f32]) {
    let length = norm(vector);
    if length > 0.0 {
        vector.iter_mut().for_each(|value| *value /= length);
    }
}

/// Euclidean length, summed in 64 bits so that long vectors do not lose digits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the result is wanted in 32 bits"
)]
fn norm(vector: &[f32]) -> f32 {
    vector
        .iter()
        .map(|value| f64::from(*value).powi(2))
        .sum::<f64>()
        .sqrt() as f32
}

/// Whether an embedding may be written: of the kind and size of the model, every value finite, each vector of length 1 where
/// the model normalizes, terms in order and with a weight. Qdrant checks none of it, and a single NaN would rank above every
/// honest score. A text without any term is sound: no word of it is known.
pub fn is_sound(embedding: &Embedding, recipe: Recipe) -> bool {
    let dimensions = recipe.dimensions;
    let finite = embedding.values().iter().all(|value| value.is_finite());
    let of_length_1 = |row: &[f32]| !recipe.normalize || (norm(row) - 1.0).abs() < 1e-3;
    finite
        && embedding.kind() == recipe.kind
        && match embedding {
            Embedding::Dense(vector) => vector.len() == dimensions && of_length_1(vector),
            Embedding::Sparse { indices, values } => {
                let below = |id: &u32| (*id as usize) < dimensions;
                indices.len() == values.len()
                    && indices.is_sorted_by(|a, b| a < b)
                    && indices.last().is_none_or(below)
                    && values.iter().all(|weight| *weight > 0.0)
            }
            Embedding::Multi { dim, values } => {
                *dim == dimensions
                    && !values.is_empty()
                    && values.len().is_multiple_of(dimensions.max(1))
                    && embedding.rows().all(of_length_1)
            }
        }
}

#[cfg(test)]
mod tests;
