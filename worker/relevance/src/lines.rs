//! Lines: goes through a text file line by line, and names the line of an error.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::RelevanceError;

/// Longest line.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// A text with its name.
#[derive(Debug)]
pub(super) struct Lines<R> {
    path: PathBuf,
    reader: R,
}

impl Lines<BufReader<File>> {
    pub(super) fn open(path: &Path) -> Result<Self, RelevanceError> {
        let file = File::open(path).map_err(|source| RelevanceError::Read {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            reader: BufReader::new(file),
        })
    }
}

impl<'a> Lines<&'a [u8]> {
    /// The lines of a text that is in memory.
    pub(super) fn of(name: &str, text: &'a str) -> Self {
        Self {
            path: PathBuf::from(name),
            reader: text.as_bytes(),
        }
    }
}

impl<R: BufRead> Lines<R> {
    /// Calls `take` with each line that is not blank; its errors get the place in the file.
    pub(super) fn each(
        mut self,
        mut take: impl FnMut(&str) -> Result<(), String>,
    ) -> Result<(), RelevanceError> {
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            let mut limited = self.reader.by_ref().take(MAX_LINE_BYTES + 1);
            let read = limited.read_until(b'\n', &mut bytes);
            let read = read.map_err(|source| RelevanceError::Read {
                path: self.path.clone(),
                source,
            })?;
            if read == 0 {
                break;
            }
            let taken = text(&bytes).and_then(|text| match text.trim() {
                "" => Ok(()),
                _ => take(text),
            });
            taken.map_err(|problem| RelevanceError::Line {
                path: self.path.clone(),
                line,
                problem,
            })?;
        }
        Ok(())
    }
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    if bytes.len() as u64 > MAX_LINE_BYTES {
        return Err(format!("the line has more than {MAX_LINE_BYTES} bytes"));
    }
    let line = std::str::from_utf8(bytes).map_err(|_| "the line is not utf-8")?;
    Ok(line
        .trim_start_matches('\u{feff}')
        .trim_end_matches(['\n', '\r']))
}

/// The JSON object of a line with its id.
pub(super) fn record(line: &str, what: &str) -> Result<(String, Value), String> {
    let record: Value = serde_json::from_str(line)
        .map_err(|error| format!("expected a json object with `_id` and `text`: {error}"))?;
    let id = match record.get("_id").or_else(|| record.get("id")) {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        Some(_) | None => return Err(format!("a {what} has no `_id`")),
    };
    Ok((id, record))
}
