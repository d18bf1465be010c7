//! Scan: looks through the lines of a block for what they begin.

use super::{Heading, Kind, Outline, OutlineState, Piece, Section, Table};
use crate::document::Definition;
use crate::document::markdown::{self, Fence};

/// Most bytes of a heading that are kept for context.
const MAX_TITLE_BYTES: usize = 256;

/// A block that is looked through, line by line.
pub struct Scan<'a> {
    text: &'a str,
    pub outline: Outline,
    pub fence: Option<Fence>,
    /// The innermost heading in force.
    inner: Option<usize>,
    /// Lines of the prose that is open; 0 after a blank line.
    open_lines: usize,
    /// The table that is open.
    table: Option<Table>,
}

impl<'a> Scan<'a> {
    pub fn resume(text: &'a str, carry: &OutlineState) -> Self {
        let mut scan = Self {
            text,
            outline: Outline::default(),
            fence: carry.fence,
            inner: None,
            open_lines: 0,
            table: carry.table.clone().map(|header| Table {
                start: 0,
                end: 0,
                header,
            }),
        };
        for (level, title) in &carry.headings {
            scan.enter(*level, title);
        }
        let inner = scan.inner;
        scan.outline.sections.push(Section {
            start: 0,
            end: text.len(),
            first: None,
            inner,
        });
        if scan.fence.is_some() {
            scan.piece(0, Kind::Verbatim);
        }
        scan
    }

    pub fn plain(&mut self) {
        let mut at = 0;
        for line in self.text.split_inclusive('\n') {
            self.prose(at, line);
            at += line.len();
        }
    }

    pub fn markdown(&mut self, at_start: bool) {
        let front = if at_start {
            markdown::front_matter(self.text)
        } else {
            0
        };
        if front > 0 {
            self.piece(0, Kind::Verbatim);
        }
        let (mut at, mut above) = (front, "");
        for line in self.text[front..].split_inclusive('\n') {
            self.line(at, line, above);
            at += line.len();
            above = line;
        }
    }

    /// Source code: a section for each definition, which may be cut where lines are blank.
    pub fn code(&mut self, definitions: &[Definition]) {
        let mut path: Vec<usize> = Vec::new();
        for definition in definitions {
            let start = usize::try_from(definition.start).unwrap_or(usize::MAX);
            if start >= self.text.len() || !self.text.is_char_boundary(start) {
                continue;
            }
            self.enter_names(&mut path, definition);
            let inner = path.last().copied();
            self.inner = inner;
            let section = Section {
                start,
                end: self.text.len(),
                first: inner.filter(|_| definition.opens),
                inner,
            };
            match self.outline.sections.last_mut() {
                // The section that every block begins with has nothing in it.
                Some(last) if last.start == start => *last = section,
                _ => self.outline.sections.push(section),
            }
        }
        let mut starts: Vec<usize> = self.outline.sections.iter().map(|it| it.start).collect();
        let (mut at, mut was_blank) = (0, true);
        for line in self.text.split_inclusive('\n') {
            let is_blank = line.trim().is_empty();
            if was_blank && !is_blank {
                starts.push(at);
            }
            was_blank = is_blank;
            at += line.len();
        }
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            self.piece(start, Kind::Verbatim);
        }
    }

    /// Makes headings of the names that are not in force yet. What opens is another one even if it has the same name.
    fn enter_names(&mut self, path: &mut Vec<usize>, definition: &Definition) {
        let names = &definition.path;
        let known = path.iter().zip(names);
        let mut same = known
            .take_while(|(at, name)| self.outline.headings[**at].title == name.as_str())
            .count();
        if definition.opens {
            same = same.min(names.len().saturating_sub(1));
        }
        path.truncate(same);
        for (level, name) in names.iter().enumerate().skip(same) {
            self.outline.headings.push(Heading {
                level: level + 1,
                title: name.clone(),
                parent: path.last().copied(),
            });
            path.push(self.outline.headings.len() - 1);
        }
    }

    fn line(&mut self, at: usize, line: &str, above: &str) {
        // All structure begins with a sign, a digit or white space.
        if self.fence.is_none() && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            self.end_table(at);
            return self.prose(at, line);
        }
        // A row of lines below other rows is a row like them.
        let begins = self.fence.is_none() && self.table.is_none() && markdown::is_row(above);
        if begins && markdown::is_rule(line) {
            let header = markdown::cells(above);
            let header = &header[..header.floor_char_boundary(MAX_TITLE_BYTES)];
            self.table = Some(Table {
                start: at + line.len(),
                end: at,
                header: header.to_owned(),
            });
        } else if !markdown::is_row(line) {
            self.end_table(at);
        }
        if let Some(fence) = self.fence {
            if fence.closed_by(line) {
                self.fence = None;
            }
            return;
        }
        if let Some((level, title)) = markdown::heading(line) {
            self.heading(at, level, title);
        } else if let (1, Some(level)) = (self.open_lines, markdown::underline(line)) {
            let start = at - above.len();
            self.outline.pieces.pop();
            self.heading(start, level, above.trim());
        } else if let Some(fence) = Fence::opened_by(line) {
            self.piece(at, Kind::Verbatim);
            self.fence = Some(fence);
        } else if markdown::is_row(line) {
            self.piece(at, Kind::Verbatim);
        } else if markdown::is_item(line) {
            self.piece(at, Kind::Prose);
            // An underline below an item does not make a heading of it.
            self.open_lines = 2;
        } else {
            self.prose(at, line);
        }
    }

    pub fn end_table(&mut self, end: usize) {
        if let Some(table) = self.table.take() {
            self.outline.tables.push(Table { end, ..table });
        }
    }

    fn prose(&mut self, at: usize, line: &str) {
        if line.trim().is_empty() {
            self.open_lines = 0;
            return;
        }
        if self.open_lines == 0 {
            self.piece(at, Kind::Prose);
        }
        self.open_lines += 1;
    }

    fn piece(&mut self, start: usize, kind: Kind) {
        self.outline.pieces.push(Piece { start, kind });
        self.open_lines = 0;
    }

    fn heading(&mut self, start: usize, level: usize, title: &str) {
        let follows_heading = self
            .outline
            .pieces
            .last()
            .is_some_and(|p| p.kind == Kind::Heading);
        self.piece(start, Kind::Heading);
        self.enter(level, title);
        let inner = self.inner;
        match self.outline.sections.last_mut() {
            Some(section) if follows_heading => section.inner = inner,
            _ => {
                let section = Section {
                    start,
                    end: self.text.len(),
                    first: inner,
                    inner,
                };
                self.outline.sections.push(section);
            }
        }
    }

    /// Puts a heading into force. It ends the headings of its own level and of those below.
    fn enter(&mut self, level: usize, title: &str) {
        let above = self.outline.ancestry(self.inner);
        let parent = above
            .into_iter()
            .find(|&at| self.outline.headings[at].level < level);
        let title = title[..title.floor_char_boundary(MAX_TITLE_BYTES)].to_owned();
        self.outline.headings.push(Heading {
            level,
            title,
            parent,
        });
        self.inner = Some(self.outline.headings.len() - 1);
    }

    pub fn in_force(&self) -> Vec<(usize, String)> {
        let mut headings: Vec<_> = self
            .outline
            .ancestry(self.inner)
            .map(|at| {
                (
                    self.outline.headings[at].level,
                    self.outline.headings[at].title.clone(),
                )
            })
            .collect();
        headings.reverse();
        headings
    }
}
