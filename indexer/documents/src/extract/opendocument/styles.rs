//! What styles say about paragraphs, lists, sheets and slides.

use std::collections::{HashMap, HashSet};

use super::super::xml::{Node, Xml};

#[derive(Debug, Default)]
pub struct Styles {
    /// The styles that those of the text are made from.
    parents: HashMap<String, String>,
    /// Styles of sheets and slides that are not shown.
    hidden: HashSet<String>,
    /// Levels of lists that have numbers.
    numbered: HashSet<(String, usize)>,
}

impl Styles {
    pub fn read(xml: &mut Xml<'_>) -> Result<Self, String> {
        let (mut styles, mut name, mut list) = (Self::default(), String::new(), String::new());
        while let Some(node) = xml.next()? {
            let Node::Open(tag) = node else { continue };
            match &*tag.name() {
                "body" => break,
                "style" => {
                    name = tag.attribute("name").unwrap_or_default();
                    if let Some(parent) = tag.attribute("parent-style-name") {
                        styles.parents.insert(name.clone(), parent);
                    }
                }
                "table-properties" if tag.attribute("display").as_deref() == Some("false") => {
                    styles.hidden.insert(name.clone());
                }
                "drawing-page-properties"
                    if tag.attribute("visibility").as_deref() == Some("hidden") =>
                {
                    styles.hidden.insert(name.clone());
                }
                "list-style" => list = tag.attribute("name").unwrap_or_default(),
                "list-level-style-number" => {
                    let level = tag.number("level").unwrap_or(1);
                    if tag
                        .attribute("num-format")
                        .is_some_and(|format| !format.is_empty())
                    {
                        styles.numbered.insert((list.clone(), level));
                    }
                }
                _ => {}
            }
        }
        Ok(styles)
    }

    pub fn is_hidden(&self, style: &str) -> bool {
        self.hidden.contains(style)
    }

    /// Whether a level of a list, counted from 1, has numbers.
    pub fn is_numbered(&self, list: &str, level: usize) -> bool {
        self.numbered.contains(&(list.to_owned(), level))
    }

    /// Whether a style is `name`, or made from it.
    pub fn is_a(&self, style: &str, name: &str) -> bool {
        style == name || self.parents.get(style).is_some_and(|parent| parent == name)
    }
}
