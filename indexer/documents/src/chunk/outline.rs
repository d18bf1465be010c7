//! Finds the structure of a block: headings, and the paragraphs, items, rows and code between them.

use crate::document::markdown::Fence;
use crate::document::{Definition, Markup};

mod scan;

use scan::Scan;

/// What a piece is made of, which says where it may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Stays with what follows it.
    Heading,
    Prose,
    Verbatim,
}

/// A run of lines that belong together. It ends where the next one starts.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    pub start: usize,
    pub kind: Kind,
}

/// A heading in force, with the one above it.
#[derive(Debug, Clone)]
pub struct Heading {
    level: usize,
    pub title: String,
    pub parent: Option<usize>,
}

/// One or more headings in a row and all up to the next heading.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    pub start: usize,
    pub end: usize,
    /// The first heading of the section; `None` for text that no heading of this block starts.
    pub first: Option<usize>,
    /// The innermost heading in force.
    pub inner: Option<usize>,
}

/// The rows of a table, which mean little without its header.
#[derive(Debug, Clone)]
pub struct Table {
    /// Where its rows start, behind the header.
    start: usize,
    end: usize,
    /// The cells of its header.
    pub header: String,
}

/// State of the outline at the end of a block, from which the next block goes on.
#[derive(Debug, Clone, Default)]
pub struct OutlineState {
    fence: Option<Fence>,
    headings: Vec<(usize, String)>,
    /// The header of the table that the block ends in.
    table: Option<String>,
    started: bool,
    /// Line ends so far.
    lines: u64,
}

#[derive(Debug, Default)]
pub struct Outline {
    pub pieces: Vec<Piece>,
    pub sections: Vec<Section>,
    pub headings: Vec<Heading>,
    pub tables: Vec<Table>,
    /// The line of the text that the block starts on, from 1.
    pub first_line: u64,
}

impl Outline {
    /// The structure of `text`, the block after those that `carry` has seen. The definitions are those that begin in it.
    pub fn of(
        text: &str,
        markup: Markup,
        definitions: &[Definition],
        carry: &mut OutlineState,
    ) -> Self {
        let mut scan = Scan::resume(text, carry);
        match markup {
            Markup::Plain => scan.plain(),
            Markup::Markdown => scan.markdown(!carry.started),
            Markup::Code => scan.code(definitions),
        }
        scan.outline.first_line = carry.lines + 1;
        carry.lines += lines_of(text.as_bytes());
        carry.started = true;
        carry.fence = scan.fence;
        carry.headings = scan.in_force();
        scan.end_table(text.len());
        let last = scan.outline.tables.last();
        let open = last.filter(|table| table.end == text.len());
        carry.table = open.map(|table| table.header.clone());
        scan.outline.close(text.len());
        scan.outline
    }

    /// The section that `at` is in.
    pub fn section_at(&self, at: usize) -> usize {
        self.sections
            .partition_point(|section| section.start <= at)
            .saturating_sub(1)
    }

    /// The table whose rows `at` is among.
    pub fn table_at(&self, at: usize) -> Option<usize> {
        let after = self.tables.partition_point(|table| table.start <= at);
        let table = after.checked_sub(1)?;
        (at < self.tables[table].end).then_some(table)
    }

    /// The headings from the outermost to `inner`.
    pub fn path(&self, inner: Option<usize>) -> Vec<&str> {
        let mut path: Vec<&str> = self
            .ancestry(inner)
            .map(|at| self.headings[at].title.as_str())
            .collect();
        path.reverse();
        path
    }

    /// The innermost heading that `a` and `b` are both below.
    pub fn common(&self, a: Option<usize>, b: Option<usize>) -> Option<usize> {
        // Levels rise along a path, so that it has at most six headings.
        self.ancestry(a)
            .find(|heading| self.ancestry(b).any(|other| other == *heading))
    }

    fn ancestry(&self, inner: Option<usize>) -> impl Iterator<Item = usize> {
        std::iter::successors(inner, |&at| self.headings[at].parent)
    }

    fn close(&mut self, end: usize) {
        let starts: Vec<usize> = self
            .sections
            .iter()
            .skip(1)
            .map(|s| s.start)
            .chain([end])
            .collect();
        for (section, end) in self.sections.iter_mut().zip(starts) {
            section.end = end;
        }
    }
}

/// How many lines end in a text.
pub fn lines_of(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

#[cfg(test)]
mod tests;
