//! The paragraphs and tables of a Rich Text Format.

use std::collections::HashMap;

use super::super::extracted::{Extracted, Flow, Owned, Table};
use crate::document::Reason;

pub struct Body<'a> {
    extracted: &'a mut Extracted,
    paragraph: Paragraph,
    /// Paragraphs whose notes are open.
    outer: Vec<Paragraph>,
    table: Table,
    /// Whether the table has anything, and what is in the cell that is open.
    has_table: bool,
    begins_row: bool,
    cell: Flow,
    styles: HashMap<i32, Style>,
    notes: u64,
}

#[derive(Default)]
struct Paragraph {
    text: String,
    style: i32,
    outline: Option<usize>,
    in_table: bool,
    level: usize,
    /// The sign of the item that it is.
    sign: Option<String>,
    after: Flow,
}

#[derive(Default)]
struct Style {
    name: String,
    level: Option<usize>,
}

impl<'a> Body<'a> {
    pub fn new(extracted: &'a mut Extracted) -> Self {
        Self {
            extracted,
            paragraph: Paragraph::default(),
            outer: Vec::new(),
            table: Table::default(),
            has_table: false,
            begins_row: true,
            cell: Flow::default(),
            styles: HashMap::new(),
            notes: 0,
        }
    }

    pub fn push(&mut self, text: &str) {
        self.paragraph.text.push_str(text);
    }

    pub fn left_out(&mut self, text: &str, reason: Reason) {
        let bytes: usize = text.split_whitespace().map(str::len).sum();
        if bytes > 0 {
            self.extracted.dropped.add(reason, bytes as u64, None);
        }
    }

    pub fn unknown(&mut self, letters: u64) {
        self.extracted
            .dropped
            .add_many(Reason::UnknownLetter, letters, 0, None);
    }

    pub fn picture(&mut self) {
        self.extracted.dropped.add(Reason::Picture, 0, None);
    }

    pub fn add_title(&mut self, text: &str) {
        self.extracted.title.get_or_insert_default().push_str(text);
    }

    pub fn style_name(&mut self, style: i32, text: &str) {
        self.styles.entry(style).or_default().name.push_str(text);
    }

    pub fn style_level(&mut self, style: i32, level: i32) {
        self.styles.entry(style).or_default().level = usize::try_from(level).ok();
    }

    /// A part of the sign before an item.
    pub fn sign(&mut self, text: &str) {
        self.paragraph.sign.get_or_insert_default().push_str(text);
    }

    pub fn begin_note(&mut self) {
        self.notes += 1;
        let mark = format!("[{}]", self.notes);
        self.push(&mark);
        let note = Paragraph {
            text: format!("{mark} "),
            ..Paragraph::default()
        };
        self.outer
            .push(std::mem::replace(&mut self.paragraph, note));
    }

    pub fn end_note(&mut self) {
        let Some(outer) = self.outer.pop() else {
            return;
        };
        let note = std::mem::replace(&mut self.paragraph, outer);
        self.paragraph.after.add(Owned::Paragraph(note.text));
        self.paragraph.after.append(note.after);
    }

    pub fn word(&mut self, word: &str, number: Option<i32>) {
        let positive = || number.and_then(|number| usize::try_from(number).ok());
        match word {
            // A note is one paragraph.
            "par" | "sect" | "page" if !self.outer.is_empty() => self.push("\n"),
            "par" | "sect" => self.end_paragraph(),
            "line" | "page" | "column" => self.push("\n"),
            "tab" => self.push("\t"),
            "pard" => {
                self.paragraph.style = 0;
                self.paragraph.outline = None;
                self.paragraph.in_table = false;
                self.paragraph.level = 0;
            }
            "s" => self.paragraph.style = number.unwrap_or(0),
            "outlinelevel" => self.paragraph.outline = positive(),
            "ilvl" => self.paragraph.level = positive().unwrap_or(0),
            "intbl" => self.paragraph.in_table = true,
            "cell" => self.end_cell(),
            "nestcell" => self.push(" "),
            "nestrow" => self.push("\n"),
            "row" => {
                self.begins_row = true;
                self.cell = Flow::default();
            }
            _ => {}
        }
    }

    fn end_cell(&mut self) {
        self.paragraph.in_table = true;
        self.end_paragraph();
        if std::mem::take(&mut self.begins_row) {
            self.table.add_row();
        }
        self.has_table = true;
        self.table.add_cell(std::mem::take(&mut self.cell));
    }

    fn end_table(&mut self) {
        if std::mem::take(&mut self.has_table) {
            std::mem::take(&mut self.table)
                .into_flow()
                .write(self.extracted);
            self.begins_row = true;
        }
    }

    fn end_paragraph(&mut self) {
        let kept = Paragraph {
            style: self.paragraph.style,
            outline: self.paragraph.outline,
            in_table: self.paragraph.in_table,
            level: self.paragraph.level,
            ..Paragraph::default()
        };
        let paragraph = std::mem::replace(&mut self.paragraph, kept);
        let mut flow = Flow::default();
        let heading = self.heading(&paragraph);
        let Paragraph {
            text,
            level,
            sign,
            after,
            in_table,
            ..
        } = paragraph;
        flow.add(match (heading, sign) {
            (Some(level), _) => Owned::Heading(level, text),
            (None, Some(sign)) => Owned::Item {
                depth: level,
                number: number_of(&sign),
                text,
            },
            (None, None) => Owned::Paragraph(text),
        });
        flow.append(after);
        if in_table {
            self.cell.append(flow);
        } else if !flow.is_empty() {
            self.end_table();
            flow.write(self.extracted);
        }
    }

    fn heading(&self, paragraph: &Paragraph) -> Option<usize> {
        /// The level of text that is no heading.
        const BODY: usize = 9;
        let style = self.styles.get(&paragraph.style);
        let by_name = style.and_then(|style| {
            let name = style.name.trim_end_matches(';').trim().to_ascii_lowercase();
            match name.as_str() {
                "title" => Some(1),
                name => name.strip_prefix("heading ")?.parse().ok(),
            }
        });
        let by_level = style.and_then(|style| style.level);
        let level = paragraph.outline.or(by_level).filter(|level| *level < BODY);
        by_name.or(level.map(|level| level + 1))
    }

    pub fn finish(&mut self) {
        while !self.outer.is_empty() {
            self.end_note();
        }
        self.end_paragraph();
        // A row that is cut off.
        if !self.cell.is_empty() {
            self.table.add_cell(std::mem::take(&mut self.cell));
            self.has_table = true;
        }
        self.end_table();
        let title = self.extracted.title.take();
        let title = title.map(|title| title.split_whitespace().collect::<Vec<_>>().join(" "));
        self.extracted.title = title.filter(|title| !title.is_empty());
    }
}

/// The number in a sign such as `3.` or `3)`.
fn number_of(sign: &str) -> Option<u64> {
    sign.trim().trim_end_matches(['.', ')']).parse().ok()
}
