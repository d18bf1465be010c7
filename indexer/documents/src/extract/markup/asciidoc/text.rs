//! Text with macros, links, attributes and marks.

use super::super::inline::{closing, unmarked};
use super::Reader;

/// Bytes that a file may take in of attributes: one that stands for many others would grow without end.
const MOST_TAKEN: usize = 1 << 20;

impl Reader<'_> {
    /// Text without marks; of a link or a macro its words.
    pub fn inline(&self, text: &str) -> String {
        let text = self.with_attributes(text);
        let text = without_macros(&text);
        let text = unmarked(
            &text,
            &["**", "__", "##", "*", "_", "#", "^", "~"],
            &["``", "`", "+++", "++", "+"],
        );
        text.replace("\"`", "\u{201c}")
            .replace("`\"", "\u{201d}")
            .replace(" +\n", "\n")
    }

    /// Puts the values of attributes in the places of their names.
    fn with_attributes(&self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            kept.push_str(&rest[..at]);
            rest = &rest[at..];
            let end = closing(rest, 1, "}").filter(|_| self.taken.get() < MOST_TAKEN);
            let value = end.and_then(|end| self.value_of(&rest[1..end]));
            if let (Some(end), Some(value)) = (end, value) {
                kept.push_str(value);
                rest = &rest[end + 1..];
                self.taken.set(self.taken.get() + value.len());
            } else {
                kept.push('{');
                rest = &rest[1..];
            }
        }
        kept.push_str(rest);
        kept
    }

    fn value_of(&self, name: &str) -> Option<&str> {
        let known = self
            .attributes
            .get(&name.to_lowercase())
            .map(String::as_str);
        known.or(match name {
            "nbsp" | "sp" => Some(" "),
            "empty" | "blank" | "zwsp" | "wj" => Some(""),
            "amp" => Some("&"),
            "lt" => Some("<"),
            "gt" => Some(">"),
            "plus" => Some("+"),
            "asterisk" => Some("*"),
            "vbar" => Some("|"),
            "apos" => Some("'"),
            "quot" => Some("\""),
            _ => None,
        })
    }
}

/// Takes `<<target,words>>`, `[[anchor]]` and `name:target[words]` for their words.
fn without_macros(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if rest.starts_with("<<")
            && let Some(end) = closing(text, at + 2, ">>")
        {
            let inner = &text[at + 2..end];
            kept.push_str(
                inner
                    .split_once(',')
                    .map_or(inner, |(_, words)| words)
                    .trim(),
            );
            at = end + 2;
        } else if rest.starts_with("[[")
            && let Some(end) = closing(text, at + 2, "]]")
        {
            at = end + 2;
        } else if c == '['
            && let Some((before, words)) = macro_before(&kept, text, at)
        {
            let keeps_target = words.trim().is_empty() && before.is_link;
            let target = kept[before.start..].to_owned();
            kept.truncate(before.start);
            kept.push_str(if keeps_target {
                target_of(&target)
            } else {
                words_of(&words, before.is_image)
            });
            at = before.end;
        } else {
            kept.push(c);
            at += c.len_utf8();
        }
    }
    kept
}

struct Macro {
    /// Where its name starts in what was kept.
    start: usize,
    /// The place behind its brackets.
    end: usize,
    is_link: bool,
    is_image: bool,
}

/// The macro whose name and target end before the bracket at `at`.
fn macro_before(kept: &str, text: &str, at: usize) -> Option<(Macro, String)> {
    const NAMES: [&str; 22] = [
        "link",
        "xref",
        "image",
        "kbd",
        "btn",
        "menu",
        "footnote",
        "footnoteref",
        "mailto",
        "stem",
        "latexmath",
        "asciimath",
        "anchor",
        "icon",
        "indexterm",
        "indexterm2",
        "pass",
        "video",
        "audio",
        "http",
        "https",
        "ftp",
    ];
    /// A name and a target are shorter.
    const FARTHEST: usize = 2 << 10;
    let from = kept.ceil_char_boundary(kept.len().saturating_sub(FARTHEST));
    let reach = &kept[from..];
    let edges = [' ', '\n', '(', '"', '\u{201c}', '\''];
    let word = reach.rsplit(edges).next().unwrap_or(reach);
    let (head, _) = word.split_once(':')?;
    let name = head.trim_start_matches(['*', '_', '`', '+', '#', '|']);
    let start = kept.len() - word.len() + head.len() - name.len();
    let is_macro = NAMES.contains(&name);
    let end = is_macro.then(|| closing(text, at + 1, "]")).flatten()?;
    let found = Macro {
        start,
        end: end + 1,
        is_link: matches!(
            name,
            "link" | "xref" | "mailto" | "http" | "https" | "ftp" | "pass"
        ),
        is_image: matches!(name, "image" | "icon" | "video" | "audio"),
    };
    Some((found, text[at + 1..end].to_owned()))
}

/// The words of a macro, without attributes behind them.
fn words_of(words: &str, is_image: bool) -> &str {
    let words = words.trim().trim_matches('"');
    if is_image {
        return words
            .split(',')
            .next()
            .filter(|alt| !alt.contains('='))
            .unwrap_or_default();
    }
    let attributes = [
        ",window=",
        ",role=",
        ",opts=",
        ",options=",
        ", window=",
        ", role=",
    ];
    let end = attributes.iter().filter_map(|name| words.find(name)).min();
    words[..end.unwrap_or(words.len())].trim_end_matches('^')
}

fn target_of(target: &str) -> &str {
    ["link:", "xref:", "mailto:", "pass:"]
        .iter()
        .find_map(|name| target.strip_prefix(name))
        .unwrap_or(target)
}
