//! Tolerance: how much a model may differ from what it gave when it was staged.

use contract::model::{Dtype, Golden};

use super::{LoadError, cosine};

/// How much golden texts may differ from what was recorded. Devices and precisions differ in the last digits; another
/// model, pooling or prefix differs in the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    /// Smallest cosine of a vector.
    cosine: f32,
    /// Largest difference of a score, relative to scores above 1.
    difference: f32,
}

impl Tolerance {
    /// That of a graph with weights of a type.
    pub(super) fn of(dtype: Dtype) -> Self {
        let (cosine, difference) = match dtype {
            Dtype::Fp32 | Dtype::Fp16 => (0.999, 0.02),
            // A last digit decides to which byte an activation is rounded.
            Dtype::Int8 => (0.99, 0.1),
        };
        Self { cosine, difference }
    }

    /// How close a vector comes, if that is enough.
    pub(super) fn vector(
        self,
        index: usize,
        golden: &Golden,
        now: &[f32],
    ) -> Result<f32, LoadError> {
        let (cosine, expected) = (cosine(now, &golden.vector), self.cosine);
        if cosine.is_nan() || cosine < expected {
            return Err(LoadError::Golden {
                index,
                cosine,
                expected,
            });
        }
        Ok(cosine)
    }

    /// A score alone has no direction, so the numbers themselves are compared.
    pub(super) fn scores(
        self,
        index: usize,
        golden: &Golden,
        now: Vec<f32>,
    ) -> Result<f32, LoadError> {
        let expected = &golden.vector;
        let differ = |(now, then): (&f32, &f32)| (now - then).abs() / then.abs().max(1.0);
        let differences: Vec<f32> = now.iter().zip(expected).map(differ).collect();
        let close = |difference: &f32| *difference <= self.difference;
        if now.len() != expected.len() || !differences.iter().all(close) {
            return Err(LoadError::GoldenScore {
                index,
                found: now,
                expected: expected.clone(),
            });
        }
        Ok(differences.into_iter().fold(0.0, f32::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_moved_are_not_those_of_the_staged_model() {
        let golden = Golden {
            query: Some("q".to_owned()),
            text: "t".to_owned(),
            vector: vec![0.5, 100.0],
        };
        let fp32 = Tolerance::of(Dtype::Fp32);
        let close = fp32.scores(0, &golden, vec![0.51, 101.0]).unwrap();
        assert!((close - 0.01).abs() < 1e-6, "{close}");
        for other in [
            vec![0.53, 100.0],
            vec![0.5, 97.0],
            vec![f32::NAN, 100.0],
            vec![0.5],
        ] {
            assert!(fp32.scores(0, &golden, other).is_err());
        }
    }
}
