//! LaTeX: what is set of a text, without what sets it. Macros that a file defines are expanded within bounds; formulas stay as
//! they are written.

use super::super::extracted::{Block, Extracted};
use super::utf8;
use crate::document::{Location, Reason};

mod accents;
mod commands;
mod environments;
mod scan;

use scan::{Macros, Scan};

/// Most bytes that expanding macros may add to a text.
const MAX_EXPANDED: usize = 1 << 20;
/// How deep groups and environments may lie in each other; deeper ones are kept as they are written.
const DEEPEST: usize = 64;

pub fn latex(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    let text = utf8(bytes)?;
    out.is_markdown = true;
    let comments = scan::comment_bytes(text);
    if comments.count > 0 {
        out.dropped
            .add_many(Reason::Comment, comments.count, comments.bytes, None);
    }
    let mut reader = Reader {
        out,
        macros: Macros::default(),
        text: String::new(),
        line: 1,
        depth: 0,
        lists: Vec::new(),
        item: None,
    };
    let (head, body) = match text.find("\\begin{document}") {
        Some(at) => text.split_at(at),
        None => ("", text),
    };
    reader.head(head);
    let first_line = 1 + memchr::memchr_iter(b'\n', head.as_bytes()).count() as u64;
    let mut scan = Scan::new(body, first_line);
    reader.read(&mut scan);
    reader.flush();
    Ok(())
}

struct Reader<'e> {
    out: &'e mut Extracted,
    macros: Macros,
    /// The text of the block that is open.
    text: String,
    /// The line that it starts on.
    line: u64,
    depth: usize,
    /// Lists that are open: the number of the next item, if they have any.
    lists: Vec<Option<u64>>,
    /// Whether the block is the first of an item, and its number.
    item: Option<Option<u64>>,
}

impl Reader<'_> {
    /// Titles and definitions of what comes before the text.
    fn head(&mut self, head: &str) {
        let mut scan = Scan::new(head, 1);
        while let Some(name) = scan.next_command() {
            match name {
                "title" | "author" | "date" | "subtitle" => {
                    scan.optional();
                    self.line = scan.line;
                    if let Some(argument) = scan.argument() {
                        let text = self.set(argument, scan.line);
                        if name == "title" {
                            self.out.title =
                                Some(text.split_whitespace().collect::<Vec<_>>().join(" "));
                        }
                        self.write(Block::Paragraph(&text), scan.line);
                    }
                }
                "input" | "include" => self.leave_out(Reason::Include, &mut scan),
                name => {
                    self.macros.define(name, &mut scan);
                }
            }
        }
    }

    /// Reads to the end of a text.
    fn read(&mut self, scan: &mut Scan<'_>) {
        while let Some(c) = scan.peek() {
            let blank = self.text.len() - self.text.trim_start().len();
            if blank == self.text.len() {
                self.line = scan.line;
            }
            // However much of it there is, it is looked through once.
            if blank > 1 {
                self.text.replace_range(..blank, " ");
            }
            match c {
                '\\' => self.command(scan),
                '%' => scan.skip_comment(),
                '{' | '}' => scan.bump(),
                '$' => {
                    let formula = scan.formula();
                    self.text.push_str(formula);
                }
                c if c == '~' || (c.is_whitespace() && !(c == '\n' && scan.at_blank_line())) => {
                    scan.bump();
                    self.space();
                }
                '&' => {
                    scan.bump();
                    self.text.push_str(" | ");
                }
                '\n' => {
                    scan.skip_space();
                    self.flush();
                }
                '-' | '`' | '\'' => self.ligature(scan),
                c => {
                    scan.bump();
                    self.text.push(c);
                }
            }
        }
    }

    /// White space counts once, however much of it there is.
    fn space(&mut self) {
        if !self.text.ends_with(char::is_whitespace) {
            self.text.push(' ');
        }
    }

    fn ligature(&mut self, scan: &mut Scan<'_>) {
        let signs = [
            ("---", "\u{2014}"),
            ("--", "\u{2013}"),
            ("``", "\u{201c}"),
            ("''", "\u{201d}"),
            ("`", "\u{2018}"),
        ];
        for (sign, letter) in signs {
            if scan.take(sign) {
                self.text.push_str(letter);
                return;
            }
        }
        if let Some(c) = scan.peek() {
            self.text.push(c);
        }
        scan.bump();
    }

    /// What an argument is set as.
    fn set(&mut self, argument: &str, line: u64) -> String {
        if self.depth >= DEEPEST {
            return argument.to_owned();
        }
        self.depth += 1;
        let outer = std::mem::take(&mut self.text);
        let outer_line = self.line;
        let mut scan = Scan::new(argument, line);
        self.read(&mut scan);
        let inner = std::mem::replace(&mut self.text, outer);
        self.line = outer_line;
        self.depth -= 1;
        inner
    }

    fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return;
        }
        let text = words.join(" ");
        let line = self.line;
        match self.item.take() {
            Some(number) => {
                let depth = self.lists.len().saturating_sub(1);
                self.write(
                    Block::Item {
                        depth,
                        number,
                        text: &text,
                    },
                    line,
                );
            }
            None => self.write(Block::Paragraph(&text), line),
        }
    }

    fn write(&mut self, block: Block<'_>, line: u64) {
        self.out.at(Location::Line(line));
        self.out.add(block);
    }

    fn leave_out(&mut self, reason: Reason, scan: &mut Scan<'_>) {
        let name = scan.argument().unwrap_or_default();
        let shown = name.chars().take(60).collect();
        self.out.dropped.add(reason, name.len() as u64, Some(shown));
    }
}
