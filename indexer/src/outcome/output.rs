//! Output: standard output that may lose its reader.

use std::io::{self, BufWriter, Stdout, Write};

/// Standard output that may lose its reader. `head` has read enough then, which is no failure; the work goes on to its
/// end, and the exit code tells how it ended.
#[derive(Debug)]
pub struct Output {
    stdout: BufWriter<Stdout>,
    closed: bool,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            stdout: BufWriter::new(io::stdout()),
            closed: false,
        }
    }
}

impl Output {
    /// Whether the reader has gone: what never ends by itself ends then.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// The result of a write, or `nobody` where the reader has closed the pipe.
    fn unless_closed<T>(&mut self, written: io::Result<T>, nobody: T) -> io::Result<T> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(nobody)
            }
            written => written,
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let written = self.stdout.write(bytes);
        self.unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let flushed = self.stdout.flush();
        self.unless_closed(flushed, ())
    }
}
