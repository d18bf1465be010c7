//! Rtf: Rich Text Format, one document per file.
//!
//! Footnotes stand behind the paragraph that refers to them. Text that tracked changes delete, hidden text, comments, pictures,
//! and headers and footers are left out and counted. Text is in the code page of its font, or in Unicode beside it.

use std::collections::HashMap;

use encoding_rs::{Encoding, WINDOWS_1252};

use super::extracted::Extracted;
use body::Body;
use token::{Token, Tokens};
use words::{charset, code_page, destination_of, letter_of};

mod body;
mod token;
mod words;

/// Deepest nesting of groups. Each is a few bytes in memory that one byte of the file stands for.
const MAX_DEPTH: usize = 65_536;

/// What a group is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destination {
    Text,
    /// Nothing that is text, but text may be further inside.
    Passed,
    Fonts,
    Styles,
    Title,
    /// The sign of an item.
    Sign,
    Note,
    /// Left out, but counted.
    Comment,
    Furniture,
}

/// What a group has set, until it ends.
#[derive(Clone, Copy, Debug)]
struct Group {
    destination: Destination,
    encoding: &'static Encoding,
    /// Whether its font has signs in the place of letters.
    is_symbol: bool,
    /// Letters that stand for one in Unicode before them.
    unicode_skip: usize,
    is_hidden: bool,
    is_deleted: bool,
}

#[derive(Clone, Copy, Debug)]
struct Font {
    encoding: Option<&'static Encoding>,
    is_symbol: bool,
}

struct Reader<'a> {
    body: Body<'a>,
    group: Group,
    outer: Vec<Group>,
    fonts: HashMap<i32, Font>,
    /// The font or the style whose entry is open.
    entry: i32,
    default_encoding: &'static Encoding,
    /// Bytes that are not decoded yet: a letter may have several.
    pending: Vec<u8>,
    /// The first half of a letter in UTF-16.
    high: Option<u16>,
    /// Letters still to pass over.
    skip: usize,
    /// Whether the group has just begun with a star: unknown ones are passed over.
    is_optional: bool,
}

/// Reads the text of an rtf.
pub fn rtf(bytes: &[u8], extracted: &mut Extracted) -> Result<(), String> {
    extracted.is_markdown = true;
    let start = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_whitespace())
        .count();
    let bytes = bytes[start..]
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(&bytes[start..]);
    if !bytes.starts_with(b"{\\rtf") {
        return Err("it does not begin with `{\\rtf`".to_owned());
    }
    let mut reader = Reader {
        body: Body::new(extracted),
        group: Group {
            destination: Destination::Text,
            encoding: WINDOWS_1252,
            is_symbol: false,
            unicode_skip: 1,
            is_hidden: false,
            is_deleted: false,
        },
        outer: Vec::new(),
        fonts: HashMap::new(),
        entry: 0,
        default_encoding: WINDOWS_1252,
        pending: Vec::new(),
        high: None,
        skip: 0,
        is_optional: false,
    };
    for token in Tokens::of(bytes) {
        reader.token(token)?;
    }
    reader.flush();
    reader.body.finish();
    Ok(())
}

