//! Reads lines of bounded length: a longer one is passed over without being in memory.

use std::io::{self, BufRead};

/// One line, or the length of one that is too long.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// The bytes are in the buffer that was given, without the line end.
    Read,
    /// Longer than the limit; it was passed over.
    TooLong {
        /// Its length in bytes, without the line end.
        bytes: u64,
    },
    /// There are no more lines.
    End,
}

/// Lines of a reader with their place in it.
pub struct Lines<R> {
    reader: R,
    limit: usize,
    /// Number of the line read last, counted from 1.
    pub number: u64,
    /// Where the line read last starts, in bytes.
    pub start: u64,
    /// Where the next line starts.
    next: u64,
}

impl<R: BufRead> Lines<R> {
    /// Lines of at most `limit` bytes.
    pub fn new(reader: R, limit: usize) -> Self {
        Self {
            reader,
            limit,
            number: 0,
            start: 0,
            next: 0,
        }
    }

    /// Counts bytes from behind those that were read before.
    pub fn after(self, bytes: u64) -> Self {
        Self {
            start: bytes,
            next: bytes,
            ..self
        }
    }

    /// Reads the next line into `line`.
    pub fn read(&mut self, line: &mut Vec<u8>) -> io::Result<Line> {
        line.clear();
        self.start = self.next;
        self.number += 1;
        let mut too_long = false;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() && self.next == self.start {
                return Ok(Line::End);
            }
            let end = available.iter().position(|&byte| byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            too_long |= line.len() + part.len() > self.limit;
            if !too_long {
                line.extend_from_slice(part);
            }
            let used = end.map_or(part.len(), |end| end + 1);
            let done = end.is_some() || used == 0;
            self.reader.consume(used);
            self.next += used as u64;
            if done {
                let bytes = self.next - self.start - u64::from(end.is_some());
                return Ok(if too_long {
                    Line::TooLong { bytes }
                } else {
                    Line::Read
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, limit: usize) -> Vec<(u64, u64, Option<String>)> {
        let reader = io::BufReader::with_capacity(3, text.as_bytes());
        let (mut lines, mut line, mut found) = (Lines::new(reader, limit), Vec::new(), Vec::new());
        loop {
            let text = match lines.read(&mut line).expect("memory can be read") {
                Line::End => return found,
                Line::Read => Some(String::from_utf8(line.clone()).expect("ascii")),
                Line::TooLong { .. } => None,
            };
            found.push((lines.number, lines.start, text));
        }
    }

    #[test]
    fn long_lines_are_passed_over_and_the_rest_is_read() {
        let found = all("ab\n0123456789\n\ncdefg\nlast", 5);
        let text = |text: &str| Some(text.to_owned());
        let expected = vec![
            (1, 0, text("ab")),
            (2, 3, None),
            (3, 14, text("")),
            (4, 15, text("cdefg")),
            (5, 21, text("last")),
        ];
        assert_eq!(found, expected);
        assert_eq!(all("", 5), vec![]);
        assert_eq!(all("x\n", 5).len(), 1);
    }

    #[test]
    fn a_long_line_tells_its_length_and_stays_out_of_memory() {
        let text = "x".repeat(100_000);
        let mut line = Vec::new();
        let read = Lines::new(text.as_bytes(), 10)
            .read(&mut line)
            .expect("memory can be read");
        assert_eq!(read, Line::TooLong { bytes: 100_000 });
        assert!(line.capacity() < 100, "{}", line.capacity());
    }
}
