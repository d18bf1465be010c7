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
mod tests {
    use contract::model::{Head, TokenVectors};
    use ndarray::{Array3, array};

    use super::*;
    use crate::batch::Reading;

    fn tokens() -> Array3<f32> {
        array![
            [[1.0, 2.0], [3.0, 6.0], [100.0, 100.0]],
            [[5.0, 0.0], [0.0, 0.0], [7.0, 1.0]]
        ]
    }

    fn pooled(pooling: Pooling) -> Vec<Vec<f32>> {
        pooled_by(pooling, &Layers::default())
    }

    fn pooled_by(pooling: Pooling, layers: &Layers) -> Vec<Vec<f32>> {
        let recipe = Recipe {
            pooling,
            dimensions: usize::MAX,
            normalize: false,
            activation: Activation::Raw,
            kind: OutputKind::Dense,
        };
        let prompt = Reading {
            prompt: 1,
            ..Reading::default()
        };
        let tensor = Tensor {
            rows: Vec::new(),
            lengths: vec![2, 3],
            readings: vec![prompt; 2],
            input_ids: ndarray::Array2::zeros((2, 3)),
            type_ids: None,
        };
        dense(pool_tokens(tokens().view(), &tensor, (recipe, layers)))
    }

    fn dense(embeddings: Vec<Embedding>) -> Vec<Vec<f32>> {
        let vectors = embeddings.into_iter().map(Embedding::into_dense);
        vectors.collect::<Option<_>>().unwrap()
    }

    /// A head without layers, which needs no files.
    fn of(head: Head) -> Layers {
        Layers::load(std::path::Path::new(""), &head, &Output::Dense).unwrap()
    }

    #[test]
    fn each_pooling_takes_the_tokens_that_are_not_padding() {
        let root = 2.0_f32.sqrt();
        assert_eq!(pooled(Pooling::Max), [[3.0, 6.0], [7.0, 1.0]]);
        let found = pooled(Pooling::MeanSqrtLen);
        close(&found[0], &[4.0 / root, 8.0 / root]);
        let found = pooled(Pooling::WeightedMean);
        close(&found[0], &[7.0 / 3.0, 14.0 / 3.0]);
        close(&found[1], &[26.0 / 6.0, 3.0 / 6.0]);
    }

    #[test]
    fn a_prompt_takes_no_part_in_sums_where_it_is_left_out() {
        let layers = of(Head {
            exclude_prompt: true,
            ..Head::default()
        });
        assert_eq!(pooled_by(Pooling::Mean, &layers), [[3.0, 6.0], [3.5, 0.5]]);
        assert_eq!(pooled_by(Pooling::Max, &layers), [[3.0, 6.0], [7.0, 1.0]]);
        assert_eq!(pooled_by(Pooling::Cls, &layers), pooled(Pooling::Cls));
    }

