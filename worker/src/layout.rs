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

use std::io;
use std::path::{Path, PathBuf};

use contract::model::{Activation, Dtype, Head, OutputKind, Pooling, Prefixes, TOKENIZER};
use contract::topology::Task;
use serde_json::Value;

use crate::graph::Graph;
pub use error::LayoutError;
use graphs::find_graph;
pub(crate) use graphs::{external_data, graphs};
pub(crate) use kinds::files_of_kinds;
pub use kinds::{StatedKind, StatedTerms, StatedTokens};
pub(crate) use modules::module_files;
pub use prompts::usual;
use scores::{activation, labels};

/// Description of the model that every model directory has.
pub(crate) const CONFIG: &str = "config.json";
/// Descriptions that a model directory may have besides, those of [`SENTENCE_CONFIGS`] aside.
pub(crate) const DESCRIPTIONS: [&str; 3] = [
    "modules.json",
    "tokenizer_config.json",
    "config_sentence_transformers.json",
];
/// Names under which sentence-transformers looks for the settings of its first module; the first that is there counts.
pub(crate) const SENTENCE_CONFIGS: [&str; 7] = [
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
];
/// Most bytes of a description: those of published models have some thousand.
const MOST_BYTES: u64 = 64 << 20;
/// Vocabularies that are no `tokenizer.json`.
const OTHER_VOCABULARIES: [&str; 6] = [
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "spm.model",
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
    /// The option, or the key and its file, that states the limit.
    pub limit_stated_by: String,
    pub head: Head,
    /// Names of prompts that are for neither queries nor documents.
    pub other_prompts: Vec<String>,
    /// Whether the directory says if vectors are normalized; where it does not, they are not.
    pub says_normalize: bool,
    /// Whether places of tokens are counted from behind the padding token.
    pub counts_from_padding: bool,
    /// The file that says that texts are written in small letters before they are tokenized.
    pub lowercased_by: Option<String>,
    /// Name of the prompt that stands in for one of queries or documents that is missing.
    pub stand_in_prompt: Option<String>,
    /// How many token ids the graph has rows for, where it says so.
    pub vocabulary: Option<usize>,
    /// Name of the model that it was made of.
    pub original_name: String,
    pub activation: Activation,
    /// Names of the labels of a rescorer, in order; empty where there is only one.
    pub labels: Vec<String>,
    /// Which kind of vectors the model makes.
    pub stated: StatedKind,
}

/// Options that decide in place of what the directory of a model says.
#[derive(Clone, Copy, Debug, Default)]
pub struct LayoutOptions<'a> {
    /// The file of the graph, where it is not the usual one.
    pub onnx: Option<&'a str>,
    pub max_tokens: Option<usize>,
    pub pooling: Option<Pooling>,
    pub kind: Option<OutputKind>,
}

