//! What is wrong with a model directory.

use std::path::PathBuf;

use thiserror::Error;

use crate::graph::GraphError;

/// Why a directory is not a model.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// A file is missing.
    #[error("`{directory}` has no {what}")]
    Missing {
        /// The directory.
        directory: PathBuf,
        /// What was looked for.
        what: String,
    },
    /// A file is not JSON.
    #[error("failed to read `{path}`")]
    Json {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: std::io::Error,
    },
    /// The graph file is not one.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A pooling that is not supported.
    #[error("`{path}` asks for {found}; supported are cls, mean and last token, or --pooling")]
    Pooling {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// A module that cannot be served.
    #[error("`{path}` lists the module {found}; supported are Transformer, Pooling and Normalize")]
    Module {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
    },
    /// The limit of the input is nowhere to be found.
    #[error(
        "`{directory}` does not say how many tokens the model takes \
         (sentence_bert_config.json, tokenizer_config.json, config.json); give --max-tokens"
    )]
    NoLimit {
        /// The directory.
        directory: PathBuf,
    },
}
