//! Writes the text of elements as blocks.

use super::super::lines::{add, squared};
use super::names::{Inline, Open};
use super::seams::Seams;
use crate::document::Reason;
use crate::extract::extracted::{Block, Extracted};

/// Deepest nesting; a file that goes beyond is refused.
const MAX_DEPTH: usize = 2048;

pub struct Writer<'e, 't> {
    pub out: &'e mut Extracted,
    source: &'t str,
    /// Elements that are open.
    open: Vec<Element>,
    seams: Seams,
    /// The element of a sentence that ended just now.
    ended: Option<Inline>,
    /// The text of the block that is open.
    text: String,
    /// Where it starts in the source, unless it is blank.
    start: Option<usize>,
    /// A place of the source, and its line.
    line: (usize, u64),
    /// Where the last event starts.
    pub at: usize,
    /// Tables that are open: the line of each, and its rows.
    tables: Vec<(u64, Vec<Vec<String>>)>,
    /// Whether the text is the first of an item.
    is_item: bool,
    /// How many open elements are verbatim, a whole, a section, a list, a cell.
    verbatim: usize,
    wholes: usize,
    sections: usize,
    items: usize,
    cells: usize,
}

/// An element that is open.
#[derive(Clone, Copy, Debug)]
struct Element {
    open: Open,
    /// Whether there are letters between the elements in it.
    has_letters: bool,
}

impl<'e, 't> Writer<'e, 't> {
    pub fn new(out: &'e mut Extracted, source: &'t str) -> Self {
        Self {
            out,
            source,
            open: Vec::new(),
            seams: Seams::default(),
            ended: None,
            text: String::new(),
            start: None,
            line: (0, 1),
            at: 0,
            tables: Vec::new(),
            is_item: false,
            verbatim: 0,
            wholes: 0,
            sections: 0,
            items: 0,
            cells: 0,
        }
    }

    /// Whether the text of blocks is put together to one.
    fn is_within(&self) -> bool {
        self.wholes > 0 || self.cells > 0 || self.verbatim > 0
    }

