//! Tar: members are read while the archive runs by, so that it may be compressed and of any length.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use tar::{Header, PaxExtensions};

use super::{Counted, Opened, is_hidden};
use crate::extract::{Extractor, bytes_of};
use crate::source::{Input, Member, SourceError};

const BLOCK_BYTES: u64 = 512;
/// Most bytes of a name that does not fit a header, with what else is said beside it.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// The members of a tar.
pub struct Tar {
    opened: Opened,
    source: Arc<Mutex<Source>>,
    extractor: Extractor,
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
    /// A folder, or a link: what it leads to is a member of its own or lies outside.
    Nothing,
    /// Something that is not read.
    Other,
}

impl Tar {
    pub fn open(input: &Input, opened: Opened, extractor: &Extractor) -> Result<Self, SourceError> {
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
            ended: false,
        })
    }

    fn next_entry(&self) -> io::Result<Option<(Entry, u64)>> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = source.next_entry()?;
        Ok(entry.map(|entry| (entry, source.number)))
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
}

impl Iterator for Tar {
    type Item = Result<Input, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let (entry, number) = match self.next_entry() {
                Ok(Some(found)) => found,
                Ok(None) => return None,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(self.opened.refuse(error.to_string())));
                }
            };
            match entry.kind {
                Kind::File if !is_hidden(&entry.name) => {}
                Kind::Other => {
                    self.extractor.skip();
                    continue;
                }
                Kind::File | Kind::Nothing => continue,
            }
            match self.member(&entry, number).transpose() {
                Some(item) => return Some(item),
                None => self.extractor.skip(),
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
        let (mut long_name, mut long_size) = (None, None);
        while let Some(header) = self.header()? {
            let kind = header.entry_type();
            self.has(header.entry_size()?);
            if kind.is_gnu_longname() {
                let name = self.extension()?;
                let end = name.iter().position(|&byte| byte == 0);
                long_name = Some(text_of(&name[..end.unwrap_or(name.len())]));
            } else if kind.is_pax_local_extensions() {
                let pax = self.extension()?;
                for extension in PaxExtensions::new(&pax).flatten() {
                    match extension.key_bytes() {
                        b"path" => long_name = Some(text_of(extension.value_bytes())),
                        b"size" => {
                            long_size = extension.value().ok().and_then(|size| size.parse().ok());
                        }
                        _ => {}
                    }
                }
            } else if kind.is_gnu_longlink() || kind.is_pax_global_extensions() {
                drop(self.extension()?);
            } else {
                if let Some(bytes) = long_size {
                    self.has(bytes);
                }
                let name = long_name.unwrap_or_else(|| text_of(&header.path_bytes()));
                return Ok(Some(Entry {
                    name,
                    bytes: self.left,
                    kind: if kind.is_file() || kind.is_contiguous() {
                        Kind::File
                    } else if kind.is_dir() || kind.is_symlink() {
                        Kind::Nothing
                    } else {
                        Kind::Other
                    },
                }));
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
