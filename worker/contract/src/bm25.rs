//! BM25: how Qdrant makes a sparse vector of a text, as the options of its model `qdrant/bm25`. They belong to the
//! collection: a query has to be cut into words as its texts were.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// Name of the vector in every collection that has it.
pub const VECTOR: &str = "bm25";
/// Qdrant's name of the model.
pub const MODEL: &str = "qdrant/bm25";
/// The language that takes words as they are: no stemmer, no stop words.
pub const NO_LANGUAGE: &str = "none";

/// Languages that a server has stop words for.
const STOP_WORDS: [&str; 30] = [
    "arabic",
    "azerbaijani",
    "basque",
    "bengali",
    "catalan",
    "chinese",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hebrew",
    "hinglish",
    "hungarian",
    "indonesian",
    "italian",
    "japanese",
    "kazakh",
    "nepali",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "slovene",
    "spanish",
    "swedish",
    "tajik",
    "turkish",
];
/// Languages that a server has a stemmer for.
const STEMMERS: [&str; 19] = [
    "arabic",
    "armenian",
    "danish",
    "dutch",
    "english",
    "finnish",
    "french",
    "german",
    "greek",
    "hungarian",
    "italian",
    "norwegian",
    "portuguese",
    "romanian",
    "russian",
    "spanish",
    "swedish",
    "tamil",
    "turkish",
];

/// The options as Qdrant takes them; what is left out is Qdrant's default. Checked when they are read: a server takes a
/// language that it does not know for none, and leaves out what it does not know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bm25Options {
    /// Decides about stop words and stemmer; `none` for neither. English if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tokenizer: Option<TextTokenizer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lowercase: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ascii_folding: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopwords: Option<StopWords>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stemmer: Option<Stemmer>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    min_token_len: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_token_len: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    b: Option<f64>,
    /// Words of a text in the mean; 256 if missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avg_len: Option<f64>,
}

/// How a text is cut into words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum TextTokenizer {
    Word,
    Whitespace,
    Prefix,
    Multilingual,
}

