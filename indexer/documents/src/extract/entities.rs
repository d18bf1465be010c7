//! Entities: names that stand for text in XML, those that every file has and those that it defines itself.
//!
//! A file may define a text by other ones, so that a few lines stand for any amount of text. What is taken in is therefore
//! limited, in depth, number and length, and what goes beyond is left as it is written. Nothing outside of the file is read,
//! and a text that holds elements is not taken in.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

/// Names that a file may define.
const MOST_NAMES: usize = 4096;
/// Names inside of names.
const MAX_DEPTH: usize = 8;
/// Names that one name may be made of, and the bytes of its text.
const MOST_PARTS: usize = 1000;
const MAX_BYTES: usize = 64 << 10;
/// Bytes of all texts that are taken in.
const MAX_TOTAL: usize = 16 << 20;

#[derive(Debug, Default)]
pub struct Entities {
    /// What the file defines, as it is written.
    own: RefCell<HashMap<String, String>>,
    /// Those that were asked for; none where a text goes beyond a limit.
    known: RefCell<HashMap<String, Option<String>>>,
    taken: Cell<usize>,
}

impl Entities {
    /// Notes what the declaration of a document type defines.
    pub fn declare(&self, doctype: &str) {
        let Some((_, inside)) = doctype.split_once('[') else {
            return;
        };
        let (mut own, mut rest) = (self.own.borrow_mut(), inside);
        while let Some(start) = rest.find('<') {
            rest = &rest[start..];
            let end = end_of(rest);
            if let Some((name, value)) = definition(&rest[..end])
                && own.len() < MOST_NAMES
            {
                // The first one counts.
                let name = name.to_owned();
                own.entry(name).or_insert_with(|| value.to_owned());
            }
            rest = &rest[end..];
        }
    }

    /// What a name, or a number behind `#`, stands for.
    pub fn text(&self, name: &str) -> Option<Cow<'static, str>> {
        if let Some(known) = predefined(name) {
            return Some(known);
        }
        if self.own.borrow().contains_key(name) {
            // What is kept is limited by what is taken.
            if self.taken.get() > MAX_TOTAL {
                return None;
            }
            let mut known = self.known.borrow_mut();
            let text = known
                .entry(name.to_owned())
                .or_insert_with(|| self.expand(name));
            let text = text.as_ref()?;
            self.taken.set(self.taken.get() + text.len());
            return (self.taken.get() <= MAX_TOTAL).then(|| Cow::Owned(text.clone()));
        }
        quick_xml::escape::resolve_html5_entity(name).map(Cow::Borrowed)
    }

    /// A text with all references in it replaced by what they stand for; what is not known stays as it is written.
    pub fn unescaped(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        for part in parts(text) {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Name(name, written) => match self.text(name) {
                    Some(text) => out.push_str(&text),
                    None => out.push_str(written),
                },
            }
        }
        out
    }

    fn expand(&self, name: &str) -> Option<String> {
        let (mut text, mut left) = (String::new(), MOST_PARTS);
        self.expand_into(&mut text, name, MAX_DEPTH, &mut left)?;
        Some(text)
    }

    fn expand_into(
        &self,
        text: &mut String,
        name: &str,
        depth: usize,
        left: &mut usize,
    ) -> Option<()> {
        *left = left.checked_sub(1)?;
        if let Some(known) = predefined(name) {
            push(text, &known)
        } else if let Some(value) = self.own.borrow().get(name) {
            let depth = depth.checked_sub(1)?;
            for part in parts(value) {
                match part {
                    Part::Text(part) => push(text, part)?,
                    Part::Name(name, _) => self.expand_into(text, name, depth, left)?,
                }
            }
            Some(())
        } else {
            push(text, quick_xml::escape::resolve_html5_entity(name)?)
        }
    }
}

/// Adds to the text of a name, unless it would be too long then.
fn push(text: &mut String, part: &str) -> Option<()> {
    if text.len() + part.len() > MAX_BYTES {
        return None;
    }
    text.push_str(part);
    Some(())
}

/// What is written in a text.
enum Part<'a> {
    Text(&'a str),
    /// A reference, by its name and as it is written.
    Name(&'a str, &'a str),
}

fn parts(text: &str) -> impl Iterator<Item = Part<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let name = |rest: &str| {
            let end = rest.find(|c: char| !is_name(c) && c != '#')?;
            rest[end..].starts_with(';').then_some(end)
        };
        if let Some(length) = rest.strip_prefix('&').and_then(name) {
            let (written, behind) = rest.split_at(length + 2);
            rest = behind;
            return Some(Part::Name(&written[1..=length], written));
        }
        let next = memchr::memchr(b'&', &rest.as_bytes()[1..]);
        let next = next.map_or(rest.len(), |at| at + 1);
        let (text, behind) = rest.split_at(next);
        rest = behind;
        Some(Part::Text(text))
    })
}

