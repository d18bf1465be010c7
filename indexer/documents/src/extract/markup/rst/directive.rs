//! Directives: what two dots, a name and two colons begin.

use super::super::super::extracted::Block;
use super::super::lines::{Line, add, add_page, dedented, joined, squared};
use super::{Nest, Reader};
use crate::document::Reason;

pub struct Directive<'a> {
    line: u64,
    name: &'a str,
    /// What is behind the colons, line by line.
    arguments: Vec<Line<'a>>,
    options: Vec<(&'a str, &'a str)>,
    content: Vec<Line<'a>>,
}

/// Directives that refer to other files.
const INCLUDES: [&str; 6] = [
    "toctree",
    "include",
    "literalinclude",
    "autosummary",
    "csv-file",
    "image-file",
];
/// Directives that give no text.
const SILENT: [&str; 17] = [
    "contents",
    "sectnum",
    "meta",
    "index",
    "module",
    "py:module",
    "currentmodule",
    "py:currentmodule",
    "highlight",
    "default-role",
    "role",
    "tabularcolumns",
    "sectionauthor",
    "moduleauthor",
    "codeauthor",
    "class",
    "program",
];
const CODE: [&str; 16] = [
    "code",
    "code-block",
    "sourcecode",
    "parsed-literal",
    "prompt",
    "doctest",
    "testcode",
    "testoutput",
    "testsetup",
    "testcleanup",
    "ipython",
    "productionlist",
    "graphviz",
    "digraph",
    "math",
    "jupyter-execute",
];
const ADMONITIONS: [&str; 11] = [
    "note",
    "warning",
    "tip",
    "hint",
    "important",
    "caution",
    "danger",
    "attention",
    "error",
    "seealso",
    "todo",
];

impl<'a> Directive<'a> {
    /// The directive that `rest`, behind the dots, begins.
    pub fn of(line: u64, rest: &'a str, body: &[Line<'a>]) -> Option<Self> {
        let (name, argument) = rest.split_once("::")?;
        // The name of a replacement is not shown where it is defined.
        let name = match name.strip_prefix('|') {
            Some(_) => return None,
            None => name.trim(),
        };
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | ':' | '.' | '+');
        let is_directive = !name.is_empty() && name.chars().all(is_name);
        if !is_directive || !(argument.is_empty() || argument.starts_with(' ')) {
            return None;
        }
        let body = dedented(body);
        let mut arguments = vec![Line {
            number: line,
            text: argument.trim(),
        }];
        let mut at = 0;
        if !argument.trim().is_empty() {
            let more = body
                .iter()
                .take_while(|line| !line.is_blank() && option(line.text).is_none());
            arguments.extend(more.copied());
            at = arguments.len() - 1;
        }
        let mut options = Vec::new();
        while let Some(found) = body.get(at).and_then(|line| option(line.text)) {
            options.push(found);
            at += 1;
            while body.get(at).is_some_and(|line| line.indent() > 0) {
                at += 1;
            }
        }
        Some(Self {
            line,
            name,
            arguments,
            options,
            content: body[at..].to_vec(),
        })
    }

    fn option(&self, name: &str) -> Option<&'a str> {
        let found = self.options.iter().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| *value)
            .filter(|value| !value.is_empty())
    }

    /// Whether it holds HTML for a page, which a reader sees there.
    fn is_page(&self) -> bool {
        let mut forms = self.arguments[0].text.split_whitespace();
        forms.any(|form| form.eq_ignore_ascii_case("html"))
            && self.option("file").is_none()
            && self.option("url").is_none()
    }

    fn bytes(&self) -> u64 {
        let lines = self.arguments.iter().chain(&self.content);
        lines.map(|line| line.text.len() as u64).sum()
    }
}

fn option(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.strip_prefix(':')?.split_once(':')?;
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_alphanumeric() || "-_ ".contains(c));
    (is_name && (value.is_empty() || value.starts_with(' '))).then(|| (name, value.trim()))
}

