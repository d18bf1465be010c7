//! Layout: reads a model directory in the Hugging Face / sentence-transformers layout.
//!
//! It finds out what `worker stage` needs to know about a directory as it was downloaded or exported. Options can add what
//! the directory does not say, and correct what it says wrongly.

mod error;
mod graphs;
mod kinds;
mod limits;
mod modules;
mod prompts;
mod scores;

use std::path::{Path, PathBuf};

use contract::model::{Activation, Dtype, Head, OutputKind, Pooling, Prefixes, TOKENIZER};
use contract::topology::Task;
use serde_json::Value;

use crate::graph::Graph;
pub use error::LayoutError;
use graphs::find_graph;
pub(crate) use graphs::{external_data, graphs};
pub(crate) use kinds::{ARTIFACT, QUERY_WEIGHTS};
pub use kinds::{Stated, StatedTerms, StatedTokens};
pub(crate) use modules::module_files;
pub use prompts::usual;
use scores::{activation, labels};

/// Description of the model that every model directory has.
pub(crate) const CONFIG: &str = "config.json";
/// Descriptions that a model directory may have besides.
pub(crate) const DESCRIPTIONS: [&str; 4] = [
    "modules.json",
    "sentence_bert_config.json",
    "tokenizer_config.json",
    "config_sentence_transformers.json",
];

/// What a model directory says about its model.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    pub directory: PathBuf,
    /// Path of the graph in it.
    pub onnx: String,
    /// Paths of all files that a worker needs, the graph included.
    pub files: Vec<String>,
    /// Element type of most weights.
    pub dtype: Dtype,
    /// What the model is used for.
    pub task: Task,
    pub pooling: Pooling,
    /// Whether vectors are scaled to length 1.
    pub normalize: bool,
    /// Texts put in front of the input.
    pub prefixes: Prefixes,
    /// Longest input in tokens.
    pub max_tokens: usize,
    /// What states that.
    pub limit_stated_by: String,
    pub head: Head,
    /// Names of prompts that are for neither queries nor documents.
    pub other_prompts: Vec<String>,
    /// Whether the directory says if vectors are normalized; where it does not, they are not.
    pub says_normalize: bool,
    /// Whether places of tokens are counted from behind the padding token.
    pub counts_from_padding: bool,
    /// Whether texts are written in small letters before they are tokenized.
    pub lowercases: bool,
    /// Name of the model that it was made of.
    pub original_name: String,
    pub activation: Activation,
    /// Names of the labels of a rescorer, in order; empty where there is only one.
    pub labels: Vec<String>,
    /// Which kind of vectors the model makes.
    pub stated: Stated,
}

/// What options say in place of a directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// Another graph than the usual one.
    pub onnx: Option<&'a str>,
    pub max_tokens: Option<usize>,
    pub pooling: Option<Pooling>,
    pub kind: Option<OutputKind>,
}

