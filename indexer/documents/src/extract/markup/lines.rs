//! Lines with their numbers and their indents.

use super::super::extracted::{Block, Extracted};
use super::super::html;
use crate::document::{Location, Reason};

/// How deep blocks may lie in each other; deeper ones are read as if they lay there.
pub const DEEPEST: usize = 24;
const TAB: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// From 1.
    pub number: u64,
    pub text: &'a str,
}

/// Lines without their ends and without white space before these.
pub fn lines(text: &str) -> Vec<Line<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = (1..).zip(text.lines());
    lines
        .map(|(number, text)| Line {
            number,
            text: text.trim_end(),
        })
        .collect()
}

impl<'a> Line<'a> {
    pub fn is_blank(self) -> bool {
        self.text.is_empty()
    }

    /// Columns of white space before the text.
    pub fn indent(self) -> usize {
        let mut columns = 0;
        for byte in self.text.bytes() {
            match byte {
                b' ' => columns += 1,
                b'\t' => columns += TAB - columns % TAB,
                _ => break,
            }
        }
        columns
    }

    /// The line without so many columns, or without all white space before its text.
    pub fn without(self, columns: usize) -> Self {
        let mut passed = 0;
        for (at, byte) in self.text.bytes().enumerate() {
            if passed >= columns || !matches!(byte, b' ' | b'\t') {
                return Line {
                    text: &self.text[at..],
                    ..self
                };
            }
            passed += if byte == b'\t' { TAB - passed % TAB } else { 1 };
        }
        Line { text: "", ..self }
    }

    pub fn trimmed(self) -> &'a str {
        self.text.trim_start()
    }
}

/// How many lines from the start are indented by at least so many columns, blank ones between them included.
pub fn indented(lines: &[Line<'_>], columns: usize) -> usize {
    let mut end = 0;
    for (at, line) in lines.iter().enumerate() {
        if line.is_blank() {
            continue;
        }
        if line.indent() < columns {
            break;
        }
        end = at + 1;
    }
    end
}

/// The same lines without the indent that all of them have.
pub fn dedented<'a>(lines: &[Line<'a>]) -> Vec<Line<'a>> {
    let filled = lines.iter().filter(|line| !line.is_blank());
    let columns = filled.map(|line| line.indent()).min().unwrap_or(0);
    lines.iter().map(|line| line.without(columns)).collect()
}

/// How many lines there are before a blank one.
pub fn paragraph(lines: &[Line<'_>]) -> usize {
    lines
        .iter()
        .position(|line| line.is_blank())
        .unwrap_or(lines.len())
}

/// The texts of lines, one below the other.
pub fn joined(lines: &[Line<'_>]) -> String {
    let texts: Vec<&str> = lines.iter().map(|line| line.text).collect();
    texts.join("\n")
}

/// Adds a block that starts on a line.
pub fn add(out: &mut Extracted, line: u64, block: Block<'_>) {
    out.at(Location::Line(line));
    out.add(block);
}

/// Adds what lines of HTML show, which markup hands on to a page as they are.
pub fn add_page(out: &mut Extracted, body: &[Line<'_>]) {
    let Some(first) = body.first() else {
        return;
    };
    let source = joined(body);
    match html::page_of(&source, &mut out.dropped) {
        Some(page) => add(out, first.number, Block::Markdown(&page.text)),
        None => out
            .dropped
            .add(Reason::BrokenPart, source.len() as u64, None),
    }
}

/// Rows of one length, but for a table that would be many times as large by that.
pub fn squared(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    const MOST_CELLS: usize = 1 << 20;
    rows.retain(|row| row.iter().any(|cell| !cell.trim().is_empty()));
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    if columns.saturating_mul(rows.len()) <= MOST_CELLS {
        rows.iter_mut()
            .for_each(|row| row.resize(columns, String::new()));
    }
    rows
}

#[cfg(test)]
mod tests;
