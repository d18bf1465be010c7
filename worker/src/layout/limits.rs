//! Limits: how many tokens a model takes, by all that its directory says.

use std::path::Path;

use serde_json::Value;

use super::error::LayoutError;
use super::{CONFIG, json, sentence_config};

/// No tokenizer and no model takes more; a tokenizer without a limit states an absurdly large one.
const MOST: u64 = 10_000_000;
/// The file in which the tokenizer states its limit.
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// Models that number the places of tokens from behind the number of the padding token, and have that many places less.
const OFFSET_BY_PADDING: [&str; 14] = [
    "bertweet",
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "longformer",
    "luke",
    "markuplm",
    "mluke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
];
/// Keys of a configuration that count places.
const PLACES: [&str; 3] = [
    "max_position_embeddings",
    "n_positions",
    "max_sequence_length",
];
/// Models with relative places, whose configuration counts those that they were trained with.
const RELATIVE: [&str; 6] = ["t5", "mt5", "umt5", "xlnet", "longt5", "transfo-xl"];

/// Models that compute places instead of looking them up: their configuration counts those that they were trained with.
const COMPUTED: [&str; 21] = [
    "bloom",
    "eurobert",
    "falcon",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gpt_neox",
    "gte",
    "jina_bert_v3",
    "llama",
    "mistral",
    "modernbert",
    "mpt",
    "new",
    "nomic_bert",
    "phi3",
    "qwen2",
    "qwen3",
    "roformer",
    "stablelm",
    "xlm-roberta-flash",
];
/// Ways to count places that know no last one.
const WITHOUT_END: [&str; 4] = ["alibi", "rope", "rotary", "rotary_embedding"];

/// A limit, and what states it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) tokens: usize,
    pub(super) stated_by: String,
}

/// The smallest of all limits that are stated and possible, unless `given` is. What the model has places for cannot be
/// exceeded by an option either, unless it computes them: then staging runs a row of that length.
pub(super) fn limit(
    directory: &Path,
    (config, transformer): (&Value, &str),
    given: Option<usize>,
) -> Result<Limit, LayoutError> {
    let places = places(config);
    if let Some(given) = given {
        return match places {
            Some(places) if given > places.tokens && !computes_places(config) => {
                Err(LayoutError::BeyondLimit {
                    given,
                    most: places.tokens,
                    source_of_limit: places.stated_by,
                })
            }
            Some(_) | None => Ok(Limit {
                tokens: given,
                stated_by: "--max-tokens".to_owned(),
            }),
        };
    }
    let tokenizer = json(directory, TOKENIZER_CONFIG)?;
    let stated = [
        of_sentences(directory, transformer)?,
        tokenizer.and_then(|config| {
            Some(Limit {
                tokens: sane(&config["model_max_length"])?,
                stated_by: format!("`model_max_length` of {TOKENIZER_CONFIG}"),
            })
        }),
        places,
    ];
    let least = stated.into_iter().flatten().min_by_key(|it| it.tokens);
    least.ok_or_else(|| LayoutError::NoLimit {
        directory: directory.to_owned(),
    })
}

/// What the settings of the first module state, which the library would follow whatever it is.
fn of_sentences(directory: &Path, transformer: &str) -> Result<Option<Limit>, LayoutError> {
    const KEY: &str = "max_seq_length";
    let Some((file, config)) = sentence_config(directory, transformer)? else {
        return Ok(None);
    };
    let stated = &config[KEY];
    match sane(stated) {
        Some(tokens) => Ok(Some(Limit {
            tokens,
            stated_by: format!("`{KEY}` of {file}"),
        })),
        None if stated.is_null() => Ok(None),
        None => Err(LayoutError::Value {
            path: directory.join(file),
            found: format!("has `{KEY}` {stated}"),
            taken: "a whole number of tokens, at least 3, is taken, or null, or --max-tokens",
        }),
    }
}

/// The length that a directory states for documents, or what the model has places for, if that is less.
pub(super) fn document(config: &Value, stated: usize) -> Limit {
    let places = places(config).filter(|places| places.tokens < stated);
    places.unwrap_or_else(|| Limit {
        tokens: stated,
        stated_by: "the length of documents".to_owned(),
    })
}

/// A number of tokens, if it is one that a model may take.
pub(super) fn sane(value: &Value) -> Option<usize> {
    // Some tools write whole numbers as floats.
    let whole = |number: f64| number.fract() == 0.0 && (0.0..1e9).contains(&number);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and within bounds"
    )]
    let from_float = || value.as_f64().filter(|it| whole(*it)).map(|it| it as u64);
    let number = value.as_u64().or_else(from_float)?;
    let number = Some(number).filter(|limit| (3..=MOST).contains(limit))?;
    usize::try_from(number).ok()
}

/// The number of tokens for which the model has position embeddings.
fn places(config: &Value) -> Option<Limit> {
    let of = |config: &Value| {
        let kind = config["model_type"].as_str().unwrap_or_default();
        if RELATIVE.contains(&kind) {
            return None;
        }
        let (key, stated) = PLACES
            .iter()
            .find_map(|key| Some((*key, sane(&config[*key])?)))?;
        let offset = offset(config, kind);
        let less = if offset == 0 {
            String::new()
        } else {
            format!(", {stated} less {offset}")
        };
        Some(Limit {
            tokens: stated.saturating_sub(offset),
            stated_by: format!("`{key}` of {CONFIG}{less}"),
        })
    };
    // Models that also see have the part that reads within.
    of(config).or_else(|| of(&config["text_config"]))
}

