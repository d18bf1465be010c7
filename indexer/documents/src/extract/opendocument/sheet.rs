//! Sheet: the cells of a spreadsheet, put together to tables.

use super::{Body, MOST_REPEATED};
use crate::document::{Location, Reason};
use crate::extract::extracted::{Block, Extracted};
use crate::extract::xlsx::Regions;
use crate::extract::xml::{Tag, Xml};

/// A sheet of a spreadsheet.
#[derive(Default)]
pub struct Sheet {
    pub name: String,
    regions: Regions,
    pub text: Extracted,
    row: u64,
    cells: usize,
    /// How often the row and the cell are there that are open.
    rows_repeated: usize,
    pub repeated: usize,
    filled: Vec<(usize, String)>,
}

impl Sheet {
    pub fn named(name: String) -> Self {
        let text = Extracted {
            is_markdown: true,
            ..Extracted::default()
        };
        Self {
            name,
            text,
            ..Self::default()
        }
    }

    /// Adds what it holds to a document.
    pub fn write(self, extracted: &mut Extracted) {
        let Self {
            name,
            regions,
            mut text,
            ..
        } = self;
        regions.finish(&mut text);
        if !text.text.is_empty() {
            extracted.at(Location::Sheet(name.clone()));
            extracted.add(Block::Heading(2, &name));
            extracted.add(Block::Markdown(&text.text));
        }
    }

    pub fn begin_row(&mut self, tag: &Tag<'_>) {
        self.rows_repeated = tag.number("number-rows-repeated").unwrap_or(1);
        self.cells = 0;
        self.filled.clear();
    }

    pub fn end_cell(&mut self, text: &str) {
        let repeated = std::mem::take(&mut self.repeated).max(1);
        if !text.trim().is_empty() {
            for column in 0..repeated.min(MOST_REPEATED) {
                self.filled
                    .push((self.cells.saturating_add(column), text.to_owned()));
            }
        }
        self.cells = self.cells.saturating_add(repeated);
    }

    pub fn end_row(&mut self) {
        let times = if self.filled.is_empty() {
            1
        } else {
            self.rows_repeated.clamp(1, MOST_REPEATED)
        };
        for _ in 0..times {
            self.row += 1;
            self.regions.begin_row(Some(self.row), &mut self.text);
            for (column, text) in &self.filled {
                self.regions.add_cell(Some(*column), text.clone());
            }
        }
    }
}

impl Body<'_> {
    /// The sheet whose cells are read, unless there is a table inside one of them.
    pub fn open_sheet(&mut self) -> Option<&mut Sheet> {
        self.sheet.as_mut().filter(|_| self.tables.is_empty())
    }

    pub fn begin_sheet(&mut self, tag: &Tag<'_>, xml: &mut Xml<'_>) -> Result<(), String> {
        let name = tag.attribute("name").unwrap_or_default();
        if self
            .styles
            .is_hidden(&tag.attribute("style-name").unwrap_or_default())
        {
            let words = xml.skip()?;
            self.left_out(
                Reason::HiddenInOffice,
                &words,
                Some(Location::Sheet(name).to_string()),
            );
            return Ok(());
        }
        self.sheet = Some(Sheet::named(name));
        Ok(())
    }

    pub fn end_cell(&mut self) {
        let cell = self.flows.pop().unwrap_or_default();
        match self.open_sheet() {
            Some(sheet) => sheet.end_cell(&cell.text()),
            None => self
                .tables
                .last_mut()
                .into_iter()
                .for_each(|table| table.add_cell(cell.clone())),
        }
    }

    pub fn end_table(&mut self) {
        match (&mut self.sheet, self.tables.pop()) {
            (_, Some(table)) => self.emit_all(table.into_flow()),
            (Some(sheet), None) => std::mem::take(sheet).write(self.extracted),
            (None, None) => {}
        }
    }
}
