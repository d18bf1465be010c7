//! Pairs: the tokens that a cross-encoder sees, whole and cut.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

use std::path::Path;

use contract::tokenizer::{Tokenizer, Tokens};
use serde_json::Value;

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"))
}

fn tokenizer() -> Tokenizer {
    Tokenizer::load(&fixtures().join("models/tiny-rerank/tokenizer.json")).unwrap()
}

/// Tokens of `words` words that are one token each.
fn words(words: usize) -> String {
    vec!["stream"; words].join(" ")
}

/// Tokens of each text of a pair within `max` tokens.
fn cut(first: usize, second: usize, max: usize) -> (usize, usize) {
    let tokens = tokenizer()
        .encode_pair_within(&words(first), &words(second), max)
        .unwrap();
    let Tokens { ids, types } = &tokens;
    assert_eq!(ids.len(), types.len());
    assert_eq!(ids.len(), max.min(first + second + 3));
    let border = types.iter().filter(|kind| **kind == 0).count();
    assert!(types[border..].iter().all(|kind| *kind == 1), "{types:?}");
    assert_eq!((ids[0], ids[border - 1], ids[ids.len() - 1]), (2, 3, 3));
    (border - 2, ids.len() - border - 1)
}

#[test]
fn pairs_have_the_token_ids_and_types_of_the_golden_ones() {
    let path = fixtures().join("golden/scores-tiny-rerank.json");
    let golden: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let pairs = golden["pairs"].as_array().unwrap();
    assert!(pairs.len() > 10);
    for pair in pairs {
        let (query, passage) = (&pair["query"], &pair["passage"]);
        let tokens = tokenizer().encode_pair(query.as_str().unwrap(), passage.as_str().unwrap());
        let expected = Tokens {
            ids: serde_json::from_value(pair["token_ids"].clone()).unwrap(),
            types: serde_json::from_value(pair["token_type_ids"].clone()).unwrap(),
        };
        assert_eq!(tokens.unwrap(), expected, "{query}");
    }
}

#[test]
fn the_longer_text_of_a_pair_is_cut_and_the_shorter_one_stays_whole() {
    assert_eq!(cut(4, 200, 23), (4, 16));
    assert_eq!(cut(200, 4, 23), (16, 4));
    assert_eq!(cut(4, 16, 23), (4, 16));
}

#[test]
fn two_texts_that_are_both_too_long_are_cut_to_a_half_each() {
    assert_eq!(cut(200, 300, 23), (10, 10));
    assert_eq!(cut(300, 200, 24), (11, 10));
    assert_eq!(cut(15, 15, 23), (10, 10));
}

#[test]
fn a_pair_that_fits_is_the_same_cut_or_not() {
    let tokenizer = tokenizer();
    let within = tokenizer.encode_pair_within("lag lag lag", "stream", 128);
    let whole = tokenizer.encode_pair("lag lag lag", "stream").unwrap();
    assert_eq!(within.unwrap(), whole);
}
