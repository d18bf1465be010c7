//! JSON lines in the BEIR shape: one document per line.

use std::io::BufReader;

use super::encoding;
use super::lines::{Line, Lines};
use super::record::{Columns, document};
use super::table::TableOptions;
use super::{Limit, bytes_of};
use crate::document::{Amount, Document, Ledger};
use crate::source::Origin;
use crate::source::{Input, SourceError};
use fields::{Top, with_long_integers_as_text};

mod fields;

type Bytes = BufReader<Box<dyn std::io::Read + Send>>;

/// The records of an input, in order. A bad line is an `Err` item; the next line follows.
pub struct Records {
    lines: Lines<Bytes>,
    line: Vec<u8>,
    origin: Origin,
    limit: Limit,
    columns: Columns,
    /// What is to be told with the first document.
    notes: Ledger,
    /// Lines that held something, good or bad.
    found: u64,
    ended: bool,
}

impl Records {
    /// JSON is UTF-8, unless a byte order mark or somebody says otherwise.
    pub fn open(input: &Input, options: &TableOptions) -> Result<Self, SourceError> {
        let origin = input.origin();
        let stream = encoding::stream(bytes_of(input)?, options.encoding, false);
        let stream = stream.map_err(|source| SourceError::Read {
            origin: origin.clone(),
            source,
        })?;
        let limit = options.limit;
        let lines = Lines::new(stream.reader, limit.bytes).after(stream.mark as u64);
        Ok(Self {
            lines,
            line: Vec::new(),
            origin,
            limit,
            columns: options.columns.clone(),
            notes: stream.notes,
            found: 0,
            ended: false,
        })
    }

    /// Ends the stream with `error`: nothing after it can be trusted.
    fn end_with(&mut self, error: SourceError) -> Option<Result<Document, SourceError>> {
        self.ended = true;
        Some(Err(error))
    }

    /// The document of the line in the buffer; `None` for a blank one.
    fn record(&mut self) -> Option<Result<Document, SourceError>> {
        let origin = self.origin.at(self.lines.number);
        let (line, start) = (self.line.as_slice(), self.lines.start);
        if line.contains(&0) && self.found > 0 {
            return Some(Err(SourceError::Nul { origin }));
        }
        if line.contains(&0) {
            // This is another kind of file, and each of its "lines" would be an error.
            let offset = start + line.iter().take_while(|&&byte| byte != 0).count() as u64;
            return self.end_with(SourceError::Binary {
                origin: self.origin.clone(),
                offset,
            });
        }
        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => {
                let offset = start + error.valid_up_to() as u64;
                return Some(Err(SourceError::NotUtf8 { origin, offset }));
            }
        };
        if self.lines.number == 1 && matches!(text.trim(), "[" | "{") {
            return self.end_with(SourceError::PrettyJson {
                origin: self.origin.clone(),
            });
        }
        if text.trim().is_empty() {
            return None;
        }
        let mut document = parse(text, &self.columns, origin);
        if let Ok(document) = &mut document {
            document.dropped.absorb(&std::mem::take(&mut self.notes));
        }
        Some(document)
    }
}

fn parse(line: &str, columns: &Columns, origin: Origin) -> Result<Document, SourceError> {
    let line = with_long_integers_as_text(line);
    match serde_json::from_str(&line) {
        Ok(Top::Fields(fields)) => Ok(Document {
            read: Amount::of(&line),
            ..document(fields, columns, origin)?
        }),
        Ok(Top::Repeated(field)) => Err(SourceError::RepeatedField { origin, field }),
        Ok(Top::Other(found)) => Err(SourceError::NotObject { origin, found }),
        Err(error) => Err(SourceError::Json {
            origin,
            reason: reason_of(&error),
        }),
    }
}

/// What the library says, without its line number, which is 1 for every line.
fn reason_of(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let reason = message.split(" at line ").next().unwrap_or_default();
    format!("{reason} at column {}", error.column())
}

impl Iterator for Records {
    type Item = Result<Document, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let item = match self.lines.read(&mut self.line) {
                Ok(Line::Read) => self.record(),
                Ok(Line::TooLong { bytes }) => Some(Err(self
                    .limit
                    .exceeded(self.origin.at(self.lines.number), bytes))),
                Ok(Line::End) if self.found == 0 => {
                    let origin = self.origin.clone();
                    self.end_with(SourceError::Empty { origin })
                }
                Ok(Line::End) => return None,
                Err(source) => {
                    let origin = self.origin.clone();
                    self.end_with(SourceError::Read { origin, source })
                }
            };
            if item.is_some() {
                self.found += 1;
                return item;
            }
        }
        None
    }
}