impl Reader<'_> {
    /// Text of another format, which only pages of HTML show.
    fn raw(&mut self, directive: &Directive<'_>) {
        if !directive.is_page() {
            return self.out.dropped.add(Reason::Code, directive.bytes(), None);
        }
        let lines = directive.arguments[1..].iter().chain(&directive.content);
        add_page(self.out, &lines.copied().collect::<Vec<_>>());
    }

    pub fn directive(&mut self, directive: &Directive<'_>, nest: Nest) {
        let name = directive.name;
        let argument = joined(&directive.arguments);
        if name.starts_with("auto") || INCLUDES.contains(&name) {
            let bytes = directive.bytes();
            return self.out.dropped.add(Reason::Include, bytes, None);
        }
        if SILENT.contains(&name) {
            // A few of them hold text all the same.
            return self.blocks(&directive.content, nest.deeper());
        }
        match name {
            "raw" => self.raw(directive),
            "image" | "figure" => self.figure(directive, nest),
            "list-table" => self.list_table(directive),
            "csv-table" => self.csv_table(directive),
            name if CODE.contains(&name) => self.code(directive),
            name if ADMONITIONS.contains(&name) => {
                let mut title = name.to_owned();
                title[..1].make_ascii_uppercase();
                let argument = self.inline(&argument);
                let text = format!("{title}: {argument}");
                add(self.out, directive.line, Block::Paragraph(text.trim_end()));
                self.blocks(&directive.content, nest.deeper());
            }
            _ => {
                let is_prose = matches!(
                    name,
                    "topic"
                        | "sidebar"
                        | "admonition"
                        | "rubric"
                        | "table"
                        | "deprecated"
                        | "versionadded"
                        | "versionchanged"
                        | "epigraph"
                        | "centered"
                        | "glossary"
                        | "only"
                );
                let argument = if is_prose {
                    self.inline(&argument)
                } else {
                    argument
                };
                let label = if name.starts_with("version") || name == "deprecated" {
                    format!("{name} ")
                } else {
                    String::new()
                };
                add(
                    self.out,
                    directive.line,
                    Block::Paragraph(&format!("{label}{argument}")),
                );
                self.blocks(&directive.content, nest.deeper());
            }
        }
    }

    fn figure(&mut self, directive: &Directive<'_>, nest: Nest) {
        if let Some(alt) = directive.option("alt") {
            add(self.out, directive.line, Block::Paragraph(alt));
        }
        self.blocks(&directive.content, nest.deeper());
    }

    fn code(&mut self, directive: &Directive<'_>) {
        if let Some(caption) = directive.option("caption") {
            let caption = self.inline(caption);
            add(self.out, directive.line, Block::Paragraph(&caption));
        }
        // The argument of code is its language; that of mathematics and of grammars is text.
        if matches!(
            directive.name,
            "math" | "productionlist" | "parsed-literal" | "prompt"
        ) {
            self.verbatim(&directive.arguments);
        }
        self.verbatim(&directive.content);
    }

    fn caption(&mut self, directive: &Directive<'_>) {
        let caption = self.inline(&joined(&directive.arguments));
        add(self.out, directive.line, Block::Paragraph(&caption));
    }

    /// A list of lists: each item is a row, and its items are the cells.
    fn list_table(&mut self, directive: &Directive<'_>) {
        self.caption(directive);
        let mut rows: Vec<Vec<String>> = Vec::new();
        for line in &directive.content {
            let mut text = line.trimmed();
            if let Some(rest) = text.strip_prefix("* ").filter(|_| line.indent() == 0) {
                rows.push(Vec::new());
                text = rest.trim_start();
            }
            let Some(row) = rows.last_mut() else {
                continue;
            };
            let cell = text
                .strip_prefix("- ")
                .or_else(|| (text == "-").then_some(""));
            match cell.filter(|_| line.indent() <= 2 || row.is_empty()) {
                Some(cell) => row.push(cell.to_owned()),
                None => match row.last_mut() {
                    Some(cell) => {
                        cell.push(' ');
                        cell.push_str(text);
                    }
                    None => row.push(text.to_owned()),
                },
            }
        }
        self.rows(directive.line, rows);
    }

    fn csv_table(&mut self, directive: &Directive<'_>) {
        self.caption(directive);
        if directive
            .option("file")
            .or(directive.option("url"))
            .is_some()
        {
            return self
                .out
                .dropped
                .add(Reason::Include, directive.bytes(), None);
        }
        let header = directive.option("header").map(cells);
        let lines = directive.content.iter().filter(|line| !line.is_blank());
        let rows = header.into_iter().chain(lines.map(|line| cells(line.text)));
        let rows = rows.collect();
        self.rows(directive.line, rows);
    }

    pub fn rows(&mut self, line: u64, rows: Vec<Vec<String>>) {
        let rows = squared(rows);
        let rows: Vec<Vec<String>> = rows
            .iter()
            .map(|row| row.iter().map(|cell| self.inline(cell)).collect())
            .collect();
        if !rows.is_empty() {
            add(self.out, line, Block::Table(&rows));
        }
    }
}

/// The cells of a line of comma-separated values.
fn cells(line: &str) -> Vec<String> {
    let (mut cells, mut cell, mut is_quoted) = (Vec::new(), String::new(), false);
    for c in line.chars() {
        match c {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => cells.push(std::mem::take(&mut cell).trim().to_owned()),
            c => cell.push(c),
        }
    }
    cells.push(cell.trim().to_owned());
    cells
}
