//! Zip: members are listed first, without their content, and each is read where it lies.

use std::io::{self, BufReader, Read};
use std::sync::Arc;

use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use rawzip::{
    CompressionMethod, RangeReader, ReaderAt, ZipArchive, ZipArchiveEntryWayfinder, ZipLocator,
};

use super::{Counted, Opened, is_hidden};
use crate::document::Reason;
use crate::extract::package::reason;
use crate::extract::{Extractor, decode};
use crate::source::{Compression, Input, InputLocation, Member, Object, SourceError};

/// Most bytes of all names of an archive: they are in memory.
const MAX_NAME_BYTES: usize = 64 << 20;
/// What is read at once of a member.
const READ_BYTES: usize = 256 << 10;

type Source = Arc<dyn ReaderAt + Send + Sync>;
type Archive = Arc<ZipArchive<Source>>;

/// The members of a zip.
pub struct Zip {
    opened: Opened,
    archive: Archive,
    entries: std::vec::IntoIter<Entry>,
    /// What is wrong with the rest of its directory.
    fault: Option<SourceError>,
    extractor: Extractor,
}

/// What the directory says about a member.
#[derive(Clone, Copy)]
struct Data {
    place: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    crc: u32,
    bytes: u64,
    is_encrypted: bool,
}

struct Entry {
    name: String,
    data: Data,
}

impl Zip {
    pub fn open(input: &Input, opened: Opened, extractor: &Extractor) -> Result<Self, SourceError> {
        let (source, bytes) = source_of(input, extractor)?;
        let mut buffer = vec![0; rawzip::MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let archive = ZipLocator::new()
            .locate_in_reader(source, &mut buffer, bytes)
            .map_err(|(_, error)| opened.refuse(reason(&error)))?;
        let (entries, fault) = list(&archive, &mut buffer, &opened, extractor);
        Ok(Self {
            fault: fault.map(|reason| opened.refuse(reason)),
            opened,
            archive: Arc::new(archive),
            entries: entries.into_iter(),
            extractor: extractor.clone(),
        })
    }

    fn member(&self, entry: Entry) -> Result<Option<Input>, SourceError> {
        let (archive, data) = (Arc::clone(&self.archive), entry.data);
        let container = self.opened.container.clone();
        let allowance = Arc::clone(&container.allowance);
        let open = move || {
            read(&archive, data).map(|reader| -> Box<dyn Read + Send> {
                Box::new(Counted {
                    reader,
                    allowance: Arc::clone(&allowance),
                })
            })
        };
        self.opened.member(&entry.name, None, |path| {
            Member::new(path, data.bytes, container, Arc::new(open))
        })
    }
}

impl Iterator for Zip {
    type Item = Result<Input, SourceError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(entry) = self.entries.next() {
            if is_hidden(&entry.name) {
                continue;
            }
            match self.member(entry).transpose() {
                Some(item) => return Some(item),
                None => self.extractor.skip(),
            }
        }
        self.fault.take().map(Err)
    }
}

/// The bytes of an archive, wherever they are, and how many.
fn source_of(input: &Input, extractor: &Extractor) -> Result<(Source, u64), SourceError> {
    let fault = |source| SourceError::Read {
        origin: input.origin(),
        source,
    };
    let is_compressed = Compression::of_name(&input.file_name()).is_some();
    match &input.location {
        InputLocation::File(path) if !is_compressed => {
            let file = std::fs::File::open(path).map_err(fault)?;
            let bytes = file.metadata().map_err(fault)?.len();
            Ok((Arc::new(rawzip::FileReader::from(file)), bytes))
        }
        InputLocation::Object(object) if !is_compressed => {
            Ok((Arc::new(ObjectAt(object.clone())), object.bytes()))
        }
        InputLocation::File(_)
        | InputLocation::Object(_)
        | InputLocation::Member(_)
        | InputLocation::Stdin => {
            let bytes = decode::read(input, extractor.options.office())?;
            let size = bytes.len() as u64;
            Ok((Arc::new(bytes), size))
        }
    }
}

/// An object, read at any place.
struct ObjectAt(Object);

impl ReaderAt for ObjectAt {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let part = self.0.part(offset, buffer.len() as u64)?;
        buffer[..part.len()].copy_from_slice(&part);
        Ok(part.len())
    }
}

/// All members, and what is wrong behind them.
fn list(
    archive: &ZipArchive<Source>,
    buffer: &mut [u8],
    opened: &Opened,
    extractor: &Extractor,
) -> (Vec<Entry>, Option<String>) {
    let (mut found, mut names) = (Vec::new(), 0);
    let mut entries = archive.entries(buffer);
    loop {
        let entry = match entries.next_entry() {
            Ok(Some(entry)) => entry,
            Ok(None) => return (found, None),
            Err(error) => return (found, Some(reason(&error))),
        };
        if entry.is_dir() {
            continue;
        }
        let name = name_of(entry.file_path().as_bytes());
        if entry.mode().is_symlink() {
            if !is_hidden(&name) {
                extractor.pass_over(Reason::Link, opened.place_of(&name));
            }
            continue;
        }
        names += name.len();
        if names > MAX_NAME_BYTES || found.len() as u64 >= extractor.options.max_archive_members {
            let reason = "it has more members than --max-archive-members, or very long names";
            return (found, Some(reason.to_owned()));
        }
        let data = Data {
            place: entry.wayfinder(),
            method: entry.compression_method(),
            crc: entry.crc32(),
            bytes: entry.uncompressed_size_hint(),
            is_encrypted: entry.flags().is_encrypted(),
        };
        found.push(Entry { name, data });
    }
}

/// A name in UTF-8, or in the encoding of old archivers. Each name is another text, so that no two members become one.
fn name_of(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(name) => name.replace('\\', "/"),
        Err(_) => encoding_rs::WINDOWS_1252.decode(bytes).0.into_owned(),
    }
}

fn read(archive: &Archive, data: Data) -> io::Result<Box<dyn Read + Send>> {
    if data.is_encrypted {
        return Err(io::Error::other("it is encrypted with a password"));
    }
    let entry = archive.get_entry(data.place);
    let (start, end) = entry
        .map_err(|error| io::Error::other(reason(&error)))?
        .compressed_data_range();
    let raw = RangeReader::new(Arc::clone(archive.get_ref()), start..end);
    let raw = BufReader::with_capacity(READ_BYTES, raw);
    let reader: Box<dyn Read + Send> = match data.method {
        CompressionMethod::STORE => Box::new(raw),
        CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(raw)),
        CompressionMethod::ZSTD => Box::new(zstd::Decoder::with_buffer(raw)?),
        other => {
            return Err(io::Error::other(format!(
                "it is compressed by {}, which is not read",
                other.name().unwrap_or("a method without a name")
            )));
        }
    };
    Ok(Box::new(Verified {
        reader,
        crc: Crc::new(),
        bytes: 0,
        data,
    }))
}

/// Says at its end whether it was what the directory says.
struct Verified<R> {
    reader: R,
    crc: Crc,
    bytes: u64,
    data: Data,
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.crc.update(&buffer[..read]);
        self.bytes += read as u64;
        let is_end = read == 0 && !buffer.is_empty();
        if is_end && (self.crc.sum() != self.data.crc || self.bytes != self.data.bytes) {
            return Err(io::Error::other("it is not what its archive says: damaged"));
        }
        Ok(read)
    }
}
