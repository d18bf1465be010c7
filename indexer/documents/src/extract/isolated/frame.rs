//! What parent and child say to each other: a mark, two lengths, a head in JSON and a body of bytes.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::extracted::Extracted;
use super::Limits;

const MARK: [u8; 4] = *b"EBB1";
/// Most bytes of a head.
const MAX_HEAD_BYTES: u64 = 16 << 20;

/// One file to read; its bytes are the body.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub format: String,
    pub limits: Limits,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The text is the body.
    Extracted(Extracted),
    Refused(String),
    /// A file inside the one that was read; its bytes are the body.
    Attached {
        name: String,
    },
    /// A child is ready for its next file, or ends because it holds on to too much memory.
    Ready {
        retires: bool,
    },
}

pub fn write(stream: &mut impl Write, head: &impl Serialize, body: &[u8]) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    let mut start = Vec::with_capacity(head.len() + 20);
    start.extend(MARK);
    start.extend((head.len() as u64).to_le_bytes());
    start.extend((body.len() as u64).to_le_bytes());
    start.extend(head);
    stream.write_all(&start)?;
    stream.write_all(body)?;
    stream.flush()
}

/// Reads a frame whose body has at most `limit` bytes.
pub fn read<T: DeserializeOwned>(stream: &mut impl Read, limit: u64) -> io::Result<(T, Vec<u8>)> {
    let (mut mark, mut head, mut body) = ([0; 4], [0; 8], [0; 8]);
    stream.read_exact(&mut mark)?;
    if mark != MARK {
        return Err(garbage("it does not start with the mark of a frame"));
    }
    stream.read_exact(&mut head)?;
    stream.read_exact(&mut body)?;
    let (head, body) = (u64::from_le_bytes(head), u64::from_le_bytes(body));
    if head > MAX_HEAD_BYTES || body > limit {
        return Err(garbage("it is too long"));
    }
    let head = take(stream, head)?;
    let body = take(stream, body)?;
    let head = serde_json::from_slice(&head).map_err(|_| garbage("its head is not known"))?;
    Ok((head, body))
}

fn take(stream: &mut impl Read, bytes: u64) -> io::Result<Vec<u8>> {
    let mut taken = Vec::new();
    stream.take(bytes).read_to_end(&mut taken)?;
    if taken.len() as u64 == bytes {
        Ok(taken)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

fn garbage(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
