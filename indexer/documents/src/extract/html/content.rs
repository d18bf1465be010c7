//! Content: which parts of a page are what it is about.
//!
//! Pages mark their main part with `main` and `article`, and some of them mark the wrong one: an empty `main` that a script
//! fills, a teaser. So what is marked counts only if it holds a fair part of the text. Of what is left out inside, the
//! furniture is known by its elements: navigation, the header and the footer of the page, controls. A hidden part that
//! holds text in blocks is a tab or an answer that a click shows, and is kept.

use std::collections::HashSet;
use std::sync::LazyLock;

use ego_tree::NodeId;
use scraper::{ElementRef, Html, Node, Selector};

use super::selector;
use crate::document::Reason;

/// What is marked as the main part holds at least one of so many letters of a page.
const LEAST_PART: u64 = 4;
/// A hidden part with fewer words is a label, a hint or an error that is not shown.
const HIDDEN_WORDS: usize = 10;

/// The parts of a page that are kept.
pub struct Content<'a> {
    /// In the order of the page; none is inside another.
    pub roots: Vec<ElementRef<'a>>,
    /// Whether they are the marked parts of the page, and not all of it.
    is_marked: bool,
    /// Bytes of text beside them.
    pub outside_bytes: u64,
}

/// Finds the parts of a page that it is about.
pub fn of(page: &Html) -> Content<'_> {
    static MARKED: LazyLock<Option<Selector>> =
        LazyLock::new(|| selector("main, [role=main], article"));
    let whole = page.root_element();
    let all = Content {
        roots: vec![whole],
        is_marked: false,
        outside_bytes: 0,
    };
    let Some(selector) = MARKED.as_ref() else {
        return all;
    };
    let mut marked = Content {
        roots: outermost(page.select(selector)),
        is_marked: true,
        outside_bytes: 0,
    };
    let is_main = |root: &ElementRef<'_>| root.value().name() != "article";
    let has_main = marked.roots.iter().any(is_main);
    let (inside, outside) = (marked.letters(), all.letters());
    if !has_main || inside.saturating_mul(LEAST_PART) < outside {
        return all;
    }
    marked.add_title(page);
    let text: u64 = marked.roots.iter().map(|root| text_bytes(*root)).sum();
    marked.outside_bytes = body_bytes(page).saturating_sub(text);
    marked
}

/// Those that are in none of the others.
fn outermost<'a>(elements: impl Iterator<Item = ElementRef<'a>>) -> Vec<ElementRef<'a>> {
    let mut seen: HashSet<NodeId> = HashSet::new();
    let mut found = Vec::new();
    for element in elements {
        let is_inside = element.ancestors().any(|outer| seen.contains(&outer.id()));
        if !is_inside {
            seen.insert(element.id());
            found.push(element);
        }
    }
    found
}

fn body_bytes(page: &Html) -> u64 {
    static BODY: LazyLock<Option<Selector>> = LazyLock::new(|| selector("body"));
    let body = BODY.as_ref().and_then(|body| page.select(body).next());
    body.map_or(0, text_bytes)
}

/// Bytes of the text in an element, without what no reader sees and the title, which is told apart.
pub fn text_bytes(element: ElementRef<'_>) -> u64 {
    let words = element.descendants().filter_map(|node| {
        let text = node.value().as_text()?;
        let is_code = node
            .parent()
            .and_then(ElementRef::wrap)
            .is_some_and(|parent| {
                matches!(
                    parent.value().name(),
                    "script" | "style" | "template" | "title"
                )
            });
        (!is_code).then(|| text.split_whitespace().map(str::len).sum::<usize>() as u64)
    });
    words.sum()
}

