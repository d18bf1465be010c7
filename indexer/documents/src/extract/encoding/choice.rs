//! Choice: how the bytes of a text are read.
//!
//! What counts, in this order: a byte order mark, the option `--encoding`, what the format declares, UTF-8 if the bytes
//! are, and last a guess. A guess is told for each file with what speaks for it, and is not made where that is little: a text
//! that is read wrongly without a word is worse than one that is refused.

use std::str::FromStr;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::Encoding;

/// Fewer bytes beyond ASCII tell too little about an encoding.
const MIN_EVIDENCE: usize = 4;
/// Parts of a text whose encoding is guessed by themselves, to see whether they agree. They end behind white space where there
/// is any, so that no letter is cut.
const PARTS: usize = 4;

/// An encoding by one of its names, such as `windows-1252` or `gb18030`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextEncoding(pub &'static Encoding);

impl FromStr for TextEncoding {
    type Err = String;

    fn from_str(label: &str) -> Result<Self, String> {
        let encoding = Encoding::for_label(label.as_bytes());
        encoding.map(Self).ok_or_else(|| {
            format!("`{label}` is not the name of an encoding: expected one such as utf-8, utf-16le, windows-1252, \
                 shift_jis, gb18030")
        })
    }
}

/// How bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    pub encoding: &'static Encoding,
    /// Bytes of a byte order mark, which is no text.
    pub mark: usize,
    /// What speaks for it, where nothing but the bytes themselves does.
    pub guess: Option<Evidence>,
}

/// What speaks for a guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// So many parts of the text would be guessed to be the same, of those that say anything.
    Parts { same: usize, parts: usize },
    /// The places of bytes that are zero.
    Zeros,
}

impl Choice {
    pub fn said(encoding: &'static Encoding) -> Self {
        Self {
            encoding,
            mark: 0,
            guess: None,
        }
    }

    /// What people are told of a guess.
    pub fn told(self) -> Option<String> {
        let name = self.encoding.name().to_ascii_lowercase();
        Some(match self.guess? {
            Evidence::Parts { same, parts } => {
                format!("{name}, as {same} of {parts} parts of it look like")
            }
            Evidence::Zeros => format!("{name}, by the places of its zero bytes"),
        })
    }

    /// By the mark at the start, or the option, or what the format declares.
    pub fn by_word(
        bytes: &[u8],
        option: Option<TextEncoding>,
        declared: Option<&'static Encoding>,
    ) -> Option<Self> {
        if let Some((encoding, mark)) = Encoding::for_bom(bytes) {
            return Some(Self {
                mark,
                ..Self::said(encoding)
            });
        }
        let said = option.map(|encoding| encoding.0).or(declared)?;
        Some(Self::said(said))
    }

    /// By the start of a stream; `None` if that is UTF-8, or was meant to be, or tells too little.
    pub fn by_head(head: &[u8], is_all: bool) -> Option<Self> {
        let error = std::str::from_utf8(head).err()?;
        let is_cut = !is_all && error.error_len().is_none();
        if is_cut || head.contains(&0) || is_mostly_utf8(head) {
            return None;
        }
        Self::guessed(head, is_all)
    }

    /// By the bytes of a text that is not UTF-8; `None` if they tell too little.
    pub fn guessed(bytes: &[u8], is_all: bool) -> Option<Self> {
        if foreign(bytes) < MIN_EVIDENCE {
            return None;
        }
        let guess = guess(bytes, is_all);
        let (same, parts) = agreement(bytes, guess);
        // A part of the text speaks for as much as the whole of it.
        (2 * same >= parts).then_some(Self {
            guess: Some(Evidence::Parts { same, parts }),
            ..Self::said(guess)
        })
    }
}

/// How many parts of a text would be guessed to be the same as the whole, and how many say anything.
fn agreement(bytes: &[u8], guessed: &'static Encoding) -> (usize, usize) {
    let parts = parts(bytes).filter(|part| !part.is_ascii());
    parts.fold((0, 0), |(same, all), part| {
        (same + usize::from(guess(part, false) == guessed), all + 1)
    })
}

/// The parts of a text, which end behind white space where there is any.
fn parts(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let size = bytes.len().div_ceil(PARTS).max(1);
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (part, behind) = rest.split_at(size.min(rest.len()));
        let white = behind.iter().take(size).position(u8::is_ascii_whitespace);
        let (part, behind) = rest.split_at(part.len() + white.map_or(0, |at| at + 1));
        rest = behind;
        (!part.is_empty()).then_some(part)
    })
}

fn guess(bytes: &[u8], is_all: bool) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(bytes, is_all);
    detector.guess(None, Utf8Detection::Deny)
}

/// How many bytes are beyond ASCII.
fn foreign(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| !byte.is_ascii()).count()
}

/// Whether a text that is not UTF-8 as a whole was meant to be, which something may say of it.
pub fn was_meant_as_utf8(bytes: &[u8], is_said: bool) -> bool {
    // So few bytes tell nothing against what is said.
    is_said && foreign(bytes) < MIN_EVIDENCE || is_mostly_utf8(bytes)
}

/// Whether most letters beyond ASCII are UTF-8, each broken part taken as one.
pub fn has_most_letters_in_utf8(bytes: &[u8]) -> bool {
    let (mut good, mut bad) = (0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        good += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        bad += usize::from(!chunk.invalid().is_empty());
    }
    good > bad
}

/// Whether a text was meant to be UTF-8 by what is in it: by most of its letters, or by many of its runs of bytes beyond
/// ASCII. In other encodings, some neighbours are a letter of UTF-8 by chance, but hardly ever is a run that from end to end,
/// unless it is a capital with a mark behind it.
fn is_mostly_utf8(bytes: &[u8]) -> bool {
    if has_most_letters_in_utf8(bytes) {
        return true;
    }
    let (mut whole, mut broken) = (0_usize, 0_usize);
    let runs = bytes.split(u8::is_ascii).filter(|run| !run.is_empty());
    for run in runs {
        match std::str::from_utf8(run) {
            Ok(signs) if signs.chars().all(is_usual) => {
                whole += usize::from(!is_capital_with_mark(run));
            }
            Ok(_) | Err(_) => broken += 1,
        }
    }
    foreign(bytes) >= MIN_EVIDENCE && whole > 0 && 3 * whole >= broken
}

/// Whether a run that is a letter of UTF-8 may as well be a capital of windows-1252 and its kin with a quotation mark that
/// closes, or with a space that holds it to its line.
fn is_capital_with_mark(run: &[u8]) -> bool {
    matches!(run, [_, 0x8b | 0x91..=0x94 | 0x9b | 0xa0 | 0xab | 0xbb])
}

/// Whether a sign is one that texts are full of: of the alphabets of Europe and of the Near East, or one of three bytes.
fn is_usual(sign: char) -> bool {
    matches!(sign, '\u{a0}'..='\u{17f}' | '\u{218}'..='\u{21b}' | '\u{384}'..='\u{3ce}' | '\u{401}'..='\u{45f}'
        | '\u{490}'..='\u{491}' | '\u{531}'..='\u{5f4}' | '\u{60c}'..='\u{6d5}' | '\u{6f0}'..='\u{6f9}' | '\u{800}'..)
}
