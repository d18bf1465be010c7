//! Ends of sentences by the rules of Unicode (UAX 29), which are looked up character by character. Nothing but a line
//! end or a mark such as a full stop ends a sentence: in ASCII, where the rules are few, all else is passed over.

use unicode_segmentation::UnicodeSegmentation;

/// Gives the ends of the sentences in `text` to `take`, in order, but for its own end.
pub fn ends(text: &str, take: impl FnMut(usize)) {
    if text.is_ascii() {
        ascii_ends(text.as_bytes(), take);
    } else {
        unicode_ends(text, take);
    }
}

fn unicode_ends(text: &str, mut take: impl FnMut(usize)) {
    let mut at = 0;
    for sentence in text.split_sentence_bounds() {
        at += sentence.len();
        if at < text.len() {
            take(at);
        }
    }
}

fn ascii_ends(text: &[u8], mut take: impl FnMut(usize)) {
    let mut at = 0;
    while at < text.len() {
        let next = match text[at] {
            b'\n' | b'\r' => Boundary::At(after_line(text, at)),
            b'.' | b'!' | b'?' => after_mark(text, at),
            _ => Boundary::NotBefore(at + 1),
        };
        at = match next {
            Boundary::At(end) => {
                if end < text.len() {
                    take(end);
                }
                end
            }
            Boundary::NotBefore(next) => next,
        };
    }
}

/// What a mark or a line says of the end of a sentence.
enum Boundary {
    /// A sentence ends at this byte.
    At(usize),
    /// No sentence ends before this byte.
    NotBefore(usize),
}

/// SB3 and SB4: a line ends a sentence, CR and LF together.
fn after_line(text: &[u8], at: usize) -> usize {
    at + if text[at..].starts_with(b"\r\n") {
        2
    } else {
        1
    }
}

/// SB6 to SB11, for the mark at `at`.
fn after_mark(text: &[u8], at: usize) -> Boundary {
    let stop = text[at] == b'.';
    let before = at.checked_sub(1).map(|before| text[before]);
    match text.get(at + 1) {
        Some(next) if stop && next.is_ascii_digit() => return Boundary::NotBefore(at + 1),
        Some(next)
            if stop
                && next.is_ascii_uppercase()
                && before.is_some_and(|before| before.is_ascii_alphabetic()) =>
        {
            return Boundary::NotBefore(at + 1);
        }
        Some(_) | None => {}
    }
    let closed = skip(text, at + 1, is_close);
    let end = skip(text, closed, is_space);
    match text.get(end) {
        Some(b'\n' | b'\r') => Boundary::At(after_line(text, end)),
        Some(&next) if continues(next) => Boundary::NotBefore(end),
        Some(_) if stop && lower_case_follows(text, end) => Boundary::NotBefore(end),
        Some(_) | None => Boundary::At(end),
    }
}

/// SB8: what goes on with a small letter, whatever is before it, was an abbreviation.
fn lower_case_follows(text: &[u8], at: usize) -> bool {
    let passed = |byte: u8| {
        !byte.is_ascii_alphabetic() && !matches!(byte, b'\n' | b'\r' | b'.' | b'!' | b'?')
    };
    text.get(skip(text, at, passed))
        .is_some_and(u8::is_ascii_lowercase)
}

fn skip(text: &[u8], at: usize, over: impl Fn(u8) -> bool) -> usize {
    let rest = &text[at..];
    at + rest
        .iter()
        .position(|&byte| !over(byte))
        .unwrap_or(rest.len())
}

fn is_close(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'(' | b')' | b'[' | b']' | b'{' | b'}')
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\x0b' | b'\x0c')
}

/// SB8a: marks after which the same sentence goes on.
fn continues(byte: u8) -> bool {
    matches!(byte, b'.' | b'!' | b'?' | b',' | b'-' | b':' | b';')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(text: &str, find: fn(&str, &mut dyn FnMut(usize))) -> Vec<usize> {
        let mut ends = Vec::new();
        find(text, &mut |end| ends.push(end));
        ends
    }

    fn check(text: &str) {
        let by_rules = all(text, |text, take| unicode_ends(text, take));
        let by_marks = all(text, |text, take| ends(text, take));
        assert_eq!(by_marks, by_rules, "{text:?}");
    }

    #[test]
    fn any_four_ascii_characters_after_a_mark() {
        let kinds = "aA1 .!\"(,-:;\n\r\t\u{b}/~\0";
        for first in ["a", "A", "1", ""] {
            for mark in ['.', '?'] {
                for a in kinds.chars() {
                    for b in kinds.chars() {
                        for c in kinds.chars() {
                            check(&format!("{first}{mark}{a}{b}{c}x"));
                            check(&format!("{first}{mark}{a}{b}{c}X"));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn any_ascii_character() {
        for c in '\0'..='\x7f' {
            check(&format!("One{c} two.{c} three. {c}four.{c}Five. {c}Six"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_ascii_text(text in "[ -~\n\r\t]{0,200}", marks in "([a-zA-Z0-9]{1,3}[.!?][\"')]?[ \n,:-]{0,2}){0,40}") {
            check(&text);
            check(&marks);
        }
    }
}
