//! Texts that are tokenized part by part have the tokens that the library gives for the whole, whatever the text.

#![expect(
    clippy::unwrap_used,
    reason = "a tokenizer that cannot be made is a failed test"
)]

#[path = "equal_tokens/kinds.rs"]
mod kinds;
#[path = "equal_tokens/random.rs"]
mod random;
#[path = "equal_tokens/texts.rs"]
mod texts;

use contract::tokenizer::{Pieces, Tokenizer};
use proptest::prelude::*;

fn pieces(tokenizer: &Tokenizer, text: &str) -> Pieces {
    let mut pieces = Pieces::default();
    tokenizer.add_pieces(text, 0, &mut pieces).unwrap();
    pieces
}

/// What holds for any text: the same ids, in the same places; and the same again when all words are known.
fn check(tokenizer: &Tokenizer, whole: &Tokenizer, text: &str) {
    let expected = whole.encode(text).unwrap();
    let places = pieces(whole, text);
    for _ in 0..2 {
        assert_eq!(tokenizer.encode(text).unwrap(), expected, "{text:?}");
        let found = pieces(tokenizer, text);
        assert_eq!(found.ids, places.ids, "{text:?}");
        // This one takes the white space before it, which parts do not have.
        if !text.contains("<mask>") {
            assert_eq!(found.starts, places.starts, "{text:?}");
        }
    }
}

/// At each seam the tokens of both sides add up.
fn check_seams(tokenizer: &Tokenizer, whole: &Tokenizer, text: &str) {
    let all = pieces(whole, text).ids;
    for at in (1..text.len()).filter(|&at| tokenizer.is_seam(text, at)) {
        let (left, right) = text.split_at(at);
        let sides = [pieces(whole, left).ids, pieces(whole, right).ids].concat();
        assert_eq!(sides, all, "{left:?} {right:?}");
    }
}

fn every_text(tokenizer: &Tokenizer, texts: impl IntoIterator<Item = String>) {
    let whole = tokenizer.clone().on_whole_texts();
    for text in texts {
        check(tokenizer, &whole, &text);
    }
}

#[test]
fn every_kind_has_seams() {
    for (name, tokenizer) in kinds::with_seams() {
        assert!(tokenizer.is_seam("the tide", 3), "{name}");
        assert!(!tokenizer.is_seam("the tide", 1), "{name}");
    }
}

#[test]
fn settings_that_look_across_spaces_have_none() {
    for (name, tokenizer) in kinds::without_seams() {
        assert!(!tokenizer.is_seam("the tide", 3), "{name}");
        every_text(&tokenizer, texts::mixed(200));
    }
}

#[test]
fn every_character_has_the_same_tokens() {
    for (_, tokenizer) in kinds::with_seams() {
        every_text(&tokenizer, texts::every_character());
    }
}

#[test]
fn texts_of_anything_have_the_same_tokens() {
    for (_, tokenizer) in kinds::with_seams() {
        every_text(&tokenizer, texts::mixed(2000));
        every_text(&tokenizer, texts::bytes(300));
        every_text(&tokenizer, texts::long());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_of_both_sides_of_a_seam_add_up(seed in any::<u64>()) {
        for (_, tokenizer) in kinds::with_seams() {
            let whole = tokenizer.clone().on_whole_texts();
            check_seams(&tokenizer, &whole, &texts::mixed_from(seed));
        }
    }
}
