//! Blocks: an object as the Parquet library wants a file, readable from any place.
//!
//! The library goes from column to column and reads page by page, in small pieces. A few blocks are kept, so that not
//! every piece is a request, and no more, so that a large object stays where it is.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use parquet::errors::Result;
use parquet::file::reader::{ChunkReader, Length};

use crate::source::Object;

/// Bytes of a block.
const BLOCK_BYTES: u64 = 1 << 20;
/// Blocks that are kept: enough for the columns of a usual file.
const MOST_BLOCKS: usize = 32;

/// What the blocks are of.
trait Parts: Send + Sync + 'static {
    /// Size of the whole in bytes.
    fn bytes(&self) -> u64;
    fn part(&self, start: u64, bytes: u64) -> io::Result<Bytes>;
}

impl Parts for Object {
    fn bytes(&self) -> u64 {
        Object::bytes(self)
    }

    fn part(&self, start: u64, bytes: u64) -> io::Result<Bytes> {
        Object::part(self, start, bytes)
    }
}

/// An object with the blocks that were read last.
#[derive(Clone)]
pub struct Blocks {
    whole: Arc<dyn Parts>,
    /// Blocks by their number, the one that was used last at the end.
    kept: Arc<Mutex<VecDeque<(u64, Bytes)>>>,
}

impl Blocks {
    pub fn of(object: Object) -> Self {
        Self::over(object)
    }

    fn over(whole: impl Parts) -> Self {
        Self {
            whole: Arc::new(whole),
            kept: Arc::default(),
        }
    }

    /// What is at `start`, up to the end of its block; empty behind the end.
    fn at(&self, start: u64) -> io::Result<Bytes> {
        let number = start / BLOCK_BYTES;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(kept, _)| *kept == number);
        let block = match place.and_then(|place| kept.remove(place)) {
            Some((_, block)) => block,
            None => self.whole.part(number * BLOCK_BYTES, BLOCK_BYTES)?,
        };
        kept.push_back((number, block.clone()));
        if kept.len() > MOST_BLOCKS {
            kept.pop_front();
        }
        let offset = usize::try_from(start % BLOCK_BYTES).unwrap_or(usize::MAX);
        Ok(block.slice(offset.min(block.len())..))
    }
}

impl Length for Blocks {
    fn len(&self) -> u64 {
        self.whole.bytes()
    }
}

impl ChunkReader for Blocks {
    type T = BlockReader;

    fn get_read(&self, start: u64) -> Result<BlockReader> {
        Ok(BlockReader {
            blocks: self.clone(),
            next: start,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let first = self.at(start)?;
        if first.len() >= length {
            return Ok(first.slice(..length));
        }
        let mut bytes = BytesMut::zeroed(length);
        let mut reader = self.get_read(start)?;
        reader.read_exact(&mut bytes)?;
        Ok(bytes.freeze())
    }
}

/// Reads on from one place.
pub struct BlockReader {
    blocks: Blocks,
    next: u64,
}

impl Read for BlockReader {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let found = self.blocks.at(self.next)?;
        let bytes = output.len().min(found.len());
        output[..bytes].copy_from_slice(&found[..bytes]);
        self.next += bytes as u64;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Bytes of which each tells its place.
    struct Pattern(u64, Arc<AtomicU64>);

    fn byte(at: u64) -> u8 {
        u8::try_from(at % 251).unwrap()
    }

    impl Parts for Pattern {
        fn bytes(&self) -> u64 {
            self.0
        }

        fn part(&self, start: u64, bytes: u64) -> io::Result<Bytes> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok((start..(start + bytes).min(self.0)).map(byte).collect())
        }
    }

    #[test]
    fn any_part_is_what_lies_there_and_neighbours_cost_one_request() {
        let asked = Arc::new(AtomicU64::new(0));
        let bytes = 3 * BLOCK_BYTES + 17;
        let blocks = Blocks::over(Pattern(bytes, Arc::clone(&asked)));
        assert_eq!(blocks.len(), bytes);
        for (start, length) in [
            (0, 5),
            (BLOCK_BYTES - 2, 5),
            (bytes - 17, 17),
            (3, 2_200_000),
        ] {
            let found = blocks.get_bytes(start, length).unwrap();
            let expected: Vec<u8> = (start..start + length as u64).map(byte).collect();
            assert!(found == expected, "{start} {length}");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 4);
        assert!(blocks.get_bytes(bytes - 1, 2).is_err());
        let mut rest = Vec::new();
        blocks
            .get_read(bytes - 4)
            .unwrap()
            .read_to_end(&mut rest)
            .unwrap();
        assert_eq!(rest.len(), 4);
    }

    #[test]
    fn few_blocks_are_kept() {
        let asked = Arc::new(AtomicU64::new(0));
        let blocks = Blocks::over(Pattern(100 * BLOCK_BYTES, asked));
        (0..100).for_each(|number| drop(blocks.at(number * BLOCK_BYTES).unwrap()));
        assert_eq!(blocks.kept.lock().unwrap().len(), MOST_BLOCKS);
    }
}
