//! Ledger: what of an original is not in the text of its document, or not for certain.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a person looks for a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Location {
    Page(u32),
    Slide(u32),
    /// A sheet of a workbook, by its name.
    Sheet(String),
    /// A chapter or another part with a name.
    Section(String),
    /// A cell of a notebook.
    Cell(u32),
    /// A line of the file.
    Line(u64),
}

/// How much of something there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Amount {
    pub bytes: u64,
    /// Of what is text; of a file that is packed or drawn, nobody can say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub characters: Option<u64>,
}

impl Amount {
    pub fn of(text: &str) -> Self {
        Self {
            bytes: text.len() as u64,
            characters: Some(text.chars().count() as u64),
        }
    }

    /// Of a file that is no text.
    pub fn bytes(bytes: u64) -> Self {
        Self {
            bytes,
            characters: None,
        }
    }

    /// The sum has as many characters as those of both that have any.
    pub fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        let characters = self.characters.into_iter().chain(other.characters);
        self.characters = characters.reduce(|a, b| a + b);
    }
}

/// What was left out, by the reason, with how much of it there was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ledger(BTreeMap<Reason, Dropped>);

/// Why something was left out.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A page has no text, only pictures perhaps.
    PageWithoutText,
    /// A page cannot be read.
    BrokenPage,
    /// Letters whose font does not say what they are.
    UnknownLetter,
    /// A picture or a font that is written into the text.
    DataUri,
    /// Navigation, and the header or the footer of a page.
    Furniture,
    /// Buttons and menus of a form.
    Control,
    /// What a page hides, such as messages that are not shown yet.
    Hidden,
    /// What is beside the main part of a page.
    OutsideMain,
    /// Scripts and styles.
    Code,
    /// Drawings and other pages inside a page.
    Embedded,
    /// A field whose bytes are no text.
    BinaryField,
    /// Text that tracked changes delete.
    DeletedText,
    /// Remarks beside a text.
    Comment,
    /// Sheets, slides and letters that are hidden in an office file.
    HiddenInOffice,
    /// Files inside a file whose format is not read.
    UnreadAttachment,
    /// A part of an office file or a book that cannot be read.
    BrokenPart,
    /// A picture without text.
    Picture,
    /// Settings, properties and times of a text that are not shown with it.
    Properties,
    /// Other files that a text takes in.
    Include,
    /// Names that stand for letters, and that the file does not explain.
    UnknownEntity,
    /// Nothing is left out, but how the bytes were read is a guess.
    GuessedEncoding,
    /// Bytes that are no letter in the encoding of their text, and have a sign in their place.
    BrokenLetter,
    /// Links inside of an archive, which lead to another member or out of it.
    Link,
    /// Members of an archive that are another member once more.
    HardLink,
    /// Nothing is left out, but where functions and classes of source code begin is not known.
    UnknownDefinitions,
    /// Nothing is left out, but metadata is more than half of what is stored of a document.
    LongMetadata,
}

/// How much was left out for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Dropped {
    pub count: u64,
    /// Bytes of the original, where they are known.
    pub bytes: u64,
    /// Where, or what, the first of them were, for people.
    pub first: Vec<String>,
}

impl Ledger {
    /// Most places that are named for one reason.
    const NAMED: usize = 8;

    pub fn add(&mut self, reason: Reason, bytes: u64, detail: Option<String>) {
        self.add_many(reason, 1, bytes, detail);
    }

