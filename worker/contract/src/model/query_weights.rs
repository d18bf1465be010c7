//! Query weights: a table of the weight of each token in queries, with which no model has to run for a query.
//!
//! Such a table comes with models that expand documents alone. It is JSON of tokens and numbers, often called `idf.json`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::{Manifest, ModelError, Terms};
use crate::embedding::Embedding;
use crate::tokenizer::Tokenizer;

/// The weight of each token of a vocabulary in queries.
#[derive(Clone, Debug)]
pub struct QueryWeights {
    weights: HashMap<u32, f32>,
    terms: Terms,
}

impl QueryWeights {
    /// Reads the table of a staged model, and compares it with its digest; `None` where the model makes the terms of queries
    /// itself.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn load(
        manifest: &Manifest,
        directory: &Path,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Self>, ModelError> {
        let Some(terms) = manifest.identity.output.terms() else {
            return Ok(None);
        };
        let Some(file) = &terms.query_weights else {
            return Ok(None);
        };
        let path = directory.join(file);
        if let Some(staged) = manifest.identity.files.get(file) {
            staged.verify(&path)?;
        }
        let weights = read(&path, tokenizer)?;
        let terms = terms.clone();
        Ok(Some(Self { weights, terms }))
    }

    /// The sparse vector of a query of these tokens: each counts once, however often it is there. A token without a weight is
    /// no term.
    #[must_use]
    pub fn embedding(&self, ids: &[u32]) -> Embedding {
        let ids: BTreeSet<u32> = ids.iter().copied().collect();
        let weight = |id: u32| Some((id, *self.weights.get(&id)?));
        self.terms
            .embedding(ids.into_iter().filter_map(weight).collect())
    }
}

/// Reads the file of a table. Tokens that the tokenizer does not know are left out.
///
/// # Errors
/// [`ModelError::Read`], [`ModelError::QueryWeights`].
pub fn read(path: &Path, tokenizer: &Tokenizer) -> Result<HashMap<u32, f32>, ModelError> {
    let bytes = std::fs::read(path).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })?;
    let wrong = |problem: String| ModelError::QueryWeights {
        path: PathBuf::from(path),
        problem,
    };
    let table: HashMap<String, f32> =
        serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    let is_weight = |weight: f32| weight.is_finite() && weight >= 0.0;
    if let Some((token, weight)) = table.iter().find(|(_, weight)| !is_weight(**weight)) {
        return Err(wrong(format!("`{token}` has the weight {weight}")));
    }
    let known = |(token, weight): (&String, &f32)| Some((tokenizer.id_of(token)?, *weight));
    let known: HashMap<u32, f32> = table.iter().filter_map(known).collect();
    if known.is_empty() {
        return Err(wrong(format!(
            "none of its {} tokens is known to the tokenizer",
            table.len()
        )));
    }
    Ok(known)
}
