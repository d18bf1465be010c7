//! Scores: which payload field of a point takes one.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::field;
use crate::names::ModelName;

/// Field above the scores of all models, unless a job names another one.
pub const SCORES: &str = "scores";
/// Longest path in bytes.
const MAX_BYTES: usize = 128;
/// Most segments of a path.
const MAX_DEPTH: usize = 8;
/// Fields that writers decide by, or that belong to the publisher of a document: no score may replace them.
const TAKEN: [&str; 16] = [
    field::DOC_ID,
    field::VERSION,
    field::CHUNK,
    field::CHUNKS,
    field::TEXT,
    field::CONTEXT,
    field::START,
    field::END,
    field::LOCATION,
    field::DIGEST,
    field::FINGERPRINT,
    field::INDEXED_AT,
    field::RUN,
    field::DELETED,
    field::META,
    field::ATTACHED,
];

/// Path of a payload field that takes scores, like `scores.reranker`.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"))]
pub struct ScoreField(String);

/// The text is not a field that may take scores.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "`{text}` is not a field for scores: expected names of letters, digits, `-` and `_`, separated by dots, and none \
     that a document has already"
)]
pub struct NotAScoreField {
    text: String,
}

impl ScoreField {
    /// The field of a model: `scores.<model>`.
    #[must_use]
    pub fn of(model: &ModelName) -> Self {
        Self(format!("{SCORES}.{model}"))
    }

    /// The object above, if there is one, and the name in it.
    #[must_use]
    pub fn split(&self) -> (Option<&str>, &str) {
        match self.0.rsplit_once('.') {
            Some((above, name)) => (Some(above), name),
            None => (None, &self.0),
        }
    }

    /// The path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ScoreField {
    type Error = NotAScoreField;

    fn try_from(text: String) -> Result<Self, NotAScoreField> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        let names: Vec<&str> = text.split('.').collect();
        let named = names
            .iter()
            .all(|name| !name.is_empty() && name.chars().all(allowed));
        let free = names.first().is_some_and(|first| !TAKEN.contains(first));
        if named && free && text.len() <= MAX_BYTES && names.len() <= MAX_DEPTH {
            Ok(Self(text))
        } else {
            let text = text.chars().take(64).collect();
            Err(NotAScoreField { text })
        }
    }
}

impl FromStr for ScoreField {
    type Err = NotAScoreField;

    fn from_str(text: &str) -> Result<Self, NotAScoreField> {
        Self::try_from(text.to_owned())
    }
}

impl From<ScoreField> for String {
    fn from(field: ScoreField) -> Self {
        field.0
    }
}

impl fmt::Display for ScoreField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_has_a_place_of_its_own() {
        let field: ScoreField = "scores.tiny-rerank".parse().unwrap();
        assert_eq!(field.split(), (Some("scores"), "tiny-rerank"));
        let deep: ScoreField = "a.b.c".parse().unwrap();
        assert_eq!(deep.split(), (Some("a.b"), "c"));
        let flat: ScoreField = "relevance".parse().unwrap();
        assert_eq!(flat.split(), (None, "relevance"));
    }

    #[test]
    fn a_score_takes_the_place_of_nothing_that_a_document_has() {
        for path in [
            "", ".", "a.", ".a", "a..b", "a b", "a[0]", "a\"", "version", "meta.x", "doc_id.a",
        ] {
            assert!(path.parse::<ScoreField>().is_err(), "{path}");
        }
        assert!("a.".repeat(8).parse::<ScoreField>().is_err());
        assert!("x".repeat(129).parse::<ScoreField>().is_err());
    }
}
