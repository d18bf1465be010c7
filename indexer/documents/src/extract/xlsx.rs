//! Xlsx: a workbook of Excel, one document per file, sheet by sheet.
//!
//! Cells are written as people see them: dates, numbers and shares by the format of the cell, formulas by the value that was
//! saved with them. A region between empty rows is a table whose first row is its header; a line with one cell is a
//! paragraph. Text boxes and charts of a sheet follow it. Hidden sheets and comments are left out and counted; hidden rows and
//! columns are kept, because filters hide rows.

use super::docx::{count, main_part, words_of_drawing};
use super::extracted::{Block, Extracted};
use super::package::{Package, Relationship};
use super::xml::{Node, Tag, Xml};
use crate::document::{Location, Reason};
use number_format::NumberFormat;
pub use regions::Regions;

mod number_format;
mod regions;

/// What the sheets of a workbook share.
#[derive(Default)]
struct Workbook {
    strings: Vec<String>,
    /// The formats of cells by their style.
    formats: Vec<NumberFormat>,
    /// Whether days are counted from 1904.
    from_1904: bool,
}

struct Sheet {
    name: String,
    id: String,
    is_hidden: bool,
}

/// Reads the text of an xlsx.
pub fn xlsx(bytes: &[u8], extracted: &mut Extracted) -> Result<(), String> {
    extracted.is_markdown = true;
    let package = Package::open(bytes)?;
    let name = main_part(&package, "xl/workbook.xml")?;
    if name.ends_with(".bin") {
        return Err("it is a binary workbook (xlsb): save it as xlsx".to_owned());
    }
    let text = package.xml(&name)?;
    let text = text.ok_or("it has no part `xl/workbook.xml`")?;
    let relationships = package.relationships(&name)?;
    let mut workbook = Workbook::default();
    let sheets = workbook.read_sheets(&mut Xml::new(&text, &name))?;
    for Relationship { kind, target } in relationships.values() {
        let is_read = matches!(kind.as_str(), "sharedStrings" | "styles");
        let Some(text) = is_read.then(|| package.xml(target)).transpose()?.flatten() else {
            continue;
        };
        let mut xml = Xml::new(&text, target);
        match kind.as_str() {
            "styles" => workbook.formats = number_format::read(&mut xml)?,
            _ => workbook.strings = read_strings(&mut xml)?,
        }
    }
    for sheet in sheets {
        let part = relationships
            .get(&sheet.id)
            .map(|part| part.target.as_str());
        let read = match part {
            Some(part) => workbook.read_sheet(&package, part, &sheet, extracted),
            None => Err("it is not there".to_owned()),
        };
        if read.is_err() {
            let place = Location::Sheet(sheet.name).to_string();
            extracted.dropped.add(Reason::BrokenPart, 0, Some(place));
        }
    }
    extracted.title = package.core_title();
    Ok(())
}

fn read_strings(xml: &mut Xml<'_>) -> Result<Vec<String>, String> {
    let (mut strings, mut text) = (Vec::new(), String::new());
    let mut in_text = false;
    while let Some(node) = xml.next()? {
        match node {
            Node::Open(tag) => match &*tag.name() {
                "si" => text.clear(),
                "t" => in_text = true,
                // How letters are spoken.
                "rPh" => drop(xml.skip()?),
                _ => {}
            },
            Node::Text(part) if in_text => text.push_str(&part),
            Node::Text(_) => {}
            Node::Close(name) if name == "t" => in_text = false,
            Node::Close(name) if name == "si" => strings.push(std::mem::take(&mut text)),
            Node::Close(_) => {}
        }
    }
    Ok(strings)
}

/// A cell that is being read.
#[derive(Default)]
struct Cell {
    column: Option<usize>,
    kind: String,
    style: usize,
    value: String,
    text: String,
}

impl Cell {
    fn of(tag: &Tag<'_>) -> Self {
        Self {
            column: tag.attribute("r").and_then(|place| column_of(&place)),
            kind: tag.attribute("t").unwrap_or_default(),
            style: tag.number("s").unwrap_or(0),
            ..Self::default()
        }
    }
}

impl Workbook {
    fn read_sheets(&mut self, xml: &mut Xml<'_>) -> Result<Vec<Sheet>, String> {
        let mut sheets = Vec::new();
        while let Some(node) = xml.next()? {
            let Node::Open(tag) = node else { continue };
            match &*tag.name() {
                "workbookPr" => {
                    let from = tag.attribute("date1904");
                    self.from_1904 = matches!(from.as_deref(), Some("1" | "true"));
                }
                "sheet" => sheets.push(Sheet {
                    name: tag.attribute("name").unwrap_or_default(),
                    id: tag.prefixed("id").unwrap_or_default(),
                    is_hidden: matches!(
                        tag.attribute("state").as_deref(),
                        Some("hidden" | "veryHidden")
                    ),
                }),
                _ => {}
            }
        }
        Ok(sheets)
    }

