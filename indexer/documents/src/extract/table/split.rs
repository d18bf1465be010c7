//! Splits bytes into rows of cells, across the pieces in which they are read.
//!
//! A quote that is never closed swallows the rows behind it up to the next quote, or to the end. Both are noticed: a quoted
//! cell of several lines has to be followed by a delimiter or a line end, and a file must not end inside a cell. Within a
//! line, text behind a closing quote is taken as it is.

/// The cells of one row, one after another.
pub struct Row {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    /// Most bytes that are kept.
    pub limit: usize,
    /// Where the row starts.
    pub line: u64,
    pub offset: u64,
    /// Bytes and cells of a row that is too large to keep.
    dropped: u64,
}

/// A quote that opens on a line and is not closed where it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed {
    pub line: u64,
    /// Whether the input has ended; else text follows the quote that closes it.
    pub is_end: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first byte of a row: line ends are passed over.
    Between,
    /// Before the first byte of a cell.
    Start,
    Plain,
    Quoted,
    /// Behind a quote in a quoted cell: the cell ends, or the quote is doubled.
    Quote,
}

#[derive(Debug)]
pub struct Splitter {
    delimiter: u8,
    quoting: bool,
    state: State,
    /// The line that is being read, from 1.
    line: u64,
    /// How many bytes were read.
    offset: u64,
    /// The line where the quoted cell began.
    opened: u64,
}

impl Row {
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            ends: Vec::new(),
            limit,
            line: 0,
            offset: 0,
            dropped: 0,
        }
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.dropped = 0;
    }

    pub fn cells(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts
            .zip(&self.ends)
            .map(|(start, &end)| &self.bytes[start..end])
    }

    pub fn has_nul(&self) -> bool {
        self.bytes.contains(&0)
    }

    /// Its size, if that is too large to keep.
    pub fn excess(&self) -> Option<u64> {
        (self.dropped > 0).then_some(self.dropped)
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.dropped > 0 || self.bytes.len() + bytes.len() > self.limit {
            self.dropped += (self.bytes.len() + bytes.len()) as u64;
            self.bytes.clear();
            self.ends.clear();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    fn end_cell(&mut self) {
        if self.dropped > 0 {
            return;
        }
        if self.ends.len() < self.limit {
            self.ends.push(self.bytes.len());
        } else {
            // So many empty cells are too large as well.
            self.dropped = (self.bytes.len() + self.ends.len()) as u64;
            self.ends.clear();
        }
    }
}

impl Splitter {
    /// `skipped` bytes were read before.
    pub fn new(delimiter: u8, quoting: bool, skipped: usize) -> Self {
        Self {
            delimiter,
            quoting,
            state: State::Between,
            line: 1,
            offset: skipped as u64,
            opened: 0,
        }
    }

    /// Takes bytes until a row is complete. Gives how many it took, and whether it is.
    pub fn feed(&mut self, input: &[u8], row: &mut Row) -> Result<(usize, bool), Malformed> {
        let mut used = 0;
        while used < input.len() {
            let (taken, is_done) = self.step(&input[used..], row)?;
            used += taken;
            self.offset += taken as u64;
            if is_done {
                return Ok((used, true));
            }
        }
        Ok((used, false))
    }

    /// Ends the input. Gives whether there was a row that is complete now.
    pub fn finish(&mut self, row: &mut Row) -> Result<bool, Malformed> {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between => Ok(false),
            State::Start | State::Plain | State::Quote => {
                row.end_cell();
                Ok(true)
            }
            State::Quoted => Err(Malformed {
                line: self.opened,
                is_end: true,
            }),
        }
    }

    /// Takes at least one byte, unless only the state changes.
    fn step(&mut self, input: &[u8], row: &mut Row) -> Result<(usize, bool), Malformed> {
        match self.state {
            State::Between => Ok((self.between(input, row), false)),
            State::Start if self.quoting && input[0] == b'"' => {
                (self.state, self.opened) = (State::Quoted, self.line);
                Ok((1, false))
            }
            State::Start => {
                self.state = State::Plain;
                Ok((0, false))
            }
            State::Plain => Ok(self.plain(input, row)),
            State::Quoted => Ok((self.quoted(input, row), false)),
            State::Quote => self.behind_quote(input, row),
        }
    }

    fn between(&mut self, input: &[u8], row: &mut Row) -> usize {
        let is_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let skipped = input.iter().take_while(is_end).count();
        self.line += newlines(&input[..skipped]);
        if skipped < input.len() {
            self.state = State::Start;
            row.line = self.line;
            row.offset = self.offset + skipped as u64;
        }
        skipped
    }

    fn plain(&mut self, input: &[u8], row: &mut Row) -> (usize, bool) {
        match memchr::memchr3(self.delimiter, b'\n', b'\r', input) {
            None => {
                row.push(input);
                (input.len(), false)
            }
            Some(at) => {
                row.push(&input[..at]);
                (at + 1, self.end_cell(input[at], row))
            }
        }
    }

    fn quoted(&mut self, input: &[u8], row: &mut Row) -> usize {
        let end = memchr::memchr(b'"', input);
        let text = &input[..end.unwrap_or(input.len())];
        row.push(text);
        self.line += newlines(text);
        if end.is_some() {
            self.state = State::Quote;
        }
        text.len() + usize::from(end.is_some())
    }

    fn behind_quote(&mut self, input: &[u8], row: &mut Row) -> Result<(usize, bool), Malformed> {
        match input[0] {
            b'"' => {
                row.push(b"\"");
                self.state = State::Quoted;
                Ok((1, false))
            }
            byte if byte == self.delimiter || matches!(byte, b'\r' | b'\n') => {
                Ok((1, self.end_cell(byte, row)))
            }
            _ if self.line > self.opened => Err(Malformed {
                line: self.opened,
                is_end: false,
            }),
            _ => {
                self.state = State::Plain;
                Ok((0, false))
            }
        }
    }

    /// Ends a cell at this byte. Gives whether the row ends as well.
    fn end_cell(&mut self, byte: u8, row: &mut Row) -> bool {
        row.end_cell();
        let is_row = byte != self.delimiter;
        self.state = if is_row { State::Between } else { State::Start };
        self.line += u64::from(byte == b'\n');
        is_row
    }
}