impl Layout {
    /// Reads a directory.
    pub fn read(directory: &Path, given: Given<'_>) -> Result<Self, LayoutError> {
        let onnx = find_graph(directory, given.onnx)?;
        let config = json(directory, CONFIG)?.ok_or_else(|| missing(directory, CONFIG))?;
        let task = task(&config);
        let stated = stated(directory, (&config, task), given)?;
        let modules = read_modules(directory, (task, &stated), given.pooling)?;
        let graph = Graph::read(&directory.join(&onnx))?;
        let transformer = modules::transformer(directory)?;
        let limit = match (&stated, given.max_tokens) {
            (Stated::Multi(late), None) if late.document_tokens.is_some() => {
                limits::document(&config, late.document_tokens.unwrap_or_default())
            }
            (_, given) => limits::limit(directory, (&config, &transformer), given)?,
        };
        let prompts = prompts::prompts(directory)?;
        Ok(Self {
            files: files(directory, &onnx, &graph, (&modules.head, &stated))?,
            dtype: graph.dtype,
            directory: directory.to_owned(),
            onnx,
            task,
            pooling: modules.pooling,
            normalize: modules.normalize,
            head: modules.head,
            prefixes: prompts.prefixes,
            other_prompts: prompts.others,
            max_tokens: limit.tokens,
            limit_stated_by: limit.stated_by,
            says_normalize: task == Task::Rescore
                || stated.kind() != OutputKind::Dense
                || !modules::is_plain(directory),
            counts_from_padding: limits::counts_from_padding(&config),
            lowercases: lowercases(directory, &transformer)?,
            original_name: config["_name_or_path"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            activation: activation(&config, task),
            labels: labels(&config, task),
            stated,
        })
    }
}

fn stated(
    directory: &Path,
    (config, task): (&Value, Task),
    given: Given<'_>,
) -> Result<Stated, LayoutError> {
    match (task, given.kind) {
        (Task::Rescore, None) => Ok(Stated::Dense),
        (Task::Rescore, Some(given)) => Err(LayoutError::RescorerKind { given }),
        (Task::Embed, _) => {
            let stated = Stated::read(directory, config, given.kind)?;
            let says_nothing = given.kind.is_none() && given.pooling.is_none();
            if stated == Stated::Dense
                && says_nothing
                && kinds::predicts_words(config)
                && modules::pools_nothing(directory)
            {
                return Err(kinds::unsaid(directory));
            }
            Ok(stated)
        }
    }
}

/// A rescorer has no modules: its graph gives scores.
fn read_modules(
    directory: &Path,
    (task, stated): (Task, &Stated),
    given: Option<Pooling>,
) -> Result<modules::Modules, LayoutError> {
    match (task, stated) {
        (Task::Embed, Stated::Dense) => modules::modules(directory, given),
        (Task::Embed, Stated::Sparse(_)) => modules::of_terms(directory),
        (Task::Embed, Stated::Multi(_)) => modules::of_tokens(directory),
        (Task::Rescore, _) => Ok(modules::Modules {
            pooling: given.unwrap_or(Pooling::Graph),
            normalize: false,
            head: Head::default(),
        }),
    }
}

/// Whether texts are written in small letters before they are tokenized.
fn lowercases(directory: &Path, transformer: &str) -> Result<bool, LayoutError> {
    let file = modules::join(transformer, "sentence_bert_config.json");
    Ok(json(directory, &file)?.is_some_and(|it| it["do_lower_case"] == true))
}

fn missing(directory: &Path, what: &str) -> LayoutError {
    LayoutError::Missing {
        directory: directory.to_owned(),
        what: format!("`{what}`"),
    }
}

/// The graph, the files that hold its weights and those of the layers, the tokenizer, and a table of weights for queries.
fn files(
    directory: &Path,
    onnx: &str,
    graph: &Graph,
    (head, stated): (&Head, &Stated),
) -> Result<Vec<String>, LayoutError> {
    let mut files = vec![TOKENIZER.to_owned(), onnx.to_owned()];
    files.extend(graphs::beside(onnx, graph));
    let layers = head.layers.iter().filter_map(|layer| layer.weights());
    files.extend(layers.map(str::to_owned));
    if let Stated::Sparse(terms) = stated {
        files.extend(terms.query_weights.clone());
    }
    match files.iter().find(|file| !directory.join(file).is_file()) {
        Some(file) => Err(missing(directory, file)),
        None => Ok(files),
    }
}

fn json(directory: &Path, file: &str) -> Result<Option<Value>, LayoutError> {
    let path = directory.join(file);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| LayoutError::Json {
                path,
                source: error.into(),
            }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(LayoutError::Json { path, source }),
    }
}

fn task(config: &Value) -> Task {
    let architectures = config["architectures"].as_array().into_iter().flatten();
    let classifies = |name: &Value| {
        name.as_str()
            .is_some_and(|name| name.ends_with("ForSequenceClassification"))
    };
    if architectures.into_iter().any(classifies) {
        Task::Rescore
    } else {
        Task::Embed
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    pub(super) fn directory(files: &[(&str, Value)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content.to_string()).unwrap();
        }
        directory
    }
}
