//! Split on out of memory: a tensor that is too large for the memory of its device is run in halves, and so is every
//! later one of its size.
//!
//! A size that has run before may fail when other processes take memory of the device, or when the arena is fragmented.
//! The vectors are the same, so that nobody outside of this process notices.

use contract::embedding::Embedding;

use crate::batch::Tensor;
use crate::error::EmbedError;
use crate::metrics;
use crate::pool::Recipe;
use crate::session::Engine;

/// An engine that splits the tensors that are too large for it.
#[derive(Debug)]
pub(super) struct SplitOnOom<E> {
    engine: E,
    /// Padded tokens of the smallest tensor that was too large.
    too_large: usize,
}

impl<E: Engine> SplitOnOom<E> {
    pub(super) fn new(engine: E) -> Self {
        Self {
            engine,
            too_large: usize::MAX,
        }
    }

    fn run_halves(&mut self, tensor: &Tensor) -> Result<Vec<Embedding>, EmbedError> {
        let Some((first, second)) = tensor.halves() else {
            return self.engine.run(tensor);
        };
        let mut vectors = self.run(&first)?;
        vectors.extend(self.run(&second)?);
        Ok(vectors)
    }
}

impl<E: Engine> Engine for SplitOnOom<E> {
    fn run(&mut self, tensor: &Tensor) -> Result<Vec<Embedding>, EmbedError> {
        let (one, tokens) = (tensor.rows.len() < 2, tensor.padded_tokens());
        if tokens >= self.too_large && !one {
            return self.run_halves(tensor);
        }
        match self.engine.run(tensor) {
            Err(error) if error.is_out_of_memory() && !one => {
                tracing::warn!(tokens, "tensor does not fit the device's memory, halved");
                metrics::tensor_halved();
                self.too_large = tokens;
                self.run_halves(tensor)
            }
            ran => ran,
        }
    }

    fn recipe(&self) -> Recipe {
        self.engine.recipe()
    }
}

#[cfg(test)]
mod tests {
    use contract::model::{Activation, OutputKind, Pooling};
    use ndarray::Array2;

    use super::*;
    use crate::batch::RowKey;
    use crate::session::limited_engine::failed;

    /// Takes tensors up to a size; gives each row its first id.
    struct LimitedEngine {
        most: usize,
        message: &'static str,
        calls: Vec<usize>,
    }

    impl Engine for LimitedEngine {
        fn run(&mut self, tensor: &Tensor) -> Result<Vec<Embedding>, EmbedError> {
            self.calls.push(tensor.rows.len());
            if tensor.padded_tokens() > self.most {
                return Err(failed(tensor, self.message));
            }
            let first = tensor.input_ids.column(0);
            let value = |id: &i64| Embedding::Dense(vec![f32::from(i16::try_from(*id).unwrap())]);
            Ok(first.iter().map(value).collect())
        }

        fn recipe(&self) -> Recipe {
            Recipe {
                pooling: Pooling::Graph,
                dimensions: 1,
                normalize: false,
                activation: Activation::Raw,
                kind: OutputKind::Dense,
            }
        }
    }

    fn small(message: &'static str) -> SplitOnOom<LimitedEngine> {
        SplitOnOom::new(LimitedEngine {
            most: 20,
            message,
            calls: Vec::new(),
        })
    }

    /// Rows of ten tokens, numbered by their first id.
    fn tensor(rows: usize) -> Tensor {
        Tensor {
            rows: (0..rows).map(|row| RowKey { job: 0, row }).collect(),
            lengths: vec![10; rows],
            readings: Vec::new(),
            input_ids: Array2::from_shape_fn((rows, 10), |(row, _)| i64::try_from(row).unwrap()),
            type_ids: None,
        }
    }

    const NO_MEMORY: &str = "Failed to allocate memory for requested buffer of size 4096";

    #[test]
    fn rows_keep_their_order_and_the_size_is_remembered() {
        let mut engine = small(NO_MEMORY);
        let vectors = engine.run(&tensor(5)).unwrap();
        let found: Vec<_> = vectors.iter().flat_map(Embedding::values).collect();
        assert_eq!(found, [&0.0, &1.0, &2.0, &3.0, &4.0]);
        assert_eq!(engine.engine.calls, [5, 2, 3, 1, 2]);
        engine.engine.calls.clear();
        engine.run(&tensor(4)).unwrap();
        assert_eq!(
            engine.engine.calls,
            [2, 2],
            "what did not fit is not tried again"
        );
    }

    #[test]
    fn a_row_that_does_not_fit_alone_and_other_errors_stay_errors() {
        let mut engine = small(NO_MEMORY);
        engine.engine.most = 5;
        assert!(engine.run(&tensor(2)).is_err());
        let mut engine = small("CUDA failure 700: an illegal memory access was encountered");
        assert!(engine.run(&tensor(4)).is_err());
        assert_eq!(engine.engine.calls, [4]);
    }
}
