//! JSON lines in the BEIR shape: one document per line.

use std::io::BufReader;

use serde_json::Value;

use super::decode::BOM;
use super::lines::{Line, Lines};
use super::record::{document, kind_of};
use super::{Limit, bytes_of};
use crate::document::Document;
use crate::source::Origin;
use crate::source::{Input, SourceError};

type Bytes = BufReader<Box<dyn std::io::Read + Send>>;

/// The records of an input, in order. A bad line is an `Err` item; the next line follows.
pub struct Records {
    lines: Lines<Bytes>,
    line: Vec<u8>,
    origin: Origin,
    limit: Limit,
    /// Lines that held something, good or bad.
    found: u64,
    ended: bool,
}

impl Records {
    pub fn open(input: &Input, limit: Limit) -> Result<Self, SourceError> {
        let reader = BufReader::with_capacity(1 << 16, bytes_of(input)?);
        let lines = Lines::new(reader, limit.bytes);
        let origin = input.origin();
        Ok(Self {
            lines,
            line: Vec::new(),
            origin,
            limit,
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
        let mut line = self.line.as_slice();
        let mut start = self.lines.start;
        if let (0, Some(rest)) = (start, line.strip_prefix(BOM)) {
            (line, start) = (rest, BOM.len() as u64);
        }
        if line.contains(&0) {
            // JSON has no NUL: this is another kind of file, and each of its "lines" would be an error.
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
        (!text.trim().is_empty()).then(|| parse(text, origin))
    }
}

fn parse(line: &str, origin: Origin) -> Result<Document, SourceError> {
    // Parsed as any value first: an error of the library about a wrong type would quote the text.
    match serde_json::from_str(line) {
        Ok(Value::Object(fields)) => document(fields, origin),
        Ok(other) => Err(SourceError::NotObject {
            origin,
            found: kind_of(&other),
        }),
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
