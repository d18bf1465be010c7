//! Kinds: which kind of vectors a model makes, by what its directory says, and what it says of how they are made.
//!
//! - sentence-transformers lists `SpladePooling` behind a masked language model, or a `Router` with a table for queries.
//! - PyLate lists a `Dense` of its own behind the transformer; the library of ColBERT writes `artifact.metadata`.
//! - A masked language model with `idf.json` beside it expands documents alone. Without it nothing tells whether it was trained
//!   for terms, so that somebody has to say so.

use std::path::Path;

use contract::model::{OutputKind, TermWeight};
use serde_json::Value;

use super::error::LayoutError;
use super::{CONFIG, json, limits, modules};

/// The usual file of a table of weights for queries.
const QUERY_WEIGHTS: &str = "idf.json";
/// The file in which the library of ColBERT describes a model.
const ARTIFACT: &str = "artifact.metadata";
const SENTENCE: &str = "config_sentence_transformers.json";

/// The kind of vectors that a directory says its model makes.
#[derive(Clone, Debug, PartialEq)]
pub enum StatedKind {
    Dense,
    Sparse(StatedTerms),
    Multi(StatedTokens),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct StatedTerms {
    pub weight: TermWeight,
    /// A table of weights for queries.
    pub query_weights: Option<String>,
}

/// How token vectors are made. Values that the directory does not state are the defaults of the library of ColBERT.
#[derive(Clone, Debug, PartialEq)]
pub struct StatedTokens {
    pub query_marker: Option<String>,
    pub document_marker: Option<String>,
    pub query_tokens: usize,
    pub document_tokens: Option<usize>,
    pub expands: bool,
    pub attends: bool,
    /// Words whose tokens have no vector in documents.
    pub skipped: Vec<String>,
}

impl StatedKind {
    pub fn kind(&self) -> OutputKind {
        match self {
            Self::Dense => OutputKind::Dense,
            Self::Sparse(_) => OutputKind::Sparse,
            Self::Multi(_) => OutputKind::Multi,
        }
    }

    /// Reads what a directory says; `given` is a kind that somebody says it is.
    pub(super) fn read(
        directory: &Path,
        config: &Value,
        given: Option<OutputKind>,
    ) -> Result<Self, LayoutError> {
        let found = found(directory, config)?;
        let kind = match (given, found) {
            (Some(given), Some((found, by))) if given != found => {
                return Err(LayoutError::Kind {
                    given,
                    directory: directory.to_owned(),
                    found,
                    by,
                });
            }
            (Some(given), _) => given,
            (None, Some((found, _))) => found,
            (None, None) => OutputKind::Dense,
        };
        Ok(match kind {
            OutputKind::Dense => Self::Dense,
            OutputKind::Sparse => Self::Sparse(terms(directory)?),
            OutputKind::Multi => Self::Multi(tokens(directory)?),
        })
    }
}

/// Files that tell a kind or are of one, unless it is known that the model is dense. The list of modules must be in the
/// directory already.
///
/// # Errors
/// If `modules.json` is there and is no list of known modules.
pub(crate) fn files_of_kinds(directory: &Path) -> Result<&'static [&'static str], LayoutError> {
    Ok(match modules::kind(directory)? {
        Some((OutputKind::Dense, _)) => &[],
        Some((OutputKind::Sparse | OutputKind::Multi, _)) | None => &[ARTIFACT, QUERY_WEIGHTS],
    })
}

/// The kind that a directory says, and what says it.
fn found(directory: &Path, config: &Value) -> Result<Option<(OutputKind, String)>, LayoutError> {
    if let Some((kind, module)) = modules::kind(directory)? {
        return Ok(Some((kind, format!("the module {module} of modules.json"))));
    }
    let has = |file: &str| directory.join(file).is_file();
    if has(ARTIFACT) {
        return Ok(Some((OutputKind::Multi, format!("`{ARTIFACT}`"))));
    }
    let predicts_words = predicts_words(config);
    if predicts_words && has(QUERY_WEIGHTS) {
        return Ok(Some((OutputKind::Sparse, format!("`{QUERY_WEIGHTS}`"))));
    }
    Ok(None)
}

