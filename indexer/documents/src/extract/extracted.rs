//! What an extractor gives: blocks of text with their structure and where they are in the original, and a ledger of
//! what was left out.
//!
//! Every format that is not its own text is read by a function of one kind, [`Extract`]. It writes blocks into an
//! [`Extracted`], which sets them as Markdown, the form that chunking knows how to cut. What it leaves out, it writes into
//! the ledger: a text that is lost without a trace is a fault.

use serde::{Deserialize, Serialize};

use crate::document::markdown::is_item;
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
            Block::Paragraph(text) => self.block(text, |text| text.to_owned()),
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
