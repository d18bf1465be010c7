//! Data URIs: files that are written into a text, as `data:image/png;base64,...`. A picture of 1 MB would be a thousand chunks
//! that nobody searches, so they are left out, and counted.

use std::borrow::Cow;
use std::ops::Range;

use memchr::memmem;

use crate::document::{Ledger, Reason};

const MARK: &[u8] = b";base64,";
const SCHEME: &str = "data:";
/// Most bytes between the scheme and the mark: a type with parameters.
const MAX_TYPE_BYTES: usize = 128;
/// Shorter ones are examples in a text.
const MIN_BYTES: usize = 256;

/// The text without them; borrowed if there are none.
pub fn without<'a>(text: &'a str, dropped: &mut Ledger) -> Cow<'a, str> {
    let ranges = ranges(text);
    if ranges.is_empty() {
        return Cow::Borrowed(text);
    }
    let (mut kept, mut copied) = (String::new(), 0);
    for range in ranges {
        dropped.add(Reason::DataUri, range.len() as u64, None);
        kept.push_str(&text[copied..range.start]);
        copied = range.end;
    }
    kept.push_str(&text[copied..]);
    Cow::Owned(kept)
}

pub fn ranges(text: &str) -> Vec<Range<usize>> {
    let (mut ranges, mut copied) = (Vec::new(), 0);
    for mark in memmem::find_iter(text.as_bytes(), MARK) {
        let Some(start) = start_of(text, mark).filter(|start| *start >= copied) else {
            continue;
        };
        let data = mark + MARK.len();
        let end = data + run(&text.as_bytes()[data..]);
        if end - data < MIN_BYTES {
            continue;
        }
        ranges.push(start..end);
        copied = end;
    }
    ranges
}

fn start_of(text: &str, mark: usize) -> Option<usize> {
    let from = text.floor_char_boundary(mark.saturating_sub(MAX_TYPE_BYTES));
    let before = &text[from..mark];
    let start = before.rfind(SCHEME)?;
    let is_type = |c: char| c.is_ascii_graphic() && !matches!(c, '(' | ')' | '<' | '>' | ',');
    before[start + SCHEME.len()..]
        .chars()
        .all(is_type)
        .then_some(from + start)
}

/// Bytes of base64 at the start, whether on one line or on several.
fn run(bytes: &[u8]) -> usize {
    let is_data = |byte: &&u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_' | b'=' | b'%')
    };
    bytes.iter().take_while(is_data).count()
}

/// Most bytes of a text with the start of one that counts: of two pieces that share as many, one holds it.
pub const OVERLAP: usize = 1024;

/// Whether there are any in a piece of a text.
pub fn are_in(piece: &[u8]) -> bool {
    let mut marks = memmem::find_iter(piece, MARK);
    marks.any(|mark| run(&piece[mark + MARK.len()..]) >= MIN_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_in_a_text_are_left_out_and_counted() {
        let data = "iVBORw0KGgo".repeat(100);
        let text = format!(
            "# A\n![a picture](data:image/png;base64,{data}) text \
             <img src=\"data:image/svg+xml;charset=utf-8;base64,{data}==\"> data:x;base64,short, ;base64,{data}"
        );
        let mut dropped = Ledger::default();
        let kept = without(&text, &mut dropped);
        let expected =
            format!("# A\n![a picture]() text <img src=\"\"> data:x;base64,short, ;base64,{data}");
        assert_eq!(kept, expected);
        assert_eq!(dropped.count(Reason::DataUri), 2);
        assert!(matches!(
            without("plain", &mut dropped),
            Cow::Borrowed("plain")
        ));
    }
}
