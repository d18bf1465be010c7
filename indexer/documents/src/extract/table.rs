//! CSV and TSV with a header: one document per row.
//!
//! The parser is driven by hand so that a row of any size, such as the one behind a quote that is never closed,
//! is passed over without being in memory. TSV is read without quoting: its fields cannot hold tabs, and a
//! lone quote must not swallow the rows after it.

use std::io::{BufRead, BufReader, Read};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::decode::BOM;
use super::record::{ID, document};
use super::{Limit, bytes_of};
use crate::document::Document;
use crate::source::Origin;
use crate::source::{Input, SourceError};

/// The rows of an input, in order. A bad row is an `Err` item; the next row follows.
pub struct Rows {
    reader: BufReader<Box<dyn Read + Send>>,
    parser: Reader,
    row: Row,
    origin: Origin,
    limit: Limit,
    header: Vec<String>,
    /// Bytes given to the parser so far.
    offset: u64,
    found: u64,
    ended: bool,
}

/// The cells of one row, one after another.
#[derive(Default)]
struct Row {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    used: usize,
    cells: usize,
    line: u64,
    offset: u64,
    /// Bytes of a row that is too large to keep.
    dropped: u64,
}

impl Row {
    fn start(&mut self, line: u64, offset: u64) {
        (self.used, self.cells, self.dropped) = (0, 0, 0);
        (self.line, self.offset) = (line, offset);
    }

    fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .take(self.cells)
            .map(|(start, &end)| &self.bytes[start..end])
    }

    /// Makes room, or, beyond the limit, forgets what there is and counts it.
    fn grow(&mut self, limit: usize) {
        if self.dropped > 0 || self.used >= limit {
            self.dropped += self.used as u64;
            self.used = 0;
        } else {
            let bytes = (self.bytes.len() * 2).max(1 << 10).min(limit + 1);
            self.bytes.resize(bytes, 0);
        }
    }

    fn grow_ends(&mut self, limit: usize) {
        if self.dropped > 0 || self.cells >= limit {
            self.dropped += 1;
            self.cells = 0;
        } else {
            self.ends.resize((self.ends.len() * 2).max(16), 0);
        }
    }
}

impl Rows {
    /// Opens the input and reads its header.
    pub fn open(input: &Input, delimiter: u8, limit: Limit) -> Result<Self, SourceError> {
        let quoting = delimiter == b',';
        let mut rows = Self {
            reader: BufReader::with_capacity(1 << 16, bytes_of(input)?),
            parser: ReaderBuilder::new()
                .delimiter(delimiter)
                .quoting(quoting)
                .build(),
            row: Row::default(),
            origin: input.origin(),
            limit,
            header: Vec::new(),
            offset: 0,
            found: 0,
            ended: false,
        };
        rows.skip_bom()?;
        rows.header = rows.read_header()?;
        Ok(rows)
    }

    fn skip_bom(&mut self) -> Result<(), SourceError> {
        let fault = |source| SourceError::Read {
            origin: self.origin.clone(),
            source,
        };
        let head = self.reader.fill_buf().map_err(fault)?;
        if head.is_empty() {
            return Err(SourceError::Empty {
                origin: self.origin.clone(),
            });
        }
        if head.starts_with(BOM) {
            self.reader.consume(BOM.len());
            self.offset = BOM.len() as u64;
        }
        Ok(())
    }

    fn read_header(&mut self) -> Result<Vec<String>, SourceError> {
        if !self.read_row()? {
            return Err(SourceError::Empty {
                origin: self.origin.clone(),
            });
        }
        let header: Vec<String> = self
            .strings()?
            .into_iter()
            .map(|name| name.trim().to_owned())
            .collect();
        let has = |name: &str| header.iter().any(|column| column == name);
        let lacking = |column| SourceError::MissingColumn {
            origin: self.origin.clone(),
            column,
            found: header.len(),
        };
        if !ID.iter().any(|name| has(name)) {
            return Err(lacking("id"));
        }
        if !has("text") {
            return Err(lacking("text"));
        }
        Ok(header)
    }

