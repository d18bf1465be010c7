//! Epub: a book, one document per file, its chapters in the order of reading.

use std::collections::HashMap;

use super::extracted::{Block, Extracted};
use super::html;
use super::package::{Package, resolve};
use super::xml::{Node, Xml};
use crate::document::{Location, Reason};

/// What the package document of a book says.
#[derive(Default)]
struct Book {
    title: Option<String>,
    /// The parts by the names that the order of reading uses.
    parts: HashMap<String, Part>,
    order: Vec<String>,
}

struct Part {
    path: String,
    kind: String,
}

/// Reads the text of an epub.
pub fn epub(bytes: &[u8], extracted: &mut Extracted) -> Result<(), String> {
    extracted.is_markdown = true;
    let package = Package::open(bytes)?;
    refuse_encrypted(&package)?;
    let container = package.xml("META-INF/container.xml")?;
    let container = container.ok_or("it has no part `META-INF/container.xml`")?;
    let root = root_of(&container)?.ok_or("it names no package document")?;
    let opf = package.xml(&root)?;
    let opf = opf.ok_or_else(|| format!("it has no part `{root}`"))?;
    let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
    let book = Book::read(&mut Xml::new(&opf, &root), folder)?;
    for id in &book.order {
        let Some(part) = book.parts.get(id) else {
            extracted
                .dropped
                .add(Reason::BrokenPart, 0, Some(id.clone()));
            continue;
        };
        // Pages may be drawings.
        if part.kind.starts_with("image/") && part.kind != "image/svg+xml" {
            extracted
                .dropped
                .add(Reason::Picture, 0, Some(part.path.clone()));
            continue;
        }
        if chapter(&package, part, extracted)?.is_none() {
            extracted
                .dropped
                .add(Reason::BrokenPart, 0, Some(part.path.clone()));
        }
    }
    extracted.title = book.title;
    Ok(())
}

/// Adds a chapter; `None` if it cannot be read.
fn chapter(
    package: &Package<'_>,
    part: &Part,
    extracted: &mut Extracted,
) -> Result<Option<()>, String> {
    let Ok(Some(bytes)) = package.part(&part.path) else {
        return Ok(None);
    };
    let bytes = with_end_tags(&bytes);
    let Some(page) = html::markdown_of(bytes, &mut extracted.dropped) else {
        return Ok(None);
    };
    if page.text.trim().is_empty() {
        return Ok(Some(()));
    }
    let file = part.path.rsplit('/').next().unwrap_or_default().to_owned();
    let name = crate::document::markdown::title(&page.text).or(page.title);
    extracted.at(Location::Section(name.unwrap_or(file)));
    extracted.add(Block::Markdown(&page.text));
    Ok(Some(()))
}

/// A page of XML with an end tag for each element that closes itself: for a reader of HTML `<title/>` would never end.
fn with_end_tags(page: &[u8]) -> Vec<u8> {
    const VOID: [&[u8]; 14] = [
        b"area", b"base", b"br", b"col", b"embed", b"hr", b"img", b"input", b"link", b"meta",
        b"param", b"source", b"track", b"wbr",
    ];
    let (mut html, mut rest) = (Vec::with_capacity(page.len()), page);
    while let Some(at) = memchr::memchr(b'<', rest) {
        html.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let end = memchr::memchr(b'>', rest).map_or(rest.len(), |end| end + 1);
        let (tag, after) = rest.split_at(end);
        let name = tag[1..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b':')
            .count();
        let name = &tag[1..=name];
        match tag.strip_suffix(b"/>") {
            Some(open) if !name.is_empty() && !VOID.contains(&name) => {
                html.extend_from_slice(open);
                html.extend_from_slice(b"></");
                html.extend_from_slice(name);
                html.push(b'>');
            }
            _ => html.extend_from_slice(tag),
        }
        rest = after;
    }
    html.extend_from_slice(rest);
    html
}

/// Fonts are often scrambled, which is no encryption of the text.
fn refuse_encrypted(package: &Package<'_>) -> Result<(), String> {
    let Some(encryption) = package.xml("META-INF/encryption.xml")? else {
        return Ok(());
    };
    let mut xml = Xml::new(&encryption, "META-INF/encryption.xml");
    while let Some(node) = xml.next()? {
        let Node::Open(tag) = node else { continue };
        let target = (tag.name() == "CipherReference")
            .then(|| tag.attribute("URI"))
            .flatten();
        let is_text = target.is_some_and(|target| {
            let name = target.to_ascii_lowercase();
            [".xhtml", ".html", ".htm", ".xml", ".opf"]
                .iter()
                .any(|end| name.ends_with(end))
        });
        if is_text {
            return Err("it is encrypted (digital rights management)".to_owned());
        }
    }
    Ok(())
}

fn root_of(container: &str) -> Result<Option<String>, String> {
    let mut xml = Xml::new(container, "META-INF/container.xml");
    while let Some(node) = xml.next()? {
        if let Node::Open(tag) = node
            && tag.name() == "rootfile"
        {
            return Ok(tag.attribute("full-path"));
        }
    }
    Ok(None)
}

impl Book {
    fn read(xml: &mut Xml<'_>, folder: &str) -> Result<Self, String> {
        let mut book = Self::default();
        while let Some(node) = xml.next()? {
            let Node::Open(tag) = node else { continue };
            match &*tag.name() {
                "title" if book.title.is_none() => {
                    let title = xml.skip()?;
                    let words: Vec<&str> = title.split_whitespace().collect();
                    book.title = (!words.is_empty()).then(|| words.join(" "));
                }
                "item" => {
                    let path = percent_decoded(&tag.attribute("href").unwrap_or_default());
                    let part = Part {
                        path: resolve(folder, &path),
                        kind: tag.attribute("media-type").unwrap_or_default(),
                    };
                    book.parts
                        .insert(tag.attribute("id").unwrap_or_default(), part);
                }
                "itemref" => book.order.extend(tag.attribute("idref")),
                _ => {}
            }
        }
        Ok(book)
    }
}

/// A path with the letters that stand for bytes of it as those bytes.
fn percent_decoded(path: &str) -> String {
    let bytes = path.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let code =
            code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        decoded.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