/// Words that are left out: those of a language, or of several and some more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum StopWords {
    Language(String),
    Set(StopWordSet),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StopWordSet {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    languages: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    custom: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stemmer {
    r#type: StemmerType,
    language: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StemmerType {
    Snowball,
}

/// What is wrong with options.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the options of BM25 are wrong: {}", .0.join("; "))]
pub struct Bm25Error(Vec<String>);

impl Bm25Options {
    /// Words of a language, all else as Qdrant has it.
    #[must_use]
    pub fn of_language(language: &str) -> Self {
        Self {
            language: Some(language.to_owned()),
            ..Self::default()
        }
    }

    /// Reads options from JSON and checks them.
    ///
    /// # Errors
    /// [`Bm25Error`], which names everything that is wrong and what would be taken.
    pub fn from_json(json: Value) -> Result<Self, Bm25Error> {
        let options: Self =
            serde_json::from_value(json).map_err(|error| Bm25Error(vec![error.to_string()]))?;
        options.check()?;
        Ok(options)
    }

    /// Checks what their types allow and Qdrant does not, or takes for something else.
    ///
    /// # Errors
    /// [`Bm25Error`].
    pub fn check(&self) -> Result<(), Bm25Error> {
        let mut faults = Vec::new();
        let is_known = |name: &str| {
            name == NO_LANGUAGE || STOP_WORDS.contains(&name) || STEMMERS.contains(&name)
        };
        if let Some(language) = self.language.as_ref().filter(|name| !is_known(name)) {
            let mut known: Vec<_> = STOP_WORDS.iter().chain(&STEMMERS).copied().collect();
            known.sort_unstable();
            known.dedup();
            let known = known.join(", ");
            faults.push(format!(
                "language `{language}` is not known; one of {known}; among other options also {NO_LANGUAGE}, for words as \
                 they are"
            ));
        }
        for language in self.stop_word_languages() {
            if !STOP_WORDS.contains(&language.as_str()) {
                let known = STOP_WORDS.join(", ");
                faults.push(format!(
                    "there are no stop words of language `{language}`; one of {known}"
                ));
            }
        }
        let stemmer = self.stemmer.as_ref();
        if let Some(Stemmer { language, .. }) =
            stemmer.filter(|it| !STEMMERS.contains(&it.language.as_str()))
        {
            let known = STEMMERS.join(", ");
            faults.push(format!(
                "there is no stemmer of language `{language}`; one of {known}"
            ));
        }
        faults.extend(self.numbers());
        if faults.is_empty() {
            return Ok(());
        }
        Err(Bm25Error(faults))
    }

    fn stop_word_languages(&self) -> &[String] {
        match &self.stopwords {
            Some(StopWords::Language(language)) => std::slice::from_ref(language),
            Some(StopWords::Set(set)) => &set.languages,
            None => &[],
        }
    }

    fn numbers(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut expect = |name: &str, value: Option<f64>, range: &str, good: fn(f64) -> bool| {
            if let Some(value) = value.filter(|value| !good(*value)) {
                faults.push(format!("{name} is {value}, expected {range}"));
            }
        };
        expect("k", self.k, "at least 0", |it| it.is_finite() && it >= 0.0);
        expect("b", self.b, "0 to 1", |it| (0.0..=1.0).contains(&it));
        expect("avg_len", self.avg_len, "more than 0", |it| {
            it.is_finite() && it > 0.0
        });
        if let (Some(min), Some(max)) = (self.min_token_len, self.max_token_len)
            && min > max
        {
            faults.push(format!(
                "min_token_len is {min}, expected at most max_token_len, which is {max}"
            ));
        }
        faults
    }

    /// As Qdrant takes them with a text.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(json: Value) -> String {
        Bm25Options::from_json(json).unwrap_err().to_string()
    }

    #[test]
    fn options_are_kept_as_they_are() {
        let all = json!({
            "language": "german", "tokenizer": "multilingual", "lowercase": true, "ascii_folding": false,
            "stopwords": {"languages": ["english"], "custom": ["pump"]},
            "stemmer": {"type": "snowball", "language": "tamil"},
            "min_token_len": 2, "max_token_len": 40, "k": 1.5, "b": 0.5, "avg_len": 100.0,
        });
        assert_eq!(Bm25Options::from_json(all.clone()).unwrap().to_json(), all);
        for json in [
            json!({}),
            json!({"language": "none"}),
            json!({"stopwords": "english"}),
        ] {
            assert_eq!(
                Bm25Options::from_json(json.clone()).unwrap().to_json(),
                json
            );
        }
    }

    #[test]
    fn what_a_server_would_take_for_something_else_is_named_with_what_it_takes() {
        for (json, said) in [
            (
                json!({"languge": "german"}),
                "unknown field `languge`, expected one of `language`",
            ),
            (
                json!({"tokenizer": "words"}),
                "unknown variant `words`, expected one of `word`",
            ),
            (
                json!({"language": "klingon"}),
                "language `klingon` is not known; one of arabic",
            ),
            (
                json!({"stopwords": "armenian"}),
                "no stop words of language `armenian`; one of arabic",
            ),
            (
                json!({"stopwords": {"languages": ["klingon"]}}),
                "no stop words of language `klingon`",
            ),
            (
                json!({"stemmer": {"type": "snowball", "language": "basque"}}),
                "no stemmer of language `basque`; one of arabic",
            ),
            (json!({"k": -1}), "k is -1, expected at least 0"),
            (json!({"b": 1.5}), "b is 1.5, expected 0 to 1"),
            (json!({"avg_len": 0}), "avg_len is 0, expected more than 0"),
            (
                json!({"min_token_len": 3, "max_token_len": 2}),
                "min_token_len is 3, expected at most max_token_len, which is 2",
            ),
        ] {
            let fault = fault(json.clone());
            assert!(fault.contains(said), "{json}: {fault}");
        }
        let both = fault(json!({"k": -1, "b": 2}));
        assert!(both.contains("k is") && both.contains("b is"), "{both}");
    }
}
