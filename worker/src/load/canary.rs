//! Canary: a golden text that shows, while a worker runs, whether its device still computes the model.

use contract::model::{Golden, Manifest};
use contract::tokenizer::{Tokenizer, TokenizerError};
use contract::topology::Task;

use super::LoadError;
use super::prove::{Tolerance, compare, nothing, pair, tensor};
use crate::batch::Tensor;
use crate::session::Engine;

/// A golden text, or any text for a model that has none.
#[derive(Clone, Debug)]
pub struct Canary {
    tensor: Tensor,
    /// The expected result.
    golden: Option<(Golden, Tolerance, Task)>,
}

impl Canary {
    /// The first golden text of a model.
    pub(super) fn of(manifest: &Manifest, tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let (identity, first) = (&manifest.identity, manifest.golden.first());
        let (query, text) = first.map_or((None, ""), pair);
        let golden = |golden: &Golden| {
            let tolerance = Tolerance::of(manifest);
            (golden.clone(), tolerance, identity.task)
        };
        Ok(Self {
            tensor: tensor(tokenizer, identity, query, text)?,
            golden: first.map(golden),
        })
    }

    /// A tensor that an engine only has to run: any result will do.
    pub fn any(tensor: Tensor) -> Self {
        Self {
            tensor,
            golden: None,
        }
    }

    /// A tensor with the vector that is expected of it.
    #[cfg(test)]
    pub(crate) fn giving(tensor: Tensor, vector: &[f32]) -> Self {
        let golden = Golden {
            query: None,
            text: String::new(),
            vector: vector.to_vec().into(),
        };
        let tolerance = Tolerance::usual(contract::model::Dtype::Fp32);
        Self {
            tensor,
            golden: Some((golden, tolerance, Task::Embed)),
        }
    }

    /// Checks that an engine runs the text, and gives the result that was recorded when the model was staged.
    ///
    /// # Errors
    /// [`LoadError::Embed`], or [`LoadError::Golden`] and [`LoadError::GoldenScore`].
    pub fn check(&self, engine: &mut impl Engine) -> Result<(), LoadError> {
        let now = engine.run(&self.tensor)?.into_iter().next();
        let Some((golden, tolerance, task)) = &self.golden else {
            return Ok(());
        };
        let now = now.unwrap_or_else(nothing);
        compare(*tolerance, *task, 0, golden, now).map(drop)
    }
}
