//! Layout: reads a model directory in the Hugging Face / sentence-transformers layout.
//!
//! It finds out what `worker stage` needs to know about a directory as it was downloaded or exported. Options can add what
//! the directory does not say, and correct what it says wrongly.

mod scores;

use std::path::{Path, PathBuf};

use contract::model::{Activation, Dtype, Pooling, Prefixes, TOKENIZER};
use contract::topology::Task;
use serde_json::Value;
use thiserror::Error;

use crate::graph::{Graph, GraphError};
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
/// Graphs that are looked for, best first.
const GRAPHS: [&str; 2] = ["onnx/model.onnx", "model.onnx"];

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
    pub activation: Activation,
    /// Names of the labels of a rescorer, in order; empty where there is only one.
    pub labels: Vec<String>,
}

/// Why a directory is not a model.
#[derive(Debug, Error)]
pub enum LayoutError {
    #[error("`{directory}` has no {what}")]
    Missing { directory: PathBuf, what: String },
    #[error("failed to read `{path}`")]
    Json {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Graph(#[from] GraphError),
    #[error("`{path}` asks for {found}; supported are cls, mean and last token, or --pooling")]
    Pooling { path: PathBuf, found: String },
    #[error("`{path}` lists the module {found}; supported are Transformer, Pooling and Normalize")]
    Module { path: PathBuf, found: String },
    #[error(
        "`{directory}` does not say how many tokens the model takes \
         (sentence_bert_config.json, tokenizer_config.json, config.json); give --max-tokens"
    )]
    NoLimit { directory: PathBuf },
}

impl Layout {
    /// Reads a directory. `onnx` names another graph than the usual one, `max_tokens` and `pooling` override what the
    /// directory says.
    pub fn read(
        directory: &Path,
        onnx: Option<&str>,
        max_tokens: Option<usize>,
        pooling: Option<Pooling>,
    ) -> Result<Self, LayoutError> {
        let onnx = find_graph(directory, onnx)?;
        let config = json(directory, CONFIG)?.ok_or_else(|| missing(directory, CONFIG))?;
        let task = task(&config);
        let pooling = match pooling {
            Some(pooling) => pooling,
            None if task == Task::Rescore => Pooling::Graph,
            None => read_pooling(directory)?,
        };
        let graph = Graph::read(&directory.join(&onnx))?;
        Ok(Self {
            files: files(directory, &onnx, &graph)?,
            dtype: graph.dtype,
            directory: directory.to_owned(),
            onnx,
            task,
            pooling,
            normalize: task == Task::Embed && normalizes(directory)?,
            prefixes: prefixes(directory)?,
            max_tokens: limit(directory, &config, max_tokens)?,
            activation: activation(&config, task),
            labels: labels(&config, task),
        })
    }
}

fn missing(directory: &Path, what: &str) -> LayoutError {
    LayoutError::Missing {
        directory: directory.to_owned(),
        what: format!("`{what}`"),
    }
}

/// Graphs to look for, best first.
pub(crate) fn graphs(given: Option<&str>) -> Vec<&str> {
    given.map_or(GRAPHS.to_vec(), |onnx| vec![onnx])
}

/// Path of the description of the pooling. The other descriptions must be in the directory already.
///
/// # Errors
/// If `modules.json` is there and is no list of known modules.
pub(crate) fn pooling_config(directory: &Path) -> Result<String, LayoutError> {
    let folder = module_path(&modules(directory)?, ".Pooling").unwrap_or("1_Pooling".to_owned());
    Ok(format!("{folder}/config.json"))
}

/// Files that hold the weights of a graph, the graph itself aside, relative to the directory.
///
/// # Errors
/// If the graph is not one.
pub(crate) fn external_data(directory: &Path, onnx: &str) -> Result<Vec<String>, LayoutError> {
    Ok(beside(onnx, &Graph::read(&directory.join(onnx))?))
}

fn find_graph(directory: &Path, given: Option<&str>) -> Result<String, LayoutError> {
    let candidates = graphs(given);
    let found = candidates
        .iter()
        .find(|onnx| directory.join(onnx).is_file());
    found
        .map(|onnx| (*onnx).to_owned())
        .ok_or_else(|| LayoutError::Missing {
            directory: directory.to_owned(),
            what: format!("graph `{}`", candidates.join("` or `")),
        })
}

