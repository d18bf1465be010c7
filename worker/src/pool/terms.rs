//! Terms: makes a sparse vector of the largest logits of a text.

use contract::embedding::Embedding;
use contract::model::{TermWeight, Terms};
use ndarray::ArrayView1;

/// The terms of one row. Special tokens are no terms: a reader of a text does not look for them, and every text has some. A
/// row with a value that is not a number gives one that must not be written.
pub(super) fn terms(largest: ArrayView1<'_, f32>, terms: &Terms) -> Embedding {
    if largest
        .iter()
        .any(|logit| logit.is_nan() || *logit == f32::INFINITY)
    {
        return Embedding::Sparse {
            indices: vec![0],
            values: vec![f32::NAN],
        };
    }
    let weighed = (0..).zip(largest).filter(|(_, logit)| **logit > 0.0);
    let found = weighed
        .map(|(id, logit)| (id, weight(*logit, terms.weight)))
        .filter(|(_, weight)| *weight > terms.threshold);
    terms.embedding(found.collect())
}

fn weight(logit: f32, weight: TermWeight) -> f32 {
    match weight {
        TermWeight::Log => logit.ln_1p(),
        TermWeight::LogLog => logit.ln_1p().ln_1p(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(logits: &[f32], most: usize) -> Embedding {
        let rules = Terms {
            weight: TermWeight::Log,
            threshold: 0.1,
            most,
            excluded: vec![0, 2],
            query_weights: None,
        };
        terms(ArrayView1::from(logits), &rules)
    }

    fn expected(terms: &[(u32, f32)]) -> Embedding {
        let (indices, values) = terms.iter().copied().unzip();
        Embedding::Sparse { indices, values }
    }

    #[test]
    fn a_term_has_the_logarithm_of_its_logit_and_is_above_the_threshold() {
        let found = of(&[9.0, 1.0, 9.0, -3.0, 0.05, 3.0, f32::NEG_INFINITY], 10);
        assert_eq!(
            found,
            expected(&[(1, 1.0_f32.ln_1p()), (5, 3.0_f32.ln_1p())])
        );
        assert_eq!(of(&[9.0, -1.0], 10), expected(&[]), "no known word");
        let twice = weight(3.0, TermWeight::LogLog);
        assert_eq!(twice.to_bits(), 3.0_f32.ln_1p().ln_1p().to_bits());
    }

    #[test]
    fn the_heaviest_terms_are_kept_in_the_order_of_their_ids() {
        let found = of(&[0.0, 1.0, 0.0, 5.0, 1.0, 2.0], 3);
        let weights = [(1, 1.0), (3, 5.0), (5, 2.0_f32)];
        assert_eq!(
            found,
            expected(&weights.map(|(id, logit)| (id, logit.ln_1p())))
        );
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for bad in [f32::NAN, f32::INFINITY] {
            assert!(!of(&[1.0, bad], 10).values().iter().all(|it| it.is_finite()));
        }
    }
}