/// Whether a directory says that its model makes terms.
pub(super) fn makes_terms(directory: &Path, config: &Value) -> bool {
    let found = found(directory, config).ok().flatten();
    matches!(found, Some((OutputKind::Sparse, _)))
}

/// Whether a configuration is that of a masked language model.
pub(super) fn predicts_words(config: &Value) -> bool {
    let architectures = config["architectures"].as_array().into_iter().flatten();
    let mut names = architectures.filter_map(Value::as_str);
    names.any(|name| name.ends_with("ForMaskedLM"))
}

fn terms(directory: &Path) -> Result<StatedTerms, LayoutError> {
    let query_weights = directory.join(QUERY_WEIGHTS).is_file();
    let mut stated = StatedTerms {
        query_weights: query_weights.then(|| QUERY_WEIGHTS.to_owned()),
        ..StatedTerms::default()
    };
    let Some(file) = modules::splade_config(directory)? else {
        return Ok(stated);
    };
    let config = json(directory, &file)?.unwrap_or_default();
    let value = |key: &str, taken| LayoutError::Value {
        path: directory.join(&file),
        found: format!("has `{key}` {}", config[key]),
        taken,
    };
    let pooling = &config["pooling_strategy"];
    if !pooling.is_null() && pooling != "max" {
        return Err(value(
            "pooling_strategy",
            "`max` is taken: sums grow with the length of a text",
        ));
    }
    stated.weight = match config["activation_function"].as_str().unwrap_or("relu") {
        "relu" => TermWeight::Log,
        "log1p_relu" => TermWeight::LogLog,
        _ => {
            return Err(value(
                "activation_function",
                "`relu` and `log1p_relu` are taken",
            ));
        }
    };
    Ok(stated)
}

fn tokens(directory: &Path) -> Result<StatedTokens, LayoutError> {
    let artifact = json(directory, ARTIFACT)?.unwrap_or_default();
    let sentence = json(directory, SENTENCE)?.unwrap_or_default();
    let text = |keys: [&Value; 2]| keys.iter().find_map(|it| it.as_str()).map(str::to_owned);
    let number = |keys: [&Value; 2]| keys.into_iter().find_map(limits::sane);
    let flag = |keys: [&Value; 2]| keys.iter().find_map(|it| it.as_bool());
    let words = |list: &Value| -> Option<Vec<String>> {
        let words = list.as_array()?.iter();
        Some(
            words
                .filter_map(|it| it.as_str().map(str::to_owned))
                .collect(),
        )
    };
    let punctuation = || {
        let marks = (0_u8..128)
            .map(char::from)
            .filter(char::is_ascii_punctuation);
        marks.map(String::from).collect()
    };
    let skips = flag([&artifact["mask_punctuation"], &Value::Null]).unwrap_or(true);
    let skipped = words(&sentence["skiplist_words"]);
    Ok(StatedTokens {
        query_marker: text([&sentence["query_prefix"], &artifact["query_token_id"]]),
        document_marker: text([&sentence["document_prefix"], &artifact["doc_token_id"]]),
        query_tokens: number([&sentence["query_length"], &artifact["query_maxlen"]]).unwrap_or(32),
        document_tokens: number([&sentence["document_length"], &artifact["doc_maxlen"]]),
        expands: flag([&sentence["do_query_expansion"], &Value::Null]).unwrap_or(true),
        attends: flag([
            &sentence["attend_to_expansion_tokens"],
            &artifact["attend_to_mask_tokens"],
        ])
        .unwrap_or(false),
        skipped: skipped.unwrap_or_else(|| if skips { punctuation() } else { Vec::new() }),
    })
}

/// Says why a directory is not taken as it is: its graph gives logits, and nothing tells what they are for.
pub(super) fn unsaid(directory: &Path) -> LayoutError {
    LayoutError::UnsaidKind {
        path: directory.join(CONFIG),
    }
}

#[cfg(test)]
#[path = "kinds_tests.rs"]
mod tests;