/// The graph, the files that hold its weights, and the tokenizer.
fn files(directory: &Path, onnx: &str, graph: &Graph) -> Result<Vec<String>, LayoutError> {
    let mut files = vec![TOKENIZER.to_owned(), onnx.to_owned()];
    files.extend(beside(onnx, graph));
    match files.iter().find(|file| !directory.join(file).is_file()) {
        Some(file) => Err(missing(directory, file)),
        None => Ok(files),
    }
}

/// The files of a graph, relative to the directory instead of to the graph.
fn beside(onnx: &str, graph: &Graph) -> Vec<String> {
    let folder = Path::new(onnx).parent().unwrap_or(Path::new(""));
    let beside = |file: &String| folder.join(file).to_string_lossy().into_owned();
    graph.external.iter().map(beside).collect()
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

/// Modules of a sentence-transformers model, empty for a plain one. A module that is not known here would change the
/// vectors, so it is no model that can be served.
fn modules(directory: &Path) -> Result<Vec<Value>, LayoutError> {
    const KNOWN: [&str; 3] = [".Transformer", ".Pooling", ".Normalize"];
    let unsupported = |found: String| LayoutError::Module {
        path: directory.join("modules.json"),
        found,
    };
    let modules = match json(directory, "modules.json")? {
        None => return Ok(Vec::new()),
        Some(Value::Array(modules)) => modules,
        Some(other) => return Err(unsupported(other.to_string())),
    };
    let known = |module: &&Value| {
        module["type"]
            .as_str()
            .is_some_and(|name| KNOWN.iter().any(|known| name.ends_with(known)))
    };
    match modules.iter().find(|module| !known(module)) {
        Some(module) => Err(unsupported(module["type"].to_string())),
        None => Ok(modules),
    }
}

fn module_path(modules: &[Value], kind: &str) -> Option<String> {
    let is_kind = |module: &&Value| {
        module["type"]
            .as_str()
            .is_some_and(|name| name.ends_with(kind))
    };
    modules
        .iter()
        .find(is_kind)
        .map(|module| module["path"].as_str().unwrap_or_default().to_owned())
}

fn normalizes(directory: &Path) -> Result<bool, LayoutError> {
    Ok(module_path(&modules(directory)?, ".Normalize").is_some())
}

fn read_pooling(directory: &Path) -> Result<Pooling, LayoutError> {
    let file = pooling_config(directory)?;
    let config = json(directory, &file)?.ok_or_else(|| LayoutError::Missing {
        directory: directory.to_owned(),
        what: format!("`{file}`; give --pooling"),
    })?;
    let on = |flag: &str| {
        config[format!("pooling_mode_{flag}")]
            .as_bool()
            .unwrap_or(false)
    };
    let named = config["pooling_mode"].as_str();
    let modes = [
        "cls_token",
        "mean_tokens",
        "lasttoken",
        "max_tokens",
        "mean_sqrt_len_tokens",
        "weightedmean_tokens",
    ];
    let active: Vec<_> = modes.into_iter().filter(|mode| on(mode)).collect();
    match (named, active.as_slice()) {
        (Some("cls"), _) | (None, ["cls_token"]) => Ok(Pooling::Cls),
        (Some("mean"), _) | (None, ["mean_tokens"]) => Ok(Pooling::Mean),
        (Some("lasttoken"), _) | (None, ["lasttoken"]) => Ok(Pooling::LastToken),
        (named, active) => Err(LayoutError::Pooling {
            path: directory.join(&file),
            found: named.map_or_else(
                || format!("pooling {active:?}"),
                |named| format!("pooling `{named}`"),
            ),
        }),
    }
}

/// Prompts of a sentence-transformers model; documents go by several names.
fn prefixes(directory: &Path) -> Result<Prefixes, LayoutError> {
    let config = json(directory, "config_sentence_transformers.json")?.unwrap_or_default();
    let prompt = |names: &[&str]| {
        let found = names
            .iter()
            .find_map(|name| config["prompts"][*name].as_str());
        found.unwrap_or_default().to_owned()
    };
    Ok(Prefixes {
        query: prompt(&["query"]),
        document: prompt(&["document", "passage", "corpus"]),
    })
}

fn limit(directory: &Path, config: &Value, given: Option<usize>) -> Result<usize, LayoutError> {
    // A tokenizer without a limit states an absurdly large one.
    let sane = |value: &Value| {
        value
            .as_u64()
            .filter(|limit| (2..=1_000_000).contains(limit))
    };
    let of = |file, key: &str| -> Result<_, LayoutError> {
        Ok(json(directory, file)?.and_then(|config| sane(&config[key])))
    };
    let stated = match given {
        Some(given) => return Ok(given),
        None => of("sentence_bert_config.json", "max_seq_length")?,
    };
    let stated = match stated {
        Some(limit) => Some(limit),
        None => of("tokenizer_config.json", "model_max_length")?,
    };
    let stated = stated.or_else(|| sane(&config["max_position_embeddings"]));
    let limit = stated.and_then(|limit| usize::try_from(limit).ok());
    limit.ok_or_else(|| LayoutError::NoLimit {
        directory: directory.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tempfile::TempDir;

    use super::*;

    fn directory(files: &[(&str, Value)]) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (file, content) in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content.to_string()).unwrap();
        }
        directory
    }

    fn pooling(config: Value) -> Result<Pooling, LayoutError> {
        read_pooling(directory(&[("1_Pooling/config.json", config)]).path())
    }

    #[test]
    fn the_pooling_is_the_one_that_is_on() {
        let cases = [
            (json!({ "pooling_mode_cls_token": true }), Pooling::Cls),
            (json!({ "pooling_mode_mean_tokens": true }), Pooling::Mean),
            (
                json!({ "pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": false }),
                Pooling::LastToken,
            ),
            (json!({ "pooling_mode": "mean" }), Pooling::Mean),
        ];
        for (config, expected) in cases {
            assert_eq!(pooling(config.clone()).unwrap(), expected, "{config}");
        }
    }

    #[test]
    fn a_pooling_that_is_mixed_or_not_supported_is_refused() {
        for config in [
            json!({}),
            json!({ "pooling_mode_max_tokens": true }),
            json!({ "pooling_mode_cls_token": true, "pooling_mode_mean_tokens": true }),
            json!({ "pooling_mode": "max" }),
        ] {
            let refused = pooling(config.clone());
            assert!(
                matches!(refused, Err(LayoutError::Pooling { .. })),
                "{config}"
            );
        }
        let missing = read_pooling(directory(&[]).path()).unwrap_err().to_string();
        assert!(missing.contains("give --pooling"), "{missing}");
    }

    #[test]
    fn a_module_that_would_change_vectors_is_refused_and_normalizing_is_known() {
        let modules = |kind: &str| {
            let module = json!([{ "type": format!("sentence_transformers.models.{kind}") }]);
            normalizes(directory(&[("modules.json", module)]).path())
        };
        assert!(modules("Normalize").unwrap());
        assert!(!modules("Transformer").unwrap());
        assert!(matches!(modules("Dense"), Err(LayoutError::Module { .. })));
        assert!(!normalizes(directory(&[]).path()).unwrap());
    }

    #[test]
    fn the_limit_is_the_first_one_that_is_stated_and_possible() {
        let config = json!({ "max_position_embeddings": 512 });
        let sentence = (
            "sentence_bert_config.json",
            json!({ "max_seq_length": 128 }),
        );
        let absurd = ("tokenizer_config.json", json!({ "model_max_length": 1e30 }));
        let all = directory(&[sentence, absurd.clone()]);
        assert_eq!(limit(all.path(), &config, Some(7)).unwrap(), 7);
        assert_eq!(limit(all.path(), &config, None).unwrap(), 128);
        let without = directory(&[absurd]);
        assert_eq!(limit(without.path(), &config, None).unwrap(), 512);
        let unknown = limit(without.path(), &json!({}), None);
        assert!(matches!(unknown, Err(LayoutError::NoLimit { .. })));
    }
}
