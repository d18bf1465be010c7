//! Reads the text of a document in blocks of bounded size.
//!
//! A block ends at the last blank line of its second half, else at the last line end there, else after white
//! space, else between two characters: the reader never holds more than one block, whatever the text.

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Origin;
use crate::source::SourceError;

/// Largest text that is kept in memory, and largest block of a larger one, in bytes. Chunks do not span blocks, so
/// smaller blocks cost quality at their seams; larger ones cost about ten times their size in memory per document
/// being chunked.
pub const BLOCK_BYTES: usize = 1 << 20;

/// The byte order mark that some editors put in front of UTF-8.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

/// A text file that stays on disk, as it was when the document was extracted.
#[derive(Debug, Clone)]
pub struct TextFile {
    path: PathBuf,
    /// Where the text starts: behind the byte order mark, if there is one.
    start: u64,
    /// Length of the text, without the byte order mark.
    bytes: u64,
    modified: Option<SystemTime>,
}

impl TextFile {
    /// Notes the length and the time of change of a file.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        let fault = |source| SourceError::Read {
            origin: Origin::file(path),
            source,
        };
        let mut file = File::open(path).map_err(fault)?;
        let metadata = file.metadata().map_err(fault)?;
        let mut head = Vec::with_capacity(BOM.len());
        file.by_ref()
            .take(BOM.len() as u64)
            .read_to_end(&mut head)
            .map_err(fault)?;
        let start = if head == BOM { BOM.len() as u64 } else { 0 };
        Ok(Self {
            path: path.to_owned(),
            start,
            bytes: metadata.len().saturating_sub(start),
            modified: metadata.modified().ok(),
        })
    }

    /// Length of the text in bytes, without a byte order mark.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    fn origin(&self) -> Origin {
        Origin::file(&self.path)
    }

    /// Refuses a file that is not the one that was noted.
    fn unchanged(&self, file: &File) -> Result<(), SourceError> {
        let metadata = file.metadata().map_err(|source| SourceError::Read {
            origin: self.origin(),
            source,
        })?;
        if metadata.len() == self.start + self.bytes && metadata.modified().ok() == self.modified {
            return Ok(());
        }
        Err(SourceError::Changed {
            origin: self.origin(),
        })
    }
}

/// A piece of a document's text.
#[derive(Debug, Clone)]
pub struct Block<'a> {
    /// Where it starts in the text, in bytes.
    pub start: u64,
    /// A piece of bounded size.
    pub text: Cow<'a, str>,
    /// Whether the text ends with this block.
    pub last: bool,
}

/// The blocks of a text, in order. Ends after the first error.
#[derive(Debug)]
pub struct Blocks<'a> {
    reader: Reader<'a>,
    block_bytes: usize,
    /// Where the next block starts.
    start: u64,
}

#[derive(Debug)]
enum Reader<'a> {
    Text(&'a str),
    File(FileReader<'a>),
    Done,
}

#[derive(Debug)]
struct FileReader<'a> {
    info: &'a TextFile,
    file: File,
    /// What was read beyond the end of the block before.
    buffer: Vec<u8>,
}

impl<'a> Blocks<'a> {
    pub fn of_text(text: &'a str, block_bytes: usize) -> Self {
        Self {
            reader: Reader::Text(text),
            block_bytes,
            start: 0,
        }
    }

    pub fn of_file(info: &'a TextFile, block_bytes: usize) -> Result<Self, SourceError> {
        let fault = |source| SourceError::Read {
            origin: info.origin(),
            source,
        };
        let mut file = File::open(&info.path).map_err(fault)?;
        info.unchanged(&file)?;
        file.seek(SeekFrom::Start(info.start)).map_err(fault)?;
        Ok(Self {
            reader: Reader::File(FileReader {
                info,
                file,
                buffer: Vec::new(),
            }),
            block_bytes,
            start: 0,
        })
    }

    fn read(&mut self) -> Result<Block<'a>, SourceError> {
        let (text, last) = match &mut self.reader {
            Reader::Text(rest) => {
                let (head, tail) = rest.split_at(end_of_block(rest, self.block_bytes));
                *rest = tail;
                (Cow::Borrowed(head), tail.is_empty())
            }
            Reader::File(reader) => {
                let (text, last) = reader.read(self.start, self.block_bytes)?;
                (Cow::Owned(text), last)
            }
            Reader::Done => (Cow::Borrowed(""), true),
        };
        let block = Block {
            start: self.start,
            text,
            last,
        };
        self.start += block.text.len() as u64;
        Ok(block)
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        if matches!(self.reader, Reader::Done) {
            return None;
        }
        let block = self.read();
        if !matches!(&block, Ok(block) if !block.last) {
            self.reader = Reader::Done;
        }
        Some(block)
    }
}

impl FileReader<'_> {
    /// Reads the block that starts at `start` in the text, and whether it is the last one.
    fn read(&mut self, start: u64, block_bytes: usize) -> Result<(String, bool), SourceError> {
        let last = self.fill(start, block_bytes)?;
        let text = match std::str::from_utf8(&self.buffer) {
            Ok(text) => text,
            // The buffer ends inside a character, the text does not.
            Err(error) if error.error_len().is_none() && !last => {
                std::str::from_utf8(&self.buffer[..error.valid_up_to()]).unwrap_or_default()
            }
            Err(error) => {
                let offset = self.info.start + start + error.valid_up_to() as u64;
                return Err(SourceError::NotUtf8 {
                    origin: self.info.origin(),
                    offset,
                });
            }
        };
        let end = if last {
            text.len()
        } else {
            end_of_block(text, block_bytes)
        };
        let text = text[..end].to_owned();
        self.buffer.drain(..end);
        if last {
            self.info.unchanged(&self.file)?;
        }
        Ok((text, last))
    }

    /// Reads on until the buffer holds one byte more than a block, which tells whether this is the last one.
    fn fill(&mut self, start: u64, block_bytes: usize) -> Result<bool, SourceError> {
        let carried = self.buffer.len();
        let wanted = (block_bytes + 1).saturating_sub(carried) as u64;
        let read = (&self.file).take(wanted).read_to_end(&mut self.buffer);
        read.map_err(|source| SourceError::Read {
            origin: self.info.origin(),
            source,
        })?;
        if let Some(at) = self.buffer[carried..].iter().position(|&byte| byte == 0) {
            let offset = self.info.start + start + (carried + at) as u64;
            return Err(SourceError::Binary {
                origin: self.info.origin(),
                offset,
            });
        }
        Ok(self.buffer.len() <= block_bytes)
    }
}

/// Where the first block of `text` ends.
fn end_of_block(text: &str, block_bytes: usize) -> usize {
    if text.len() <= block_bytes {
        return text.len();
    }
    // A block makes progress even where it is smaller than a character.
    let longest = text
        .floor_char_boundary(block_bytes)
        .max(text.ceil_char_boundary(1));
    let half = text.floor_char_boundary(block_bytes / 2);
    let tail = &text[half..longest];
    let blank = tail
        .rfind("\n\n")
        .map(|at| at + 2)
        .max(tail.rfind("\n\r\n").map(|at| at + 3));
    let line = || tail.rfind('\n').map(|at| at + 1);
    let space = || {
        tail.rfind(char::is_whitespace)
            .map(|at| tail.ceil_char_boundary(at + 1))
    };
    blank
        .or_else(line)
        .or_else(space)
        .map_or(longest, |at| half + at)
}

#[cfg(test)]
mod tests;
