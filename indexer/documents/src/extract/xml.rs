//! XML: a text in one pass, by the local names of its elements.

use std::borrow::Cow;
use std::rc::Rc;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::entities::Entities;

pub struct Xml<'a> {
    reader: Reader<&'a [u8]>,
    part: &'a str,
    entities: Rc<Entities>,
    /// Elements that are open.
    pub depth: usize,
}

pub enum Node<'a> {
    Open(Tag<'a>),
    /// The local name of the element that ends.
    Close(String),
    Text(Cow<'a, str>),
}

pub struct Tag<'a> {
    tag: BytesStart<'a>,
    entities: Rc<Entities>,
}

impl<'a> Xml<'a> {
    /// Reads the text of a part that messages call `part`.
    pub fn new(text: &'a str, part: &'a str) -> Self {
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.check_end_names = true;
        Self {
            reader,
            part,
            entities: Rc::default(),
            depth: 0,
        }
    }

    /// The next element or text; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Node<'a>>, String> {
        loop {
            let at = self.reader.buffer_position();
            let event = self.reader.read_event();
            return Ok(Some(
                match event.map_err(|error| self.broken(at, &error))? {
                    Event::Start(tag) | Event::Empty(tag) => {
                        self.depth += 1;
                        let entities = Rc::clone(&self.entities);
                        Node::Open(Tag { tag, entities })
                    }
                    Event::End(tag) => {
                        self.depth = self.depth.saturating_sub(1);
                        Node::Close(String::from_utf8_lossy(tag.local_name().as_ref()).into_owned())
                    }
                    Event::Text(text) => {
                        let text = text.xml10_content();
                        Node::Text(text.map_err(|error| self.broken(at, &error))?)
                    }
                    Event::CData(text) => {
                        let text = text.xml10_content();
                        Node::Text(text.map_err(|error| self.broken(at, &error))?)
                    }
                    Event::GeneralRef(reference) => {
                        let name = reference.decode();
                        let name = name.map_err(|error| self.broken(at, &error))?;
                        let text = self.entities.text(&name);
                        Node::Text(text.unwrap_or_else(|| format!("&{name};").into()))
                    }
                    Event::Eof if self.depth == 0 => return Ok(None),
                    Event::Eof => return Err(format!("its part `{}` is cut off", self.part)),
                    Event::DocType(doctype) => {
                        self.entities.declare(&String::from_utf8_lossy(&doctype));
                        continue;
                    }
                    Event::Comment(_) | Event::Decl(_) | Event::PI(_) => continue,
                },
            ));
        }
    }

    fn broken(&self, at: u64, error: &dyn std::fmt::Display) -> String {
        // The message may quote the text.
        let message = error.to_string();
        let kind = message.split([':', '`']).next().unwrap_or_default().trim();
        format!("its part `{}` is damaged at byte {at}: {kind}", self.part)
    }

    /// Passes over the element that was opened last, and gives the text that is in it.
    pub fn skip(&mut self) -> Result<String, String> {
        let (outside, mut text) = (self.depth - 1, String::new());
        while self.depth > outside {
            match self.next()? {
                Some(Node::Text(part)) => text.push_str(&part),
                Some(Node::Open(_)) if !text.ends_with(' ') => text.push(' '),
                Some(Node::Open(_) | Node::Close(_)) => {}
                None => break,
            }
        }
        Ok(text)
    }

    /// The text in the first element of a name, from here on.
    pub fn text_of_first(&mut self, name: &str) -> Result<Option<String>, String> {
        while let Some(node) = self.next()? {
            if let Node::Open(tag) = node
                && tag.name() == name
            {
                return Ok(Some(self.skip()?.trim().to_owned()));
            }
        }
        Ok(None)
    }
}

impl Tag<'_> {
    /// Its name without a prefix.
    pub fn name(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.tag.local_name().into_inner())
    }

    /// The value of an attribute by its local name, whatever its prefix.
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.find(|key| key.rsplit(|&byte| byte == b':').next() == Some(name.as_bytes()))
    }

    /// The value of an attribute of that local name that has a prefix, such as `r:id` beside `id`.
    pub fn prefixed(&self, name: &str) -> Option<String> {
        self.find(|key| {
            let mut parts = key.rsplit(|&byte| byte == b':');
            parts.next() == Some(name.as_bytes()) && parts.next().is_some()
        })
    }

    fn find(&self, is_it: impl Fn(&[u8]) -> bool) -> Option<String> {
        let mut attributes = self.tag.attributes();
        let mut attributes = attributes.with_checks(false).flatten();
        let found = attributes.find(|attribute| is_it(attribute.key.as_ref()))?;
        let raw = String::from_utf8_lossy(&found.value);
        Some(self.entities.unescaped(&raw))
    }

    /// A number that an attribute holds.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.attribute(name)?.trim().parse().ok()
    }

    /// Whether an element that switches something on does so: by being there, unless its `val` says otherwise.
    pub fn is_on(&self) -> bool {
        !matches!(
            self.attribute("val").as_deref(),
            Some("0" | "false" | "off" | "none")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(xml: &str) -> Result<String, String> {
        let mut reader = Xml::new(xml, "x.xml");
        let mut text = String::new();
        while let Some(node) = reader.next()? {
            if let Node::Text(part) = node {
                text.push_str(&part);
            }
        }
        Ok(text)
    }

    #[test]
    fn references_are_what_they_stand_for() {
        let xml =
            "<!DOCTYPE a [<!ENTITY b \"own\">]><a>x &amp; &#65;&#x42;&b;&c;<![CDATA[<c>]]></a>";
        assert_eq!(text(xml).unwrap(), "x & ABown&c;<c>");
        let twice = "<!DOCTYPE a [<!ENTITY b 'one'>]><!DOCTYPE a [<!ENTITY b 'two'><!ENTITY c 'three'>]><a>&b; &c;</a>";
        assert_eq!(text(twice).unwrap(), "one three");
        let mut xml = Xml::new("<!DOCTYPE a [<!ENTITY b 'own'>]><a c='&b;s'/>", "x.xml");
        let Ok(Some(Node::Open(tag))) = xml.next() else {
            panic!("an element")
        };
        assert_eq!(tag.attribute("c").as_deref(), Some("owns"));
    }

    #[test]
    fn a_damaged_part_is_named_and_not_quoted() {
        let error = text("<a>secret</b>").unwrap_err();
        assert!(
            error.starts_with("its part `x.xml` is damaged at byte"),
            "{error}"
        );
        assert!(!error.contains("secret"));
        assert_eq!(text("<a>").unwrap_err(), "its part `x.xml` is cut off");
    }

    #[test]
    fn attributes_have_any_prefix() {
        let mut xml = Xml::new("<p:a id='1' r:id='r&amp;1' w:val='0'/>", "x.xml");
        let Ok(Some(Node::Open(tag))) = xml.next() else {
            panic!("an element")
        };
        assert_eq!(tag.name(), "a");
        assert_eq!(tag.attribute("id").as_deref(), Some("1"));
        assert_eq!(tag.prefixed("id").as_deref(), Some("r&1"));
        assert!(!tag.is_on());
        assert_eq!(xml.skip().unwrap(), "");
    }
}
