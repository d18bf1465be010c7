//! XML: the text of all elements, with the structure of JATS, DocBook, TEI and the like where their names are known.
//!
//! Entities that a file defines itself are not expanded. An element whose name is not known is a block of its own, unless it
//! stands in the middle of a sentence.

use quick_xml::Reader as XmlReader;
use quick_xml::events::Event;

use super::super::extracted::{Block, Extracted};
use super::lines::{add, squared};
use super::utf8;
use crate::document::Reason;

/// Deepest nesting; a file that goes beyond is refused.
const MAX_DEPTH: usize = 2048;

/// Elements inside of a sentence.
const INLINE: [&str; 70] = [
    "italic",
    "bold",
    "sub",
    "sup",
    "xref",
    "ext-link",
    "monospace",
    "sc",
    "underline",
    "strike",
    "named-content",
    "styled-content",
    "inline-formula",
    "email",
    "uri",
    "em",
    "i",
    "b",
    "u",
    "a",
    "span",
    "strong",
    "code",
    "tt",
    "small",
    "emphasis",
    "literal",
    "command",
    "filename",
    "option",
    "function",
    "type",
    "varname",
    "replaceable",
    "constant",
    "ulink",
    "link",
    "application",
    "productname",
    "firstterm",
    "parameter",
    "userinput",
    "computeroutput",
    "phrase",
    "quote",
    "citetitle",
    "acronym",
    "abbrev",
    "hi",
    "ref",
    "name",
    "persName",
    "placeName",
    "orgName",
    "date",
    "num",
    "term",
    "foreign",
    "surname",
    "given-names",
    "year",
    "volume",
    "issue",
    "fpage",
    "lpage",
    "source",
    "month",
    "day",
    "prefix",
    "suffix",
];
/// Elements whose text is one block although their parts are blocks elsewhere.
const WHOLE: [&str; 9] = [
    "element-citation",
    "mixed-citation",
    "citation",
    "nlm-citation",
    "biblioentry",
    "bibl",
    "contrib",
    "disp-formula",
    "math",
];
const HEADINGS: [&str; 6] = [
    "title",
    "article-title",
    "head",
    "subtitle",
    "bridgehead",
    "label-title",
];
const SECTIONS: [&str; 19] = [
    "sec", "section", "sect1", "sect2", "sect3", "sect4", "sect5", "chapter", "part", "appendix",
    "abstract", "ack", "app", "ref-list", "div", "div1", "div2", "refsect1", "preface",
];
const VERBATIM: [&str; 7] = [
    "preformat",
    "programlisting",
    "screen",
    "literallayout",
    "pre",
    "synopsis",
    "eg",
];
const ITEMS: [&str; 3] = ["list-item", "listitem", "item"];
const TABLES: [&str; 3] = ["table", "informaltable", "tgroup"];
const ROWS: [&str; 2] = ["tr", "row"];
const CELLS: [&str; 4] = ["td", "th", "entry", "cell"];

pub fn xml(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    let text = utf8(bytes)?;
    let mut reader = XmlReader::from_str(text);
    let config = reader.config_mut();
    config.expand_empty_elements = true;
    let mut writer = Writer::new(out, text);
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let event = reader.read_event();
        let event = event.map_err(|_| format!("it is not well-formed at byte {at}"))?;
        let broken = |_| format!("its text cannot be decoded at byte {at}");
        match event {
            Event::Start(tag) | Event::Empty(tag) => {
                let name = tag.local_name();
                writer.open(&String::from_utf8_lossy(name.as_ref()), at)?;
            }
            Event::End(_) => writer.close(),
            Event::Text(part) => writer.text(&part.xml10_content().map_err(broken)?),
            Event::CData(part) => writer.text(&part.xml10_content().map_err(broken)?),
            Event::GeneralRef(reference) => {
                let letter = reference.resolve_char_ref().ok().flatten();
                match letter {
                    Some(letter) => writer.text(letter.encode_utf8(&mut [0; 4])),
                    None => writer.entity(&String::from_utf8_lossy(&reference)),
                }
            }
            Event::Comment(comment) => {
                writer
                    .out
                    .dropped
                    .add(Reason::Comment, comment.len() as u64, None);
            }
            Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
            Event::Eof => break,
        }
    }
    if !writer.open.is_empty() {
        let open = writer.open.len();
        return Err(format!("it ends inside of {open} elements"));
    }
    writer.flush();
    Ok(())
}

