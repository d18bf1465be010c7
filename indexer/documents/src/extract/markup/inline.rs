//! Signs inside of a line: emphasis and the like, whose marks are left out and whose text is kept.

use std::collections::BTreeMap;

/// Farthest way to the mark that closes another.
const REACH: usize = 4 << 10;

/// The part of `text` that starts after `from` and is closed by `mark`: its end. No blank line is in it.
pub fn closing(text: &str, from: usize, mark: &str) -> Option<usize> {
    let end = text.floor_char_boundary((from + REACH).min(text.len()));
    let within = text.get(from..end)?;
    let at = within.find(mark)?;
    (!within[..at].contains("\n\n")).then_some(from + at)
}

/// Takes marks of emphasis off: each of `marks` on both sides of a text, where it stands at the edges of words. Text between
/// two of `raw` stays as it is, without these.
pub fn unmarked(text: &str, marks: &[&str], raw: &[&str]) -> String {
    let mut kept = String::with_capacity(text.len());
    // The length of the mark that closes at a place.
    let mut ends: BTreeMap<usize, usize> = BTreeMap::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        // A longer mark may have jumped over some.
        while ends.first_key_value().is_some_and(|(end, _)| *end < at) {
            ends.pop_first();
        }
        if let Some(length) = ends.remove(&at) {
            at += length;
            continue;
        }
        let before = text[..at].chars().next_back();
        let opens = before.is_none_or(|c| !c.is_alphanumeric());
        if !c.is_ascii_punctuation() || !opens {
            kept.push(c);
            at += c.len_utf8();
            continue;
        }
        if let Some((end, length)) = opened(text, at, raw) {
            kept.push_str(&text[at + length..end]);
            at = end + length;
        } else if let Some((end, length)) = opened(text, at, marks) {
            ends.entry(end).or_insert(length);
            at += length;
        } else {
            kept.push(c);
            at += c.len_utf8();
        }
    }
    kept
}

/// Where the text that one of the marks opens here is closed, and how long the mark is.
fn opened(text: &str, at: usize, marks: &[&str]) -> Option<(usize, usize)> {
    let mark = marks.iter().find(|mark| text[at..].starts_with(**mark))?;
    let from = at + mark.len();
    let first = text[from..].chars().next()?;
    if first.is_whitespace() {
        return None;
    }
    let mut search = from + first.len_utf8();
    // A few marks may be inside of the text.
    for _ in 0..8 {
        let end = closing(text, search, mark)?;
        let before = text[..end].chars().next_back();
        let after = text[end + mark.len()..].chars().next();
        let closes = before.is_some_and(|c| !c.is_whitespace())
            && after.is_none_or(|c| !c.is_alphanumeric());
        if closes && end > from {
            return Some((end, mark.len()));
        }
        search = end + mark.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_at_the_edges_of_words_are_taken_off() {
        let plain = |text| unmarked(text, &["**", "*", "_"], &["`"]);
        assert_eq!(plain("a *b c* **d** _e_"), "a b c d e");
        assert_eq!(
            plain("snake_case_name 2*3*4 * x *"),
            "snake_case_name 2*3*4 * x *"
        );
        assert_eq!(plain("`a *b*` *c*"), "a *b* c");
        assert_eq!(plain("*open"), "*open");
        assert_eq!(plain("*a _b_ c*"), "a b c");
        assert_eq!(plain("*a `b* c` *d*"), "a b* c d");
    }
}