/// Whether a model computes the places of tokens and has no table of them. DeBERTa has one only where it adds it to the words.
fn computes_places(config: &Value) -> bool {
    let of = |config: &Value| {
        let kind = config["model_type"].as_str().unwrap_or_default();
        let way = config["position_embedding_type"]
            .as_str()
            .unwrap_or_default();
        COMPUTED.contains(&kind)
            || WITHOUT_END.contains(&way)
            || (kind.starts_with("deberta") && config["position_biased_input"] == false)
    };
    of(config) || of(&config["text_config"])
}

fn offset(config: &Value, kind: &str) -> usize {
    if !OFFSET_BY_PADDING.contains(&kind) {
        return 0;
    }
    let padding = config["pad_token_id"].as_u64().unwrap_or(1);
    usize::try_from(padding).map_or(2, |padding| padding.saturating_add(1))
}

/// Whether the graph of such a model counts places by itself, and would be given others than it means.
pub(super) fn counts_from_padding(config: &Value) -> bool {
    offset(config, config["model_type"].as_str().unwrap_or_default()) > 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::directory;
    use super::*;

    fn stated(files: &[(&str, Value)], config: &Value) -> usize {
        let all = directory(files);
        limit(all.path(), (config, ""), None).unwrap().tokens
    }

    #[test]
    fn the_limit_is_the_smallest_of_those_that_are_stated_and_possible() {
        let config = json!({ "max_position_embeddings": 512 });
        let sentence = |tokens| {
            (
                "sentence_bert_config.json",
                json!({ "max_seq_length": tokens }),
            )
        };
        let tokenizer = |tokens| {
            (
                "tokenizer_config.json",
                json!({ "model_max_length": tokens }),
            )
        };
        let absurd = tokenizer(json!(1e30));
        assert_eq!(stated(&[sentence(128), absurd.clone()], &config), 128);
        assert_eq!(stated(std::slice::from_ref(&absurd), &config), 512);
        assert_eq!(
            stated(&[sentence(8192), tokenizer(json!(384))], &config),
            384
        );
        assert_eq!(stated(&[sentence(8192)], &config), 512);
        assert_eq!(stated(&[tokenizer(json!(77.0))], &json!({})), 77);
        let without = directory(&[absurd]);
        let unknown = limit(without.path(), (&json!({}), ""), None);
        assert!(matches!(unknown, Err(LayoutError::NoLimit { .. })));
    }

    #[test]
    fn settings_of_the_first_module_have_seven_names_and_are_followed_or_refused() {
        let config = json!({ "max_position_embeddings": 512 });
        let of = |name, tokens: Value| (name, json!({ "max_seq_length": tokens }));
        let (first, other) = ("sentence_bert_config.json", "sentence_roberta_config.json");
        assert_eq!(stated(&[of(other, json!(10))], &config), 10);
        assert_eq!(
            stated(&[of(other, json!(10)), of(first, json!(20))], &config),
            20
        );
        assert_eq!(stated(&[of(first, Value::Null)], &config), 512);
        for wrong in [json!("512"), json!(-5), json!(2), json!(12.5)] {
            let all = directory(&[of(first, wrong.clone())]);
            let refused = limit(all.path(), (&config, ""), None).unwrap_err();
            let refused = refused.to_string();
            assert!(
                refused.contains(first) && refused.contains(&wrong.to_string()),
                "{refused}"
            );
        }
    }

    #[test]
    fn places_that_are_counted_from_the_padding_token_are_not_all_there() {
        let places = |kind: &str, padding: Value| {
            let config = json!({
                "model_type": kind, "max_position_embeddings": 514, "pad_token_id": padding
            });
            stated(&[], &config)
        };
        assert_eq!(places("xlm-roberta", json!(1)), 512);
        assert_eq!(places("roberta", Value::Null), 512);
        assert_eq!(places("mpnet", json!(1)), 512);
        assert_eq!(places("bert", json!(0)), 514);
        let inside = json!({ "text_config": { "max_position_embeddings": 2048 } });
        assert_eq!(stated(&[], &inside), 2048);
        let relative = json!({ "model_type": "t5", "n_positions": 512 });
        let length = (
            "sentence_bert_config.json",
            json!({ "max_seq_length": 600 }),
        );
        assert_eq!(stated(&[length], &relative), 600);
    }

    #[test]
    fn an_option_may_ask_for_more_where_places_are_computed() {
        let none = directory(&[]);
        let given = |config: Value| limit(none.path(), (&config, ""), Some(4096));
        for (kind, more) in [
            ("deberta-v2", json!({ "position_biased_input": false })),
            ("bert", json!({ "position_embedding_type": "alibi" })),
            ("modernbert", json!({})),
            ("nomic_bert", json!({})),
        ] {
            let mut config = json!({ "model_type": kind, "max_position_embeddings": 512 });
            let more = more.as_object().cloned().unwrap_or_default();
            config.as_object_mut().unwrap().extend(more);
            assert_eq!(given(config).unwrap().tokens, 4096, "{kind}");
        }
        for config in [
            json!({ "model_type": "deberta-v2", "max_position_embeddings": 512 }),
            json!({ "model_type": "bert", "max_position_embeddings": 512 }),
        ] {
            assert!(given(config.clone()).is_err(), "{config}");
        }
    }

    #[test]
    fn an_option_cannot_ask_for_more_than_there_are_places() {
        let config = json!({ "model_type": "roberta", "max_position_embeddings": 514 });
        let none = directory(&[]);
        let given = |tokens| limit(none.path(), (&config, ""), Some(tokens));
        assert_eq!(given(512).unwrap().tokens, 512);
        let refused = given(513).unwrap_err().to_string();
        assert!(
            refused.contains("513") && refused.contains("514 less 2"),
            "{refused}"
        );
    }
}
