//! The text of a part, in one pass: what is open at each moment is on stacks, so that no nesting is too deep.

use super::super::extracted::{Flow, Owned, Table};
use super::super::package::Package;
use super::super::xml::{Node, Tag, Xml};
use super::styles::{Counters, List};
use super::{Extracted, Parts, Reason};

pub struct Body<'a, 'p> {
    package: &'a Package<'p>,
    parts: &'a Parts,
    extracted: &'a mut Extracted,
    paragraphs: Vec<Paragraph>,
    tables: Vec<Table>,
    /// What cells and text boxes hold that are open.
    flows: Vec<Flow>,
    counters: Counters,
    /// Inside the properties of a paragraph, whose tabs and marks are no text.
    in_properties: bool,
    is_hidden: bool,
    in_text: bool,
}

#[derive(Default)]
struct Paragraph {
    text: String,
    style: Option<String>,
    outline: Option<usize>,
    list: List,
    /// Text boxes and notes that hang on it.
    after: Flow,
}

impl<'a, 'p> Body<'a, 'p> {
    pub fn new(package: &'a Package<'p>, parts: &'a Parts, extracted: &'a mut Extracted) -> Self {
        Self {
            package,
            parts,
            extracted,
            paragraphs: Vec::new(),
            tables: Vec::new(),
            flows: Vec::new(),
            counters: Counters::default(),
            in_properties: false,
            is_hidden: false,
            in_text: false,
        }
    }

    /// Reads to the end of the part.
    pub fn read(&mut self, xml: &mut Xml<'_>) -> Result<(), String> {
        while let Some(node) = xml.next()? {
            self.node(node, xml)?;
        }
        Ok(())
    }

    /// Reads what is in the element that was opened last.
    pub fn read_element(&mut self, xml: &mut Xml<'_>) -> Result<(), String> {
        let outside = xml.depth - 1;
        while xml.depth > outside {
            let Some(node) = xml.next()? else { break };
            self.node(node, xml)?;
        }
        Ok(())
    }

    fn node(&mut self, node: Node<'_>, xml: &mut Xml<'_>) -> Result<(), String> {
        match node {
            Node::Open(tag) => self.open(&tag, xml),
            Node::Close(name) => {
                self.close(&name);
                Ok(())
            }
            Node::Text(text) => {
                if self.in_text {
                    self.push(&text);
                }
                Ok(())
            }
        }
    }

