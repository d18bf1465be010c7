//! Parquet: one document per row, by the same rules as JSON lines.
//!
//! Row groups are read one after the other, and of each the pages that the next rows are in: what is in memory is a few
//! pages of every column, however large the file. Empty cells are left out; bytes that are UTF-8 count as text, because
//! not every writer says which of its columns are.

use std::fs::File;

use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use serde_json::{Map, Value};

use super::Limit;
use super::guarded;
use super::record::{ID, document};
use crate::document::Document;
use crate::source::Origin;
use crate::source::{Input, InputLocation, SourceError};

mod blocks;

use blocks::Blocks;

/// Rows that are decoded at once.
const ROWS_AT_ONCE: usize = 64;

/// The rows of an input, in order. A bad row is an `Err` item; the next row follows. What cannot be decoded ends it.
pub struct Rows {
    rows: RowIter<'static>,
    origin: Origin,
    limit: Limit,
    found: u64,
    ended: bool,
}

impl Rows {
    /// Opens the input and looks at its columns.
    pub fn open(input: &Input, limit: Limit) -> Result<Self, SourceError> {
        let origin = input.origin();
        let reader = match &input.location {
            InputLocation::File(path) => {
                let file = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
                let (bytes, file) = file.map_err(|source| SourceError::Read {
                    origin: origin.clone(),
                    source,
                })?;
                open(bytes, &origin, || SerializedFileReader::new(file))?
            }
            InputLocation::Object(object) => {
                let blocks = Blocks::of(object.clone());
                open(object.bytes(), &origin, || {
                    SerializedFileReader::new(blocks)
                })?
            }
            InputLocation::Stdin => return Err(SourceError::StdinParquet),
        };
        has_columns(reader.as_ref(), &origin)?;
        Ok(Self {
            rows: RowIter::from_file_into(reader).with_batch_size(ROWS_AT_ONCE),
            origin,
            limit,
            found: 0,
            ended: false,
        })
    }

    fn document(&self, row: Row) -> Result<Document, SourceError> {
        let origin = self.origin.at_row(self.found);
        let mut fields = Map::new();
        let mut bytes = 0;
        for (name, field) in row.into_columns() {
            if let Some(value) = value_of(field) {
                bytes += name.len() + value.as_str().map_or(0, str::len);
                fields.insert(name, value);
            }
        }
        if bytes > self.limit.bytes {
            return Err(self.limit.exceeded(origin, bytes as u64));
        }
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

fn has_columns(reader: &dyn FileReader, origin: &Origin) -> Result<(), SourceError> {
    let schema = reader.metadata().file_metadata().schema();
    let columns: Vec<&str> = schema
        .get_fields()
        .iter()
        .map(|field| field.name())
        .collect();
    let lacking = |column| SourceError::MissingColumn {
        origin: origin.clone(),
        column,
        found: columns.len(),
    };
    if !ID.iter().any(|name| columns.contains(name)) {
        return Err(lacking("_id"));
    }
    if !columns.contains(&"text") {
        return Err(lacking("text"));
    }
    Ok(())
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