    /// Adds several things of one place.
    pub fn add_many(&mut self, reason: Reason, count: u64, bytes: u64, detail: Option<String>) {
        let dropped = self.0.entry(reason).or_default();
        dropped.count += count;
        dropped.bytes += bytes;
        if dropped.first.len() < Self::NAMED {
            dropped.first.extend(detail);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many things were left out for a reason.
    pub fn count(&self, reason: Reason) -> u64 {
        self.0.get(&reason).map_or(0, |dropped| dropped.count)
    }

    /// Adds what is in another ledger.
    pub fn absorb(&mut self, other: &Self) {
        for (reason, dropped) in &other.0 {
            let sum = self.0.entry(*reason).or_default();
            sum.count += dropped.count;
            sum.bytes += dropped.bytes;
            let room = Self::NAMED.saturating_sub(sum.first.len());
            sum.first.extend(dropped.first.iter().take(room).cloned());
        }
    }

    /// Adds what is in the ledger of one of many documents or files: names then say where they are.
    pub fn absorb_from(&mut self, place: &str, other: &Self) {
        for (reason, dropped) in &other.0 {
            let sum = self.0.entry(*reason).or_default();
            sum.count += dropped.count;
            sum.bytes += dropped.bytes;
            let room = Self::NAMED.saturating_sub(sum.first.len());
            if dropped.first.is_empty() && room > 0 {
                sum.first.push(place.to_owned());
            }
            let named = dropped.first.iter().take(room).map(|name| {
                let is_placed = *reason == Reason::LongMetadata || name.starts_with(place);
                if is_placed {
                    name.clone()
                } else {
                    format!("{place}: {name}")
                }
            });
            sum.first.extend(named);
        }
    }

    /// Whether somebody has to know of each document: text is likely to be missing.
    pub fn is_loss(&self) -> bool {
        self.0.keys().any(|reason| match reason {
            Reason::PageWithoutText
            | Reason::BrokenPage
            | Reason::UnknownLetter
            | Reason::HiddenInOffice
            | Reason::BrokenPart
            | Reason::BrokenLetter
            | Reason::GuessedEncoding => true,
            Reason::LongMetadata
            | Reason::UnknownDefinitions
            | Reason::Link
            | Reason::HardLink
            | Reason::Comment
            | Reason::Properties
            | Reason::Include
            | Reason::UnknownEntity
            | Reason::DataUri
            | Reason::BinaryField
            | Reason::Furniture
            | Reason::Control
            | Reason::Hidden
            | Reason::OutsideMain
            | Reason::Code
            | Reason::Embedded
            | Reason::DeletedText
            | Reason::UnreadAttachment
            | Reason::Picture => false,
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (Reason, &Dropped)> {
        self.0.iter().map(|(reason, dropped)| (*reason, dropped))
    }
}

impl Reason {
    /// What a number of them is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::PageWithoutText => "pages have no text",
            Self::BrokenPage => "pages cannot be read",
            Self::UnknownLetter => "letters have fonts that do not say which they are",
            Self::Furniture => "menus, headers and footers of pages were left out",
            Self::Control => "buttons and selections were left out",
            Self::Hidden => "hidden parts of pages were left out",
            Self::OutsideMain => "pages have text beside their main part, which was left out",
            Self::Code => "scripts and styles were left out",
            Self::Embedded => "drawings and embedded pages with text were left out",
            Self::DeletedText => "passages that tracked changes delete were left out",
            Self::Comment => "comments were left out",
            Self::HiddenInOffice => "hidden sheets, slides or passages were left out",
            Self::UnreadAttachment => "attached files of formats that are not read were left out",
            Self::BrokenPart => "parts cannot be read",
            Self::Picture => "pictures were left out",
            Self::BinaryField => "fields are not text and were left out",
            Self::GuessedEncoding => {
                "files are not utf-8 and were read in an encoding that was guessed"
            }
            Self::BrokenLetter => "broken letters of texts in utf-8 were replaced",
            Self::Link => "links in archives were passed over",
            Self::HardLink => {
                "members of archives are other members once more and were passed over"
            }
            Self::Properties => "settings and properties were left out",
            Self::Include => "references to other files were left out, whose text is not taken in",
            Self::UnknownEntity => "entities are not known and stay as they are written",
            Self::UnknownDefinitions => {
                "files of source code are too broken for their functions and classes to be found"
            }
            Self::LongMetadata => {
                "documents store more metadata than text, as each chunk gets a copy of it"
            }
            Self::DataUri => "embedded files (data URIs) were left out",
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (reason, dropped)) in self.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{} {}", dropped.count, reason.name())?;
            if !dropped.first.is_empty() {
                let first = dropped.first.join(", ");
                let more = dropped.count > dropped.first.len() as u64;
                write!(f, " ({first}{})", if more { ", …" } else { "" })?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page(page) => write!(f, "page {page}"),
            Self::Slide(slide) => write!(f, "slide {slide}"),
            Self::Sheet(sheet) => write!(f, "sheet {sheet}"),
            Self::Section(section) => f.write_str(section),
            Self::Cell(cell) => write!(f, "cell {cell}"),
            Self::Line(line) => write!(f, "line {line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_names_places_and_adds_up() {
        let mut ledger = Ledger::default();
        for page in 1..=10 {
            ledger.add(
                Reason::PageWithoutText,
                0,
                Some(Location::Page(page).to_string()),
            );
        }
        ledger.add(Reason::DataUri, 100, None);
        let shown = ledger.to_string();
        assert!(
            shown.starts_with("10 pages have no text (page 1, page 2, "),
            "{shown}"
        );
        assert!(shown.contains("page 8, …); 1 embedded files"), "{shown}");
        let mut sum = Ledger::default();
        sum.absorb(&ledger);
        sum.absorb(&ledger);
        let mut placed = Ledger::default();
        placed.absorb_from("`x.pdf`", &sum);
        let placed = placed.to_string();
        assert!(
            placed.starts_with("20 pages have no text (`x.pdf`: page 1, `x.pdf`: page 2, "),
            "{placed}"
        );
        assert!(placed.ends_with("were left out (`x.pdf`, …)"), "{placed}");
        assert_eq!(sum.count(Reason::PageWithoutText), 20);
        assert!(ledger.is_loss());
    }
}
