//! Strings: the texts that a PDF holds beside its pages.

use encoding_rs::{Encoding, UTF_8};

/// What bytes are that are not those of Latin 1.
const FROM_18: [char; 8] = [
    '\u{2d8}', '\u{2c7}', '\u{2c6}', '\u{2d9}', '\u{2dd}', '\u{2db}', '\u{2da}', '\u{2dc}',
];
const FROM_80: [char; 33] = [
    '\u{2022}', '\u{2020}', '\u{2021}', '\u{2026}', '\u{2014}', '\u{2013}', '\u{192}', '\u{2044}',
    '\u{2039}', '\u{203a}', '\u{2212}', '\u{2030}', '\u{201e}', '\u{201c}', '\u{201d}', '\u{2018}',
    '\u{2019}', '\u{201a}', '\u{2122}', '\u{fb01}', '\u{fb02}', '\u{141}', '\u{152}', '\u{160}',
    '\u{178}', '\u{17d}', '\u{131}', '\u{142}', '\u{153}', '\u{161}', '\u{17e}', '\u{fffd}',
    '\u{20ac}',
];
/// Begins and ends the name of a language inside of a text, and how many letters that has at most.
const ESCAPE: char = '\u{1b}';
const MOST_OF_LANGUAGE: usize = 4;

/// The text of a string: UTF-16 or UTF-8 with a mark, else in the encoding that PDF has for this.
pub fn decoded(bytes: &[u8]) -> String {
    let text = match Encoding::for_bom(bytes) {
        Some((encoding, mark)) => {
            let mut rest = &bytes[mark..];
            if encoding != UTF_8 {
                // Half a unit at the end is no letter.
                rest = &rest[..rest.len() & !1];
            }
            let (text, _) = encoding.decode_without_bom_handling(rest);
            text.into_owned()
        }
        None => bytes.iter().map(|&byte| letter(byte)).collect(),
    };
    if text.contains(char::is_control) {
        return without_control(&text);
    }
    text
}

fn letter(byte: u8) -> char {
    match byte {
        0x18..=0x1f => FROM_18[usize::from(byte - 0x18)],
        0x80..=0xa0 => FROM_80[usize::from(byte - 0x80)],
        _ => char::from(byte),
    }
}

/// A text whose lines end as all others do, without names of languages and what else nobody reads.
fn without_control(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\r' => {
                rest = rest.strip_prefix('\n').unwrap_or(rest);
                out.push('\n');
            }
            '\n' | '\t' => out.push(letter),
            ESCAPE => rest = behind_language(rest),
            letter if letter.is_control() => {}
            letter => out.push(letter),
        }
    }
    out
}

fn behind_language(text: &str) -> &str {
    let letters = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let behind = text[letters..].strip_prefix(ESCAPE);
    behind
        .filter(|_| letters <= MOST_OF_LANGUAGE)
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_in_the_encoding_of_pdf_or_marked() {
        for (bytes, text) in [
            (
                b"\x84 \x8dq\x8e \x9e \xa0 \xe9 \x1a".as_slice(),
                "\u{2014} \u{201c}q\u{201d} \u{17e} \u{20ac} \u{e9} \u{2c6}",
            ),
            (b"\xfe\xff\0a\x20\x14", "a\u{2014}"),
            (b"\xff\xfea\0\x14\x20\0", "a\u{2014}"),
            (b"\xef\xbb\xbf\xc3\xa9\xff", "\u{e9}\u{fffd}"),
            (b"", ""),
        ] {
            assert_eq!(decoded(bytes), text);
        }
    }

    #[test]
    fn signs_that_control_something_are_no_text() {
        for (bytes, text) in [
            (b"a\0\x01\x7fb\rc\r\nd\n\te".as_slice(), "ab\nc\nd\n\te"),
            (b"\xfe\xff\0\x1b\0e\0n\0U\0S\0\x1b\0a", "a"),
            (b"\xef\xbb\xbf\x1bescape\x1b", "escape"),
            (b"\xef\xbb\xbf\x1bone\x1btwo", "two"),
        ] {
            assert_eq!(decoded(bytes), text);
        }
    }
}
