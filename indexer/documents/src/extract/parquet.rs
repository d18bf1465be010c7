//! Parquet: one document per row, by the same rules as JSON lines.
//!
//! Row groups are read one after the other, and of each the pages that the next rows are in: what is in memory is a few
//! pages of every column, however large the file. Empty cells are left out; bytes that are UTF-8 count as text, because
//! not every writer says which of its columns are; other bytes are left out, and refuse the row where its text should be.

use std::fs::File;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Value};

use super::Limit;
use super::decode::read;
use super::guarded;
use super::record::{self, Columns, document};
use super::table::TableOptions;
use crate::document::{Amount, Document, Ledger, Reason};
use crate::source::Origin;
use crate::source::{Compression, Input, InputLocation, SourceError};

mod blocks;

use blocks::Blocks;

/// Rows that are decoded at once.
const ROWS_AT_ONCE: usize = 64;

/// The rows of an input, in order. A bad row is an `Err` item; the next row follows. What cannot be decoded ends it.
pub struct Rows {
    rows: RowIter<'static>,
    columns: Columns,
    origin: Origin,
    limit: Limit,
    found: u64,
    ended: bool,
}

impl Rows {
    /// Opens the input and looks at its columns.
    pub fn open(input: &Input, options: &TableOptions) -> Result<Self, SourceError> {
        let (origin, limit) = (input.origin(), options.limit);
        let is_compressed = Compression::of_name(&input.file_name()).is_some();
        let reader = match &input.location {
            InputLocation::File(path) if !is_compressed => {
                let file = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
                let (bytes, file) = file.map_err(|source| SourceError::Read {
                    origin: origin.clone(),
                    source,
                })?;
                open(bytes, &origin, || SerializedFileReader::new(file))?
            }
            InputLocation::Object(object) if !is_compressed => {
                let blocks = Blocks::of(object.clone());
                open(object.bytes(), &origin, || {
                    SerializedFileReader::new(blocks)
                })?
            }
            InputLocation::File(_) | InputLocation::Object(_) | InputLocation::Member(_) => {
                let bytes = bytes::Bytes::from(read(input, options.file)?);
                open(bytes.len() as u64, &origin, || {
                    SerializedFileReader::new(bytes)
                })?
            }
            InputLocation::Stdin => return Err(SourceError::StdinParquet),
        };
        let columns = options.columns.clone();
        has_columns(reader.as_ref(), &columns, &origin)?;
        Ok(Self {
            rows: RowIter::from_file_into(reader).with_batch_size(ROWS_AT_ONCE),
            columns,
            origin,
            limit,
            found: 0,
            ended: false,
        })
    }

    fn document(&self, row: Row) -> Result<Document, SourceError> {
        let origin = self.origin.at_row(self.found);
        let (mut fields, mut dropped) = (Map::new(), Ledger::default());
        let (mut bytes, mut left_out) = (0, 0);
        for (name, field) in row.into_columns() {
            if let Field::Bytes(bytes) = &field
                && std::str::from_utf8(bytes.data()).is_err()
            {
                if self.columns.is_text(&name) {
                    return Err(SourceError::BinaryField {
                        origin,
                        field: name,
                    });
                }
                left_out += bytes.len() as u64;
                dropped.add(Reason::BinaryField, bytes.len() as u64, Some(name));
                continue;
            }
            if let Some(value) = value_of(field) {
                bytes += name.len() + value.as_str().map_or(0, str::len);
                fields.insert(name, value);
            }
        }
        if bytes > self.limit.bytes {
            return Err(self.limit.exceeded(origin, bytes as u64));
        }
        let mut document = document(fields, &self.columns, origin)?;
        document.dropped.absorb(&dropped);
        document.read = Amount::bytes(bytes as u64 + left_out);
        Ok(document)
    }
}

impl Iterator for Rows {
    type Item = Result<Document, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        self.found += 1;
        let origin = self.origin.at_row(self.found);
        let row = guarded(|| self.rows.next());
        let broken = match row {
            Some(Some(Ok(row))) => return Some(self.document(row)),
            Some(Some(Err(error))) => Err(unreadable(&origin, &error)),
            Some(None) if self.found > 1 => {
                self.ended = true;
                return None;
            }
            Some(None) => Err(SourceError::Empty {
                origin: self.origin.clone(),
            }),
            None => Err(panicked(&origin)),
        };
        self.ended = true;
        Some(broken)
    }
}

fn open<R: FileReader + 'static>(
    bytes: u64,
    origin: &Origin,
    open: impl FnOnce() -> Result<R, ParquetError>,
) -> Result<Box<dyn FileReader>, SourceError> {
    if bytes == 0 {
        return Err(SourceError::Empty {
            origin: origin.clone(),
        });
    }
    match guarded(open) {
        Some(Ok(reader)) => Ok(Box::new(reader)),
        Some(Err(error)) => Err(unreadable(origin, &error)),
        None => Err(panicked(origin)),
    }
}

fn has_columns(
    reader: &dyn FileReader,
    columns: &Columns,
    origin: &Origin,
) -> Result<(), SourceError> {
    let schema = reader.metadata().file_metadata().schema();
    let found: Vec<String> = schema
        .get_fields()
        .iter()
        .map(|field| field.name().to_owned())
        .collect();
    let source = record::Source {
        columns: columns.clone(),
        origin: origin.clone(),
    };
    source.check(&found)
}

/// The value of a cell; `None` if it is empty.
fn value_of(field: Field) -> Option<Value> {
    if let Field::Null = field {
        return None;
    }
    if let Field::Bytes(bytes) = &field
        && let Ok(text) = std::str::from_utf8(bytes.data())
    {
        return Some(Value::from(text));
    }
    // A payload holds integers of 64 bits with a sign: larger ones would be rounded.
    if let Field::ULong(number) = &field
        && i64::try_from(*number).is_err()
    {
        return Some(Value::from(number.to_string()));
    }
    Some(field.to_json_value())
}

fn unreadable(origin: &Origin, error: &ParquetError) -> SourceError {
    SourceError::Parquet {
        origin: origin.clone(),
        reason: error.to_string(),
    }
}

fn panicked(origin: &Origin) -> SourceError {
    SourceError::Parquet {
        origin: origin.clone(),
        reason: "the library panicked".to_owned(),
    }
}
