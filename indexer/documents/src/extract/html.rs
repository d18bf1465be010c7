//! HTML: one document per page, its main content written as Markdown so that chunking sees its structure.
//!
//! Chrome is left out, text is kept, and what is left out is in the ledger. See `content` for which is which.

use std::sync::LazyLock;

use encoding_rs::{Encoding, UTF_8};
use html5ever::driver::{self, ParseOpts};
use html5ever::tendril::TendrilSink as _;
use html5ever::tree_builder::TreeBuilderOpts;
use scraper::{ElementRef, Html, HtmlTreeSink, Node, Selector};

use super::Limit;
use super::decode::{decode, read};
use super::encoding::{self, Choice, TextEncoding, has_most_letters_in_utf8};
use super::text::whole;
use crate::document::{Amount, Document, Ledger, Markup, Reason};
use crate::source::{Input, SourceError};

mod content;
mod nesting;
#[cfg(test)]
mod tests;
mod writer;

use writer::Writer;

/// Deepest nesting that is parsed. The parser looks through all open elements at every tag, so that a page of
/// nothing but open tags would take quadratic time; pages that people write stay below a hundred.
const MAX_DEPTH: usize = 1024;
/// Where a page declares its encoding.
const DECLARATION_BYTES: usize = 1024;

/// The document of an HTML input.
pub fn html(
    input: &Input,
    limit: Limit,
    encoding: Option<TextEncoding>,
) -> Result<Document, SourceError> {
    let bytes = read(input, limit)?;
    let (declared, length) = (declared(&bytes), bytes.len() as u64);
    let mut source = decode(bytes, &input.origin(), encoding, declared)?;
    if nesting::exceeds(&source.text, MAX_DEPTH) {
        return Err(SourceError::TooDeep {
            origin: input.origin(),
            limit: MAX_DEPTH,
        });
    }
    let page = parse(&source.text);
    let mut dropped = std::mem::take(&mut source.notes);
    let amount = Amount {
        bytes: length,
        ..Amount::of(&source.text)
    };
    drop(source.text);
    let text = text_of(&page, &mut dropped);
    let document = whole(input, amount, title_of(&page), text, Markup::Markdown)?;
    dropped.absorb(&document.dropped);
    Ok(Document {
        dropped,
        ..document
    })
}

/// A page as Markdown.
pub struct Page {
    pub title: Option<String>,
    pub text: String,
}

/// Writes a page that lies in another file as Markdown; `None` if it is no text, or nests too deep.
pub fn markdown_of(bytes: Vec<u8>, dropped: &mut Ledger) -> Option<Page> {
    let choice = Choice::by_word(&bytes, None, declared(&bytes));
    let choice = choice.unwrap_or(Choice::said(UTF_8));
    if choice.encoding == UTF_8 {
        let source = encoding::utf8(bytes, Some(choice)).ok()?;
        dropped.absorb(&source.notes);
        return page_of(&source.text, dropped);
    }
    let (source, is_broken) = choice.encoding.decode_with_bom_removal(&bytes);
    if is_broken {
        return None;
    }
    page_of(&source, dropped)
}

/// The same for a page that is decoded already.
pub fn page_of(source: &str, dropped: &mut Ledger) -> Option<Page> {
    if nesting::exceeds(source, MAX_DEPTH) {
        return None;
    }
    let page = parse(source);
    Some(Page {
        title: title_of(&page),
        text: text_of(&page, dropped),
    })
}

/// Parses a page as a reader without scripts sees it: with what is in `noscript`.
fn parse(page: &str) -> Html {
    let options = ParseOpts {
        tree_builder: TreeBuilderOpts {
            scripting_enabled: false,
            ..TreeBuilderOpts::default()
        },
        ..ParseOpts::default()
    };
    driver::parse_document(HtmlTreeSink::new(Html::new_document()), options).one(page)
}

/// The encoding that a page says it has. One that says UTF-16 in ASCII has another.
pub fn declared(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = &bytes[..bytes.len().min(DECLARATION_BYTES)];
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let place = head.find("charset=").map(|at| at + "charset=".len());
    let xml = || {
        let end = head.find("?>").filter(|_| head.starts_with("<?xml"))?;
        let at = head[..end].find("encoding=")?;
        Some(at + "encoding=".len())
    };
    let value = head[place.or_else(xml)?..].trim_start_matches(['"', '\'', ' ']);
    let label: String = value
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "-_:.".contains(*c))
        .collect();
    let encoding = Encoding::for_label(label.as_bytes())?;
    let is_wide = encoding == encoding_rs::UTF_16LE || encoding == encoding_rs::UTF_16BE;
    // Many pages say a small encoding and are UTF-8: what beyond ASCII is valid UTF-8 is hardly anything else.
    let is_utf8 = || encoding.is_single_byte() && has_most_letters_in_utf8(bytes);
    Some(if is_wide || is_utf8() {
        UTF_8
    } else {
        encoding
    })
}

fn selector(css: &str) -> Option<Selector> {
    Selector::parse(css).ok()
}

fn title_of(page: &Html) -> Option<String> {
    static TITLE: LazyLock<Option<Selector>> = LazyLock::new(|| selector("head title"));
    let title: String = page.select(TITLE.as_ref()?).next()?.text().collect();
    let words: Vec<&str> = title.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Walks without recursion, so that a deeply nested page cannot overflow the stack.
fn text_of(page: &Html, dropped: &mut Ledger) -> String {
    let content = content::of(page);
    let mut writer = Writer::default();
    for root in &content.roots {
        let mut hidden = None;
        for edge in root.traverse() {
            match edge {
                ego_tree::iter::Edge::Open(node) if hidden.is_none() => match node.value() {
                    Node::Text(text) => writer.text(text),
                    Node::Element(_) => {
                        let Some(element) = ElementRef::wrap(node) else {
                            continue;
                        };
                        if let Some(reason) = content.dropped(element) {
                            hidden = Some(node.id());
                            let bytes = content::text_bytes(element);
                            if bytes > 0 {
                                dropped.add(reason, bytes, None);
                            }
                        } else {
                            writer.open(element);
                        }
                    }
                    Node::Document
                    | Node::Fragment
                    | Node::Doctype(_)
                    | Node::Comment(_)
                    | Node::ProcessingInstruction(_) => {}
                },
                ego_tree::iter::Edge::Open(_) => {}
                ego_tree::iter::Edge::Close(node) if hidden == Some(node.id()) => hidden = None,
                ego_tree::iter::Edge::Close(node) => {
                    if let (None, Node::Element(element)) = (hidden, node.value()) {
                        writer.close(element.name());
                    }
                }
            }
        }
    }
    if content.outside_bytes > 0 {
        dropped.add(Reason::OutsideMain, content.outside_bytes, None);
    }
    writer.finish()
}
