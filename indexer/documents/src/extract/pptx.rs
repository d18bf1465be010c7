//! Pptx: a presentation of PowerPoint, one document per file, slide by slide in their order.
//!
//! The title of a slide is a heading, and what is in its other boxes follows in their order in the file. Tables, charts and
//! SmartArt are kept, and so are the notes of the speaker, behind their slide. Hidden slides, comments, and dates, footers and
//! numbers of slides are left out and counted.

use super::docx::{count, main_part, words_of_drawing};
use super::extracted::{Block, Extracted, Flow, Owned, Table};
use super::package::{Package, Relationship};
use super::xml::{Node, Tag, Xml};
use crate::document::{Location, Reason};

/// Reads the text of a pptx.
pub fn pptx(bytes: &[u8], extracted: &mut Extracted) -> Result<(), String> {
    extracted.is_markdown = true;
    let package = Package::open(bytes)?;
    let name = main_part(&package, "ppt/presentation.xml")?;
    let text = package.xml(&name)?;
    let text = text.ok_or("it has no part `ppt/presentation.xml`")?;
    let relationships = package.relationships(&name)?;
    let mut xml = Xml::new(&text, &name);
    let mut number = 0;
    while let Some(node) = xml.next()? {
        let Node::Open(tag) = node else { continue };
        if tag.name() != "sldId" {
            continue;
        }
        number += 1;
        let id = tag.prefixed("id").unwrap_or_default();
        let slide = relationships.get(&id).map(|part| part.target.as_str());
        let read = match slide {
            Some(slide) => read_slide(&package, slide, number, extracted),
            None => Err("it is not there".to_owned()),
        };
        if read.is_err() {
            let place = Location::Slide(number).to_string();
            extracted.dropped.add(Reason::BrokenPart, 0, Some(place));
        }
    }
    let title = package.core_title();
    extracted.title = title.filter(|title| title != "PowerPoint Presentation");
    Ok(())
}

fn read_slide(
    package: &Package<'_>,
    name: &str,
    number: u32,
    extracted: &mut Extracted,
) -> Result<(), String> {
    let text = package.xml(name)?.ok_or("it is not there")?;
    let relationships = package.relationships(name)?;
    let mut slide = Slide::default();
    slide.read(&mut Xml::new(&text, name))?;
    for id in &slide.drawings {
        let part = relationships.get(id).map(|part| part.target.as_str());
        if let Some(part) = part
            && let Some(text) = package.xml(part)?
        {
            let words = words_of_drawing(&mut Xml::new(&text, part))?;
            slide.blocks.add(Owned::Paragraph(words));
        }
    }
    let mut others: Vec<&Relationship> = relationships.values().collect();
    others.sort_by(|a, b| a.target.cmp(&b.target));
    for Relationship { kind, target } in others {
        // Others are pictures and layouts, which may be large.
        if !matches!(kind.as_str(), "notesSlide" | "comments") {
            continue;
        }
        let Ok(Some(text)) = package.xml(target) else {
            extracted
                .dropped
                .add(Reason::BrokenPart, 0, Some(target.clone()));
            continue;
        };
        let mut xml = Xml::new(&text, target);
        match kind.as_str() {
            "notesSlide" => {
                let mut notes = Slide {
                    is_notes: true,
                    ..Slide::default()
                };
                notes.read(&mut xml)?;
                slide.blocks.append(notes.blocks);
            }
            "comments" => count(&mut xml, "cm", extracted, Reason::Comment)?,
            _ => {}
        }
    }
    slide.write(number, extracted);
    Ok(())
}

/// A slide, or the page of notes behind one.
#[derive(Default)]
struct Slide {
    is_notes: bool,
    is_hidden: bool,
    title: String,
    blocks: Flow,
    /// Charts and diagrams.
    drawings: Vec<String>,
    furniture_bytes: u64,
    shape: Shape,
    paragraph: Paragraph,
    tables: Vec<Table>,
    cells: Vec<Flow>,
    in_text: bool,
}

/// The box that is open.
#[derive(Default)]
struct Shape {
    /// What its layout says that it is for, such as `title`; empty in a box that has no place there.
    role: Option<String>,
}

#[derive(Default)]
struct Paragraph {
    text: String,
    level: usize,
    /// Whether it says of itself that it has a sign or a number, or none.
    is_item: Option<bool>,
}