    fn push(&mut self, text: &str) {
        if self.is_hidden {
            let bytes = text.split_whitespace().map(str::len).sum::<usize>() as u64;
            self.extracted
                .dropped
                .add(Reason::HiddenInOffice, bytes, None);
        } else if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.text.push_str(text);
        }
    }

    fn open(&mut self, tag: &Tag<'_>, xml: &mut Xml<'_>) -> Result<(), String> {
        match &*tag.name() {
            "p" => self.paragraphs.push(Paragraph::default()),
            "pPr" => self.in_properties = true,
            "r" => self.is_hidden = false,
            "vanish" if !self.in_properties => self.is_hidden = tag.is_on(),
            "t" => self.in_text = true,
            // What tracked changes say about the time before them.
            "pPrChange" | "rPrChange" | "sectPrChange" | "tblPrChange" | "tcPrChange"
            | "trPrChange" | "tblGridChange" | "numberingChange" | "instrText" | "Fallback"
            | "sectPr" => drop(xml.skip()?),
            "del" | "moveFrom" => {
                let words = xml.skip()?;
                let bytes: usize = words.split_whitespace().map(str::len).sum();
                if bytes > 0 {
                    self.extracted
                        .dropped
                        .add(Reason::DeletedText, bytes as u64, None);
                }
            }
            "tbl" => self.tables.push(Table::default()),
            "tr" => self.tables.last_mut().into_iter().for_each(Table::add_row),
            "tc" | "txbxContent" => self.flows.push(Flow::default()),
            "gridSpan" => {
                let columns = tag.number("val").unwrap_or(1);
                self.tables
                    .last_mut()
                    .into_iter()
                    .for_each(|table| table.widen(columns));
            }
            _ if self.in_properties => self.property(tag),
            _ => self.inline(tag)?,
        }
        Ok(())
    }

    fn property(&mut self, tag: &Tag<'_>) {
        let Some(paragraph) = self.paragraphs.last_mut() else {
            return;
        };
        match &*tag.name() {
            "pStyle" => paragraph.style = tag.attribute("val"),
            "outlineLvl" => paragraph.outline = tag.number("val"),
            _ => paragraph.list.note(tag),
        }
    }

    /// Elements that stand for text.
    fn inline(&mut self, tag: &Tag<'_>) -> Result<(), String> {
        match &*tag.name() {
            "tab" | "ptab" => self.push("\t"),
            "br" | "cr" => self.push("\n"),
            "noBreakHyphen" => self.push("-"),
            "sym" => self.symbol(tag),
            "docPr" => {
                let description = tag.attribute("descr").unwrap_or_default();
                if !description.trim().is_empty() {
                    self.push(&format!(" {} ", description.trim()));
                }
            }
            name @ ("footnoteReference" | "endnoteReference") => {
                let kind = name.trim_end_matches("Reference");
                self.note(kind, &tag.attribute("id").unwrap_or_default());
            }
            "chart" | "relIds" => {
                let id = tag.prefixed("id").or_else(|| tag.prefixed("dm"));
                self.drawing(&id.unwrap_or_default())?;
            }
            "altChunk" | "OLEObject" => self.extracted.dropped.add(Reason::Embedded, 0, None),
            _ => {}
        }
        Ok(())
    }

    /// A letter of a font of signs. Fonts of their own have codes that mean nothing elsewhere.
    fn symbol(&mut self, tag: &Tag<'_>) {
        let code = tag.attribute("char").unwrap_or_default();
        let code = u32::from_str_radix(&code, 16).ok();
        match code.and_then(char::from_u32) {
            Some('\u{e000}'..='\u{f8ff}') | None => {
                let font = tag.attribute("font");
                self.extracted.dropped.add(Reason::UnknownLetter, 0, font);
            }
            Some(letter) => self.push(letter.encode_utf8(&mut [0; 4])),
        }
    }

    fn note(&mut self, kind: &str, id: &str) {
        let note = self.parts.notes.get(&(kind.to_owned(), id.to_owned()));
        let Some(note) = note.map(|note| note.trim()).filter(|note| !note.is_empty()) else {
            return;
        };
        let mark = if kind == "endnote" {
            format!("[e{id}]")
        } else {
            format!("[{id}]")
        };
        self.push(&mark);
        if let Some(paragraph) = self.paragraphs.last_mut() {
            let text = format!("{mark} {note}");
            paragraph.after.add(Owned::Paragraph(text));
        }
    }

    /// The words in a chart or a diagram.
    fn drawing(&mut self, id: &str) -> Result<(), String> {
        let Some(part) = self.parts.relationships.get(id) else {
            return Ok(());
        };
        let Some(text) = self.package.xml(&part.target)? else {
            return Ok(());
        };
        let words = words_of_drawing(&mut Xml::new(&text, &part.target))?;
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.after.add(Owned::Paragraph(words));
        }
        Ok(())
    }

    fn close(&mut self, name: &str) {
        match name {
            "pPr" => self.in_properties = false,
            "t" => self.in_text = false,
            "r" => self.is_hidden = false,
            "p" => {
                if let Some(paragraph) = self.paragraphs.pop() {
                    self.end_paragraph(paragraph);
                }
            }
            "tc" => {
                let cell = self.flows.pop().unwrap_or_default();
                self.tables
                    .last_mut()
                    .into_iter()
                    .for_each(|table| table.add_cell(cell.clone()));
            }
            "txbxContent" => {
                let inside = self.flows.pop().unwrap_or_default();
                match self.paragraphs.last_mut() {
                    Some(paragraph) => paragraph.after.append(inside),
                    None => self.emit_all(inside),
                }
            }
            "tbl" => {
                let table = self.tables.pop().unwrap_or_default();
                self.emit_all(table.into_flow());
            }
            _ => {}
        }
    }

    fn end_paragraph(&mut self, paragraph: Paragraph) {
        let Paragraph {
            text,
            style,
            outline,
            list,
            after,
        } = paragraph;
        let style = style.unwrap_or_default();
        let styles = &self.parts.styles;
        let is_title = styles.is_title(&style);
        let heading = outline.filter(|level| *level < 9).map(|level| level + 1);
        let heading = heading
            .or_else(|| styles.heading(&style))
            .filter(|_| outline != Some(9));
        if is_title && self.extracted.title.is_none() && !text.trim().is_empty() {
            let words: Vec<&str> = text.split_whitespace().collect();
            self.extracted.title = Some(words.join(" "));
        }
        let block = match heading.or(is_title.then_some(1)) {
            Some(level) => Owned::Heading(level, text),
            None => self.item_or_paragraph(text, &style, list),
        };
        self.emit(block);
        self.emit_all(after);
    }

    fn item_or_paragraph(&mut self, text: String, style: &str, list: List) -> Owned {
        let by_style = self.parts.styles.list(style);
        let level = list.level.or(by_style.level).unwrap_or(0);
        match list.id.or(by_style.id).filter(|id| id != "0") {
            Some(id) if !text.trim().is_empty() => Owned::Item {
                depth: level,
                number: self.counters.next(&self.parts.numbering, &id, level),
                text,
            },
            _ => Owned::Paragraph(text),
        }
    }

    fn emit(&mut self, block: Owned) {
        match self.flows.last_mut() {
            Some(flow) => flow.add(block),
            None => block.write(self.extracted),
        }
    }

    fn emit_all(&mut self, blocks: Flow) {
        match self.flows.last_mut() {
            Some(flow) => flow.append(blocks),
            None => blocks.write(self.extracted),
        }
    }
}

/// The words in a chart or a diagram, in their order, each once in a row.
pub fn words_of_drawing(xml: &mut Xml<'_>) -> Result<String, String> {
    let mut found: Vec<String> = Vec::new();
    let (mut text, mut is_text, mut is_number) = (String::new(), false, 0_usize);
    while let Some(node) = xml.next()? {
        match node {
            // Numbers are drawn as bars and lines.
            Node::Open(tag) if matches!(&*tag.name(), "numCache" | "numLit") => is_number += 1,
            Node::Open(tag) => is_text = matches!(&*tag.name(), "t" | "v") && is_number == 0,
            Node::Text(part) if is_text => text.push_str(&part),
            Node::Text(_) => {}
            Node::Close(name) => match name.as_str() {
                "numCache" | "numLit" => is_number = is_number.saturating_sub(1),
                "p" | "v" => {
                    let words = std::mem::take(&mut text);
                    if !words.trim().is_empty() && found.last() != Some(&words) {
                        found.push(words);
                    }
                }
                "t" => is_text = false,
                _ => {}
            },
        }
    }
    Ok(found.join("\n"))
}
