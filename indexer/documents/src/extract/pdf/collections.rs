//! Collections: glyphs that are numbered as all fonts of a language number them.
//!
//! A font of such a collection may say nothing else about its letters. Which one it is, is said beside the font, and is found
//! by the font's name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use hayro_interpret::hayro_cmap::{BfString, CMap, CMapName, CidFamily, load_embedded};
use hayro_syntax::Pdf;
use hayro_syntax::object::{Array, Dict, Name, Object, String as PdfString};

/// The collections of fonts, by their names; none where two fonts of one name differ.
pub struct Collections(HashMap<String, Option<Collection>>);

#[derive(Clone)]
struct Collection {
    /// How codes are turned to numbers.
    encoding: Vec<u8>,
    numbers: Rc<CMap>,
    letters: Rc<CMap>,
}

impl Collections {
    pub fn of(pdf: &Pdf) -> Self {
        let (mut found, mut maps) = (HashMap::new(), HashMap::new());
        for object in pdf.objects() {
            let Object::Dict(font) = object else {
                continue;
            };
            let Some((name, collection)) = collection_of(&font, &mut maps) else {
                continue;
            };
            match found.entry(name) {
                Entry::Vacant(entry) => {
                    entry.insert(Some(collection));
                }
                Entry::Occupied(mut entry) => {
                    let is_same = entry.get().as_ref().is_some_and(|other: &Collection| {
                        other.encoding == collection.encoding
                            && Rc::ptr_eq(&other.letters, &collection.letters)
                    });
                    if !is_same {
                        entry.insert(None);
                    }
                }
            }
        }
        Self(found)
    }

    /// What a code means in the font of a name.
    pub fn text(&self, font: &str, code: u32) -> Option<String> {
        let collection = self.0.get(font)?.as_ref()?;
        let numbers = &collection.numbers;
        let number = (1..=4).find_map(|bytes| numbers.lookup_cid_code(code, bytes))?;
        Some(match collection.letters.lookup_bf_string(number)? {
            BfString::Char(letter) => letter.to_string(),
            BfString::String(text) => text,
        })
    }
}

type Maps = HashMap<Vec<u8>, Option<Rc<CMap>>>;

/// The name and the collection of a font that is numbered.
fn collection_of(font: &Dict<'_>, maps: &mut Maps) -> Option<(String, Collection)> {
    let kind = font.get::<Name<'_>>(b"Subtype")?;
    if *kind != *b"Type0" || font.contains_key(b"ToUnicode") {
        return None;
    }
    let fonts = font.get::<Array<'_>>(b"DescendantFonts")?;
    let numbered = fonts.iter::<Dict<'_>>().next()?;
    let info = numbered.get::<Dict<'_>>(b"CIDSystemInfo")?;
    let registry = info.get::<PdfString<'_>>(b"Registry")?;
    let ordering = info.get::<PdfString<'_>>(b"Ordering")?;
    let family = CidFamily::from_registry_ordering(registry.as_bytes(), ordering.as_bytes());
    let encoding = font.get::<Name<'_>>(b"Encoding")?.to_vec();
    let numbers = map(&encoding, maps)?;
    let letters = map(family.ucs2_cmap()?.to_bytes(), maps)?;
    let name = font.get::<Name<'_>>(b"BaseFont")?;
    let name = String::from_utf8_lossy(&name).into_owned();
    let name = match name.split_once('+') {
        Some((subset, rest)) if subset.len() == 6 => rest.to_owned(),
        _ => name,
    };
    let collection = Collection {
        encoding,
        numbers,
        letters,
    };
    Some((name, collection))
}

/// One of the maps that every reader knows.
fn map(name: &[u8], maps: &mut Maps) -> Option<Rc<CMap>> {
    let known = maps.entry(name.to_vec()).or_insert_with(|| match name {
        b"Identity-H" => Some(Rc::new(CMap::identity_h())),
        b"Identity-V" => Some(Rc::new(CMap::identity_v())),
        name => {
            let data = load_embedded(CMapName::from_bytes(name))?;
            CMap::parse(data, load_embedded).map(Rc::new)
        }
    });
    known.clone()
}
