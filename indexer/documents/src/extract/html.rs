//! HTML: one document per page, its main content written as Markdown so that chunking sees its structure.

use std::sync::LazyLock;

use scraper::{ElementRef, Html, Node, Selector};

use super::Limit;
use super::decode::{decode, read};
use super::text::whole;
use crate::document::{Document, Markup};
use crate::source::{Input, SourceError};

mod nesting;
mod writer;

use writer::Writer;

/// Deepest nesting that is parsed. The parser looks through all open elements at every tag, so that a page of
/// nothing but open tags would take quadratic time; pages that people write stay below a hundred.
const MAX_DEPTH: usize = 1024;

/// The document of an HTML input.
pub fn html(input: &Input, limit: Limit) -> Result<Document, SourceError> {
    let source = decode(read(input, limit)?, &input.origin())?;
    if nesting::exceeds(&source, MAX_DEPTH) {
        return Err(SourceError::TooDeep {
            origin: input.origin(),
            limit: MAX_DEPTH,
        });
    }
    let page = Html::parse_document(&source);
    drop(source);
    whole(input, title_of(&page), text_of(&page), Markup::Markdown)
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

/// The element that holds what the page is about: its `main`, else all of it.
fn content_of(page: &Html) -> ElementRef<'_> {
    static MAIN: LazyLock<Option<Selector>> = LazyLock::new(|| selector("main, [role=main]"));
    let main = MAIN
        .as_ref()
        .and_then(|selector| page.select(selector).next());
    main.unwrap_or_else(|| page.root_element())
}

/// Whether an element is left out with all that is in it. The header and footer of an article belong to it;
/// those of the page say nothing about its subject.
fn is_dropped(element: ElementRef<'_>, in_content: bool) -> bool {
    match element.value().name() {
        "head" | "script" | "style" | "noscript" | "template" | "nav" | "svg" | "iframe"
        | "object" | "form" | "button" | "select" => true,
        "header" | "footer" => !in_content && !is_inside(element, &["main", "article"]),
        _ => element.attr("hidden").is_some(),
    }
}

fn is_inside(element: ElementRef<'_>, names: &[&str]) -> bool {
    let mut outer = element.ancestors().filter_map(ElementRef::wrap);
    outer.any(|outer| names.contains(&outer.value().name()))
}

/// Walks without recursion, so that a deeply nested page cannot overflow the stack.
fn text_of(page: &Html) -> String {
    let content = content_of(page);
    let in_content = content.value().name() != "html";
    let mut writer = Writer::default();
    let mut dropped = None;
    for edge in content.traverse() {
        match edge {
            ego_tree::iter::Edge::Open(node) if dropped.is_none() => match node.value() {
                Node::Text(text) => writer.text(text),
                Node::Element(element) => {
                    let drop = ElementRef::wrap(node).is_some_and(|e| is_dropped(e, in_content));
                    if drop {
                        dropped = Some(node.id());
                    } else {
                        writer.open(element.name());
                    }
                }
                Node::Document
                | Node::Fragment
                | Node::Doctype(_)
                | Node::Comment(_)
                | Node::ProcessingInstruction(_) => {}
            },
            ego_tree::iter::Edge::Open(_) => {}
            ego_tree::iter::Edge::Close(node) if dropped == Some(node.id()) => dropped = None,
            ego_tree::iter::Edge::Close(node) => {
                if let (None, Node::Element(element)) = (dropped, node.value()) {
                    writer.close(element.name());
                }
            }
        }
    }
    writer.finish()
}