    #[test]
    fn a_document_has_no_vector_for_its_punctuation_and_a_query_has_all() {
        let output = Output::Multi(TokenVectors {
            query_marker: None,
            document_marker: None,
            query_tokens: 3,
            expansion: None,
            attend_to_expansion: false,
            skipped: vec![9],
        });
        let layers = Layers::of(&output);
        let recipe = Recipe {
            pooling: Pooling::Graph,
            dimensions: 2,
            normalize: true,
            activation: Activation::Raw,
            kind: OutputKind::Multi,
        };
        let query = Reading {
            is_query: true,
            ..Reading::default()
        };
        let tensor = Tensor {
            rows: Vec::new(),
            lengths: vec![3, 3],
            readings: vec![Reading::default(), query],
            input_ids: array![[1, 9, 2], [1, 9, 2]],
            type_ids: None,
        };
        let hidden = array![
            [[0.0, 2.0], [3.0, 4.0], [5.0, 0.0]],
            [[0.0, 2.0], [3.0, 4.0], [5.0, 0.0]]
        ];
        let found = pool_tokens(hidden.view(), &tensor, (recipe, &layers));
        assert_eq!(found[0].values(), [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(found[1].values(), [0.0, 1.0, 0.6, 0.8, 1.0, 0.0]);
        assert!(found.iter().all(|it| is_sound(it, recipe)));
    }

    #[test]
    fn several_poolings_stand_one_behind_the_other() {
        let layers = of(Head {
            concatenated: vec![Pooling::Max],
            ..Head::default()
        });
        let found = pooled_by(Pooling::Cls, &layers);
        assert_eq!(found, [[1.0, 2.0, 3.0, 6.0], [5.0, 0.0, 7.0, 1.0]]);
    }

    #[test]
    fn padding_takes_no_part_in_the_mean() {
        assert_eq!(pooled(Pooling::Mean), [[2.0, 4.0], [4.0, 1.0 / 3.0]]);
    }

    #[test]
    fn the_last_token_is_the_last_that_is_not_padding() {
        assert_eq!(pooled(Pooling::LastToken), [[3.0, 6.0], [7.0, 1.0]]);
    }

    #[test]
    fn cls_is_the_first_token() {
        assert_eq!(pooled(Pooling::Cls), [[1.0, 2.0], [5.0, 0.0]]);
    }

    #[test]
    fn truncation_comes_before_normalization() {
        let recipe = Recipe {
            pooling: Pooling::Graph,
            dimensions: 2,
            normalize: true,
            activation: Activation::Raw,
            kind: OutputKind::Dense,
        };
        let layers = Layers::default();
        let vectors = finish_rows(array![[3.0, 4.0, 12.0]].view(), (recipe, &layers));
        assert_eq!(dense(vectors), [[0.6, 0.8]]);
    }

    #[test]
    fn vectors_that_would_spoil_an_index_are_not_sound() {
        let recipe = Recipe {
            pooling: Pooling::Graph,
            dimensions: 2,
            normalize: true,
            activation: Activation::Raw,
            kind: OutputKind::Dense,
        };
        assert!(is_sound(&Embedding::Dense(vec![0.6, 0.8]), recipe));
        for bad in [
            &[f32::NAN, 0.0][..],
            &[f32::INFINITY, 0.0],
            &[0.0, 0.0],
            &[1.0],
            &[2.0, 0.0],
        ] {
            assert!(!is_sound(&bad.to_vec().into(), recipe), "{bad:?}");
        }
    }

    #[test]
    fn terms_have_an_order_and_a_weight_and_a_text_may_have_none() {
        let recipe = Recipe {
            pooling: Pooling::Graph,
            dimensions: 10,
            normalize: false,
            activation: Activation::Raw,
            kind: OutputKind::Sparse,
        };
        let sparse = |terms: &[(u32, f32)]| {
            let (indices, values) = terms.iter().copied().unzip();
            Embedding::Sparse { indices, values }
        };
        for good in [&[][..], &[(0, 0.1), (9, 3.0)]] {
            assert!(is_sound(&sparse(good), recipe), "{good:?}");
        }
        for bad in [
            &[(0, f32::NAN)][..],
            &[(0, f32::INFINITY)],
            &[(0, 0.0)],
            &[(0, -1.0)],
            &[(3, 1.0), (3, 1.0)],
            &[(3, 1.0), (2, 1.0)],
            &[(10, 1.0)],
        ] {
            assert!(!is_sound(&sparse(bad), recipe), "{bad:?}");
        }
        assert!(!is_sound(&Embedding::Dense(vec![1.0; 10]), recipe));
    }

    #[test]
    fn each_vector_of_a_multivector_is_looked_at() {
        let recipe = Recipe {
            pooling: Pooling::Graph,
            dimensions: 2,
            normalize: true,
            activation: Activation::Raw,
            kind: OutputKind::Multi,
        };
        let multi = |dim: usize, values: &[f32]| Embedding::Multi {
            dim,
            values: values.to_vec(),
        };
        assert!(is_sound(&multi(2, &[0.6, 0.8, 1.0, 0.0]), recipe));
        for bad in [
            multi(2, &[]),
            multi(2, &[0.6, 0.8, 1.0]),
            multi(2, &[0.6, 0.8, 0.0, 0.0]),
            multi(2, &[0.6, 0.8, f32::NAN, 0.0]),
            multi(1, &[1.0, 1.0]),
        ] {
            assert!(!is_sound(&bad, recipe), "{bad:?}");
        }
    }
    fn scores(logits: &[f32], activation: Activation) -> Vec<f32> {
        let recipe = Recipe {
            pooling: Pooling::Graph,
            dimensions: logits.len(),
            normalize: false,
            activation,
            kind: OutputKind::Dense,
        };
        let scores = finish(logits.to_vec(), recipe);
        let sound = logits.iter().all(|logit| logit.is_finite());
        let written = Embedding::Dense(scores.clone());
        assert_eq!(is_sound(&written, recipe), sound, "{logits:?}: {scores:?}");
        scores
    }

    fn close(found: &[f32], expected: &[f32]) {
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
        assert!(found.iter().zip(expected).all(near), "{found:?}");
        assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn a_sigmoid_scores_each_label_by_itself() {
        let found = scores(&[0.0, 4.562_921_6, -1_000.0, 1_000.0], Activation::Sigmoid);
        close(&found, &[0.5, 0.989_676_1, 0.0, 1.0]);
    }

    #[test]
    fn a_softmax_shares_one_between_the_labels_and_does_not_overflow() {
        close(
            &scores(&[1.0, 2.0, 3.0], Activation::Softmax),
            &[0.090_030_57, 0.244_728_48, 0.665_240_94],
        );
        close(
            &scores(&[1_000.0, 1_001.0], Activation::Softmax),
            &[0.268_941_43, 0.731_058_6],
        );
    }

    #[test]
    fn raw_scores_are_the_logits() {
        assert_eq!(scores(&[-3.5, 7.0], Activation::Raw), [-3.5, 7.0]);
    }

    #[test]
    fn no_activation_hides_a_logit_that_is_not_finite() {
        for activation in [Activation::Raw, Activation::Sigmoid, Activation::Softmax] {
            for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                scores(&[bad, 0.0], activation);
            }
        }
    }
}