fn newlines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of a text that is fed in pieces of a size.
    fn rows(text: &str, size: usize) -> (Vec<(u64, Vec<String>)>, Option<Malformed>) {
        let (mut splitter, mut row, mut found) =
            (Splitter::new(b',', true, 0), Row::new(1000), Vec::new());
        let read = |row: &Row| {
            let cells = row
                .cells()
                .map(|cell| String::from_utf8_lossy(cell).into_owned());
            (row.line, cells.collect())
        };
        for piece in text.as_bytes().chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() {
                match splitter.feed(rest, &mut row) {
                    Err(malformed) => return (found, Some(malformed)),
                    Ok((used, is_done)) => {
                        rest = &rest[used..];
                        if is_done {
                            found.push(read(&row));
                            row.clear();
                        }
                    }
                }
            }
        }
        match splitter.finish(&mut row) {
            Err(malformed) => return (found, Some(malformed)),
            Ok(true) => found.push(read(&row)),
            Ok(false) => {}
        }
        (found, None)
    }

    fn cells(line: u64, cells: &[&str]) -> (u64, Vec<String>) {
        (line, cells.iter().map(|&cell| cell.to_owned()).collect())
    }

    #[test]
    fn rows_are_the_same_in_pieces_of_any_size() {
        let text = "a,b\r\n\r\n\"x \"\"y\"\"\nz\",\n,,\n\"q\" r,s\"t\nlast,";
        let expected = vec![
            cells(1, &["a", "b"]),
            cells(3, &["x \"y\"\nz", ""]),
            cells(5, &["", "", ""]),
            cells(6, &["q r", "s\"t"]),
            cells(7, &["last", ""]),
        ];
        for size in 1..=text.len() {
            assert_eq!(rows(text, size), (expected.clone(), None), "{size}");
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_is_named_by_its_line() {
        for (text, is_end) in [
            ("a,b\n1,\"open\n2,x\n", true),
            ("a,b\n1,\"open\n2,\"x\"\n", false),
            ("a,b\n1,\"open\n\"2\",\"x\"\n", false),
        ] {
            for size in 1..=text.len() {
                let (found, malformed) = rows(text, size);
                assert_eq!(found, [cells(1, &["a", "b"])]);
                assert_eq!(malformed, Some(Malformed { line: 2, is_end }), "{text}");
            }
        }
    }

    #[test]
    fn a_row_that_is_too_large_is_counted_and_not_kept() {
        let mut splitter = Splitter::new(b',', true, 0);
        let mut row = Row::new(10);
        let line = format!("{}\n", "x,".repeat(50_000));
        assert_eq!(
            splitter.feed(line.as_bytes(), &mut row),
            Ok((100_001, true))
        );
        assert!(row.excess().is_some_and(|bytes| bytes >= 50_000));
        assert!(row.bytes.capacity() < 100);
        row.clear();
        assert_eq!(splitter.feed(b"y,z\n", &mut row), Ok((4, true)));
        assert_eq!(row.cells().count(), 2);
    }
}
