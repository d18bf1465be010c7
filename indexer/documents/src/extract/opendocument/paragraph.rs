//! Paragraph: the text of paragraphs, headings and items, and the notes on it.

use super::Body;
use crate::extract::extracted::{Flow, Owned};
use crate::extract::xml::{Node, Tag, Xml};

#[derive(Default)]
pub struct Paragraph {
    text: String,
    heading: Option<usize>,
    is_title: bool,
    pub after: Flow,
}

#[derive(Default)]
pub struct List {
    pub style: String,
    pub next: u64,
    /// Whether its item has no paragraph yet.
    pub begins: bool,
}

impl Body<'_> {
    /// White space counts as one space each, as in HTML.
    pub fn text(&mut self, text: &str) {
        let Some(paragraph) = self.paragraphs.last_mut() else {
            return;
        };
        let mut is_space = paragraph.text.ends_with([' ', '\n']);
        for letter in text.chars() {
            let space = matches!(letter, ' ' | '\t' | '\n' | '\r');
            if !space {
                paragraph.text.push(letter);
            } else if !is_space {
                paragraph.text.push(' ');
            }
            is_space = space;
        }
    }

    pub fn push(&mut self, text: &str) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.text.push_str(text);
        }
    }

    pub fn begin_paragraph(&mut self, tag: &Tag<'_>) {
        let style = tag.attribute("style-name").unwrap_or_default();
        let by_level = tag.number("outline-level").unwrap_or(1);
        let is_title = self.styles.is_a(&style, "Title");
        self.paragraphs.push(Paragraph {
            heading: (tag.name() == "h")
                .then_some(by_level)
                .or(is_title.then_some(1)),
            is_title,
            ..Paragraph::default()
        });
    }

    /// A footnote or an endnote: its mark stays where it is, its text follows the paragraph.
    pub fn note(&mut self, xml: &mut Xml<'_>) -> Result<(), String> {
        let outside = xml.depth - 1;
        let (mut mark, mut body) = (String::new(), String::new());
        while xml.depth > outside {
            let Some(node) = xml.next()? else { break };
            let Node::Open(tag) = node else { continue };
            match &*tag.name() {
                "note-citation" => mark = xml.skip()?.trim().to_owned(),
                "note-body" => body = xml.skip()?.split_whitespace().collect::<Vec<_>>().join(" "),
                _ => {}
            }
        }
        self.push(&format!("[{mark}]"));
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph
                .after
                .add(Owned::Paragraph(format!("[{mark}] {body}")));
        }
        Ok(())
    }

    pub fn end_paragraph(&mut self, paragraph: Paragraph) {
        let Paragraph {
            text,
            heading,
            is_title,
            after,
        } = paragraph;
        if is_title && self.extracted.title.is_none() && !text.trim().is_empty() {
            self.extracted.title = Some(text.split_whitespace().collect::<Vec<_>>().join(" "));
        }
        let depth = self.lists.len();
        let block = match (heading, self.lists.last_mut()) {
            (Some(level), _) => Owned::Heading(level, text),
            (None, _) if self.role == "title" && !self.in_notes => Owned::Heading(2, text),
            (None, Some(list)) if list.begins => {
                list.begins = false;
                let is_numbered = self.styles.is_numbered(&list.style, depth);
                let number = is_numbered.then_some(list.next);
                list.next += u64::from(is_numbered);
                Owned::Item {
                    depth: depth - 1,
                    number,
                    text,
                }
            }
            (None, _) => Owned::Paragraph(text),
        };
        let mut flow = Flow::default();
        flow.add(block);
        flow.append(after);
        self.emit_all(flow);
    }

    pub fn begin_list(&mut self, tag: &Tag<'_>) {
        let style = tag
            .attribute("style-name")
            .or_else(|| self.lists.last().map(|list| list.style.clone()));
        let style = style.unwrap_or_default();
        let goes_on = tag.attribute("continue-numbering").as_deref() == Some("true");
        let next = if goes_on {
            self.last_numbers.get(&style).copied()
        } else {
            None
        };
        self.lists.push(List {
            style,
            next: next.unwrap_or(1),
            begins: false,
        });
    }
}