impl<'a> Content<'a> {
    /// Why an element is left out with all that is in it; `None` where it is kept.
    pub fn dropped(&self, element: ElementRef<'_>) -> Option<Reason> {
        match element.value().name() {
            "head" | "script" | "style" | "template" => Some(Reason::Code),
            "svg" | "iframe" | "object" => Some(Reason::Embedded),
            "nav" => Some(Reason::Furniture),
            "select" | "datalist" => Some(Reason::Control),
            "button" if !is_with_heading(element) => Some(Reason::Control),
            "header" | "footer" if self.is_of_page(element) => Some(Reason::Furniture),
            _ if is_hidden(element) => Some(Reason::Hidden),
            _ => None,
        }
    }

    /// Whether a header or a footer is that of the page. A header with the title of what the page is about is none.
    fn is_of_page(&self, element: ElementRef<'_>) -> bool {
        let has_title = element.value().name() == "header" && has(element, &["h1"]);
        let is_of_a_part = is_inside(element, &["main", "article"]);
        !self.is_marked && !is_of_a_part && !has_title
    }

    /// The title of the page may stand in a header before the main part.
    fn add_title(&mut self, page: &'a Html) {
        static TITLE: LazyLock<Option<Selector>> = LazyLock::new(|| selector("header h1"));
        let in_content = self.roots.iter().any(|root| has(*root, &["h1"]));
        if in_content {
            return;
        }
        let title = TITLE.as_ref().and_then(|title| page.select(title).next());
        if let Some(title) = title {
            self.roots.insert(0, title);
        }
    }

    /// Letters of the text that is kept.
    fn letters(&self) -> u64 {
        let mut letters = 0;
        for root in &self.roots {
            let mut hidden = None;
            for edge in root.traverse() {
                match edge {
                    ego_tree::iter::Edge::Open(node) if hidden.is_none() => match node.value() {
                        Node::Text(text) => {
                            letters += text.chars().filter(|c| !c.is_whitespace()).count() as u64;
                        }
                        Node::Element(_) => {
                            let element = ElementRef::wrap(node);
                            let drop = element.is_some_and(|e| self.dropped(e).is_some());
                            hidden = drop.then(|| node.id());
                        }
                        Node::Document
                        | Node::Fragment
                        | Node::Doctype(_)
                        | Node::Comment(_)
                        | Node::ProcessingInstruction(_) => {}
                    },
                    ego_tree::iter::Edge::Open(_) => {}
                    ego_tree::iter::Edge::Close(node) => {
                        if hidden == Some(node.id()) {
                            hidden = None;
                        }
                    }
                }
            }
        }
        letters
    }
}

/// Whether an element is hidden for good.
fn is_hidden(element: ElementRef<'_>) -> bool {
    let Some(hidden) = element.attr("hidden") else {
        return false;
    };
    let is_found_by_search = hidden.eq_ignore_ascii_case("until-found");
    let is_tab = element.attr("role") == Some("tabpanel");
    !is_found_by_search && !is_tab && !has_text_in_blocks(element)
}

fn has_text_in_blocks(element: ElementRef<'_>) -> bool {
    const BLOCKS: [&str; 12] = [
        "p",
        "li",
        "pre",
        "td",
        "dd",
        "blockquote",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
    ];
    let words = element.text().flat_map(str::split_whitespace);
    words.take(HIDDEN_WORDS).count() == HIDDEN_WORDS && has(element, &BLOCKS)
}

/// A heading that is a button, or in one, opens the section below it.
fn is_with_heading(button: ElementRef<'_>) -> bool {
    const HEADINGS: [&str; 7] = ["h1", "h2", "h3", "h4", "h5", "h6", "summary"];
    is_inside(button, &HEADINGS) || has(button, &HEADINGS) || is_inside(button, &["dt"])
}

/// Whether one of these is in an element, or is the element.
fn has(element: ElementRef<'_>, names: &[&str]) -> bool {
    let mut inner = element.descendants().filter_map(ElementRef::wrap);
    inner.any(|inner| names.contains(&inner.value().name()))
}

pub fn is_inside(element: ElementRef<'_>, names: &[&str]) -> bool {
    let mut outer = element.ancestors().filter_map(ElementRef::wrap);
    outer.any(|outer| names.contains(&outer.value().name()))
}