struct Writer<'e, 't> {
    out: &'e mut Extracted,
    source: &'t str,
    /// Elements that are open.
    open: Vec<Open>,
    /// The text of the block that is open.
    text: String,
    /// Where it starts in the source.
    start: usize,
    /// A place of the source, and its line.
    line: (usize, u64),
    /// Where the last event starts.
    at: usize,
    tables: Vec<Vec<Vec<String>>>,
    /// Whether the text is the first of an item.
    is_item: bool,
    /// How many open elements are verbatim, a whole, a section, a list, a cell.
    verbatim: usize,
    wholes: usize,
    sections: usize,
    items: usize,
    cells: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Inline,
    Block,
    Whole,
    Heading,
    Section,
    Verbatim,
    Item,
    Table,
    Row,
    Cell,
}

impl Open {
    fn of(name: &str) -> Self {
        let is = |names: &[&str]| names.contains(&name);
        if is(&INLINE) {
            Self::Inline
        } else if is(&WHOLE) {
            Self::Whole
        } else if is(&HEADINGS) {
            Self::Heading
        } else if is(&SECTIONS) {
            Self::Section
        } else if is(&VERBATIM) {
            Self::Verbatim
        } else if is(&ITEMS) {
            Self::Item
        } else if is(&TABLES) {
            Self::Table
        } else if is(&ROWS) {
            Self::Row
        } else if is(&CELLS) {
            Self::Cell
        } else {
            Self::Block
        }
    }
}

impl<'e, 't> Writer<'e, 't> {
    fn new(out: &'e mut Extracted, source: &'t str) -> Self {
        Self {
            out,
            source,
            open: Vec::new(),
            text: String::new(),
            start: 0,
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

    fn open(&mut self, name: &str, at: usize) -> Result<(), String> {
        self.at = at;
        if self.open.len() >= MAX_DEPTH {
            return Err(format!("it nests elements more than {MAX_DEPTH} deep"));
        }
        let open = Open::of(name);
        let is_part = self.is_within() && open != Open::Cell && open != Open::Row;
        if is_part && open != Open::Inline {
            self.space();
        } else if open != Open::Inline {
            self.flush();
        }
        match open {
            Open::Verbatim => self.verbatim += 1,
            Open::Whole => self.wholes += 1,
            Open::Section => self.sections += 1,
            Open::Item => {
                self.items += 1;
                self.is_item = true;
            }
            Open::Table => self.tables.push(Vec::new()),
            Open::Row => {
                if let Some(table) = self.tables.last_mut() {
                    table.push(Vec::new());
                }
            }
            Open::Cell => self.cells += 1,
            Open::Inline | Open::Block | Open::Heading => {}
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) {
        let Some(open) = self.open.pop() else {
            return;
        };
        let around = self.wholes + self.cells + self.verbatim;
        let is_outermost = around == 1;
        if open == Open::Inline {
            return;
        }
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
            Open::Inline | Open::Block | Open::Heading | Open::Row => {}
        }
    }

    fn space(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with(char::is_whitespace) {
            self.text.push(if self.verbatim > 0 { '\n' } else { ' ' });
        }
    }

    fn text(&mut self, text: &str) {
        if self.text.trim().is_empty() {
            self.start = self.at;
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

    /// Entities of XML and of pages are known; others stay as they are written, and are counted.
    fn entity(&mut self, name: &str) {
        let known = quick_xml::escape::resolve_html5_entity(name);
        if let Some(letters) = known {
            return self.text(letters);
        }
        self.out
            .dropped
            .add(Reason::UnknownEntity, 0, Some(format!("&{name};")));
        self.text(&format!("&{name};"));
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
        let text = std::mem::take(&mut self.text);
        if text.trim().is_empty() {
            return None;
        }
        let line = self.line_of(self.start);
        Some((line, text))
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
        let text = std::mem::take(&mut self.text);
        match self.tables.last_mut() {
            Some(table) if !table.is_empty() => {
                if let Some(row) = table.last_mut() {
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
        let rows = squared(self.tables.pop().unwrap_or_default());
        if !rows.is_empty() {
            let line = self.line_of(self.at);
            add(self.out, line, Block::Table(&rows));
        }
    }
}
