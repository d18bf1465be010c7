//! reStructuredText: headings by their underlines, and blocks by their indents.

use std::collections::HashMap;

use super::super::extracted::{Block, Extracted};
use super::lines::{DEEPEST, Line, add, dedented, indented, joined, lines, paragraph};
use super::utf8;
use crate::document::Reason;

mod directive;
mod table;
mod text;

/// Most replacements that a file may define.
const MAX_SUBSTITUTIONS: usize = 4096;

pub fn rst(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    out.is_markdown = true;
    let lines = lines(utf8(bytes)?);
    let mut reader = Reader {
        out,
        styles: Vec::new(),
        replacements: HashMap::new(),
    };
    reader.define(&lines);
    reader.blocks(&lines, Nest::default());
    Ok(())
}

struct Reader<'e> {
    out: &'e mut Extracted,
    /// Signs that underline headings, in the order in which they come first; with whether there is a line above, too.
    styles: Vec<(char, bool)>,
    /// Texts by the names that stand for them between bars.
    replacements: HashMap<String, String>,
}

/// How deep a block lies in others.
#[derive(Clone, Copy, Debug, Default)]
struct Nest {
    blocks: usize,
    lists: usize,
}

impl Nest {
    fn deeper(self) -> Self {
        Self {
            blocks: self.blocks + 1,
            ..self
        }
    }

    fn in_item(self) -> Self {
        Self {
            blocks: self.blocks + 1,
            lists: self.lists + 1,
        }
    }
}

