//! CSV and TSV with a header: one document per row.
//!
//! A row of any size is passed over without being in memory. TSV is read without quoting: its fields cannot hold tabs, and
//! a lone quote must not swallow the rows after it. In CSV the delimiter is found by the header, unless an option says it.

use std::io::{BufRead, BufReader, Read};
use std::str::FromStr;

use serde_json::{Map, Value};

use super::encoding::{self, TextEncoding};
use super::record::{Columns, Source as RecordSource, document};
use super::{Limit, bytes_of};
use crate::document::{Amount, Document, Ledger};
use crate::source::Origin;
use crate::source::{Format, Input, SourceError};
use split::{Malformed, Row, Splitter};

mod split;

/// Longest header that is looked at for its delimiter.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// What separates cells in CSV files, the most likely first.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// What separates the cells of a table: one character, or `tab`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiter(pub u8);

impl FromStr for Delimiter {
    type Err = String;

    fn from_str(value: &str) -> Result<Self, String> {
        match value.as_bytes() {
            b"tab" | b"\\t" => Ok(Self(b'\t')),
            [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n' | 0) => {
                Ok(Self(*byte))
            }
            _ => Err(format!(
                "`{value}` is no delimiter: expected one ASCII character, or `tab`"
            )),
        }
    }
}

/// How a table is read.
#[derive(Clone, Debug)]
pub struct TableOptions {
    pub delimiter: Option<Delimiter>,
    pub columns: Columns,
    pub encoding: Option<TextEncoding>,
    pub limit: Limit,
    /// Of a file that has to be in memory as a whole.
    pub file: Limit,
}

/// The rows of an input, in order. A bad row is an `Err` item; the next row follows, unless nobody can say where it is.
pub struct Rows {
    reader: BufReader<Box<dyn Read + Send>>,
    splitter: Splitter,
    row: Row,
    records: RecordSource,
    header: Vec<String>,
    /// What is to be told with the first document.
    notes: Ledger,
    found: u64,
    ended: bool,
}

impl Rows {
    /// Opens the input and reads its header.
    pub fn open(input: &Input, options: &TableOptions) -> Result<Self, SourceError> {
        let origin = input.origin();
        let fault = |source| SourceError::Read {
            origin: origin.clone(),
            source,
        };
        let stream = encoding::stream(bytes_of(input)?, options.encoding, true).map_err(fault)?;
        let mut reader = stream.reader;
        let mut head = Vec::new();
        let mut first_line = (&mut reader).take(MAX_HEADER_BYTES as u64);
        first_line.read_until(b'\n', &mut head).map_err(fault)?;
        if head.is_empty() {
            return Err(SourceError::Empty { origin });
        }
        let (delimiter, skipped) = delimiter_of(&head, input.format, options);
        let rest = std::io::Cursor::new(head.split_off(skipped)).chain(reader);
        let quoting = input.format != Format::Tsv;
        let mut rows = Self {
            reader: BufReader::with_capacity(1 << 16, Box::new(rest)),
            splitter: Splitter::new(delimiter, quoting, stream.mark + skipped),
            row: Row::new(options.limit.bytes),
            records: RecordSource {
                columns: options.columns.clone(),
                origin,
            },
            header: Vec::new(),
            notes: stream.notes,
            found: 0,
            ended: false,
        };
        rows.header = rows.read_header(options.limit)?;
        Ok(rows)
    }

    fn origin(&self) -> &Origin {
        &self.records.origin
    }

    fn read_header(&mut self, limit: Limit) -> Result<Vec<String>, SourceError> {
        if !self.read_row(limit)? {
            return Err(SourceError::Empty {
                origin: self.origin().clone(),
            });
        }
        if self.row.has_nul() {
            return Err(SourceError::Binary {
                origin: self.origin().clone(),
                offset: self.row.offset,
            });
        }
        let header: Vec<String> = self
            .strings()?
            .into_iter()
            .map(|name| name.trim().to_owned())
            .collect();
        self.records.check(&header)?;
        Ok(header)
    }

