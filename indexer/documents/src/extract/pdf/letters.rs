//! Letters: what glyphs mean.
//!
//! A font says it in a table of its own, by the names of its glyphs, or by its encoding. Where it does not, an embedded font
//! may still have the table by which other programs find its glyphs, which is read backwards, or its glyphs are numbered as
//! one of the known collections numbers them.

use std::collections::HashMap;

use hayro_interpret::font::{Glyph, OutlineGlyph};
use hayro_interpret::hayro_cmap::BfString;
use hayro_syntax::Pdf;
use skrifa::{FontRef, MetadataProvider as _};
use unicode_normalization::UnicodeNormalization as _;

use super::collections::Collections;

/// What a glyph means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    Text(String),
    Unknown,
}

/// What is known of the fonts of a file.
pub struct Fonts<'a> {
    pdf: &'a Pdf,
    /// The tables of fonts, read backwards, by the keys of fonts.
    tables: HashMap<u128, HashMap<u32, char>>,
    /// Known when they are first asked for.
    collections: Option<Collections>,
}

impl<'a> Fonts<'a> {
    pub fn of(pdf: &'a Pdf) -> Self {
        Self {
            pdf,
            tables: HashMap::new(),
            collections: None,
        }
    }

    pub fn letter(&mut self, glyph: &Glyph<'_>) -> Letter {
        let said = glyph.as_unicode().map(|text| match text {
            BfString::Char(letter) => letter.to_string(),
            BfString::String(text) => text,
        });
        if let Some(text) = said.as_deref().filter(|text| is_meaning(text)) {
            return Letter::Text(plain(text));
        }
        let by_table = match glyph {
            Glyph::Outline(glyph) => self
                .by_glyph(glyph)
                .map(String::from)
                .or_else(|| self.by_number(glyph)),
            Glyph::Type3(_) => None,
        };
        // A sign for private use is a picture, and no letter.
        let picture = said.filter(|text| !text.contains(['\0', '\u{fffd}']));
        let text = by_table.or(picture.map(|_| String::new()));
        text.map_or(Letter::Unknown, |text| Letter::Text(plain(&text)))
    }

    /// The width of a glyph in its own units.
    pub fn width(glyph: &Glyph<'_>, is_vertical: bool) -> f64 {
        let width = match glyph {
            Glyph::Outline(glyph) => glyph.advance_width(),
            Glyph::Type3(glyph) => glyph.advance_width(),
        };
        let usual = if is_vertical { 1000.0 } else { 500.0 };
        width.map_or(usual, f64::from)
    }

    fn by_glyph(&mut self, glyph: &OutlineGlyph) -> Option<char> {
        let data = glyph.font_data()?;
        let table = self.tables.entry(data.cache_key).or_insert_with(|| {
            let font = FontRef::new((*data.data).as_ref());
            let charmap = font
                .iter()
                .flat_map(|font| font.charmap().mappings().collect::<Vec<_>>());
            let letters =
                charmap.filter_map(|(code, glyph)| Some((glyph.to_u32(), char::from_u32(code)?)));
            // Of several letters with one glyph the first is the plainest.
            let mut table = HashMap::new();
            for (glyph, letter) in letters.filter(|(_, letter)| is_meaning(&letter.to_string())) {
                table.entry(glyph).or_insert(letter);
            }
            table
        });
        table.get(&glyph.glyph_id().to_u32()).copied()
    }

    fn by_number(&mut self, glyph: &OutlineGlyph) -> Option<String> {
        let name = glyph.font_data()?.postscript_name?;
        let pdf = self.pdf;
        let collections = self.collections.get_or_insert_with(|| Collections::of(pdf));
        let text = collections.text(&name, glyph.char_code())?;
        Some(text).filter(|text| is_meaning(text))
    }
}

/// Whether a text says what a glyph means: letters for private use and signs of absence do not.
fn is_meaning(text: &str) -> bool {
    let is_nothing =
        |c: char| matches!(c, '\0' | '\u{fffd}' | '\u{e000}'..='\u{f8ff}' | '\u{f0000}'..);
    !text.is_empty() && !text.chars().all(is_nothing)
}

/// Ligatures and forms of letters that depend on their places, as the letters that they stand for: nobody searches for the
/// others, and tokenizers do not know them.
fn plain(text: &str) -> String {
    let is_form = |c: char| matches!(c, '\u{fb00}'..='\u{fb06}' | '\u{fb13}'..='\u{fb17}' | '\u{fb50}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}');
    if !text.contains(is_form) {
        return text.to_owned();
    }
    text.nfkc().collect()
}
