//! AsciiDoc: headings by equal signs, blocks between delimiters, lists by stars and dots.

use std::cell::Cell;
use std::collections::HashMap;

use super::super::extracted::{Block, Extracted};
use super::lines::{DEEPEST, Line, add, add_page, dedented, joined, lines};
use super::utf8;
use crate::document::Reason;

mod table;
mod text;

/// Most attributes that a file may define.
const MAX_ATTRIBUTES: usize = 4096;

pub fn asciidoc(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    out.is_markdown = true;
    let lines = lines(utf8(bytes)?);
    let mut reader = Reader {
        out,
        attributes: HashMap::new(),
        taken: Cell::new(0),
        next: Next::default(),
    };
    reader.blocks(&lines, 0);
    Ok(())
}

struct Reader<'e> {
    out: &'e mut Extracted,
    attributes: HashMap<String, String>,
    /// Bytes that these have put into the text.
    taken: Cell<usize>,
    next: Next,
}

/// What lines before a block say about it.
#[derive(Debug, Default)]
struct Next {
    style: String,
    attribution: String,
}

impl Reader<'_> {
    fn blocks(&mut self, lines: &[Line<'_>], depth: usize) {
        let mut at = 0;
        while at < lines.len() {
            at += self.block(&lines[at..], depth).max(1);
        }
    }

    /// Reads the block that the lines begin with; gives how many of them it has.
    fn block(&mut self, lines: &[Line<'_>], depth: usize) -> usize {
        let line = lines[0];
        let text = line.text;
        if line.is_blank() || text == "+" || text == "'''" || text == "<<<" {
            return 1;
        }
        if let Some(delimiter) = delimiter(text) {
            return self.delimited(lines, delimiter, depth);
        }
        if text.starts_with("//") {
            self.out
                .dropped
                .add(Reason::Comment, text.len() as u64, None);
            return 1;
        }
        if self.is_heading(line) || self.is_attribute(text) || self.is_directive(text) {
            return 1;
        }
        if text.starts_with('[') && text.ends_with(']') && self.note_style(text) {
            return 1;
        }
        if let Some(title) = text.strip_prefix('.').filter(|rest| {
            rest.starts_with(|c: char| c.is_alphanumeric() || "\"`*_'{<(".contains(c))
        }) {
            let title = self.inline(title);
            add(self.out, line.number, Block::Paragraph(&title));
            return 1;
        }
        if line.indent() > 0 && item(text).is_none() {
            let length = lines.iter().take_while(|line| !line.is_blank()).count();
            let literal = joined(&dedented(&lines[..length]));
            add(self.out, line.number, Block::Verbatim(&literal));
            return length;
        }
        if let Some(found) = item(text) {
            return self.item(lines, &found);
        }
        self.paragraph(lines)
    }

    fn is_heading(&mut self, line: Line<'_>) -> bool {
        let sign = if line.text.starts_with('#') { '#' } else { '=' };
        let level = line.text.chars().take_while(|c| *c == sign).count();
        let title = line.text[level..]
            .strip_prefix(' ')
            .filter(|_| (1..=6).contains(&level));
        let Some(title) = title else {
            return false;
        };
        let title = self.inline(title.trim());
        if self.out.title.is_none() {
            self.out.title = Some(title.clone());
        }
        add(self.out, line.number, Block::Heading(level, &title));
        true
    }

    fn is_attribute(&mut self, text: &str) -> bool {
        let Some((name, value)) = text.strip_prefix(':').and_then(|rest| rest.split_once(':'))
        else {
            return false;
        };
        let is_name = |c: char| c.is_alphanumeric() || "-_!".contains(c);
        if name.is_empty()
            || !name.chars().all(is_name)
            || !(value.is_empty() || value.starts_with(' '))
        {
            return false;
        }
        if self.attributes.len() < MAX_ATTRIBUTES {
            self.attributes
                .insert(name.to_lowercase(), value.trim().to_owned());
        }
        self.out
            .dropped
            .add(Reason::Properties, text.len() as u64, None);
        true
    }

    /// Lines that take in other files, or text on a condition; the text itself is kept.
    fn is_directive(&mut self, text: &str) -> bool {
        let name = text.split("::").next().unwrap_or_default();
        if !text.contains("::") || !text.ends_with(']') {
            return false;
        }
        match name {
            "include" => self
                .out
                .dropped
                .add(Reason::Include, text.len() as u64, None),
            "ifdef" | "ifndef" | "ifeval" | "endif" | "toc" => {}
            _ => return false,
        }
        true
    }

    /// Notes what a line in brackets says about the next block; `false` if it is text.
    fn note_style(&mut self, text: &str) -> bool {
        let inner = &text[1..text.len() - 1];
        if inner.starts_with('[') {
            return true;
        }
        if inner.contains(['[', ']']) || inner.ends_with(' ') {
            return false;
        }
        let mut parts = inner.split(',').map(|part| part.trim().trim_matches('"'));
        self.next.style = parts.next().unwrap_or_default().to_owned();
        if matches!(self.next.style.as_str(), "quote" | "verse") {
            let who: Vec<&str> = parts.filter(|part| !part.contains('=')).collect();
            self.next.attribution = who.join(", ");
        }
        if inner.contains("cols") || inner.contains("format") {
            inner.clone_into(&mut self.next.attribution);
        }
        true
    }

    fn delimited(&mut self, lines: &[Line<'_>], delimiter: &str, depth: usize) -> usize {
        let next = std::mem::take(&mut self.next);
        let end = lines[1..]
            .iter()
            .position(|line| line.text == delimiter || (delimiter == "```" && line.text == "```"));
        // One that is not closed goes to the end, as of a file that was cut.
        let body = &lines[1..end.map_or(lines.len(), |end| end + 1)];
        let length = end.map_or(lines.len(), |end| end + 2);
        let number = lines[0].number;
        let label = next.style.split(['%', '#', '.']).next().unwrap_or_default();
        if matches!(label, "NOTE" | "TIP" | "IMPORTANT" | "WARNING" | "CAUTION") {
            add(self.out, number, Block::Paragraph(&format!("{label}:")));
        }
        match &delimiter[..delimiter.len().min(2)] {
            "--" | ".." | "``" if delimiter != "--" || next.style == "source" => {
                self.verbatim(body);
            }
            "//" => {
                let bytes = body.iter().map(|line| line.text.len() as u64).sum();
                self.out.dropped.add(Reason::Comment, bytes, None);
            }
            "++" if matches!(label, "stem" | "latexmath" | "asciimath") => self.verbatim(body),
            "++" => add_page(self.out, body),
            "|=" | ",=" | ":=" | "!=" => self.table(body, delimiter, &next.attribution),
            "__" if label == "verse" => self.verbatim(body),
            _ if depth < DEEPEST => self.blocks(body, depth + 1),
            _ => {
                let text = self.inline(&joined(body));
                add(self.out, number, Block::Paragraph(&text));
            }
        }
        if matches!(label, "quote" | "verse") && !next.attribution.is_empty() {
            let who = self.inline(&next.attribution);
            add(self.out, number, Block::Paragraph(&who));
        }
        length
    }

    fn verbatim(&mut self, body: &[Line<'_>]) {
        if let Some(first) = body.first() {
            let text = joined(body);
            add(self.out, first.number, Block::Verbatim(&text));
        }
    }

    fn item(&mut self, lines: &[Line<'_>], found: &Item<'_>) -> usize {
        let goes_on = |line: &&Line<'_>| is_prose(line.trimmed());
        let length = 1 + lines[1..].iter().take_while(goes_on).count();
        let mut text = found.text.to_owned();
        for line in &lines[1..length] {
            text.push('\n');
            text.push_str(line.trimmed());
        }
        let text = self.inline(text.trim());
        let number = lines[0].number;
        match found.term {
            Some(term) => {
                let term = self.inline(term);
                add(
                    self.out,
                    number,
                    Block::Paragraph(format!("{term}\n{text}").trim_end()),
                );
            }
            None => add(
                self.out,
                number,
                Block::Item {
                    depth: found.depth,
                    number: found.number,
                    text: &text,
                },
            ),
        }
        length
    }

    fn paragraph(&mut self, lines: &[Line<'_>]) -> usize {
        let next = std::mem::take(&mut self.next);
        let length = 1 + lines[1..]
            .iter()
            .take_while(|line| is_prose(line.text))
            .count();
        let raw = joined(&lines[..length]);
        let number = lines[0].number;
        let label = next.style.split(['%', '#', '.']).next().unwrap_or_default();
        match label {
            "source" | "listing" | "literal" => add(self.out, number, Block::Verbatim(&raw)),
            "NOTE" | "TIP" | "IMPORTANT" | "WARNING" | "CAUTION" => {
                let text = format!("{label}: {}", self.inline(&raw));
                add(self.out, number, Block::Paragraph(&text));
            }
            _ => {
                let text = self.inline(&raw);
                add(self.out, number, Block::Paragraph(&text));
            }
        }
        if !next.attribution.is_empty() && matches!(label, "quote" | "verse") {
            let who = self.inline(&next.attribution);
            add(self.out, number, Block::Paragraph(&who));
        }
        length
    }
}

/// Whether a line goes on with a paragraph or an item.
fn is_prose(text: &str) -> bool {
    !(text.is_empty()
        || text == "+"
        || delimiter(text).is_some()
        || item(text).is_some()
        || (text.starts_with('[') && text.ends_with(']') && !text.contains(' '))
        || (text.starts_with("//") && !text.starts_with("///"))
        || text.starts_with("== "))
}

/// The delimiter that a line is.
fn delimiter(text: &str) -> Option<&str> {
    if matches!(text, "--" | "|===" | ",===" | ":===" | "!===") {
        return Some(text);
    }
    if text.starts_with("```") {
        return Some("```");
    }
    let first = text.chars().next()?;
    let is_delimiter =
        text.len() >= 4 && "-.=*_+/|".contains(first) && text.chars().all(|c| c == first);
    let is_table = text.len() >= 4 && text.starts_with("|=") && text[1..].chars().all(|c| c == '=');
    (is_delimiter || is_table).then_some(text)
}

struct Item<'a> {
    depth: usize,
    number: Option<u64>,
    /// What a definition defines.
    term: Option<&'a str>,
    text: &'a str,
}

fn item(text: &str) -> Option<Item<'_>> {
    let text = text.trim_start();
    let first = text.chars().next()?;
    let signs = text.chars().take_while(|c| *c == first).count();
    let of = |depth, number, text| {
        Some(Item {
            depth,
            number,
            term: None,
            text,
        })
    };
    if matches!(first, '*' | '.' | '-')
        && text[signs..].starts_with(' ')
        && signs <= 6
        && (first != '-' || signs == 1)
    {
        let text = text[signs..].trim_start();
        let text = ["[ ] ", "[x] ", "[*] "]
            .iter()
            .find_map(|sign| text.strip_prefix(sign))
            .unwrap_or(text);
        return of(signs - 1, None, text);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if (1..=6).contains(&digits) && text[digits..].starts_with(". ") {
        return of(
            0,
            text[..digits].parse().ok(),
            text[digits + 2..].trim_start(),
        );
    }
    if let Some((label, rest)) = text
        .strip_prefix('<')
        .and_then(|rest| rest.split_once("> "))
    {
        let is_label =
            label == "." || (!label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit()));
        if is_label {
            return of(0, label.parse().ok(), rest.trim_start());
        }
    }
    let (term, rest) = text.split_once("::")?;
    let rest = rest.trim_start_matches(':');
    let is_term = !term.is_empty()
        && term.len() < 400
        && (rest.is_empty() || rest.starts_with(' '))
        && !term.contains("://");
    is_term.then_some(Item {
        depth: 0,
        number: None,
        term: Some(term),
        text: rest.trim_start(),
    })
}
