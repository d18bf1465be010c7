//! Prompts: the texts that a model was trained to find in front of queries and documents.

use std::path::Path;

use contract::model::Prefixes;
use serde_json::Value;

use super::error::LayoutError;
use super::json;

const FILE: &str = "config_sentence_transformers.json";
/// Names of prompts by what they are for, in the order in which sentence-transformers looks for them.
const QUERY: [&str; 1] = ["query"];
const DOCUMENT: [&str; 3] = ["document", "passage", "corpus"];

/// What a directory says about prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompts {
    pub(super) prefixes: Prefixes,
    /// Names of prompts that are for neither queries nor documents, as far as their names tell.
    pub(super) others: Vec<String>,
    /// Name of the default, where it stands in for a prompt of queries or documents that is missing.
    pub(super) stand_in: Option<String>,
}

/// Prompts that a family of models is used with, although its directories often do not say so.
struct Family {
    /// What the name of such a model contains, all of it.
    names: &'static [&'static str],
    query: &'static str,
    document: &'static str,
}

const ARCTIC: &str = "Represent this sentence for searching relevant passages: ";
const INSTRUCT: &str =
    "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: ";

/// The more special ones first.
const FAMILIES: [Family; 10] = [
    Family {
        names: &["e5-", "instruct"],
        query: INSTRUCT,
        document: "",
    },
    Family {
        names: &["e5-mistral"],
        query: INSTRUCT,
        document: "",
    },
    Family {
        names: &["e5-"],
        query: "query: ",
        document: "passage: ",
    },
    Family {
        names: &["bge-", "-en"],
        query: ARCTIC,
        document: "",
    },
    Family {
        names: &["bge-", "-zh"],
        query: "为这个句子生成表示以用于检索相关文章：",
        document: "",
    },
    Family {
        names: &["gte-qwen"],
        query: INSTRUCT,
        document: "",
    },
    Family {
        names: &["nomic-embed-text"],
        query: "search_query: ",
        document: "search_document: ",
    },
    Family {
        names: &["arctic-embed", "v2"],
        query: "query: ",
        document: "",
    },
    Family {
        names: &["arctic-embed"],
        query: ARCTIC,
        document: "",
    },
    Family {
        names: &["qwen3-embedding"],
        query: "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:",
        document: "",
    },
];

/// Reads the prompts of a sentence-transformers model. Where there is a default, it stands in for those that are missing.
pub(super) fn prompts(directory: &Path) -> Result<Prompts, LayoutError> {
    let config = json(directory, FILE)?.unwrap_or_default();
    let value = |found: String, taken| LayoutError::Value {
        path: directory.join(FILE),
        found,
        taken,
    };
    let given = &config["prompts"];
    let Some(stated) = given
        .as_object()
        .cloned()
        .or_else(|| given.is_null().then(serde_json::Map::new))
    else {
        let found = format!("has `prompts` {given}");
        return Err(value(found, "an object of texts is taken"));
    };
    if let Some((name, other)) = stated
        .iter()
        .find(|(_, text)| !text.is_string() && !text.is_null())
    {
        let found = format!("has the prompt `{name}` {other}");
        return Err(value(found, "texts are taken"));
    }
    let text = |name: &str| stated.get(name).and_then(Value::as_str);
    let name = &config["default_prompt_name"];
    let default = name.as_str().and_then(text);
    if default.is_none() && !name.is_null() {
        let found = format!("has `default_prompt_name` {name}, which is none of its prompts");
        return Err(value(
            found,
            "the name of one of `prompts` is taken, or none",
        ));
    }
    let named = |names: &[&str]| names.iter().find_map(|name| text(name));
    let (query, document) = (named(&QUERY), named(&DOCUMENT));
    let stands_in = default.is_some() && (query.is_none() || document.is_none());
    let prompt = |named: Option<&str>| named.or(default).unwrap_or_default().to_owned();
    let known = |name: &&String| {
        let mut names = QUERY.iter().chain(&DOCUMENT);
        names.any(|it| *it == name.as_str())
    };
    let is_default = |name: &&String| config["default_prompt_name"].as_str() == Some(name);
    let others = stated.keys().filter(|it| !known(it) && !is_default(it));
    Ok(Prompts {
        prefixes: Prefixes {
            query: prompt(query),
            document: prompt(document),
        },
        others: others.cloned().collect(),
        stand_in: name.as_str().filter(|_| stands_in).map(str::to_owned),
    })
}

/// The prompts that models of this name are used with, if it belongs to a family that is known.
pub fn usual(name: &str) -> Option<Prefixes> {
    let name = name.to_lowercase();
    let family = FAMILIES
        .iter()
        .find(|family| family.names.iter().all(|part| name.contains(part)))?;
    Some(Prefixes {
        query: family.query.to_owned(),
        document: family.document.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::directory;
    use super::*;

    fn read(config: Value) -> Result<Prompts, LayoutError> {
        prompts(directory(&[(FILE, config)]).path())
    }

    #[test]
    fn a_default_stands_in_for_prompts_that_are_missing() {
        let both = json!({ "query": "q: ", "passage": "p: ", "sts": "s: " });
        let found = read(json!({ "prompts": both, "default_prompt_name": null })).unwrap();
        assert_eq!(
            (
                found.prefixes.query.as_str(),
                found.prefixes.document.as_str()
            ),
            ("q: ", "p: ")
        );
        assert_eq!(found.others, ["sts"]);
        let found = read(json!({ "prompts": both, "default_prompt_name": "sts" })).unwrap();
        assert_eq!(
            (found.prefixes.query.as_str(), found.others.len()),
            ("q: ", 0)
        );
        assert_eq!(found.stand_in, None);
        let found = read(json!({ "prompts": { "sts": "s: " }, "default_prompt_name": "sts" }));
        let found = found.unwrap();
        assert_eq!(found.stand_in.as_deref(), Some("sts"));
        let found = found.prefixes;
        assert_eq!(
            (found.query.as_str(), found.document.as_str()),
            ("s: ", "s: ")
        );
        assert_eq!(prompts(directory(&[]).path()).unwrap(), Prompts::default());
    }

    #[test]
    fn prompts_that_are_none_are_refused_with_what_was_found() {
        for (config, word) in [
            (json!({ "prompts": ["q: "] }), "q: "),
            (json!({ "prompts": { "query": 7 } }), "7"),
            (json!({ "default_prompt_name": "query" }), "query"),
        ] {
            let refused = read(config.clone()).unwrap_err().to_string();
            assert!(
                refused.contains(word) && refused.contains(FILE),
                "{config}: {refused}"
            );
        }
    }

    #[test]
    fn families_are_known_by_their_names() {
        let query = |name| usual(name).map(|it| it.query);
        assert_eq!(query("intfloat/e5-small-v2").unwrap(), "query: ");
        let instruct = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:";
        assert_eq!(
            query("multilingual-e5-large-instruct").unwrap(),
            format!("{instruct} ")
        );
        assert_eq!(query("BAAI/bge-small-en-v1.5").unwrap(), ARCTIC);
        assert_eq!(query("snowflake-arctic-embed-l-v2.0").unwrap(), "query: ");
        assert_eq!(
            usual("nomic-embed-text-v1.5").unwrap().document,
            "search_document: "
        );
        assert_eq!(query("Qwen3-Embedding-0.6B").unwrap(), instruct);
        assert_eq!(usual("all-MiniLM-L6-v2"), None);
        assert_eq!(usual("bge-m3"), None);
    }
}
