//! Two small tokenizers, so that tests need no files of others: one that works word by word, and one on bytes whose
//! tokens span words, so that counts of parts do not add up.

use contract::tokenizer::Tokenizer;
use serde_json::{Map, Value, json};

/// WordPiece as in BERT: some words, and letters and digits for all others.
pub fn wordpiece() -> Tokenizer {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(str::to_owned);
    let words = ["the", "queue", "worker", "chunk", "##ing", "##s", "vector"].map(str::to_owned);
    let characters = (b'!'..=b'~')
        .filter(|byte| !byte.is_ascii_uppercase())
        .map(char::from);
    let pieces = characters.flat_map(|c| [c.to_string(), format!("##{c}")]);
    let all = special.into_iter().chain(words).chain(pieces);
    let vocab: Map<String, Value> = all.zip(0..).map(|(token, id)| (token, json!(id))).collect();
    let added = |id: u32, content: &str| {
        json!({ "id": id, "content": content, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true })
    };
    let special = |id: &str, at: u32| json!({ "id": id, "ids": [at], "tokens": [id] });
    let token = |id: &str| json!({ "SpecialToken": { "id": id, "type_id": 0 } });
    let text = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    load(&json!({
        "version": "1.0", "truncation": null, "padding": null, "decoder": null,
        "added_tokens": [
            added(0, "[PAD]"), added(1, "[UNK]"), added(2, "[CLS]"), added(3, "[SEP]"),
        ],
        "normalizer": { "type": "BertNormalizer", "clean_text": true,
            "handle_chinese_chars": true, "strip_accents": null, "lowercase": true },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": { "type": "TemplateProcessing",
            "single": [token("[CLS]"), text("A"), token("[SEP]")],
            "pair": [token("[CLS]"), text("A"), token("[SEP]"), text("B"), token("[SEP]")],
            "special_tokens": { "[CLS]": special("[CLS]", 2), "[SEP]": special("[SEP]", 3) } },
        "model": { "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocab },
    }))
}

/// Bytes, with merges across spaces and line ends.
pub fn bytes() -> Tokenizer {
    let mut vocab: Map<String, Value> = (0..=255)
        .map(|byte| (stand_in(byte).to_string(), json!(byte)))
        .collect();
    let merges = ["e Ġ", "t h", ". Ġ", "Ċ Ċ", "eĠ th", "a b", "ab ab", "s .Ġ"];
    for merge in merges {
        let id = vocab.len();
        vocab.insert(merge.replace(' ', ""), json!(id));
    }
    load(&json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": { "type": "NFC" }, "post_processor": null, "decoder": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
            "use_regex": false },
        "model": { "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": vocab, "merges": merges },
    }))
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

fn load(tokenizer: &Value) -> Tokenizer {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, tokenizer.to_string()).unwrap();
    Tokenizer::load(&path).unwrap()
}