    fn read_sheet(
        &self,
        package: &Package<'_>,
        part: &str,
        sheet: &Sheet,
        extracted: &mut Extracted,
    ) -> Result<(), String> {
        let text = package.xml(part)?.ok_or("it is not there")?;
        if sheet.is_hidden {
            let bytes = text.len() as u64;
            let place = Location::Sheet(sheet.name.clone()).to_string();
            extracted
                .dropped
                .add(Reason::HiddenInOffice, bytes, Some(place));
            return Ok(());
        }
        let mut inside = Extracted {
            is_markdown: true,
            ..Extracted::default()
        };
        self.read_rows(&mut Xml::new(&text, part), &mut inside)?;
        read_beside(package, part, &mut inside)?;
        extracted.dropped.absorb(&inside.dropped);
        if inside.text.is_empty() {
            return Ok(());
        }
        extracted.at(Location::Sheet(sheet.name.clone()));
        extracted.add(Block::Heading(2, &sheet.name));
        extracted.add(Block::Markdown(&inside.text));
        Ok(())
    }

    fn read_rows(&self, xml: &mut Xml<'_>, extracted: &mut Extracted) -> Result<(), String> {
        let mut regions = Regions::default();
        let mut cell = Cell::default();
        let (mut in_value, mut in_text) = (false, false);
        while let Some(node) = xml.next()? {
            match node {
                Node::Open(tag) => match &*tag.name() {
                    "row" => regions.begin_row(tag.number("r"), extracted),
                    "c" => cell = Cell::of(&tag),
                    "v" => in_value = true,
                    "t" => in_text = true,
                    "rPh" | "f" | "headerFooter" => drop(xml.skip()?),
                    _ => {}
                },
                Node::Text(text) if in_value => cell.value.push_str(&text),
                Node::Text(text) if in_text => cell.text.push_str(&text),
                Node::Text(_) => {}
                Node::Close(name) => match name.as_str() {
                    "v" => in_value = false,
                    "t" => in_text = false,
                    "c" => {
                        let cell = std::mem::take(&mut cell);
                        regions.add_cell(cell.column, self.shown(cell));
                    }
                    _ => {}
                },
            }
        }
        regions.finish(extracted);
        Ok(())
    }

    /// A cell as a person sees it.
    fn shown(&self, cell: Cell) -> String {
        match cell.kind.as_str() {
            "s" => {
                let place = cell.value.trim().parse::<usize>().ok();
                place
                    .and_then(|place| self.strings.get(place))
                    .cloned()
                    .unwrap_or_default()
            }
            "inlineStr" => cell.text,
            "b" => if cell.value.trim() == "1" {
                "TRUE"
            } else {
                "FALSE"
            }
            .to_owned(),
            "str" | "e" | "d" => cell.value,
            _ => match (
                cell.value.trim().parse::<f64>(),
                self.formats.get(cell.style),
            ) {
                (Ok(number), Some(format)) => format.show(number, self.from_1904),
                (Ok(number), None) => number_format::general(number),
                (Err(_), _) => cell.value,
            },
        }
    }
}

/// Text boxes, charts and comments of a sheet.
fn read_beside(package: &Package<'_>, part: &str, extracted: &mut Extracted) -> Result<(), String> {
    let relationships = package.relationships(part)?;
    let mut found: Vec<&Relationship> = relationships.values().collect();
    found.sort_by(|a, b| a.target.cmp(&b.target));
    for Relationship { kind, target } in found {
        let is_read = matches!(kind.as_str(), "drawing" | "comments" | "threadedComment");
        let Some(text) = is_read.then(|| package.xml(target)).transpose()?.flatten() else {
            continue;
        };
        let mut xml = Xml::new(&text, target);
        match kind.as_str() {
            "comments" => count(&mut xml, "comment", extracted, Reason::Comment)?,
            "threadedComment" => count(&mut xml, "threadedComment", extracted, Reason::Comment)?,
            _ => {
                extracted.add(Block::Paragraph(&words_of_drawing(&mut xml)?));
                let charts = package.relationships(target)?;
                let mut charts: Vec<&Relationship> = charts.values().collect();
                charts.sort_by(|a, b| a.target.cmp(&b.target));
                for chart in charts.into_iter().filter(|chart| chart.kind == "chart") {
                    if let Some(text) = package.xml(&chart.target)? {
                        let words = words_of_drawing(&mut Xml::new(&text, &chart.target))?;
                        extracted.add(Block::Paragraph(&words));
                    }
                }
            }
        }
    }
    Ok(())
}

/// The column of a cell such as `AB12`, counted from 0.
fn column_of(place: &str) -> Option<usize> {
    /// Letters of the last column that a sheet can have.
    const MOST_LETTERS: usize = 3;
    let letters = place
        .bytes()
        .take_while(u8::is_ascii_alphabetic)
        .take(MOST_LETTERS);
    let letter = |letter: u8| usize::from(letter.to_ascii_uppercase() - b'A') + 1;
    let column = letters.fold(0, |column, byte| column * 26 + letter(byte));
    column.checked_sub(1)
}
