//! Package: a zip that is one document, such as an office file or a book, with its parts by their names.

use std::collections::HashMap;
use std::io::Read;

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipArchiveEntryWayfinder, ZipSliceArchive};

use super::xml::{Node, Xml};

/// Most bytes of one part. The process that reads it has a limit of its own; this one can be told by the name of the part.
const MAX_PART_BYTES: u64 = 128 << 20;
/// Most bytes of all parts that are read.
const MAX_PACKAGE_BYTES: u64 = 256 << 20;
/// Most parts: real files have a few thousand.
const MAX_PARTS: usize = 65_536;
/// The container of older office files, and of encrypted ones.
const COMPOUND_FILE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

pub struct Package<'a> {
    archive: ZipSliceArchive<&'a [u8]>,
    parts: HashMap<String, Part>,
    left: std::cell::Cell<u64>,
}

#[derive(Clone, Copy)]
struct Part {
    place: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    is_encrypted: bool,
}

/// What a part refers to.
#[derive(Clone, Debug)]
pub struct Relationship {
    /// The last word of its type, such as `header`.
    pub kind: String,
    /// The name of the part.
    pub target: String,
}

impl<'a> Package<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<Self, String> {
        if bytes.starts_with(COMPOUND_FILE) {
            return Err(compound_file(bytes));
        }
        let archive = ZipArchive::from_slice(bytes).map_err(|error| reason(&error))?;
        let mut parts = HashMap::new();
        let mut entries = archive.entries();
        while let Some(entry) = entries.next_entry().map_err(|error| reason(&error))? {
            if parts.len() == MAX_PARTS {
                return Err(format!("it has more than {MAX_PARTS} parts"));
            }
            let name = String::from_utf8_lossy(entry.file_path().as_bytes()).replace('\\', "/");
            let part = Part {
                place: entry.wayfinder(),
                method: entry.compression_method(),
                is_encrypted: entry.flags().is_encrypted(),
            };
            parts.insert(name.trim_start_matches('/').to_owned(), part);
        }
        Ok(Self {
            archive,
            parts,
            left: std::cell::Cell::new(MAX_PACKAGE_BYTES),
        })
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Names are equal in any case.
    fn find(&self, name: &str) -> Option<Part> {
        let name = name.trim_start_matches('/');
        if let Some(part) = self.parts.get(name) {
            return Some(*part);
        }
        let mut parts = self.parts.iter();
        let found = parts.find(|(other, _)| other.eq_ignore_ascii_case(name))?;
        Some(*found.1)
    }

    /// The bytes of a part; `None` where there is no such part.
    pub fn part(&self, name: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(part) = self.find(name) else {
            return Ok(None);
        };
        if part.is_encrypted {
            return Err("it is encrypted with a password".to_owned());
        }
        let broken = |error: &dyn std::fmt::Display| {
            format!(
                "its part `{name}` cannot be read: {}",
                error.to_string().to_lowercase()
            )
        };
        let entry = self
            .archive
            .get_entry(part.place)
            .map_err(|error| broken(&error))?;
        let most = MAX_PART_BYTES.min(self.left.get());
        let mut bytes = Vec::new();
        let read = match part.method {
            CompressionMethod::STORE => entry
                .verifying_reader(entry.data())
                .take(most + 1)
                .read_to_end(&mut bytes),
            CompressionMethod::DEFLATE => {
                let inflated = DeflateDecoder::new(entry.data());
                entry
                    .verifying_reader(inflated)
                    .take(most + 1)
                    .read_to_end(&mut bytes)
            }
            other => return Err(broken(&format!("it is compressed by {other}"))),
        };
        read.map_err(|error| broken(&error))?;
        if bytes.len() as u64 > most {
            return Err(format!(
                "its part `{name}` expands to more than {most} bytes"
            ));
        }
        self.left.set(self.left.get() - bytes.len() as u64);
        Ok(Some(bytes))
    }

    /// The text of a part in XML.
    pub fn xml(&self, name: &str) -> Result<Option<String>, String> {
        let bytes = self.part(name)?;
        bytes.map(|bytes| text_of(bytes, name)).transpose()
    }

    /// What a part refers to, by the names that it uses.
    pub fn relationships(&self, part: &str) -> Result<HashMap<String, Relationship>, String> {
        let (folder, file) = part.rsplit_once('/').unwrap_or(("", part));
        let name = format!("{folder}/_rels/{file}.rels");
        let mut found = HashMap::new();
        let Some(xml) = self.xml(name.trim_start_matches('/'))? else {
            return Ok(found);
        };
        let mut xml = Xml::new(&xml, &name);
        while let Some(node) = xml.next()? {
            let Node::Open(tag) = node else { continue };
            if tag.name() != "Relationship"
                || tag.attribute("TargetMode").as_deref() == Some("External")
            {
                continue;
            }
            let (Some(id), Some(target)) = (tag.attribute("Id"), tag.attribute("Target")) else {
                continue;
            };
            let kind = tag.attribute("Type").unwrap_or_default();
            let kind = kind.rsplit('/').next().unwrap_or_default().to_owned();
            let target = resolve(folder, &target);
            found.insert(id, Relationship { kind, target });
        }
        Ok(found)
    }

    /// The title that the properties of an office file have.
    pub fn core_title(&self) -> Option<String> {
        let xml = self.xml("docProps/core.xml").ok()??;
        let mut xml = Xml::new(&xml, "docProps/core.xml");
        let title = xml.text_of_first("title").ok()??;
        let words: Vec<&str> = title.split_whitespace().collect();
        (!words.is_empty()).then(|| words.join(" "))
    }
}

/// The part that a path means, seen from a folder.
pub fn resolve(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let base = if path.starts_with('/') { "" } else { folder };
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// What a file is that begins as a compound file.
fn compound_file(bytes: &[u8]) -> String {
    let has = |name: &str| {
        let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        memchr::memmem::find(bytes, &wide).is_some()
    };
    if has("EncryptedPackage") {
        "it is encrypted with a password".to_owned()
    } else {
        "it is of the kind that office programs wrote before 2007: save it as docx, xlsx or pptx"
            .to_owned()
    }
}

fn text_of(bytes: Vec<u8>, name: &str) -> Result<String, String> {
    let encoding = encoding_rs::Encoding::for_bom(&bytes).map(|(encoding, _)| encoding);
    match encoding {
        None => String::from_utf8(bytes).map_err(|_| format!("its part `{name}` is not utf-8")),
        Some(encoding) => {
            let (text, _, is_broken) = encoding.decode(&bytes);
            if is_broken {
                return Err(format!("its part `{name}` is not {}", encoding.name()));
            }
            Ok(text.into_owned())
        }
    }
}

pub fn reason(error: &rawzip::Error) -> String {
    if matches!(
        error.kind(),
        rawzip::ErrorKind::MissingEndOfCentralDirectory
    ) {
        return "it is no zip, or is cut off".to_owned();
    }
    error.to_string().to_lowercase()
}