impl Reader<'_> {
    /// Notes what names between bars stand for, wherever that is said.
    fn define(&mut self, lines: &[Line<'_>]) {
        for line in lines {
            let definition = line.trimmed().strip_prefix(".. |").and_then(|rest| {
                let (name, rest) = rest.split_once('|')?;
                let (directive, text) = rest.trim().split_once("::")?;
                (directive == "replace").then(|| (name, text.trim()))
            });
            if let Some((name, text)) = definition
                && self.replacements.len() < MAX_SUBSTITUTIONS
            {
                self.replacements.insert(name.to_owned(), text.to_owned());
            }
        }
    }

    fn blocks(&mut self, lines: &[Line<'_>], nest: Nest) {
        if nest.blocks > DEEPEST {
            let text = self.inline(&joined(lines));
            if let Some(first) = lines.first() {
                add(self.out, first.number, Block::Paragraph(&text));
            }
            return;
        }
        let mut at = 0;
        while at < lines.len() {
            at += self.block(&lines[at..], nest).max(1);
        }
    }

    /// Reads the block that the lines begin with; gives how many of them it has.
    fn block(&mut self, lines: &[Line<'_>], nest: Nest) -> usize {
        let line = lines[0];
        if line.is_blank() {
            return 1;
        }
        if line.indent() > 0 {
            let length = indented(lines, 1);
            self.blocks(&dedented(&lines[..length]), nest.deeper());
            return length;
        }
        if let Some(length) = self.heading(lines) {
            return length;
        }
        if line.text == ".." || line.text.starts_with(".. ") {
            return self.explicit(lines, nest);
        }
        if line.text.starts_with("__ ") {
            return 1;
        }
        if line.text.starts_with(">>> ") {
            let length = paragraph(lines);
            add(
                self.out,
                line.number,
                Block::Verbatim(&joined(&lines[..length])),
            );
            return length;
        }
        if let Some(length) = self.table(lines) {
            return length;
        }
        if let Some(length) = self.item(lines, nest).or_else(|| self.field(lines, nest)) {
            return length;
        }
        self.paragraph(lines, nest)
    }

    /// A paragraph, or the term of a definition with what is indented below it.
    fn paragraph(&mut self, lines: &[Line<'_>], nest: Nest) -> usize {
        let first = lines[0];
        if lines.get(1).is_some_and(|next| next.indent() > 0) {
            let term = self.inline(first.text);
            let term = term
                .trim_end()
                .strip_suffix("::")
                .unwrap_or(&term)
                .to_owned();
            add(self.out, first.number, Block::Paragraph(&term));
            let length = indented(&lines[1..], 1);
            let body = &lines[1..=length];
            if first.text.ends_with("::") {
                self.verbatim(body);
            } else {
                self.blocks(&dedented(body), nest.deeper());
            }
            return length + 1;
        }
        let length = paragraph(lines);
        let raw = joined(&lines[..length]);
        let (text, has_literal) = match raw.strip_suffix("::") {
            Some(text) => (text.trim_end().to_owned(), true),
            None => (raw, false),
        };
        let mut text = self.inline(&text);
        if has_literal && !text.is_empty() {
            text.push(':');
        }
        add(self.out, first.number, Block::Paragraph(&text));
        if !has_literal {
            return length;
        }
        let rest = &lines[length..];
        let literal = indented(rest, 1);
        self.verbatim(&rest[..literal]);
        // A literal may also be quoted by the same sign before each of its lines.
        length + literal
    }

    fn verbatim(&mut self, lines: &[Line<'_>]) {
        if let Some(first) = lines.iter().find(|line| !line.is_blank()) {
            let text = joined(&dedented(lines));
            add(self.out, first.number, Block::Verbatim(&text));
        }
    }

    /// A heading with a line of signs below it, or above and below; such a line alone is a transition.
    fn heading(&mut self, lines: &[Line<'_>]) -> Option<usize> {
        let (title, sign, has_line_above) = match (adornment(lines[0].text), lines) {
            (Some(above), [_, title, below, ..])
                if adornment(below.text) == Some(above) && !title.is_blank() =>
            {
                (title, above, true)
            }
            (Some(_), [line, rest @ ..]) => {
                let is_alone = rest.first().is_none_or(|next| next.is_blank());
                return (is_alone && line.text.len() >= 4).then_some(1);
            }
            (None, [title, below, ..]) => {
                let sign = adornment(below.text)?;
                let least = title.text.chars().count().min(4);
                if below.text.len() < least {
                    return None;
                }
                (title, sign, false)
            }
            (None | Some(_), _) => return None,
        };
        let style = (sign, has_line_above);
        let level = self.styles.iter().position(|known| *known == style);
        let level = level.unwrap_or_else(|| {
            self.styles.push(style);
            self.styles.len() - 1
        });
        let text = self.inline(title.text.trim());
        if self.out.title.is_none() {
            self.out.title = Some(text.clone());
        }
        add(self.out, title.number, Block::Heading(level + 1, &text));
        Some(if has_line_above { 3 } else { 2 })
    }

    fn item(&mut self, lines: &[Line<'_>], nest: Nest) -> Option<usize> {
        let first = lines[0];
        let (number, width) = bullet(first.text)?;
        let length = 1 + indented(&lines[1..], 1);
        let head = Line {
            text: first.text.get(width..).unwrap_or_default().trim_start(),
            ..first
        };
        let mut body = vec![head];
        body.extend(dedented(&lines[1..length]));
        let own = paragraph(&body);
        let is_literal = joined(&body[..own]).ends_with("::");
        let text = self.inline(&joined(&body[..own]));
        let text = text
            .strip_suffix("::")
            .map_or(text.clone(), |text| format!("{text}:"));
        let depth = nest.lists;
        add(
            self.out,
            first.number,
            Block::Item {
                depth,
                number,
                text: &text,
            },
        );
        if is_literal {
            let literal = indented(&body[own..], 1);
            self.verbatim(&body[own..own + literal]);
            self.blocks(&body[own + literal..], nest.in_item());
        } else {
            self.blocks(&body[own..], nest.in_item());
        }
        Some(length)
    }

    /// A field with a name between colons, as of a bibliography or of parameters.
    fn field(&mut self, lines: &[Line<'_>], nest: Nest) -> Option<usize> {
        let first = lines[0];
        let rest = first.text.strip_prefix(':')?;
        let end = rest
            .find(": ")
            .or_else(|| rest.strip_suffix(':').map(str::len))?;
        if end == 0 || rest[..end].contains('`') {
            return None;
        }
        let length = 1 + indented(&lines[1..], 1);
        let body = dedented(&lines[1..length]);
        let own = paragraph(&body);
        let value = [rest[end + 1..].trim(), &joined(&body[..own])].join("\n");
        let text = format!(
            "{}: {}",
            self.inline(&rest[..end]),
            self.inline(value.trim())
        );
        add(self.out, first.number, Block::Paragraph(&text));
        self.blocks(&body[own..], nest.deeper());
        Some(length)
    }

    /// What two dots begin: a directive, a note, a target, or a comment.
    fn explicit(&mut self, lines: &[Line<'_>], nest: Nest) -> usize {
        let length = 1 + indented(&lines[1..], 1);
        let first = lines[0];
        let rest = first.text[2..].trim_start();
        let body = &lines[1..length];
        if let Some(directive) = directive::Directive::of(first.number, rest, body) {
            self.directive(&directive, nest);
        } else if let Some(note) = rest.strip_prefix('[') {
            let text = match note.split_once(']') {
                Some((label, text)) => format!("[{label}] {}", self.inline(text.trim())),
                None => rest.to_owned(),
            };
            add(self.out, first.number, Block::Paragraph(&text));
            self.blocks(&dedented(body), nest.deeper());
        } else if !rest.starts_with('_') && !rest.starts_with('|') {
            let bytes = lines[..length].iter().map(|line| line.text.len() as u64);
            let bytes: u64 = bytes.sum();
            if bytes > 2 {
                self.out.dropped.add(Reason::Comment, bytes, None);
            }
        }
        length
    }
}

/// The sign that a line consists of.
fn adornment(line: &str) -> Option<char> {
    let sign = line.chars().next().filter(char::is_ascii_punctuation)?;
    let is_line = line.len() >= 2 && line.chars().all(|c| c == sign);
    (is_line && !matches!(line, "::" | ".." | "--")).then_some(sign)
}

/// The number of an item, and the width of its sign with the space behind it.
fn bullet(text: &str) -> Option<(Option<u64>, usize)> {
    let mut chars = text.chars();
    let first = chars.next()?;
    if matches!(first, '-' | '*' | '+' | '•' | '‣' | '⁃') {
        let is_item = chars.next().is_none_or(|c| c == ' ');
        return is_item.then(|| (None, first.len_utf8() + 1));
    }
    let inner = text.strip_prefix('(').unwrap_or(text);
    let end = inner.find([')', '.']).filter(|end| *end <= 6)?;
    let label = &inner[..end];
    let width = text.len() - inner.len() + end + 1;
    let is_number = !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit());
    let is_label = is_number
        || label == "#"
        || (label.len() == 1 && label.bytes().all(|byte| byte.is_ascii_alphabetic()))
        || (!label.is_empty() && label.chars().all(|c| "ivxIVX".contains(c)));
    let rest = text.get(width..)?;
    (is_label && rest.starts_with(' ')).then(|| (label.parse().ok(), width + 1))
}
