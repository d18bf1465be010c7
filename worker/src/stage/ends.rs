//! Ends: the tokens at both ends of a text that `tokenizer_config.json` asks for.
//!
//! For some classes of tokenizers, the library of Hugging Face replaces what `tokenizer.json` says about them by `add_bos_token`
//! and `add_eos_token`. A staged model has its tokenizer in one file, which is changed accordingly.

use std::path::Path;

use anyhow::Context as _;
use contract::model::{SpecialTokens, TOKENIZER};
use contract::tokenizer::Tokenizer;
use serde_json::{Value, json};

const CONFIG: &str = "tokenizer_config.json";
/// Classes whose texts begin and end as the settings say.
const OBEYED: [&str; 4] = [
    "LlamaTokenizer",
    "GemmaTokenizer",
    "CodeLlamaTokenizer",
    "CohereTokenizer",
];

/// The tokenizer of a directory as its settings have it, if its file says otherwise.
pub(super) fn with_ends(directory: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(wanted) = Ends::wanted(directory)? else {
        return Ok(None);
    };
    let path = directory.join(TOKENIZER);
    if wanted.are_those_of(&Tokenizer::load_with(&path, SpecialTokens::Token)?)? {
        return Ok(None);
    }
    anyhow::ensure!(
        wanted.obeyed,
        "`{}` asks by add_bos_token {:?} and add_eos_token {:?} for other tokens at the ends of a text than the \
         post_processor of tokenizer.json has, and says no class of tokenizers that heeds that; take the settings out, or \
         save the tokenizer again with the library of Hugging Face",
        directory.join(CONFIG).display(),
        wanted.begin,
        wanted.end
    );
    let bytes =
        std::fs::read(&path).with_context(|| format!("failed to read `{}`", path.display()))?;
    let mut tokenizer: Value = serde_json::from_slice(&bytes)?;
    tokenizer["post_processor"] = wanted.post_processor();
    tracing::info!(
        target: "worker",
        begin = wanted.name(true),
        end = wanted.name(false),
        "the ends of texts are those of tokenizer_config.json"
    );
    Ok(Some(serde_json::to_vec(&tokenizer)?))
}

/// A special token with its id.
#[derive(Clone, Debug)]
struct Special {
    name: String,
    id: u32,
}

struct Ends {
    begin: Option<Special>,
    end: Option<Special>,
    obeyed: bool,
}

impl Ends {
    /// The tokens that the settings add at the ends of a text; `None` where they add none.
    fn wanted(directory: &Path) -> anyhow::Result<Option<Self>> {
        let path = directory.join(CONFIG);
        let Ok(bytes) = std::fs::read(&path) else {
            return Ok(None);
        };
        let config: Value = serde_json::from_slice(&bytes)
            .with_context(|| format!("failed to read `{}`", path.display()))?;
        let (begin, end) = (
            config["add_bos_token"].as_bool(),
            config["add_eos_token"].as_bool(),
        );
        let class = config["tokenizer_class"].as_str().unwrap_or_default();
        let obeyed = OBEYED.contains(&class.trim_end_matches("Fast"));
        // Other classes write such settings, too, and ignore them where they say no.
        if begin.or(end).is_none() || !(obeyed || begin == Some(true) || end == Some(true)) {
            return Ok(None);
        }
        let tokenizer = Tokenizer::load(&directory.join(TOKENIZER))?;
        let special = |asked: bool, key: &str| -> anyhow::Result<Option<Special>> {
            let token = &config[key];
            let name = token.as_str().or_else(|| token["content"].as_str());
            let Some(name) = name.filter(|_| asked) else {
                return Ok(None);
            };
            let id = tokenizer.id_of(name).with_context(|| {
                format!(
                    "`{}` has `{key}` `{name}`, which {TOKENIZER} does not have",
                    path.display()
                )
            })?;
            Ok(Some(Special {
                name: name.to_owned(),
                id,
            }))
        };
        Ok(Some(Self {
            // What these classes do where nothing is said.
            begin: special(begin.unwrap_or(obeyed), "bos_token")?,
            end: special(end.unwrap_or(false), "eos_token")?,
            obeyed,
        }))
    }

