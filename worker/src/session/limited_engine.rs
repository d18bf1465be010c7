//! An engine for tests, with little memory.

use contract::embedding::Embedding;
use contract::model::{Activation, OutputKind, Pooling};

use super::Engine;
use crate::batch::Tensor;
use crate::error::EmbedError;
use crate::pool::Recipe;

/// Takes tensors up to a size, and gives each row the same vector.
pub(crate) struct LimitedEngine(pub(crate) usize);

impl Engine for LimitedEngine {
    fn run(&mut self, tensor: &Tensor) -> Result<Vec<Embedding>, EmbedError> {
        if tensor.padded_tokens() > self.0 {
            return Err(failed(tensor, "no memory"));
        }
        Ok(vec![Embedding::Dense(vec![1.0]); tensor.rows.len()])
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

/// The error of a tensor that the runtime refuses with this message.
pub(crate) fn failed(tensor: &Tensor, words: &'static str) -> EmbedError {
    let (rows, tokens) = tensor.input_ids.dim();
    EmbedError::Run {
        rows,
        tokens,
        source: std::io::Error::other(words).into(),
    }
}
