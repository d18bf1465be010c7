//! Regions: the tables of a sheet, which lie between empty rows.

use super::super::extracted::{Block, Extracted};

/// Most columns of a row that are set as cells; what is beyond them follows in the last one.
const MAX_COLUMNS: usize = 1024;

/// Rows that are being read, of the region that is open.
#[derive(Debug, Default)]
pub struct Regions {
    rows: Vec<Vec<(usize, String)>>,
    row: Vec<(usize, String)>,
    /// The number of the row that is open.
    number: Option<u64>,
}

impl Regions {
    /// Begins a row. One whose number leaves a gap begins a region, and so does one behind an empty row.
    pub fn begin_row(&mut self, number: Option<u64>, extracted: &mut Extracted) {
        self.end_row(extracted);
        let is_next = match (self.number, number) {
            (Some(before), Some(number)) => number == before.saturating_add(1),
            _ => true,
        };
        if !is_next {
            self.end_region(extracted);
        }
        self.number = number.or(self.number.map(|number| number + 1));
    }

    /// Adds a cell, in the column behind the last one if its place is not known.
    pub fn add_cell(&mut self, column: Option<usize>, text: String) {
        let next = self.row.last().map_or(0, |(column, _)| column + 1);
        self.row.push((column.unwrap_or(next), text));
    }

    fn end_row(&mut self, extracted: &mut Extracted) {
        let mut row = std::mem::take(&mut self.row);
        row.retain(|(_, text)| !text.trim().is_empty());
        if !row.is_empty() {
            self.rows.push(row);
        } else if self.number.is_some() {
            self.end_region(extracted);
        }
    }

    pub fn finish(mut self, extracted: &mut Extracted) {
        self.end_row(extracted);
        self.end_region(extracted);
    }

    /// Sets the region that is open: the lines of one cell before a table are its caption.
    fn end_region(&mut self, extracted: &mut Extracted) {
        let rows = std::mem::take(&mut self.rows);
        let header = rows
            .iter()
            .position(|row| row.len() > 1)
            .unwrap_or(rows.len());
        let (captions, rows) = rows.split_at(header);
        for (_, text) in captions.iter().flatten() {
            extracted.add(Block::Paragraph(text));
        }
        if rows.is_empty() {
            return;
        }
        let mut columns: Vec<usize> = rows.iter().flatten().map(|(column, _)| *column).collect();
        columns.sort_unstable();
        columns.dedup();
        columns.truncate(MAX_COLUMNS);
        let table: Vec<Vec<String>> = rows.iter().map(|row| cells(row, &columns)).collect();
        extracted.add(Block::Table(&table));
    }
}

/// The cells of a row below the columns that are used.
fn cells(row: &[(usize, String)], columns: &[usize]) -> Vec<String> {
    let mut cells = vec![String::new(); columns.len()];
    for (column, text) in row {
        let place = columns.binary_search(column).unwrap_or(columns.len() - 1);
        let cell = &mut cells[place];
        if !cell.is_empty() {
            cell.push(' ');
        }
        cell.push_str(text);
    }
    cells
}