impl Slide {
    fn read(&mut self, xml: &mut Xml<'_>) -> Result<(), String> {
        while let Some(node) = xml.next()? {
            match node {
                Node::Open(tag) => self.open(&tag, xml)?,
                Node::Text(text) if self.in_text => self.paragraph.text.push_str(&text),
                Node::Text(_) => {}
                Node::Close(name) => self.close(&name),
            }
        }
        Ok(())
    }

    fn open(&mut self, tag: &Tag<'_>, xml: &mut Xml<'_>) -> Result<(), String> {
        match &*tag.name() {
            "sld" => {
                self.is_hidden = matches!(tag.attribute("show").as_deref(), Some("0" | "false"))
            }
            "sp" | "graphicFrame" | "pic" | "cxnSp" => self.shape = Shape::default(),
            "ph" => {
                self.shape.role = Some(tag.attribute("type").unwrap_or_else(|| "body".to_owned()))
            }
            "cNvPr" => {
                let description = tag.attribute("descr").unwrap_or_default();
                if !self.is_notes {
                    self.blocks.add(Owned::Paragraph(description));
                }
            }
            "Fallback" => drop(xml.skip()?),
            "p" => self.paragraph = Paragraph::default(),
            "pPr" => self.paragraph.level = tag.number("lvl").unwrap_or(0),
            "buNone" => self.paragraph.is_item = Some(false),
            "buChar" | "buAutoNum" | "buBlip" => self.paragraph.is_item = Some(true),
            "t" => self.in_text = true,
            "br" => self.paragraph.text.push('\n'),
            "tab" => {}
            "chart" | "relIds" => {
                self.drawings
                    .extend(tag.prefixed("id").or_else(|| tag.prefixed("dm")));
            }
            "tbl" => self.tables.push(Table::default()),
            "tr" => self.tables.last_mut().into_iter().for_each(Table::add_row),
            "tc" => self.cells.push(Flow::default()),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, name: &str) {
        match name {
            "t" => self.in_text = false,
            "p" => self.end_paragraph(),
            "tc" => {
                let cell = self.cells.pop().unwrap_or_default();
                self.tables
                    .last_mut()
                    .into_iter()
                    .for_each(|table| table.add_cell(cell.clone()));
            }
            "tbl" => {
                let table = self.tables.pop().unwrap_or_default().into_flow();
                match self.cells.last_mut() {
                    Some(cell) => cell.append(table),
                    None => self.blocks.append(table),
                }
            }
            "sp" => self.shape = Shape::default(),
            _ => {}
        }
    }

    fn end_paragraph(&mut self) {
        let Paragraph {
            text,
            level,
            is_item,
        } = std::mem::take(&mut self.paragraph);
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return;
        }
        if let Some(cell) = self.cells.last_mut() {
            cell.add(Owned::Paragraph(text));
            return;
        }
        match self.shape.role.as_deref() {
            Some("title" | "ctrTitle") if !self.is_notes => {
                let separator = if self.title.is_empty() { "" } else { " " };
                self.title.push_str(separator);
                self.title.push_str(&words.join(" "));
            }
            Some("dt" | "ftr" | "hdr" | "sldNum") => {
                self.furniture_bytes += words.iter().map(|word| word.len() as u64).sum::<u64>();
            }
            // A page of notes shows its slide again.
            Some("sldImg") => {}
            role => {
                let is_body = matches!(role, Some("body" | "obj")) && !self.is_notes;
                self.blocks.add(if is_item.unwrap_or(is_body) {
                    Owned::Item {
                        depth: level,
                        number: None,
                        text,
                    }
                } else {
                    Owned::Paragraph(text)
                });
            }
        }
    }

    fn write(self, number: u32, extracted: &mut Extracted) {
        if self.furniture_bytes > 0 {
            extracted
                .dropped
                .add(Reason::Furniture, self.furniture_bytes, None);
        }
        if self.is_hidden {
            let bytes = (self.title.len() + self.blocks.text().len()) as u64;
            let place = Location::Slide(number).to_string();
            extracted
                .dropped
                .add(Reason::HiddenInOffice, bytes, Some(place));
            return;
        }
        extracted.at(Location::Slide(number));
        extracted.add(Block::Heading(2, &self.title));
        self.blocks.write(extracted);
    }
}
