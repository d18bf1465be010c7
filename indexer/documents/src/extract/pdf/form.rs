//! The fields of a form: what people filled in, and whether it is drawn.

use std::collections::HashMap;

use hayro_interpret::RectExt as _;
use hayro_interpret::kurbo::{Point, Rect};
use hayro_syntax::object::{self, Array, Dict, Name, Object, String as PdfString};
use hayro_syntax::page::Page;

use super::strings::decoded;

/// Flags of an annotation that nobody sees, and of a field whose value is a secret.
const UNSEEN: u32 = 1 << 1 | 1 << 5;
const PASSWORD: u32 = 1 << 13;
/// Fields inside of fields: more are a mistake, or a field inside of itself.
const MAX_DEPTH: usize = 16;

/// Letters are drawn so far beyond the edge of their field at most.
const EDGE: f64 = 1.0;

/// What lies on a page, in its order.
pub struct Fields(Vec<Field>);

struct Field {
    place: Rect,
    /// What people filled in, if it is a text or a choice.
    value: Option<String>,
    /// The letters that are drawn there, with their numbers.
    drawn: HashMap<char, usize>,
}

impl Fields {
    pub fn of(page: &Page<'_>) -> Self {
        let annotations = page.raw().get::<Array<'_>>(b"Annots");
        let annotations = annotations
            .iter()
            .flat_map(|annotations| annotations.iter::<Dict<'_>>());
        let field = |field: Dict<'_>| {
            let place = field.get::<object::Rect>(b"Rect");
            Field {
                place: place.map_or(Rect::ZERO, |place| place.to_kurbo().inflate(EDGE, EDGE)),
                value: value(&field),
                drawn: HashMap::new(),
            }
        };
        Self(annotations.map(field).collect())
    }

    /// Notes letters that were drawn one after another. What goes on beyond the edge of a field is still of that one.
    pub fn see(&mut self, letters: Vec<(Point, String)>) {
        // Most pages have notes and links alone, and every letter is looked for in all of them.
        if self.0.iter().all(|field| field.value.is_none()) {
            return;
        }
        let mut current = None;
        for (place, letters) in letters {
            let is_at = |field: &Field| field.value.is_some() && field.place.contains(place);
            let stays = current
                .and_then(|at: usize| self.0.get(at))
                .is_some_and(is_at);
            if !stays {
                // A note may lie over a field.
                let over = |field: &Field| field.place.contains(place);
                let found = self.0.iter().position(is_at);
                current = found.or_else(|| self.0.iter().position(over)).or(current);
            }
            let Some(field) = current.and_then(|at| self.0.get_mut(at)) else {
                continue;
            };
            for letter in letters.chars() {
                *field.drawn.entry(letter).or_default() += 1;
            }
        }
    }

    /// The values that are not drawn at their places.
    pub fn unseen(self) -> impl Iterator<Item = String> {
        self.0.into_iter().filter_map(|mut field| {
            let value = field.value?;
            // Letters alone are compared, as some are drawn from right to left.
            let is_seen = value
                .chars()
                .filter(|letter| !letter.is_whitespace())
                .all(|letter| {
                    let drawn = field.drawn.get_mut(&letter).filter(|drawn| **drawn > 0);
                    drawn.map(|drawn| *drawn -= 1).is_some()
                });
            (!is_seen).then(|| value.trim().to_owned())
        })
    }
}

fn value(field: &Dict<'_>) -> Option<String> {
    let is_seen = field.get::<u32>(b"F").unwrap_or(0) & UNSEEN == 0;
    let subtype = field.get::<Name<'_>>(b"Subtype")?;
    if *subtype != *b"Widget" || !is_seen {
        return None;
    }
    let chain = chain(field);
    let kind = chain.iter().find_map(|it| it.get::<Name<'_>>(b"FT"))?;
    let flags = chain.iter().find_map(|it| it.get::<u32>(b"Ff"));
    if !matches!(&*kind, b"Tx" | b"Ch") || flags.unwrap_or(0) & PASSWORD != 0 {
        return None;
    }
    let value = chain.iter().find_map(|it| it.get::<Object<'_>>(b"V"))?;
    let options = chain.iter().find_map(|it| it.get::<Array<'_>>(b"Opt"));
    let shown = |value: String| shown(options.as_ref(), value);
    let text = if let Object::String(text) = value {
        shown(decoded(text.as_bytes()))
    } else if let Object::Stream(stream) = value {
        decoded(&stream.decoded().ok()?)
    } else {
        let texts = value.into_array()?.iter::<PdfString<'_>>();
        let texts: Vec<String> = texts.map(|text| shown(decoded(text.as_bytes()))).collect();
        // A list draws each in a line of its own.
        texts.join("\n")
    };
    Some(text).filter(|text| !text.trim().is_empty())
}

/// A field and the fields that it is part of, which say what it does not.
fn chain<'a>(field: &Dict<'a>) -> Vec<Dict<'a>> {
    let parent = |field: &Dict<'a>| field.get::<Dict<'a>>(b"Parent");
    let chain = std::iter::successors(Some(field.clone()), parent);
    chain.take(MAX_DEPTH).collect()
}

/// What a choice is called, where its options have a name beside their value.
fn shown(options: Option<&Array<'_>>, value: String) -> String {
    let pairs = options
        .iter()
        .flat_map(|options| options.iter::<Array<'_>>());
    for pair in pairs {
        let mut texts = pair.iter::<PdfString<'_>>();
        let (Some(own), Some(name)) = (texts.next(), texts.next()) else {
            continue;
        };
        if decoded(own.as_bytes()) == value {
            return decoded(name.as_bytes());
        }
    }
    value
}