impl Layout {
    pub fn read(directory: &Path, given: LayoutOptions<'_>) -> Result<Self, LayoutError> {
        let onnx = find_graph(directory, given.onnx)?;
        let config = json(directory, CONFIG)?.ok_or_else(|| missing(directory, CONFIG))?;
        if !config.is_object() {
            return Err(LayoutError::Value {
                path: directory.join(CONFIG),
                found: "is no object".to_owned(),
                taken: "the description of a model, an object of JSON, is taken",
            });
        }
        let task = task(&config);
        let stated = stated(directory, (&config, task), given)?;
        let modules = read_modules(directory, (task, &stated), given.pooling)?;
        let graph = Graph::read_with_weights(&directory.join(&onnx))?;
        let transformer = modules::transformer(directory)?;
        let limit = match (&stated, given.max_tokens) {
            (StatedKind::Multi(late), None) if late.document_tokens.is_some() => {
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
            lowercased_by: lowercased_by(directory, &transformer)?,
            stand_in_prompt: prompts.stand_in,
            vocabulary: graph.vocabulary,
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
    given: LayoutOptions<'_>,
) -> Result<StatedKind, LayoutError> {
    match (task, given.kind) {
        (Task::Rescore, None) => Ok(StatedKind::Dense),
        (Task::Rescore, Some(given)) => Err(LayoutError::RescorerKind { given }),
        (Task::Embed, _) => {
            let stated = StatedKind::read(directory, config, given.kind)?;
            let says_nothing = given.kind.is_none() && given.pooling.is_none();
            if stated == StatedKind::Dense
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
    (task, stated): (Task, &StatedKind),
    given: Option<Pooling>,
) -> Result<modules::Modules, LayoutError> {
    match (task, stated) {
        (Task::Embed, StatedKind::Dense) => modules::modules(directory, given),
        (Task::Embed, StatedKind::Sparse(_)) => modules::of_terms(directory),
        (Task::Embed, StatedKind::Multi(_)) => modules::of_tokens(directory),
        (Task::Rescore, _) => Ok(modules::Modules {
            pooling: given.unwrap_or(Pooling::Graph),
            normalize: false,
            head: Head::default(),
        }),
    }
}

/// The settings of the module that makes token vectors, and their file.
fn sentence_config(
    directory: &Path,
    transformer: &str,
) -> Result<Option<(String, Value)>, LayoutError> {
    for name in SENTENCE_CONFIGS {
        let file = modules::join(transformer, name);
        if let Some(config) = json(directory, &file)? {
            return Ok(Some((file, config)));
        }
    }
    Ok(None)
}

fn lowercased_by(directory: &Path, transformer: &str) -> Result<Option<String>, LayoutError> {
    let found = sentence_config(directory, transformer)?;
    let found = found.filter(|(_, config)| config["do_lower_case"] == true);
    Ok(found.map(|(file, _)| file))
}

fn missing(directory: &Path, what: &str) -> LayoutError {
    let other = OTHER_VOCABULARIES
        .iter()
        .find(|name| what == TOKENIZER && directory.join(name).is_file());
    let what = match other {
        Some(other) => format!(
            "`{what}`, but `{other}`; write the file with `python -c \"from transformers import AutoTokenizer; \
             AutoTokenizer.from_pretrained('{0}').save_pretrained('{0}')\"`",
            directory.display()
        ),
        None => format!("`{what}`"),
    };
    LayoutError::Missing {
        directory: directory.to_owned(),
        what,
    }
}

/// The graph, the files that hold its weights and those of the layers, the tokenizer, and a table of weights for queries.
fn files(
    directory: &Path,
    onnx: &str,
    graph: &Graph,
    (head, stated): (&Head, &StatedKind),
) -> Result<Vec<String>, LayoutError> {
    let mut files = vec![TOKENIZER.to_owned(), onnx.to_owned()];
    files.extend(graphs::beside(onnx, graph));
    let layers = head.layers.iter().filter_map(|layer| layer.weights());
    files.extend(layers.map(str::to_owned));
    if let StatedKind::Sparse(terms) = stated {
        files.extend(terms.query_weights.clone());
    }
    match files.iter().find(|file| !directory.join(file).is_file()) {
        Some(file) => Err(missing(directory, file)),
        None => Ok(files),
    }
}

fn json(directory: &Path, file: &str) -> Result<Option<Value>, LayoutError> {
    let path = directory.join(file);
    match read_description(&path) {
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

/// Reads a file that must be small: what is given as a model may be anything.
fn read_description(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe would be waited for when it is opened.
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if found.len() > MOST_BYTES {
        let size = found.len();
        return Err(io::Error::other(format!(
            "it has {size} bytes; descriptions of at most {MOST_BYTES} are read"
        )));
    }
    std::fs::read(path)
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
    use serde_json::json;
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

    #[test]
    fn what_is_no_description_is_refused_by_name() {
        let given = directory(&[("model.onnx", json!(0)), (CONFIG, json!([]))]);
        let refused = Layout::read(given.path(), LayoutOptions::default()).unwrap_err();
        assert!(refused.to_string().contains(CONFIG), "{refused}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(CONFIG)).unwrap();
        let refused = json(folder.path(), CONFIG).unwrap_err();
        let cause = anyhow::Error::from(refused);
        assert!(format!("{cause:#}").contains("not a regular file"));
    }

    #[test]
    fn a_vocabulary_of_another_kind_is_named_with_the_command_that_converts_it() {
        let given = directory(&[("sentencepiece.bpe.model", json!(0))]);
        let refused = missing(given.path(), TOKENIZER).to_string();
        for word in [TOKENIZER, "sentencepiece.bpe.model", "save_pretrained"] {
            assert!(refused.contains(word), "{word}: {refused}");
        }
    }
}
