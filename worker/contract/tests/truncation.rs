//! Truncation: what is cut of the tokens of a single text.

#![expect(
    clippy::unwrap_used,
    reason = "a fixture that cannot be made is a failed test"
)]

use std::path::Path;

use contract::tokenizer::Tokenizer;

fn tokenizer() -> Tokenizer {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures"));
    Tokenizer::load(&fixtures.join("models/tiny-embed/tokenizer.json")).unwrap()
}

#[test]
fn a_text_that_fits_is_left_as_it_is() {
    let whole = tokenizer().encode("stream stream stream").unwrap();
    for room in [whole.len(), whole.len() + 1, 1_000] {
        let mut ids = whole.clone();
        tokenizer().truncate(&mut ids, room);
        assert_eq!(ids, whole, "with room for {room}");
    }
}

#[test]
fn a_text_that_is_cut_keeps_its_special_tokens() {
    let whole = tokenizer().encode("stream stream stream").unwrap();
    let mut ids = whole.clone();
    tokenizer().truncate(&mut ids, 4);
    assert_eq!(ids, [whole[0], whole[1], whole[2], whole[whole.len() - 1]]);
}
