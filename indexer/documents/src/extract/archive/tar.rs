//! Tar: members are read while the archive runs by, so that it may be compressed and of any length.
//!
//! A hard link is a member once more by another name, and has no bytes of its own: it is passed over if that member was read,
//! and refused otherwise.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use tar::{Header, PaxExtensions};

use super::{Counted, MembersFor, Opened, is_hidden};
use crate::document::Reason;
use crate::extract::{Extractor, bytes_of};
use crate::source::{Input, Member, SourceError, clean_name};

const BLOCK_BYTES: u64 = 512;
/// Most bytes of a name that does not fit a header, with what else is said beside it.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// The members of a tar.
pub struct Tar {
    opened: Opened,
    source: Arc<Mutex<Source>>,
    extractor: Extractor,
    asked: MembersFor,
    hasher: RandomState,
    /// The name of the member that was given last, and of all that were read, as numbers.
    last: Option<u64>,
    read: HashSet<u64>,
    ended: bool,
}

/// The archive as it runs by.
struct Source {
    reader: Box<dyn Read + Send>,
    /// Which member is there, counted from 1.
    number: u64,
    /// What is left of it, and the bytes that fill its last block.
    left: u64,
    padding: u64,
}

struct Entry {
    name: String,
    bytes: u64,
    kind: Kind,
}

enum Kind {
    File,
    Folder,
    /// What it leads to is a member of its own, or lies outside.
    Link,
    /// A member that was there before, by another name: its own.
    HardLink(String),
    /// Something that is not read.
    Other,
}

impl Tar {
    pub fn open(
        input: &Input,
        opened: Opened,
        extractor: &Extractor,
        asked: MembersFor,
    ) -> Result<Self, SourceError> {
        let reader = Counted {
            reader: io::BufReader::with_capacity(64 << 10, bytes_of(input)?),
            allowance: Arc::clone(&opened.container.allowance),
        };
        let source = Source {
            reader: Box::new(reader),
            number: 0,
            left: 0,
            padding: 0,
        };
        Ok(Self {
            opened,
            source: Arc::new(Mutex::new(source)),
            extractor: extractor.clone(),
            asked,
            hasher: RandomState::new(),
            last: None,
            read: HashSet::new(),
            ended: false,
        })
    }

    fn next_entry(&mut self) -> io::Result<Option<(Entry, u64)>> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let is_read = source.left == 0 || self.asked == MembersFor::Ids;
        self.read.extend(self.last.take().filter(|_| is_read));
        let entry = source.next_entry()?;
        Ok(entry.map(|entry| (entry, source.number)))
    }

    /// Reads what fills the archive up, so that one in which it lies sees that it was read to its end.
    fn pass_padding(&self) {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        // What is damaged there is no text.
        drop(io::copy(&mut source.reader, &mut io::sink()));
    }

    fn key(&self, name: &str) -> u64 {
        self.hasher.hash_one(clean_name(name))
    }

    fn member(&self, entry: &Entry, number: u64) -> Result<Option<Input>, SourceError> {
        let source = Arc::clone(&self.source);
        let open = move || -> io::Result<Box<dyn Read + Send>> {
            let source = Arc::clone(&source);
            Ok(Box::new(Content { source, number }))
        };
        let container = self.opened.container.clone();
        self.opened.member(&entry.name, None, |path| {
            Member::new(path, entry.bytes, container, Arc::new(open))
        })
    }

    /// Passes over a hard link, or gives a member that cannot be read: its text would be lost without a word.
    fn hard_link(&mut self, name: &str, target: &str) -> Result<Option<Input>, SourceError> {
        if self.read.contains(&self.key(target)) {
            self.opened.take_member()?;
            self.read.insert(self.key(name));
            let place = self.opened.place_of(name);
            let told = format!("{place}, which is `{}`", clean_name(target));
            self.extractor.pass_over(Reason::HardLink, told);
            return Ok(None);
        }
        let reason = format!(
            "it is a hard link to `{}`, which was not read",
            clean_name(target)
        );
        let open = move || Err(io::Error::other(reason.clone()));
        let container = self.opened.container.clone();
        let member = |path| Member::new(path, 0, container, Arc::new(open));
        let member = self.opened.member(name, None, member)?;
        if member.is_none() {
            self.extractor.skip();
        }
        Ok(member)
    }
}

impl Iterator for Tar {
    type Item = Result<Input, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let (entry, number) = match self.next_entry() {
                Ok(Some(found)) => found,
                Ok(None) => {
                    self.ended = true;
                    self.pass_padding();
                    return None;
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(self.opened.refuse(error.to_string())));
                }
            };
            match entry.kind {
                Kind::Other => self.extractor.skip(),
                Kind::Folder => {}
                Kind::File | Kind::Link | Kind::HardLink(_) if is_hidden(&entry.name) => {}
                Kind::Link => {
                    let place = self.opened.place_of(&entry.name);
                    self.extractor.pass_over(Reason::Link, place);
                }
                Kind::HardLink(target) => match self.hard_link(&entry.name, &target).transpose() {
                    Some(item) => return Some(item),
                    None => continue,
                },
                Kind::File => match self.member(&entry, number).transpose() {
                    Some(item) => {
                        self.last = Some(self.key(&entry.name));
                        return Some(item);
                    }
                    None => self.extractor.skip(),
                },
            }
        }
        None
    }
}

