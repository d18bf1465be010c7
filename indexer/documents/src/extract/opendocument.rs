//! OpenDocument: texts, spreadsheets and presentations of LibreOffice and others, one document per file.
//!
//! Notes stand behind the paragraph that refers to them, text boxes behind the one that they hang on. Cells have the text that
//! the program has shown in them. The notes of a speaker follow their slide. Comments, text that tracked changes delete,
//! hidden sheets, slides and sections, and headers and footers are left out and counted.

use std::collections::HashMap;

use super::docx::count;
use super::extracted::{Extracted, Flow, Table};
use super::package::Package;
use super::xml::{Node, Tag, Xml};
use crate::document::{Location, Reason};

mod paragraph;
mod sheet;
mod styles;

use paragraph::{List, Paragraph};
use sheet::Sheet;
use styles::Styles;

/// A cell or a row is repeated at most so often: programs repeat empty ones to the end of a sheet.
const MOST_REPEATED: usize = 256;

/// Reads the text of an odt, ods or odp.
pub fn opendocument(bytes: &[u8], extracted: &mut Extracted) -> Result<(), String> {
    extracted.is_markdown = true;
    let package = Package::open(bytes)?;
    let manifest = package
        .xml("META-INF/manifest.xml")
        .ok()
        .flatten()
        .unwrap_or_default();
    if manifest.contains("encryption-data") {
        return Err("it is encrypted with a password".to_owned());
    }
    let content = package.xml("content.xml")?;
    let content = content.ok_or("it has no part `content.xml`")?;
    let mut reader = Body::new(extracted);
    reader.styles = Styles::read(&mut Xml::new(&content, "content.xml"))?;
    reader.read(&mut Xml::new(&content, "content.xml"))?;
    if let Some(styles) = package.xml("styles.xml").ok().flatten() {
        for element in ["header", "footer", "header-left", "footer-left"] {
            let mut xml = Xml::new(&styles, "styles.xml");
            count(&mut xml, element, extracted, Reason::Furniture)?;
        }
    }
    if extracted.title.is_none()
        && let Some(meta) = package.xml("meta.xml").ok().flatten()
    {
        let title = Xml::new(&meta, "meta.xml").text_of_first("title");
        extracted.title = title.ok().flatten().filter(|title| !title.is_empty());
    }
    Ok(())
}

struct Body<'a> {
    extracted: &'a mut Extracted,
    styles: Styles,
    paragraphs: Vec<Paragraph>,
    /// The lists that are open.
    lists: Vec<List>,
    tables: Vec<Table>,
    flows: Vec<Flow>,
    sheet: Option<Sheet>,
    slides: u32,
    /// The slide is hidden that is open, and where its text began.
    hidden_slide: bool,
    /// The role of the box that is open in a slide.
    role: String,
    in_notes: bool,
    is_presentation: bool,
    /// Numbers of lists by their style, which later lists may go on with.
    last_numbers: HashMap<String, u64>,
}

impl<'a> Body<'a> {
    fn new(extracted: &'a mut Extracted) -> Self {
        Self {
            extracted,
            styles: Styles::default(),
            paragraphs: Vec::new(),
            lists: Vec::new(),
            tables: Vec::new(),
            flows: Vec::new(),
            sheet: None,
            slides: 0,
            hidden_slide: false,
            role: String::new(),
            in_notes: false,
            is_presentation: false,
            last_numbers: HashMap::new(),
        }
    }

    fn read(&mut self, xml: &mut Xml<'_>) -> Result<(), String> {
        let mut in_body = false;
        while let Some(node) = xml.next()? {
            match node {
                Node::Open(tag) if !in_body => in_body = tag.name() == "body",
                Node::Open(tag) => self.open(&tag, xml)?,
                Node::Text(text) if in_body => self.text(&text),
                Node::Close(name) if in_body => self.close(&name),
                Node::Text(_) | Node::Close(_) => {}
            }
        }
        Ok(())
    }

    fn left_out(&mut self, reason: Reason, text: &str, place: Option<String>) {
        let bytes: usize = text.split_whitespace().map(str::len).sum();
        if bytes > 0 {
            self.extracted.dropped.add(reason, bytes as u64, place);
        }
    }