impl Reader<'_> {
    fn token(&mut self, token: Token<'_>) -> Result<(), String> {
        match token {
            Token::Open => {
                self.flush();
                self.skip = 0;
                if self.outer.len() == MAX_DEPTH {
                    return Err(format!("it nests groups more than {MAX_DEPTH} deep"));
                }
                self.outer.push(self.group);
            }
            Token::Close => {
                self.flush();
                self.skip = 0;
                let inner = self.group;
                if let Some(outer) = self.outer.pop() {
                    self.group = outer;
                }
                if inner.destination != self.group.destination {
                    self.end(inner.destination);
                }
                self.is_optional = false;
            }
            Token::Optional => self.is_optional = true,
            Token::Byte(byte) => {
                if self.skip > 0 {
                    self.skip -= 1;
                } else {
                    self.pending.push(byte);
                }
            }
            Token::Letter(letter) => {
                self.flush();
                if self.skip > 0 {
                    self.skip -= 1;
                } else {
                    self.text(letter.encode_utf8(&mut [0; 4]));
                }
            }
            Token::Word(word, number) => {
                self.flush();
                // A word may be what stands for a letter in Unicode, too.
                let skipped = std::mem::take(&mut self.skip);
                if skipped > 0 && letter_of(word).is_some() {
                    self.skip = skipped - 1;
                    return Ok(());
                }
                self.word(word, number);
                self.is_optional = false;
            }
        }
        Ok(())
    }

    /// Decodes the bytes that have come, in the code page of their font.
    fn flush(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.pending);
        if self.group.is_symbol && self.group.destination == Destination::Text {
            self.body.unknown(bytes.len() as u64);
            return;
        }
        let (text, _) = self.group.encoding.decode_without_bom_handling(&bytes);
        self.text(&text);
    }

    fn text(&mut self, text: &str) {
        match self.group.destination {
            Destination::Passed => {}
            Destination::Fonts => {}
            Destination::Styles => self.body.style_name(self.entry, text),
            Destination::Title => self.body.add_title(text),
            Destination::Sign => self.body.sign(text),
            Destination::Comment => self.body.left_out(text, crate::document::Reason::Comment),
            Destination::Furniture => self.body.left_out(text, crate::document::Reason::Furniture),
            Destination::Text | Destination::Note => {
                if self.group.is_deleted {
                    self.body
                        .left_out(text, crate::document::Reason::DeletedText);
                } else if self.group.is_hidden {
                    self.body
                        .left_out(text, crate::document::Reason::HiddenInOffice);
                } else {
                    self.body.push(text);
                }
            }
        }
    }

    fn end(&mut self, destination: Destination) {
        if destination == Destination::Note {
            self.body.end_note();
        }
    }

    fn word(&mut self, word: &str, number: Option<i32>) {
        if let Some(destination) = destination_of(word) {
            let is_inside_text = matches!(
                self.group.destination,
                Destination::Text | Destination::Note
            );
            // A shape lies in a group that is passed over, and its text is text again.
            if is_inside_text || word == "shptxt" {
                self.group.destination = destination;
                if destination == Destination::Note {
                    self.body.begin_note();
                }
                if word == "pict" {
                    self.body.picture();
                }
            } else if destination == Destination::Title || destination == Destination::Passed {
                self.group.destination = destination;
            }
            return;
        }
        if self.is_optional {
            self.group.destination = Destination::Passed;
            return;
        }
        self.letters(word, number);
        match self.group.destination {
            Destination::Fonts => self.font(word, number),
            Destination::Styles if matches!(word, "s" | "cs" | "ds") => {
                self.entry = if word == "s" { number.unwrap_or(0) } else { -1 };
            }
            Destination::Styles if word == "outlinelevel" => {
                self.body.style_level(self.entry, number.unwrap_or(9));
            }
            Destination::Text | Destination::Note => self.body.word(word, number),
            Destination::Sign if word == "tab" => {}
            Destination::Sign
            | Destination::Passed
            | Destination::Styles
            | Destination::Title
            | Destination::Comment
            | Destination::Furniture => {}
        }
    }

    /// Words that say how letters are written, or stand for one.
    fn letters(&mut self, word: &str, number: Option<i32>) {
        let is_on = number != Some(0);
        match word {
            "ansicpg" => self.set_default(code_page(number.unwrap_or(1252))),
            "mac" => self.set_default(Some(encoding_rs::MACINTOSH)),
            "uc" => {
                self.group.unicode_skip = usize::try_from(number.unwrap_or(1)).unwrap_or(1).min(8)
            }
            "u" => self.unicode(number.unwrap_or(0)),
            "f" if self.group.destination != Destination::Fonts => {
                let font = self.fonts.get(&number.unwrap_or(0));
                self.group.encoding = font
                    .and_then(|font| font.encoding)
                    .unwrap_or(self.default_encoding);
                self.group.is_symbol = font.is_some_and(|font| font.is_symbol);
            }
            "plain" => {
                (self.group.is_hidden, self.group.is_deleted) = (false, false);
                self.group.is_symbol = false;
                self.group.encoding = self.default_encoding;
            }
            "v" => self.group.is_hidden = is_on,
            "deleted" => self.group.is_deleted = is_on,
            _ => {
                if let Some(letter) = letter_of(word) {
                    self.text(letter);
                }
            }
        }
    }

    fn set_default(&mut self, encoding: Option<&'static Encoding>) {
        if let Some(encoding) = encoding {
            self.default_encoding = encoding;
            self.group.encoding = encoding;
        }
    }

    fn unicode(&mut self, number: i32) {
        self.skip = self.group.unicode_skip;
        // Numbers above 32,767 are written as negative ones.
        let unit = u16::try_from(number.rem_euclid(65_536)).unwrap_or(0);
        let units = match self.high.take() {
            Some(high) => vec![high, unit],
            None if (0xd800..0xdc00).contains(&unit) => {
                self.high = Some(unit);
                return;
            }
            None => vec![unit],
        };
        let text = String::from_utf16_lossy(&units);
        // Signs of fonts of signs are written as private letters.
        if text.chars().all(|c| ('\u{e000}'..='\u{f8ff}').contains(&c)) {
            match self.group.destination {
                Destination::Text | Destination::Note if !self.group.is_hidden => {
                    self.body.unknown(1)
                }
                Destination::Sign => self.body.sign("\u{2022}"),
                Destination::Text
                | Destination::Note
                | Destination::Passed
                | Destination::Fonts
                | Destination::Styles
                | Destination::Title
                | Destination::Comment
                | Destination::Furniture => {}
            }
        } else {
            self.text(&text);
        }
    }

    fn font(&mut self, word: &str, number: Option<i32>) {
        let number = number.unwrap_or(0);
        let none = Font {
            encoding: None,
            is_symbol: false,
        };
        match word {
            "f" => {
                self.entry = number;
                self.fonts.insert(number, none);
            }
            "fcharset" => {
                let font = self.fonts.entry(self.entry).or_insert(none);
                font.is_symbol = number == 2;
                font.encoding = font.encoding.or_else(|| charset(number));
            }
            "cpg" => {
                let font = self.fonts.entry(self.entry).or_insert(none);
                font.encoding = code_page(number).or(font.encoding);
            }
            _ => {}
        }
    }
}
