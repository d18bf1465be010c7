//! Why a directory is not a model: the file, what was found in it, and what would be taken.

use std::path::PathBuf;

use contract::model::OutputKind;
use thiserror::Error;

use crate::graph::GraphError;

/// Why a directory is not a model.
#[derive(Debug, Error)]
pub enum LayoutError {
    #[error("`{directory}` has no {what}")]
    Missing { directory: PathBuf, what: String },
    #[error(
        "`{directory}` has no graph `{wanted}`, but `{found}`; name one with --onnx (or --file)"
    )]
    OtherGraphs {
        directory: PathBuf,
        wanted: String,
        found: String,
    },
    #[error(
        "`{directory}` has weights for pytorch alone (`{found}`), and no graph; export it with `optimum-cli export onnx \
         --model {directory} --task {task} {directory}/onnx`, and stage it again"
    )]
    OnlyWeights {
        directory: PathBuf,
        found: String,
        task: &'static str,
    },
    #[error(
        "--onnx `{given}` is not inside `{directory}`; give the path of a graph relative to that directory"
    )]
    Outside { given: String, directory: PathBuf },
    #[error("failed to read `{path}`")]
    Json {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error(
        "`{path}` asks for {found}; supported are cls, mean, max, mean_sqrt_len, weightedmean and lasttoken, each once, \
         or --pooling"
    )]
    Pooling { path: PathBuf, found: String },
    #[error("`{path}` lists the module {found}; supported are {supported}")]
    Module {
        path: PathBuf,
        found: String,
        supported: &'static str,
    },
    #[error("`{path}` {found}; {taken}")]
    Value {
        path: PathBuf,
        found: String,
        taken: &'static str,
    },
    #[error(
        "--kind {given} does not fit `{directory}`: by {by} its model makes {found} vectors; leave --kind out"
    )]
    Kind {
        given: OutputKind,
        directory: PathBuf,
        found: OutputKind,
        by: String,
    },
    #[error(
        "`{path}` is that of a masked language model, and nothing says what its logits are for; give --kind sparse if it was \
         trained for terms (SPLADE), or export its encoder alone for dense vectors"
    )]
    UnsaidKind { path: PathBuf },
    #[error("a rescorer makes scores and not {given} vectors; leave --kind out")]
    RescorerKind { given: OutputKind },
    #[error(
        "`{directory}` does not say how many tokens the model takes \
         (sentence_bert_config.json, tokenizer_config.json, config.json); give --max-tokens"
    )]
    NoLimit { directory: PathBuf },
    #[error(
        "--max-tokens {given} is more than {most}, which is what {source_of_limit} allows; give at most that"
    )]
    BeyondLimit {
        given: usize,
        most: usize,
        source_of_limit: String,
    },
}
