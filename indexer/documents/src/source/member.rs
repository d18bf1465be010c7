//! Member: what lies inside another input, as a file in an archive or an attachment of a mail.

use std::fmt;
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// What separates the path of a container from the path inside it, in ids and origins.
pub const INSIDE: &str = "!/";

/// Opens the bytes of a member from their start.
pub type Open = dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync;

/// What is left of the limits of an outermost container, for all that lies in it.
#[derive(Debug)]
pub struct Allowance {
    bytes: AtomicU64,
    members: AtomicU64,
}

/// The container that a member lies in.
#[derive(Clone, Debug)]
pub struct Container {
    /// How many containers this one lies in, itself counted.
    pub depth: usize,
    pub allowance: Arc<Allowance>,
}

impl Allowance {
    pub fn new(bytes: u64, members: u64) -> Self {
        Self {
            bytes: AtomicU64::new(bytes),
            members: AtomicU64::new(members),
        }
    }

    /// Takes bytes; false if there are not so many left.
    pub fn take_bytes(&self, bytes: u64) -> bool {
        take(&self.bytes, bytes)
    }

    pub fn has_members(&self) -> bool {
        self.members.load(Ordering::Relaxed) > 0
    }

    /// Takes one member; false if there is none left.
    pub fn take_member(&self) -> bool {
        take(&self.members, 1)
    }
}

fn take(left: &AtomicU64, amount: u64) -> bool {
    let less = |left: u64| left.checked_sub(amount);
    left.try_update(Ordering::Relaxed, Ordering::Relaxed, less)
        .is_ok()
}

/// A part of another input that is read like a file.
#[derive(Clone)]
pub struct Member {
    /// The path of the outermost container, and the paths inside, each behind [`INSIDE`].
    path: Arc<str>,
    /// Its size in bytes, as far as the container says.
    bytes: u64,
    pub container: Container,
    open: Arc<Open>,
}

impl Member {
    pub fn new(path: String, bytes: u64, container: Container, open: Arc<Open>) -> Self {
        Self {
            path: path.into(),
            bytes,
            container,
            open,
        }
    }

    /// A member whose bytes are in memory already.
    pub fn of_bytes(path: String, bytes: Bytes, container: Container) -> Self {
        let size = bytes.len() as u64;
        let open = move || -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(Cursor::new(bytes.clone())))
        };
        Self::new(path, size, container, Arc::new(open))
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The last part of its path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Reads it from its start.
    pub fn reader(&self) -> io::Result<Box<dyn Read + Send>> {
        (self.open)()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member")
            .field("path", &self.path)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// A name from inside a container as a part of ids and messages: without signs that control a terminal.
pub fn clean_name(name: &str) -> String {
    let name = name.trim_start_matches("./").trim_matches('/');
    name.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