/// The bytes of one member, which can be read until the next one is asked for.
struct Content {
    source: Arc<Mutex<Source>>,
    number: u64,
}

impl Read for Content {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        if source.number != self.number {
            return Err(io::Error::other("its archive has run on"));
        }
        source.read_member(buffer)
    }
}

impl Source {
    fn read_member(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(cut_off());
        }
        self.left -= read as u64;
        Ok(read)
    }

    /// Passes over what is left of the member, and reads the header of the next one with the names that lie before it.
    fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        self.pass()?;
        self.number += 1;
        let mut said = ExtendedHeader::default();
        while let Some(header) = self.header()? {
            let kind = header.entry_type();
            self.has(header.entry_size()?);
            if kind.is_gnu_longname() {
                said.name = Some(name_of(&self.extension()?));
            } else if kind.is_gnu_longlink() {
                said.target = Some(name_of(&self.extension()?));
            } else if kind.is_pax_local_extensions() {
                said.extend(&self.extension()?);
            } else if kind.is_pax_global_extensions() {
                drop(self.extension()?);
            } else {
                if let Some(bytes) = said.bytes {
                    self.has(bytes);
                }
                return Ok(Some(said.entry(&header, self.left)));
            }
        }
        Ok(None)
    }

    /// Notes how many bytes follow, and fill the last block.
    fn has(&mut self, bytes: u64) {
        self.left = bytes;
        self.padding = (BLOCK_BYTES - bytes % BLOCK_BYTES) % BLOCK_BYTES;
    }

    /// The next header; `None` at the end of the archive, which is a block of zeros: without it, nobody knows what is missing.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let read = fill(&mut self.reader, block)?;
        if read < block.len() {
            return Err(cut_off());
        }
        if block.iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        // The sum of all bytes, those of the sum itself taken as spaces.
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        let own: u32 = block[148..156].iter().map(|&byte| u32::from(byte)).sum();
        if header.cksum().ok() != Some(sum - own + 8 * u32::from(b' ')) {
            return Err(io::Error::other(
                "it has a header that is damaged, or is no tar",
            ));
        }
        Ok(Some(header))
    }

    /// The whole content of an entry that says something about the next one.
    fn extension(&mut self) -> io::Result<Vec<u8>> {
        if self.left > MAX_EXTENSION_BYTES {
            return Err(io::Error::other("it has a name of more than 1 MiB"));
        }
        let mut bytes = vec![0; usize::try_from(self.left).unwrap_or(0)];
        self.reader.read_exact(&mut bytes)?;
        self.left = 0;
        self.pass()?;
        Ok(bytes)
    }

    fn pass(&mut self) -> io::Result<()> {
        let bytes = self.left.saturating_add(self.padding);
        let passed = io::copy(&mut (&mut self.reader).take(bytes), &mut io::sink())?;
        // Some archivers leave out what fills the last block.
        if passed < self.left {
            return Err(cut_off());
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }
}

/// What extension records before the header of an entry say of it.
#[derive(Default)]
struct ExtendedHeader {
    name: Option<String>,
    target: Option<String>,
    bytes: Option<u64>,
}

impl ExtendedHeader {
    fn extend(&mut self, pax: &[u8]) {
        for extension in PaxExtensions::new(pax).flatten() {
            let text = || Some(text_of(extension.value_bytes()));
            match extension.key_bytes() {
                b"path" => self.name = text(),
                b"linkpath" => self.target = text(),
                b"size" => {
                    let size = extension.value().ok();
                    self.bytes = size.and_then(|size| size.parse().ok());
                }
                _ => {}
            }
        }
    }

    fn entry(self, header: &Header, bytes: u64) -> Entry {
        let kind = header.entry_type();
        let target = || header.link_name_bytes().map(|name| text_of(&name));
        Entry {
            kind: if kind.is_file() || kind.is_contiguous() {
                Kind::File
            } else if kind.is_dir() {
                Kind::Folder
            } else if kind.is_symlink() {
                Kind::Link
            } else if kind.is_hard_link() {
                Kind::HardLink(self.target.or_else(target).unwrap_or_default())
            } else {
                Kind::Other
            },
            name: self.name.unwrap_or_else(|| text_of(&header.path_bytes())),
            bytes,
        }
    }
}

/// A name that ends before its first zero.
fn name_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0);
    text_of(&bytes[..end.unwrap_or(bytes.len())])
}

/// Reads until the buffer is full or there is no more.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn text_of(name: &[u8]) -> String {
    match std::str::from_utf8(name) {
        Ok(name) => name.to_owned(),
        Err(_) => encoding_rs::WINDOWS_1252.decode(name).0.into_owned(),
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut off")
}
