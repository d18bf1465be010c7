//! An engine for tests, with little memory.

use contract::model::{Activation, Pooling};

use super::Engine;
use crate::batch::Tensor;
use crate::error::EmbedError;
use crate::pool::Recipe;

/// Takes tensors up to a size, and gives each row the same vector.
pub(crate) struct Small(pub(crate) usize);

impl Engine for Small {
    fn run(&mut self, tensor: &Tensor) -> Result<Vec<Vec<f32>>, EmbedError> {
        let (rows, tokens) = tensor.input_ids.dim();
        if rows * tokens > self.0 {
            let source = std::io::Error::other("no memory").into();
            return Err(EmbedError::Run {
                rows,
                tokens,
                source,
            });
        }
        Ok(vec![vec![1.0]; rows])
    }

    fn recipe(&self) -> Recipe {
        Recipe {
            pooling: Pooling::Graph,
            dimensions: 1,
            normalize: false,
            activation: Activation::Raw,
        }
    }
}
