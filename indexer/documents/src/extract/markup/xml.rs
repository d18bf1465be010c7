//! XML: the text of all elements, with the structure of JATS, DocBook, TEI and the like where their names are known.
//!
//! An element whose name is not known is a block of its own, unless it stands in the middle of a sentence.

use quick_xml::Reader as XmlReader;
use quick_xml::events::Event;

use super::super::entities::Entities;
use super::super::extracted::Extracted;
use super::utf8;
use crate::document::Reason;

mod names;
mod seams;
#[cfg(test)]
mod tests;
mod writer;

use writer::Writer;

pub fn xml(bytes: &[u8], out: &mut Extracted) -> Result<(), String> {
    let text = utf8(bytes)?;
    let mut reader = XmlReader::from_str(text);
    let config = reader.config_mut();
    config.expand_empty_elements = true;
    let (mut writer, entities) = (Writer::new(out, text), Entities::default());
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        let event = reader.read_event();
        let event = event.map_err(|_| format!("it is not well-formed at byte {at}"))?;
        let broken = |_| format!("its text cannot be decoded at byte {at}");
        writer.at = at;
        match event {
            Event::Start(tag) | Event::Empty(tag) => {
                let name = tag.local_name();
                writer.open(&String::from_utf8_lossy(name.as_ref()))?;
            }
            Event::End(_) => writer.close(),
            Event::Text(part) => writer.text(&part.xml10_content().map_err(broken)?),
            Event::CData(part) => writer.text(&part.xml10_content().map_err(broken)?),
            Event::GeneralRef(reference) => {
                let name = String::from_utf8_lossy(&reference);
                match entities.text(&name) {
                    Some(text) => writer.text(&text),
                    None => writer.unknown(&name),
                }
            }
            Event::Comment(comment) => {
                writer
                    .out
                    .dropped
                    .add(Reason::Comment, comment.len() as u64, None);
            }
            Event::DocType(doctype) => entities.declare(&String::from_utf8_lossy(&doctype)),
            Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    writer.end()
}
