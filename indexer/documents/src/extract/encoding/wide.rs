//! Wide texts: UTF-16 without a byte order mark, and UTF-32 with one, which nothing else here knows.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};

use super::{Choice, Evidence, Text, TextEncoding, guessed};
use crate::document::Ledger;

/// Fewer letters tell nothing.
const LEAST_LETTERS: usize = 4;
/// One of so many letters at least is one of ASCII, of which half is zero.
const ASCII_PART: usize = 4;

/// Decodes a text that is wide; `None` where it is not. An error says what it is where it cannot be decoded.
pub fn decode(bytes: &[u8], option: Option<TextEncoding>) -> Result<Option<Text>, &'static str> {
    if let Some((name, text)) = utf32(bytes) {
        let text = text.ok_or(name)?;
        let notes = Ledger::default();
        return Ok(Some(Text { text, notes }));
    }
    if option.is_some() || Encoding::for_bom(bytes).is_some() || !bytes.len().is_multiple_of(2) {
        return Ok(None);
    }
    let Some(choice) = choice(bytes) else {
        return Ok(None);
    };
    let encoding = choice.encoding;
    let text = encoding
        .decode_without_bom_handling_and_without_replacement(bytes)
        .filter(|text| is_text(text));
    let name = if encoding == UTF_16LE {
        "utf-16le"
    } else {
        "utf-16be"
    };
    Ok(Some(Text {
        text: text.ok_or(name)?.into_owned(),
        notes: choice.told().map(guessed).unwrap_or_default(),
    }))
}

/// The same text in UTF-8, if it is wide or has a byte order mark.
pub fn narrowed(bytes: &[u8]) -> Cow<'_, [u8]> {
    if let Ok(Some(wide)) = decode(bytes, None) {
        return Cow::Owned(wide.text.into_bytes());
    }
    match Encoding::for_bom(bytes) {
        Some((encoding, _)) => Cow::Owned(encoding.decode(bytes).0.into_owned().into_bytes()),
        None => Cow::Borrowed(bytes),
    }
}

/// What a text with a mark of UTF-32 is called.
pub fn utf32_mark(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        // The same bytes begin a text in UTF-16 whose first letter is zero, which no text has.
        [0xff, 0xfe, 0, 0, ..] => Some("utf-32le"),
        [0, 0, 0xfe, 0xff, ..] => Some("utf-32be"),
        _ => None,
    }
}

/// The name and the text of UTF-32, as far as it can be read.
fn utf32(bytes: &[u8]) -> Option<(&'static str, Option<String>)> {
    let name = utf32_mark(bytes)?;
    let order = if name == "utf-32le" {
        u32::from_le_bytes
    } else {
        u32::from_be_bytes
    };
    let (letters, rest) = bytes[4..].as_chunks::<4>();
    let text: Option<String> = letters
        .iter()
        .map(|letter| char::from_u32(order(*letter)))
        .collect();
    let text = text.filter(|text| rest.is_empty() && is_text(text));
    Some((name, text))
}

/// UTF-16, where one byte of each letter is zero so often, and the other one never, that it can be nothing else.
pub fn choice(bytes: &[u8]) -> Option<Choice> {
    let (letters, _) = bytes.as_chunks::<2>();
    // Nearly all texts have no zero at all.
    if letters.len() < LEAST_LETTERS || memchr::memchr(0, bytes).is_none() {
        return None;
    }
    let first = letters.iter().filter(|letter| letter[0] == 0).count();
    let second = letters.iter().filter(|letter| letter[1] == 0).count();
    let is_ascii = |zeros: usize| zeros * ASCII_PART >= letters.len();
    let encoding = match (first, second) {
        (0, second) if is_ascii(second) => UTF_16LE,
        (first, 0) if is_ascii(first) => UTF_16BE,
        _ => return None,
    };
    Some(Choice {
        guess: Some(Evidence::Zeros),
        ..Choice::said(encoding)
    })
}

fn is_text(text: &str) -> bool {
    let is_sign = |c: char| c.is_control() && !c.is_whitespace() && c != '\u{1b}';
    !text.contains(is_sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Stra\u{df}en in \u{6771}\u{4eac}\n";

    fn utf16_of(text: &str, order: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(order).collect()
    }

    #[test]
    fn wide_texts_are_read_where_nothing_else_can_be_meant() {
        for (order, name) in [
            (u16::to_le_bytes as fn(u16) -> [u8; 2], "utf-16le"),
            (u16::to_be_bytes as fn(u16) -> [u8; 2], "utf-16be"),
        ] {
            let text = decode(&utf16_of(TEXT, order), None).unwrap().unwrap();
            assert_eq!(text.text, TEXT);
            let notes = text.notes.to_string();
            assert!(notes.contains(name), "{notes}");
        }
        for order in [u32::to_le_bytes as fn(u32) -> [u8; 4], u32::to_be_bytes] {
            let marked = format!("\u{feff}{TEXT}");
            let bytes: Vec<u8> = marked.chars().map(u32::from).flat_map(order).collect();
            let text = decode(&bytes, None).unwrap().unwrap();
            assert_eq!((text.text.as_str(), text.notes.is_empty()), (TEXT, true));
            assert_eq!(narrowed(&bytes), TEXT.as_bytes());
            let cut = decode(&bytes[..bytes.len() - 1], None).unwrap_err();
            assert!(cut.starts_with("utf-32"), "{cut}");
        }
    }

    #[test]
    fn other_bytes_are_not_wide() {
        let marked = utf16_of(&format!("\u{feff}{TEXT}"), u16::to_le_bytes);
        for bytes in [
            TEXT.as_bytes(),
            b"",
            b"a\0",
            b"a\0b\0c\0d\0e",
            b"\0\0a\0\0b\0c",
            // A letter whose second byte is zero is certain in no order.
            &utf16_of("\u{4e00} one and two", u16::to_be_bytes),
            &marked,
        ] {
            assert!(decode(bytes, None).unwrap().is_none(), "{bytes:?}");
        }
        let binary = [1, 0, 2, 0, 3, 0, 4, 0];
        assert_eq!(decode(&binary, None).unwrap_err(), "utf-16le");
    }
}