    /// Reads one row; `false` at the end of the input.
    fn read_row(&mut self, limit: Limit) -> Result<bool, SourceError> {
        let origin = self.records.origin.clone();
        let fault = |source| SourceError::Read {
            origin: origin.clone(),
            source,
        };
        let malformed = |Malformed { line, is_end }| SourceError::Quote {
            origin: origin.at(line),
            is_end,
        };
        self.row.clear();
        loop {
            let input = self.reader.fill_buf().map_err(fault)?;
            if input.is_empty() {
                if !self.splitter.finish(&mut self.row).map_err(malformed)? {
                    return Ok(false);
                }
                break;
            }
            let step = self.splitter.feed(input, &mut self.row);
            let (used, is_done) = step.map_err(malformed)?;
            self.reader.consume(used);
            if is_done {
                break;
            }
        }
        match self.row.excess() {
            Some(bytes) => Err(limit.exceeded(origin.at(self.row.line), bytes)),
            None => Ok(true),
        }
    }

    fn strings(&self) -> Result<Vec<String>, SourceError> {
        let decoded: Result<_, _> = self
            .row
            .cells()
            .map(|cell| std::str::from_utf8(cell).map(str::to_owned))
            .collect();
        decoded.map_err(|_| SourceError::NotUtf8 {
            origin: self.origin().at(self.row.line),
            offset: self.row.offset,
        })
    }

    fn document(&mut self) -> Result<Document, SourceError> {
        let origin = self.origin().at(self.row.line);
        if self.row.has_nul() {
            return Err(SourceError::Nul { origin });
        }
        let cells = self.strings()?;
        let mut read = Amount::default();
        cells.iter().for_each(|cell| read.add(Amount::of(cell)));
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
        let mut document = document(fields, &self.records.columns, origin)?;
        document.read = read;
        document.dropped.absorb(&std::mem::take(&mut self.notes));
        Ok(document)
    }
}

/// The delimiter of a table whose first line this is, and how many bytes of it are no header.
fn delimiter_of(head: &[u8], format: Format, options: &TableOptions) -> (u8, usize) {
    // Some spreadsheets write a line before the header that says the delimiter.
    let (said, skipped) = match head {
        [b's', b'e', b'p', b'=', byte, b'\r', b'\n'] => (Some(*byte), head.len()),
        [b's', b'e', b'p', b'=', byte, b'\n'] => (Some(*byte), head.len()),
        _ => (None, 0),
    };
    if let Some(Delimiter(byte)) = options.delimiter {
        return (byte, skipped);
    }
    if let Some(byte) = said {
        return (byte, skipped);
    }
    if format == Format::Tsv {
        return (b'\t', 0);
    }
    let names = |delimiter| header_of(head, delimiter);
    let has_columns = |delimiter: &u8| options.columns.lacking(&names(*delimiter)).is_none();
    let found = DELIMITERS.into_iter().find(has_columns);
    // Without its columns it is refused: the delimiter that finds most columns makes the best message.
    let most = || {
        DELIMITERS
            .into_iter()
            .rev()
            .max_by_key(|delimiter| names(*delimiter).len())
    };
    (found.or_else(most).unwrap_or(b','), 0)
}

/// The names of the columns in a first line.
fn header_of(head: &[u8], delimiter: u8) -> Vec<String> {
    let mut row = Row::new(MAX_HEADER_BYTES);
    let mut splitter = Splitter::new(delimiter, true, 0);
    row.clear();
    // A header of several lines is not looked at.
    let is_row = splitter
        .feed(head, &mut row)
        .is_ok_and(|(_, is_done)| is_done)
        || splitter.finish(&mut row).unwrap_or(false);
    if !is_row {
        return Vec::new();
    }
    row.cells()
        .map(|cell| String::from_utf8_lossy(cell).trim().to_owned())
        .collect()
}

impl Iterator for Rows {
    type Item = Result<Document, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        self.found += 1;
        let limit = Limit {
            bytes: self.row.limit,
            option: "--max-record-bytes",
        };
        match self.read_row(limit) {
            Ok(true) => Some(self.document()),
            Ok(false) => {
                self.ended = true;
                let origin = self.origin().clone();
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