/// What all files know.
fn predefined(name: &str) -> Option<Cow<'static, str>> {
    let Some(digits) = name.strip_prefix('#') else {
        return quick_xml::escape::resolve_xml_entity(name).map(Cow::Borrowed);
    };
    let code = match digits.strip_prefix(['x', 'X']) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    };
    let letter = code.and_then(char::from_u32).filter(|&c| c != '\0')?;
    Some(Cow::Owned(letter.to_string()))
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, ':' | '_' | '-' | '.')
}

/// Where a declaration, a comment or an instruction ends that starts here.
fn end_of(text: &str) -> usize {
    let after = |end: &str| text.find(end).map_or(text.len(), |at| at + end.len());
    if text.starts_with("<!--") {
        return after("-->");
    }
    if text.starts_with("<?") {
        return after("?>");
    }
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (None, '>') => return at + 1,
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// The name and the text that a declaration defines, if it is one of plain text.
fn definition(declaration: &str) -> Option<(&str, &str)> {
    let rest = declaration.strip_prefix("<!ENTITY")?;
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let (name, rest) = rest.split_at(rest.find(|c: char| !is_name(c))?);
    let rest = rest.strip_prefix(char::is_whitespace)?.trim_start();
    let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let (value, _) = rest[1..].split_once(quote)?;
    (!name.is_empty() && !value.contains('<')).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(doctype: &str) -> Entities {
        let entities = Entities::default();
        entities.declare(doctype);
        entities
    }

    #[test]
    fn what_a_file_defines_is_taken_in() {
        let entities = declared(
            "a [<!-- <!ENTITY no \"no\"> --><!ENTITY b 'B &c; &#x44;'><!ENTITY c \"> C\">\
             <!ENTITY % p \"p\"><!ELEMENT q (r)><!ENTITY b 'again'><!ENTITY s SYSTEM 'file:///s'>\
             <!ENTITY m '<b>bold</b>'>]",
        );
        assert_eq!(entities.text("b").as_deref(), Some("B > C D"));
        assert_eq!(entities.text("amp").as_deref(), Some("&"));
        assert_eq!(entities.text("eacute").as_deref(), Some("\u{e9}"));
        for name in ["no", "p", "q", "s", "m", "#0", "#x110000", "unknown"] {
            assert_eq!(entities.text(name), None, "{name}");
        }
        let text = "\u{e9}&b; & &unknown; &amp;&#65;&";
        assert_eq!(entities.unescaped(text), "\u{e9}B > C D & &unknown; &A&");
    }

    #[test]
    fn a_text_that_grows_beyond_all_limits_is_not_taken_in() {
        let mut doctype =
            "l [<!ENTITY a0 \"lol\"><!ENTITY e0 \"\"><!ENTITY self \"&self;\">".to_owned();
        for level in 1..10 {
            for name in ["a", "e"] {
                let before = format!("&{name}{};", level - 1).repeat(10);
                doctype += &format!("<!ENTITY {name}{level} \"{before}\">");
            }
        }
        let long = "x".repeat(MAX_BYTES + 1);
        doctype += &format!(
            "<!ENTITY long \"{long}\"><!ENTITY fits \"{}\">]",
            &long[1..]
        );
        let entities = declared(&doctype);
        assert_eq!(entities.text("a2").map(|text| text.len()), Some(300));
        for name in ["a9", "e9", "a5", "self", "long"] {
            assert_eq!(entities.text(name), None, "{name}");
        }
        let taken = (0..1000).filter(|_| entities.text("fits").is_some());
        assert_eq!(taken.count(), MAX_TOTAL / MAX_BYTES - 1);
        let mut text = String::new();
        let expanded = entities.expand_into(&mut text, "long", MAX_DEPTH, &mut 9);
        assert_eq!((expanded, text.capacity()), (None, 0));
    }

    #[test]
    fn texts_beyond_a_limit_are_not_kept() {
        let long = "x".repeat(MAX_BYTES);
        let mut doctype = format!("l [<!ENTITY long \"{long}\">");
        for name in 0..1000 {
            doctype += &format!("<!ENTITY e{name} \"&long;\">");
        }
        let entities = declared(&doctype);
        let taken = (0..1000).filter(|name| entities.text(&format!("e{name}")).is_some());
        assert_eq!(taken.count(), MAX_TOTAL / MAX_BYTES);
        assert_eq!(entities.known.borrow().len(), MAX_TOTAL / MAX_BYTES + 1);
    }

    #[test]
    fn names_beyond_a_limit_are_not_kept() {
        let names = (0..=MOST_NAMES).map(|name| format!("<!ENTITY e{name} \"x\">"));
        let entities = declared(&format!("a [{}]", names.collect::<String>()));
        assert_eq!(entities.own.borrow().len(), MOST_NAMES);
        assert_eq!(entities.text("e4095").as_deref(), Some("x"));
        assert_eq!(entities.text("e4096"), None);
    }
}
