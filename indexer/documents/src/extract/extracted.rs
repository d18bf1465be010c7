//! What an extractor gives: blocks of text with their structure and where they are in the original, and a ledger of
//! what was left out.
//!
//! Every format that is not its own text is read by a function of one kind, [`Extract`]. It writes blocks into an
//! [`Extracted`], which sets them as Markdown, the form that chunking knows how to cut. What it leaves out, it writes into
//! the ledger: a text that is lost without a trace is a fault.

use serde::{Deserialize, Serialize};

use crate::document::markdown::{Fence, heading, is_item, is_row};
use crate::document::{Definition, Ledger, Location};

/// Reads a file of one format. The error says what is wrong with the file, and quotes nothing of it.
pub type Extract = fn(&[u8], &mut Extracted) -> Result<(), String>;

/// The text of a file as it is extracted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extracted {
    pub title: Option<String>,
    /// Markdown, if any block had a structure.
    #[serde(skip)]
    pub text: String,
    pub is_markdown: bool,
    /// Where parts of the text are in the original, by the place where they start in the text.
    pub locations: Vec<(u64, Location)>,
    /// Of source code, which stays as it is: where its definitions are.
    #[serde(default)]
    pub definitions: Option<Vec<Definition>>,
    pub dropped: Ledger,
    /// Files that lie inside, in their order.
    #[serde(skip)]
    pub attachments: Vec<Attachment>,
}

/// A file inside another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    pub name: String,
    pub bytes: Vec<u8>,
}