    pub fn open(&mut self, name: &str) -> Result<(), String> {
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("it nests elements more than {MAX_DEPTH} deep"));
        }
        let open = Open::of(name);
        let is_part = self.is_within() && open != Open::Cell && open != Open::Row;
        if let Open::Inline(inline) = open {
            self.join(inline);
        } else if is_part {
            self.space();
        } else {
            self.flush();
        }
        self.ended = None;
        match open {
            Open::Verbatim => self.verbatim += 1,
            Open::Whole => self.wholes += 1,
            Open::Section => self.sections += 1,
            Open::Item => {
                self.items += 1;
                self.is_item = true;
            }
            Open::Table => {
                let line = self.line_of(self.at);
                self.tables.push((line, Vec::new()));
            }
            Open::Row => {
                if let Some((_, rows)) = self.tables.last_mut() {
                    rows.push(Vec::new());
                }
            }
            Open::Cell => self.cells += 1,
            Open::Inline(_) | Open::Block | Open::Heading => {}
        }
        self.open.push(Element {
            open,
            has_letters: false,
        });
        Ok(())
    }

    /// Notes where an element of a sentence starts right behind another one: letters set in two ways may be one word, and
    /// facts are never; of others, what is around them tells.
    fn join(&mut self, inline: Inline) {
        // What is verbatim has all its spaces.
        if self.verbatim > 0 {
            return;
        }
        match (self.ended, inline) {
            (None, _) | (Some(Inline::Format), Inline::Format) => {}
            (Some(Inline::Data), Inline::Data) => self.space(),
            (Some(_), _) => {
                self.seams.add(self.open.len(), self.text.len());
            }
        }
    }

    fn part(&mut self, depth: usize) {
        let has_letters = |depth: usize| {
            let around = self.open.get(depth.wrapping_sub(1));
            around.is_some_and(|element| element.has_letters)
        };
        self.seams.part(&mut self.text, depth, has_letters);
    }

    pub fn close(&mut self) {
        self.part(self.open.len());
        let Some(Element { open, .. }) = self.open.pop() else {
            return;
        };
        if let Open::Inline(inline) = open {
            self.ended = Some(inline);
            return;
        }
        self.ended = None;
        let around = self.wholes + self.cells + self.verbatim;
        let is_outermost = around == 1;
        if open == Open::Heading && around == 0 {
            return self.heading();
        }
        match (open, is_outermost) {
            (Open::Cell, _) if self.cells == 1 => self.cell(),
            (Open::Verbatim, true) => self.preformatted(),
            (Open::Whole, true) => self.flush(),
            _ if around > 0 => self.space(),
            _ => self.flush(),
        }
        match open {
            Open::Verbatim => self.verbatim -= 1,
            Open::Whole => self.wholes -= 1,
            Open::Section => self.sections -= 1,
            Open::Item => self.items -= 1,
            Open::Table => self.table(),
            Open::Cell => self.cells -= 1,
            Open::Inline(_) | Open::Block | Open::Heading | Open::Row => {}
        }
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(char::is_whitespace) {
            self.text.push(if self.verbatim > 0 { '\n' } else { ' ' });
        }
    }

    pub fn text(&mut self, text: &str) {
        let has_letters = !text.trim().is_empty();
        if has_letters && self.start.is_none() {
            self.start = Some(self.at + text.len() - text.trim_start().len());
        }
        self.ended = None;
        if let Some(element) = self.open.last_mut() {
            element.has_letters |= has_letters;
        }
        if self.verbatim > 0 {
            self.text.push_str(text);
            return;
        }
        for (number, word) in text.split(|c: char| c.is_whitespace()).enumerate() {
            if number > 0 && !self.text.ends_with(' ') {
                self.text.push(' ');
            }
            self.text.push_str(word);
        }
    }

    /// What nobody explains stays as it is written, and is counted.
    pub fn unknown(&mut self, name: &str) {
        let written = format!("&{name};");
        self.text(&written);
        self.out
            .dropped
            .add(Reason::UnknownEntity, 0, Some(written));
    }

    /// Ends the text of a file.
    pub fn end(mut self) -> Result<(), String> {
        if !self.open.is_empty() {
            let open = self.open.len();
            return Err(format!("it ends inside of {open} elements"));
        }
        self.flush();
        Ok(())
    }

    /// The line of a place that is not before the last one.
    fn line_of(&mut self, at: usize) -> u64 {
        let (from, line) = self.line;
        let passed = self.source.as_bytes().get(from..at).unwrap_or_default();
        let line = line + memchr::memchr_iter(b'\n', passed).count() as u64;
        self.line = (at.max(from), line);
        line
    }

    fn take(&mut self) -> Option<(u64, String)> {
        self.part(0);
        let text = std::mem::take(&mut self.text);
        let start = self.start.take()?;
        Some((self.line_of(start), text))
    }

    fn flush(&mut self) {
        let Some((line, text)) = self.take() else {
            return;
        };
        if std::mem::take(&mut self.is_item) {
            let depth = self.items.saturating_sub(1);
            add(
                self.out,
                line,
                Block::Item {
                    depth,
                    number: None,
                    text: &text,
                },
            );
        } else {
            add(self.out, line, Block::Paragraph(&text));
        }
    }

    fn heading(&mut self) {
        let level = self.sections + 1;
        if let Some((line, text)) = self.take() {
            if self.out.title.is_none() {
                self.out.title = Some(text.trim().to_owned());
            }
            add(self.out, line, Block::Heading(level, &text));
        }
    }

    fn preformatted(&mut self) {
        if let Some((line, text)) = self.take() {
            add(self.out, line, Block::Verbatim(&text));
        }
    }

    fn cell(&mut self) {
        self.part(0);
        let text = std::mem::take(&mut self.text);
        match self.tables.last_mut() {
            Some((_, rows)) if !rows.is_empty() => {
                self.start = None;
                if let Some(row) = rows.last_mut() {
                    row.push(text.trim().to_owned());
                }
            }
            _ => {
                self.text = text;
                self.flush();
            }
        }
    }

    fn table(&mut self) {
        let (line, rows) = self.tables.pop().unwrap_or_default();
        let rows = squared(rows);
        if !rows.is_empty() {
            add(self.out, line, Block::Table(&rows));
        }
    }
}