    /// Passes over what is left of a line end and over blank lines, so that a row knows where it starts. The parser
    /// ignores them as well, but counts their lines to the row after them.
    fn skip_line_ends(&mut self) -> Result<(), SourceError> {
        loop {
            let fault = |source| SourceError::Read {
                origin: self.origin.clone(),
                source,
            };
            let input = self.reader.fill_buf().map_err(fault)?;
            let is_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            let skipped = input.iter().take_while(is_end).count();
            let lines = input[..skipped]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            let done = input.is_empty() || skipped < input.len();
            self.reader.consume(skipped);
            self.offset += skipped as u64;
            self.parser.set_line(self.parser.line() + lines as u64);
            if done {
                return Ok(());
            }
        }
    }

    /// Reads one row; `false` at the end of the input.
    fn read_row(&mut self) -> Result<bool, SourceError> {
        self.skip_line_ends()?;
        self.row.start(self.parser.line(), self.offset);
        loop {
            let fault = |source| SourceError::Read {
                origin: self.origin.clone(),
                source,
            };
            let input = self.reader.fill_buf().map_err(fault)?;
            let row = &mut self.row;
            let (bytes, ends) = (&mut row.bytes[row.used..], &mut row.ends[row.cells..]);
            let (result, read, written, cells) = self.parser.read_record(input, bytes, ends);
            self.reader.consume(read);
            self.offset += read as u64;
            row.used += written;
            row.cells += cells;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => row.grow(self.limit.bytes),
                ReadRecordResult::OutputEndsFull => row.grow_ends(self.limit.bytes),
                ReadRecordResult::Record => return self.row_fits().map(|()| true),
                ReadRecordResult::End => return Ok(false),
            }
        }
    }

    fn row_fits(&self) -> Result<(), SourceError> {
        let bytes = self.row.dropped + self.row.used as u64;
        if self.row.dropped > 0 || self.row.used > self.limit.bytes {
            return Err(self.limit.exceeded(self.origin.at(self.row.line), bytes));
        }
        match self.row.bytes[..self.row.used]
            .iter()
            .position(|&byte| byte == 0)
        {
            // Quotes are gone from the cells, so this is the first place where the NUL may be.
            Some(at) => Err(SourceError::Binary {
                origin: self.origin.clone(),
                offset: self.row.offset + at as u64,
            }),
            None => Ok(()),
        }
    }

    fn strings(&self) -> Result<Vec<String>, SourceError> {
        let decoded: Result<_, _> = self
            .row
            .cells()
            .map(|cell| std::str::from_utf8(cell).map(str::to_owned))
            .collect();
        decoded.map_err(|_| SourceError::NotUtf8 {
            origin: self.origin.at(self.row.line),
            offset: self.row.offset,
        })
    }

    fn document(&self) -> Result<Document, SourceError> {
        let origin = self.origin.at(self.row.line);
        let cells = self.strings()?;
        let (expected, found) = (self.header.len(), cells.len());
        if expected != found {
            return Err(SourceError::CellCount {
                origin,
                expected,
                found,
            });
        }
        let filled = self
            .header
            .iter()
            .zip(cells)
            .filter(|(_, cell)| !cell.is_empty());
        let fields: Map<String, Value> = filled
            .map(|(name, cell)| (name.clone(), Value::String(cell)))
            .collect();
        document(fields, origin)
    }
}

impl Iterator for Rows {
    type Item = Result<Document, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        self.found += 1;
        match self.read_row() {
            Ok(true) => Some(self.document()),
            Ok(false) => {
                self.ended = true;
                let origin = self.origin.clone();
                (self.found == 1).then_some(Err(SourceError::Empty { origin }))
            }
            Err(error) => {
                // Only a row that is too large leaves the parser at the start of the next one.
                self.ended = !matches!(error, SourceError::TooLarge { .. });
                Some(Err(error))
            }
        }
    }
}
