//! Docx: the text of Word, one document per file.
//!
//! | what | choice |
//! |---|---|
//! | tracked changes | inserted text is kept, deleted text is left out and counted |
//! | footnotes, endnotes | kept, behind the paragraph that refers to them, under the same mark |
//! | text boxes, SmartArt, charts | their text is kept, behind the paragraph that they hang on |
//! | alternative texts of pictures | kept |
//! | comments, hidden text, headers and footers | left out and counted |
//! | tables | kept as tables; one of a single column only arranges a page, and what is in it is kept as it stands |

use std::collections::HashMap;

use super::extracted::Extracted;
use super::package::{Package, Relationship};
use super::xml::{Node, Xml};
use crate::document::Reason;
use body::Body;
pub use body::words_of_drawing;
use styles::{Numbering, Styles};

mod body;
mod styles;

/// What the parts of a file say beside its text.
struct Parts {
    styles: Styles,
    numbering: Numbering,
    /// Footnotes and endnotes by their kind and number.
    notes: HashMap<(String, String), String>,
    relationships: HashMap<String, Relationship>,
}

/// Reads the text of a docx.
pub fn docx(bytes: &[u8], extracted: &mut Extracted) -> Result<(), String> {
    extracted.is_markdown = true;
    let package = Package::open(bytes)?;
    let name = main_part(&package, "word/document.xml")?;
    let text = package.xml(&name)?;
    let text = text.ok_or("it has no part `word/document.xml`")?;
    let mut parts = Parts {
        styles: Styles::default(),
        numbering: Numbering::default(),
        notes: HashMap::new(),
        relationships: package.relationships(&name)?,
    };
    read_parts(&package, &mut parts, extracted)?;
    let mut body = Body::new(&package, &parts, extracted);
    body.read(&mut Xml::new(&text, &name))?;
    if extracted.title.is_none() {
        extracted.title = package.core_title();
    }
    Ok(())
}

/// The part that the package says is the document.
pub fn main_part(package: &Package<'_>, usual: &str) -> Result<String, String> {
    let roots = package.relationships("")?;
    let mut roots = roots.into_values();
    let main = roots.find(|root| root.kind == "officeDocument" && package.has(&root.target));
    Ok(main.map_or_else(|| usual.to_owned(), |main| main.target))
}

fn read_parts(
    package: &Package<'_>,
    parts: &mut Parts,
    extracted: &mut Extracted,
) -> Result<(), String> {
    let mut found: Vec<Relationship> = parts.relationships.values().cloned().collect();
    found.sort_by(|a, b| a.target.cmp(&b.target));
    found.dedup_by(|a, b| a.target == b.target);
    // Styles come before the notes that use them.
    found.sort_by_key(|part| !matches!(part.kind.as_str(), "styles" | "numbering"));
    for Relationship { kind, target } in found {
        let is_read = [
            "styles",
            "numbering",
            "footnotes",
            "endnotes",
            "comments",
            "header",
            "footer",
        ];
        if !is_read.contains(&kind.as_str()) {
            continue;
        }
        let Some(text) = package.xml(&target)? else {
            continue;
        };
        let mut xml = Xml::new(&text, &target);
        match kind.as_str() {
            "styles" => parts.styles = Styles::read(&mut xml)?,
            "numbering" => parts.numbering = Numbering::read(&mut xml)?,
            "footnotes" | "endnotes" => read_notes(package, parts, extracted, (&kind, &mut xml))?,
            "comments" => count(&mut xml, "comment", extracted, Reason::Comment)?,
            kind => count(
                &mut xml,
                if kind == "header" { "hdr" } else { "ftr" },
                extracted,
                Reason::Furniture,
            )?,
        }
    }
    Ok(())
}

/// Counts elements with text that are left out.
pub fn count(
    xml: &mut Xml<'_>,
    element: &str,
    extracted: &mut Extracted,
    reason: Reason,
) -> Result<(), String> {
    while let Some(node) = xml.next()? {
        let Node::Open(tag) = node else { continue };
        if tag.name() != element {
            continue;
        }
        let words = xml.skip()?;
        let bytes: usize = words.split_whitespace().map(str::len).sum();
        if bytes > 0 {
            extracted.dropped.add(reason, bytes as u64, None);
        }
    }
    Ok(())
}

/// Reads footnotes or endnotes, each as a text of its own.
fn read_notes(
    package: &Package<'_>,
    parts: &mut Parts,
    extracted: &mut Extracted,
    (kind, xml): (&str, &mut Xml<'_>),
) -> Result<(), String> {
    let mut found = Vec::new();
    while let Some(node) = xml.next()? {
        let Node::Open(tag) = node else { continue };
        let is_note = matches!(&*tag.name(), "footnote" | "endnote");
        // Separators are notes too.
        if !is_note || matches!(tag.attribute("type").as_deref(), Some(kind) if kind != "normal") {
            continue;
        }
        let Some(id) = tag.attribute("id") else {
            continue;
        };
        let mut inside = Extracted::default();
        let mut body = Body::new(package, parts, &mut inside);
        body.read_element(xml)?;
        extracted.dropped.absorb(&inside.dropped);
        found.push(((kind.trim_end_matches('s').to_owned(), id), inside.text));
    }
    parts.notes.extend(found);
    Ok(())
}
