//! Small tokenizers of every kind, with the settings of those in use.

use std::path::Path;

use contract::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Tokenizers with seams.
pub(crate) fn with_seams() -> Vec<(&'static str, Tokenizer)> {
    let byte_level = |prefix: bool| json!({ "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": true });
    let metaspace = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true });
    let split = json!([
        { "type": "Split", "pattern": { "Regex": LLAMA_3 }, "behavior": "Isolated", "invert": false },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
    ]);
    let words = json!([{ "type": "WhitespaceSplit" }, metaspace]);
    let one_space = json!([
        { "type": "NFKC" },
        { "type": "Replace", "pattern": { "Regex": " {2,}" }, "content": " " },
    ]);
    vec![
        ("bert", fixture()),
        (
            "bert, cased",
            bert(&json!({ "clean_text": true, "lowercase": false })),
        ),
        (
            "bert, accents",
            bert(&json!({ "clean_text": false, "strip_accents": false, "lowercase": true })),
        ),
        ("gpt-2", load(&Value::Null, &byte_level(false), &bpe())),
        ("roberta", load(&Value::Null, &byte_level(true), &bpe())),
        (
            "llama 3",
            load(
                &json!({ "type": "NFC" }),
                &sequence("pretokenizers", split),
                &bpe(),
            ),
        ),
        (
            "xlm-r",
            load(
                &sequence("normalizers", one_space),
                &sequence("pretokenizers", words),
                &unigram(),
            ),
        ),
        (
            "t5",
            load(&json!({ "type": "NFKC" }), &metaspace, &unigram()),
        ),
    ]
}

/// Tokenizers whose tokens may depend on what is on the other side of a space.
pub(crate) fn without_seams() -> Vec<(&'static str, Tokenizer)> {
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false });
    let prepend = json!({ "type": "Prepend", "prepend": "▁" });
    let replace = json!({ "type": "Replace", "pattern": { "String": " " }, "content": "_" });
    let words = json!({ "type": "WhitespaceSplit" });
    vec![
        ("no splits", load(&Value::Null, &bytes, &bpe())),
        ("no pre-tokenizer", load(&prepend, &Value::Null, &unigram())),
        ("spaces replaced", load(&replace, &words, &unigram())),
        ("white space added", {
            let mut tokenizer = special();
            tokenizer[4] = "<ma sk>".to_owned();
            with_added(tokenizer, &Value::Null, &words, &unigram())
        }),
    ]
}

fn sequence(steps: &str, all: Value) -> Value {
    json!({ "type": "Sequence", steps: all })
}

fn fixture() -> Tokenizer {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"));
    Tokenizer::load(&fixtures.join("models/tiny-embed/tokenizer.json")).unwrap()
}

fn bert(settings: &Value) -> Tokenizer {
    let mut normalizer =
        json!({ "type": "BertNormalizer", "handle_chinese_chars": true, "strip_accents": null });
    for (setting, value) in settings.as_object().unwrap() {
        normalizer[setting] = value.clone();
    }
    let characters = (b'!'..=b'~')
        .map(char::from)
        .chain("éßσж漢字\u{301}".chars());
    let pieces = characters.flat_map(|c| [c.to_string(), format!("##{c}")]);
    let all = special().into_iter().chain(pieces);
    let words = ["the", "queue", "worker", "chunk", "##ing", "##s", "vector"].map(str::to_owned);
    let vocab: Map<String, Value> = all
        .chain(words)
        .zip(0..)
        .map(|(token, id)| (token, json!(id)))
        .collect();
    let model = json!({ "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
        "max_input_chars_per_word": 100, "vocab": vocab });
    load(&normalizer, &json!({ "type": "BertPreTokenizer" }), &model)
}

fn special() -> [String; 7] {
    [
        "[UNK]",
        "<s>",
        "</s>",
        "[SEP]",
        "<mask>",
        "<|endoftext|>",
        "<pad>",
    ]
    .map(str::to_owned)
}

/// Bytes, with merges across all that a pattern does not split.
fn bpe() -> Value {
    let bytes = (0..=255).map(|byte| stand_in(byte).to_string());
    let mut vocab: Map<String, Value> = special()
        .into_iter()
        .chain(bytes)
        .zip(0..)
        .map(|(token, id)| (token, json!(id)))
        .collect();
    let merges = [
        "e Ġ", "t h", "th e", "Ġ the", "Ġ q", ". Ġ", "Ċ Ċ", "eĠ th", "a b", "ab ab", "s .Ġ", ". Ċ",
        "Ġ Ġ", "u e", "1 2", "' s", "Ã ©",
    ];
    for merge in merges {
        let id = vocab.len();
        vocab.insert(merge.replace(' ', ""), json!(id));
    }
    json!({ "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
        "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab, "merges": merges })
}

/// The printable character that byte-level tokenizers write for a byte.
fn stand_in(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(*byte)).count();
    char::from_u32(256 + u32::try_from(before).unwrap()).unwrap()
}

fn unigram() -> Value {
    let letters = (b'!'..=b'~').map(|byte| (char::from(byte).to_string(), -6.0));
    let words = [
        "▁", "▁the", "▁queue", "the", "er", "▁W", "ing", "▁s", "▁1", "é", "漢", "か", ".",
    ];
    let words = words.into_iter().map(|word| (word.to_owned(), -3.0));
    let special = special().into_iter().map(|token| (token, 0.0));
    let mut seen = std::collections::HashSet::new();
    let vocab: Vec<Value> = special
        .chain(words)
        .chain(letters)
        .filter(|(token, _)| seen.insert(token.clone()))
        .map(|(token, score)| json!([token, score]))
        .collect();
    json!({ "type": "Unigram", "unk_id": 0, "byte_fallback": false, "vocab": vocab })
}

/// A tokenizer with `<s>` before a text and `</s>` after it.
fn load(normalizer: &Value, splits: &Value, model: &Value) -> Tokenizer {
    with_added(special(), normalizer, splits, model)
}

fn with_added(added: [String; 7], normalizer: &Value, splits: &Value, model: &Value) -> Tokenizer {
    let added = (0..).zip(added).map(|(id, content)| {
        let left = content == "<mask>";
        json!({ "id": id, "content": content, "single_word": false, "lstrip": left, "rstrip": false,
            "normalized": false, "special": true })
    });
    let token = |id: &str| json!({ "SpecialToken": { "id": id, "type_id": 0 } });
    let text = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let special = |id: &str, at: u32| json!({ "id": id, "ids": [at], "tokens": [id] });
    let single = [token("<s>"), text("A"), token("</s>")];
    let pair = [
        token("<s>"),
        text("A"),
        token("</s>"),
        text("B"),
        token("</s>"),
    ];
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "decoder": null,
        "added_tokens": added.collect::<Vec<_>>(), "normalizer": normalizer, "pre_tokenizer": splits,
        "post_processor": { "type": "TemplateProcessing", "single": single, "pair": pair,
            "special_tokens": { "<s>": special("<s>", 1), "</s>": special("</s>", 2) } },
        "model": model,
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    Tokenizer::load(&path).unwrap()
}
