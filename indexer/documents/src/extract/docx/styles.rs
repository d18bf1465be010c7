//! What styles and lists say about paragraphs.

use std::collections::HashMap;

use super::super::xml::{Node, Tag, Xml};

/// Styles name each other; a longer chain is a circle.
const LONGEST_CHAIN: usize = 16;
/// Levels of a list.
const LEVELS: usize = 9;

#[derive(Debug, Default)]
pub struct Styles(HashMap<String, Style>);

#[derive(Clone, Debug, Default)]
pub struct Style {
    name: String,
    based_on: Option<String>,
    outline: Option<usize>,
    list: List,
}

/// The list that a paragraph is in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    pub id: Option<String>,
    pub level: Option<usize>,
}

impl List {
    /// Takes what one element in the properties of a paragraph says.
    pub fn note(&mut self, tag: &Tag<'_>) {
        match &*tag.name() {
            "numId" => self.id = tag.attribute("val"),
            "ilvl" => self.level = tag.number("val"),
            _ => {}
        }
    }
}

impl Styles {
    pub fn read(xml: &mut Xml<'_>) -> Result<Self, String> {
        let mut styles = HashMap::new();
        let (mut id, mut style) = (String::new(), Style::default());
        while let Some(node) = xml.next()? {
            match node {
                Node::Open(tag) => match &*tag.name() {
                    "style" => {
                        id = tag.attribute("styleId").unwrap_or_default();
                        style = Style::default();
                    }
                    "name" => style.name = tag.attribute("val").unwrap_or_default().to_lowercase(),
                    "basedOn" => style.based_on = tag.attribute("val"),
                    "outlineLvl" => style.outline = tag.number("val"),
                    _ => style.list.note(&tag),
                },
                Node::Close(name) if name == "style" => {
                    styles.insert(std::mem::take(&mut id), std::mem::take(&mut style));
                }
                Node::Close(_) | Node::Text(_) => {}
            }
        }
        Ok(Self(styles))
    }

    /// A style and those that it is based on.
    fn chain(&self, id: &str) -> impl Iterator<Item = &Style> {
        let first = self.0.get(id);
        let next = |style: &&Style| self.0.get(style.based_on.as_deref()?);
        std::iter::successors(first, next).take(LONGEST_CHAIN)
    }

    /// The level of heading that a style makes.
    pub fn heading(&self, id: &str) -> Option<usize> {
        self.chain(id).find_map(|style| {
            let by_name = style
                .name
                .strip_prefix("heading ")
                .and_then(|level| level.parse().ok());
            by_name.or_else(|| {
                style
                    .outline
                    .filter(|level| *level < LEVELS)
                    .map(|level| level + 1)
            })
        })
    }

    pub fn is_title(&self, id: &str) -> bool {
        self.0
            .get(id)
            .map_or(id == "Title", |style| style.name == "title")
    }

    /// The list that a style puts its paragraphs into.
    pub fn list(&self, id: &str) -> List {
        let mut list = List::default();
        for style in self.chain(id) {
            list.id = list.id.or_else(|| style.list.id.clone());
            list.level = list.level.or(style.list.level);
        }
        list
    }
}

/// Which lists count, and from where.
#[derive(Debug, Default)]
pub struct Numbering {
    /// Of each kind of list, where its levels start; `None` for signs that are no numbers.
    kinds: HashMap<String, [Option<u64>; LEVELS]>,
    lists: HashMap<String, String>,
}

impl Numbering {
    pub fn read(xml: &mut Xml<'_>) -> Result<Self, String> {
        let mut numbering = Self::default();
        let (mut kind, mut list, mut level) = (String::new(), String::new(), 0);
        let mut starts = [None; LEVELS];
        while let Some(node) = xml.next()? {
            match node {
                Node::Open(tag) => match &*tag.name() {
                    "abstractNum" => {
                        kind = tag.attribute("abstractNumId").unwrap_or_default();
                        starts = [Some(1); LEVELS];
                    }
                    "lvl" => level = tag.number::<usize>("ilvl").unwrap_or(0).min(LEVELS - 1),
                    "start" => starts[level] = starts[level].and(tag.number("val")),
                    "numFmt"
                        if matches!(tag.attribute("val").as_deref(), Some("bullet" | "none")) =>
                    {
                        starts[level] = None;
                    }
                    "num" => list = tag.attribute("numId").unwrap_or_default(),
                    "abstractNumId" => {
                        let kind = tag.attribute("val").unwrap_or_default();
                        numbering.lists.insert(list.clone(), kind);
                    }
                    _ => {}
                },
                Node::Close(name) if name == "abstractNum" => {
                    numbering.kinds.insert(std::mem::take(&mut kind), starts);
                }
                Node::Close(_) | Node::Text(_) => {}
            }
        }
        Ok(numbering)
    }
}

/// Counts the items of lists.
#[derive(Debug, Default)]
pub struct Counters(HashMap<String, [u64; LEVELS]>);

impl Counters {
    /// The number of the next item of a list; `None` where it has another sign.
    pub fn next(&mut self, numbering: &Numbering, list: &str, level: usize) -> Option<u64> {
        let level = level.min(LEVELS - 1);
        let counts = self.0.entry(list.to_owned()).or_default();
        counts[level] += 1;
        counts[level + 1..].fill(0);
        let starts = numbering.kinds.get(numbering.lists.get(list)?)?;
        Some(starts[level]?.saturating_add(counts[level] - 1))
    }
}