    fn are_those_of(&self, tokenizer: &Tokenizer) -> anyhow::Result<bool> {
        let ids = tokenizer.encode("a")?;
        let at = |id: Option<&u32>, wanted: &Option<Special>| match wanted {
            Some(special) => id == Some(&special.id),
            None => !id.is_some_and(|id| tokenizer.is_special(*id)),
        };
        let missing_is_no_matter = !self.obeyed;
        let begins = at(ids.first(), &self.begin) || missing_is_no_matter && self.begin.is_none();
        let ends = at(ids.last(), &self.end) || missing_is_no_matter && self.end.is_none();
        Ok(begins && ends)
    }

    fn name(&self, begin: bool) -> &str {
        let end = if begin { &self.begin } else { &self.end };
        end.as_ref().map_or("none", |special| &special.name)
    }

    fn post_processor(&self) -> Value {
        let special = |token: &Special, kind: u8| json!({ "SpecialToken": { "id": token.name, "type_id": kind } });
        let around = |text: &str, kind: u8| {
            let begin = self.begin.iter().map(|token| special(token, kind));
            let text = std::iter::once(json!({ "Sequence": { "id": text, "type_id": kind } }));
            let end = self.end.iter().map(|token| special(token, kind));
            begin.chain(text).chain(end).collect::<Vec<_>>()
        };
        let tokens: serde_json::Map<_, _> = [&self.begin, &self.end]
            .into_iter()
            .flatten()
            .map(|it| {
                let token = json!({ "id": it.name, "ids": [it.id], "tokens": [it.name] });
                (it.name.clone(), token)
            })
            .collect();
        let pair = [around("A", 0), around("B", 1)].concat();
        json!({
            "type": "TemplateProcessing",
            "single": around("A", 0),
            "pair": pair,
            "special_tokens": tokens,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tiny tokenizer, which puts `[CLS]` and `[SEP]` around a text, with these settings.
    fn directory(config: Value) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let tiny = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../fixtures/models/tiny-embed/tokenizer.json"
        );
        std::fs::copy(tiny, directory.path().join(TOKENIZER)).unwrap();
        std::fs::write(directory.path().join(CONFIG), config.to_string()).unwrap();
        directory
    }

    fn ends(config: Value) -> Option<Vec<u32>> {
        let directory = directory(config);
        let changed = with_ends(directory.path()).unwrap()?;
        std::fs::write(directory.path().join(TOKENIZER), changed).unwrap();
        assert!(
            with_ends(directory.path()).unwrap().is_none(),
            "once is enough"
        );
        let tokenizer = Tokenizer::load(&directory.path().join(TOKENIZER)).unwrap();
        Some(tokenizer.encode("tide").unwrap())
    }

    #[test]
    fn texts_end_as_the_settings_of_obedient_classes_say() {
        let config = |begin: Value, end: Value| {
            json!({
                "tokenizer_class": "LlamaTokenizerFast", "bos_token": "[CLS]", "eos_token": { "content": "[SEP]" },
                "add_bos_token": begin, "add_eos_token": end
            })
        };
        assert_eq!(ends(config(json!(true), json!(true))), None);
        let begin = ends(config(json!(true), json!(false))).unwrap();
        assert_eq!((begin[0], begin.len()), (2, 2));
        let end = ends(config(json!(false), json!(true))).unwrap();
        assert_eq!((end[1], end.len()), (3, 2));
        assert_eq!(ends(config(json!(false), json!(false))).unwrap().len(), 1);
        assert_eq!(ends(config(Value::Null, Value::Null)), None);
    }

    #[test]
    fn other_classes_are_left_alone_unless_something_is_missing() {
        let config = |begin: &str, add: bool| json!({ "tokenizer_class": "Qwen2Tokenizer", "bos_token": begin, "add_bos_token": add });
        assert_eq!(ends(config("[CLS]", true)), None);
        assert_eq!(ends(config("[CLS]", false)), None);
        let refused = with_ends(directory(config("[MASK]", true)).path()).unwrap_err();
        assert!(
            format!("{refused:#}").contains("add_bos_token"),
            "{refused:#}"
        );
        let unknown = with_ends(directory(config("<s>", true)).path()).unwrap_err();
        assert!(format!("{unknown:#}").contains("`<s>`"), "{unknown:#}");
    }
}