    fn open(&mut self, tag: &Tag<'_>, xml: &mut Xml<'_>) -> Result<(), String> {
        match &*tag.name() {
            "p" | "h" => self.begin_paragraph(tag),
            "s" => self.push(&" ".repeat(tag.number("c").unwrap_or(1).min(MOST_REPEATED))),
            "tab" => self.push("\t"),
            "line-break" => self.push("\n"),
            "note" => self.note(xml)?,
            "annotation" => {
                let words = xml.skip()?;
                self.left_out(Reason::Comment, &words, None);
            }
            "tracked-changes" => {
                let words = xml.skip()?;
                self.left_out(Reason::DeletedText, &words, None);
            }
            "section" if tag.attribute("display").as_deref() == Some("none") => {
                let words = xml.skip()?;
                self.left_out(Reason::HiddenInOffice, &words, tag.attribute("name"));
            }
            // Texts that stand for something, such as the template of a page.
            "forms" | "sequence-decls" | "annotation-end" | "event-listeners" => drop(xml.skip()?),
            "list" => self.begin_list(tag),
            "list-item" | "list-header" => self
                .lists
                .last_mut()
                .into_iter()
                .for_each(|list| list.begins = true),
            "text-box" => self.flows.push(Flow::default()),
            "desc" => {
                let words = xml.skip()?;
                self.push(&format!(" {} ", words.trim()));
            }
            _ => self.open_in_page_or_table(tag, xml)?,
        }
        Ok(())
    }

    fn open_in_page_or_table(&mut self, tag: &Tag<'_>, xml: &mut Xml<'_>) -> Result<(), String> {
        match &*tag.name() {
            "spreadsheet" => self.sheet = Some(Sheet::default()),
            "presentation" => self.is_presentation = true,
            "page" if self.is_presentation => self.begin_slide(tag),
            "frame" => self.role = tag.attribute("class").unwrap_or_default(),
            "notes" => self.in_notes = true,
            "table" if self.sheet.is_some() && self.tables.is_empty() && self.flows.is_empty() => {
                self.begin_sheet(tag, xml)?
            }
            "table" => self.tables.push(Table::default()),
            "table-row" => match self.open_sheet() {
                Some(sheet) => sheet.begin_row(tag),
                None => self.tables.last_mut().into_iter().for_each(Table::add_row),
            },
            // A cell that spans others is followed by covered ones.
            "table-cell" | "covered-table-cell" => {
                let repeated = tag.number("number-columns-repeated").unwrap_or(1);
                if let Some(sheet) = self.open_sheet() {
                    sheet.repeated = repeated;
                }
                self.flows.push(Flow::default());
            }
            "object" | "object-ole" => self.extracted.dropped.add(Reason::Embedded, 0, None),
            _ => {}
        }
        Ok(())
    }

    fn begin_slide(&mut self, tag: &Tag<'_>) {
        self.slides += 1;
        let style = tag.attribute("style-name").unwrap_or_default();
        self.hidden_slide = self.styles.is_hidden(&style);
        if self.hidden_slide {
            self.flows.push(Flow::default());
        } else {
            self.extracted.at(Location::Slide(self.slides));
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "p" | "h" => {
                if let Some(paragraph) = self.paragraphs.pop() {
                    self.end_paragraph(paragraph);
                }
            }
            "list" => {
                if let Some(list) = self.lists.pop() {
                    self.last_numbers.insert(list.style, list.next);
                }
            }
            "text-box" => {
                let inside = self.flows.pop().unwrap_or_default();
                match self.paragraphs.last_mut() {
                    Some(paragraph) => paragraph.after.append(inside),
                    None => self.emit_all(inside),
                }
            }
            "table-cell" | "covered-table-cell" => self.end_cell(),
            "table-row" => {
                if let Some(sheet) = self.open_sheet() {
                    sheet.end_row();
                }
            }
            "table" => self.end_table(),
            "frame" => self.role.clear(),
            "notes" => self.in_notes = false,
            "page" if self.hidden_slide => {
                self.hidden_slide = false;
                let words = self.flows.pop().unwrap_or_default().text();
                let place = Location::Slide(self.slides).to_string();
                self.left_out(Reason::HiddenInOffice, &words, Some(place));
            }
            _ => {}
        }
    }

    fn emit_all(&mut self, blocks: Flow) {
        match self.flows.last_mut() {
            Some(flow) => flow.append(blocks),
            // What hangs on a sheet and on no cell.
            None => match &mut self.sheet {
                Some(sheet) if !sheet.name.is_empty() => blocks.write(&mut sheet.text),
                _ => blocks.write(self.extracted),
            },
        }
    }
}