/// A piece of text with its structure.
#[derive(Clone, Copy, Debug)]
pub enum Block<'a> {
    Paragraph(&'a str),
    /// A heading of level 1 to 6.
    Heading(usize, &'a str),
    /// An item of a list, by how deep the list is in others, and its number if it has one.
    Item {
        depth: usize,
        number: Option<u64>,
        text: &'a str,
    },
    /// Text whose white space counts.
    Verbatim(&'a str),
    /// Text that is Markdown already.
    Markdown(&'a str),
    /// Rows of cells; the first row is the header.
    Table(&'a [Vec<String>]),
}

impl Extracted {
    /// Says where the next block is in the original.
    pub fn at(&mut self, location: Location) {
        let start = self.text.len() as u64;
        self.locations.push((start, location));
    }

    /// Adds a block; one without text leaves nothing behind.
    pub fn add(&mut self, block: Block<'_>) {
        match block {
            Block::Paragraph(text) if self.is_markdown => self.block(text, without_markup),
            Block::Paragraph(text) => self.block(text, |text| text.to_owned()),
            Block::Markdown(text) => {
                self.is_markdown = true;
                self.block(text, |text| text.to_owned());
            }
            Block::Heading(level, text) => self.heading(level, text),
            Block::Item {
                depth,
                number,
                text,
            } => self.item(depth, number, text),
            Block::Verbatim(text) => self.verbatim(text),
            Block::Table(rows) => self.table(rows),
        }
    }

    fn block(&mut self, text: &str, set: impl FnOnce(&str) -> String) {
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
        self.text.push_str(&set(text));
    }

    fn heading(&mut self, level: usize, text: &str) {
        self.is_markdown = true;
        let sign = "#".repeat(level.clamp(1, 6));
        let words: Vec<&str> = text.split_whitespace().collect();
        self.block(&words.join(" "), |text| format!("{sign} {text}"));
    }

    fn item(&mut self, depth: usize, number: Option<u64>, text: &str) {
        /// Deeper lists are set like this one: four spaces and more would be code.
        const DEEPEST: usize = 8;
        self.is_markdown = true;
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        let indent = "  ".repeat(depth.min(DEEPEST));
        let sign = number.map_or_else(|| "-".to_owned(), |number| format!("{number}."));
        let follows = is_item(last_line(&self.text));
        if !self.text.is_empty() {
            self.text.push_str(if follows { "\n" } else { "\n\n" });
        }
        self.text.push_str(&format!("{indent}{sign} {text}"));
    }

    fn verbatim(&mut self, text: &str) {
        self.is_markdown = true;
        let text = text.trim_matches('\n');
        if !text.trim().is_empty() {
            let fence = fence_for(text);
            self.block(&format!("{fence}\n{text}\n{fence}"), |text| text.to_owned());
        }
    }

    fn table(&mut self, rows: &[Vec<String>]) {
        self.is_markdown = true;
        let mut lines = Vec::new();
        for (number, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|cell| cell_of(cell)).collect();
            lines.push(format!("| {} |", cells.join(" | ")));
            if number == 0 {
                lines.push(format!("|{}", " --- |".repeat(row.len().max(1))));
            }
        }
        self.block(&lines.join("\n"), |text| text.to_owned());
    }
}

/// A block that owns its text.
#[derive(Clone, Debug)]
pub enum Owned {
    Paragraph(String),
    Heading(usize, String),
    Item {
        depth: usize,
        number: Option<u64>,
        text: String,
    },
    Table(Vec<Vec<String>>),
}

/// Blocks that are set later, as those of a cell or a text box.
#[derive(Clone, Debug, Default)]
pub struct Flow(Vec<Owned>);

impl Owned {
    pub fn write(self, extracted: &mut Extracted) {
        match &self {
            Self::Paragraph(text) => extracted.add(Block::Paragraph(text)),
            Self::Heading(level, text) => extracted.add(Block::Heading(*level, text)),
            Self::Item {
                depth,
                number,
                text,
            } => extracted.add(Block::Item {
                depth: *depth,
                number: *number,
                text,
            }),
            Self::Table(rows) => extracted.add(Block::Table(rows)),
        }
    }

    /// Its words, for a cell.
    fn text(&self) -> String {
        match self {
            Self::Paragraph(text) | Self::Heading(_, text) => text.clone(),
            Self::Item {
                number: Some(number),
                text,
                ..
            } => format!("{number}. {text}"),
            Self::Item { text, .. } => text.clone(),
            Self::Table(rows) => {
                let rows = rows.iter().map(|row| row.join(" "));
                rows.collect::<Vec<_>>().join("\n")
            }
        }
    }
}

impl Flow {
    pub fn add(&mut self, block: Owned) {
        let is_empty = match &block {
            Owned::Paragraph(text) | Owned::Heading(_, text) | Owned::Item { text, .. } => {
                text.trim().is_empty()
            }
            Owned::Table(rows) => rows.is_empty(),
        };
        if !is_empty {
            self.0.push(block);
        }
    }

    pub fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn write(self, extracted: &mut Extracted) {
        self.0.into_iter().for_each(|block| block.write(extracted));
    }

    pub fn text(&self) -> String {
        let texts: Vec<String> = self.0.iter().map(Owned::text).collect();
        texts.join("\n")
    }
}

/// A table whose cells are being read.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Vec<Flow>>,
    /// Columns of the next cell.
    columns: usize,
}

impl Table {
    /// More columns of one cell are a mistake.
    const MOST_COLUMNS: usize = 1024;

    pub fn add_row(&mut self) {
        self.rows.push(Vec::new());
    }

    /// Says that the next cell has several columns.
    pub fn widen(&mut self, columns: usize) {
        self.columns = columns.min(Self::MOST_COLUMNS);
    }

    pub fn add_cell(&mut self, cell: Flow) {
        let columns = std::mem::take(&mut self.columns).max(1);
        if self.rows.is_empty() {
            self.add_row();
        }
        if let Some(row) = self.rows.last_mut() {
            row.push(cell);
            row.extend(std::iter::repeat_n(Flow::default(), columns - 1));
        }
    }

    /// The table as blocks: one with a single column, or a single cell that holds anything, only arranges what is in it.
    pub fn into_flow(self) -> Flow {
        let cells = || self.rows.iter().flatten();
        let is_layout = self.rows.iter().all(|row| row.len() <= 1)
            || cells().filter(|cell| !cell.is_empty()).count() <= 1;
        let mut flow = Flow::default();
        if is_layout {
            for cell in self.rows.into_iter().flatten() {
                flow.append(cell);
            }
            return flow;
        }
        let rows = self
            .rows
            .iter()
            .map(|row| row.iter().map(Flow::text).collect());
        let rows: Vec<Vec<String>> = rows.collect();
        let is_full = |row: &Vec<String>| row.iter().any(|cell| !cell.trim().is_empty());
        flow.add(Owned::Table(rows.into_iter().filter(is_full).collect()));
        flow
    }
}

/// Lines of a paragraph that look like structure, which they are not: a sign before them says so.
fn without_markup(text: &str) -> String {
    let is_markup =
        |line: &str| heading(line).is_some() || Fence::opened_by(line).is_some() || is_row(line);
    if !text.lines().any(is_markup) {
        return text.to_owned();
    }
    let lines: Vec<String> = text
        .lines()
        .map(|line| match is_markup(line) {
            true => format!("\\{}", line.trim_start()),
            false => line.to_owned(),
        })
        .collect();
    lines.join("\n")
}

fn last_line(text: &str) -> &str {
    text.rsplit('\n').next().unwrap_or_default()
}

/// A cell on one line, without the sign that ends it.
fn cell_of(cell: &str) -> String {
    let words: Vec<&str> = cell.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

/// A fence that no line of `text` closes.
pub fn fence_for(text: &str) -> String {
    let mut longest = 2;
    for line in text.lines() {
        let marks = line.trim_start().bytes().take_while(|&byte| byte == b'`');
        longest = longest.max(marks.count());
    }
    "`".repeat(longest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_set_as_markdown() {
        let mut extracted = Extracted::default();
        extracted.at(Location::Page(1));
        extracted.add(Block::Heading(2, "One\n two"));
        extracted.add(Block::Paragraph("  text "));
        extracted.add(Block::Paragraph(" \n"));
        extracted.at(Location::Page(2));
        let items = [(0, None, "a"), (1, Some(2), "b")];
        for (depth, number, text) in items {
            extracted.add(Block::Item {
                depth,
                number,
                text,
            });
        }
        extracted.add(Block::Verbatim("x\n```\ny\n"));
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        extracted.add(Block::Table(&[row(["h", "i"]), row(["a|b", "c\nd"])]));
        let expected = "## One two\n\ntext\n\n- a\n  2. b\n\n````\nx\n```\ny\n````\n\n\
            | h | i |\n| --- | --- |\n| a\\|b | c d |";
        assert_eq!(extracted.text, expected);
        let expected = [(0, Location::Page(1)), (16, Location::Page(2))];
        assert_eq!(extracted.locations, expected);
        assert!(extracted.is_markdown);
    }
}
