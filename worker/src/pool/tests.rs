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
