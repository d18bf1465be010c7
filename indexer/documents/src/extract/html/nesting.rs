//! Guesses how deeply a page nests its elements, before it is parsed.

use std::collections::HashMap;

/// Elements that have no end tag or may leave it out: the parser closes them by itself.
const CLOSED: [&str; 37] = [
    "area", "base", "body", "br", "caption", "col", "colgroup", "dd", "dt", "embed", "head", "hr",
    "html", "img", "input", "keygen", "li", "link", "meta", "optgroup", "option", "p", "param",
    "rb", "rp", "rt", "rtc", "source", "tbody", "td", "tfoot", "th", "thead", "tr", "track", "wbr",
    "path",
];

/// Elements whose content is not markup.
const RAW: [&str; 4] = ["script", "style", "textarea", "title"];

/// Elements that the parser opens again in every block until they are closed.
const FORMATTING: [&str; 14] = [
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
];

/// Most elements that are opened again in a page. Each is a node in memory that no byte of the page stands for.
const MAX_REOPENED: usize = 1 << 20;

/// The elements of a page that are open, by name: an end tag closes nothing but its own kind.
#[derive(Debug, Default)]
struct Open {
    by_name: HashMap<String, usize>,
    depth: usize,
    formatting: usize,
    reopened: usize,
}

impl Open {
    fn enter(&mut self, name: String) {
        // The parser closes these when another of their kind opens.
        if matches!(name.as_str(), "a" | "nobr" | "button") {
            self.leave(&name);
        }
        self.depth += 1;
        self.formatting += usize::from(FORMATTING.contains(&name.as_str()));
        *self.by_name.entry(name).or_default() += 1;
    }

    /// Whether this is inside a drawing or a formula, the only places where a tag can close itself.
    fn is_foreign(&self) -> bool {
        ["svg", "math"]
            .iter()
            .any(|name| self.by_name.get(*name).is_some_and(|count| *count > 0))
    }

    fn leave(&mut self, name: &str) {
        let Some(count) = self.by_name.get_mut(name).filter(|count| **count > 0) else {
            return;
        };
        *count -= 1;
        self.depth -= 1;
        self.formatting -= usize::from(FORMATTING.contains(&name));
    }
}

/// Whether elements are nested more than `limit` deep anywhere in `page`, or would be because of formatting that
/// is never closed.
pub fn exceeds(page: &str, limit: usize) -> bool {
    let (mut rest, mut open) = (page, Open::default());
    while let Some((_, after)) = rest.split_once('<') {
        rest = after;
        if let Some(comment) = after.strip_prefix("!--") {
            rest = comment.split_once("-->").map_or("", |(_, rest)| rest);
            continue;
        }
        if let Some(tag) = after.strip_prefix('/') {
            open.leave(&name_of(tag));
            continue;
        }
        let name = name_of(after);
        if RAW.contains(&name.as_str()) {
            rest = after_raw(after, &name);
        } else if !name.is_empty() {
            open.reopened += open.formatting;
            let closed = open.is_foreign() && closes_itself(after);
            if !closed && !CLOSED.contains(&name.as_str()) {
                open.enter(name);
            }
        }
        if open.depth > limit || open.reopened > MAX_REOPENED {
            return true;
        }
    }
    false
}

/// The name of a tag in lower case; empty where there is none.
fn name_of(tag: &str) -> String {
    /// No element that counts has a longer name, apart from custom ones, which differ at their start.
    const LONGEST: usize = 32;
    let name = tag
        .bytes()
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'-')
        .take(LONGEST);
    let name: String = name
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect();
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name
    } else {
        String::new()
    }
}

fn closes_itself(tag: &str) -> bool {
    let own = tag.split('<').next().unwrap_or_default();
    own.split_once('>')
        .is_some_and(|(attributes, _)| attributes.ends_with('/'))
}

/// What follows the end tag of an element whose content is not markup.
fn after_raw<'a>(tag: &'a str, name: &str) -> &'a str {
    let mut rest = tag;
    while let Some((_, after)) = rest.split_once("</") {
        if name_of(after) == name {
            return after;
        }
        rest = after;
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_elements_that_stay_open_count() {
        assert!(exceeds(&"<div>".repeat(11), 10));
        assert!(!exceeds(&"<div>".repeat(10), 10));
        assert!(!exceeds(&"<div><b>x</b></div>".repeat(1000), 10));
        assert!(!exceeds(&"<p>x<br><li>y".repeat(1000), 10));
        assert!(!exceeds(&"<!-- <div> -->".repeat(1000), 10));
        assert!(!exceeds(&"1 < 2 <3 ".repeat(1000), 10));
    }

    #[test]
    fn an_end_tag_closes_its_own_kind_only() {
        assert!(exceeds(&"<div></span>".repeat(11), 10));
        assert!(exceeds(&"<x-a></div>".repeat(11), 10));
    }

    #[test]
    fn anchors_that_are_never_closed_do_not_nest() {
        assert!(!exceeds(&"<a name=x>y ".repeat(2000), 10));
    }

    #[test]
    fn shapes_of_a_drawing_close_themselves() {
        assert!(!exceeds(
            &format!("<svg>{}</svg>", "<circle r='1'/>".repeat(50)),
            10
        ));
        assert!(exceeds(&"<circle r='1'/>".repeat(50), 10));
        assert!(exceeds(&format!("<svg>{}", "<g>".repeat(50)), 10));
    }

    #[test]
    fn formatting_that_is_never_closed_multiplies() {
        let open: String = (0..500).map(|n| format!("<b id={n}>")).collect();
        assert!(!exceeds(&format!("{open}{}", "<p>x".repeat(1000)), 1000));
        assert!(exceeds(&format!("{open}{}", "<p>x".repeat(10_000)), 1000));
    }

    #[test]
    fn scripts_are_not_markup() {
        let script = format!("<script>{}</SCRIPT><div>", "if (a<b) {} ".repeat(100));
        assert!(!exceeds(&script, 10));
    }
}
