//! What extraction gives and chunking takes: one document.
//!
//! A document owns its text up to a bounded size. The text of a larger file stays in the file and is read in
//! [`blocks`], so that a file of any size never ends up in memory.

use serde_json::{Map, Value};

pub mod blocks;
mod ledger;
pub mod markdown;
mod places;

pub use blocks::{Block, Blocks, TextFile};
pub use ledger::{Amount, Dropped, Ledger, Location, Reason};

pub use places::{Definition, Places};

use crate::source::{Origin, SourceError};

#[derive(Debug, Clone)]
pub struct Document {
    /// Identity within the collection: 1 to [`MAX_ID_BYTES`](crate::source::MAX_ID_BYTES) bytes of any Unicode.
    pub id: String,
    /// Title, where the document has one.
    pub title: Option<String>,
    /// Whatever else the source said about the document.
    pub meta: Map<String, Value>,
    /// The extracted text; offsets of chunks count its bytes.
    pub text: Content,
    /// How to find structure in the text.
    pub markup: Markup,
    /// Where the parts of the text are in the original.
    pub places: Places,
    /// What was read of the original for it.
    pub read: Amount,
    /// What of the original is not in the text.
    pub dropped: Ledger,
    /// Where the document came from.
    pub origin: Origin,
}

#[derive(Debug, Clone)]
pub enum Content {
    /// In memory, of bounded size.
    Text(String),
    /// In a file too large for that.
    File(TextFile),
}

impl Content {
    /// Length of the text in bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File(file) => file.bytes(),
        }
    }

    /// How much it is; the characters of a file are not counted.
    pub fn amount(&self) -> Amount {
        match self {
            Self::Text(text) => Amount::of(text),
            Self::File(file) => Amount::bytes(file.bytes()),
        }
    }

    /// The text from its start, in blocks of at most `block_bytes`.
    pub fn blocks(&self, block_bytes: usize) -> Result<Blocks<'_>, SourceError> {
        match self {
            Self::Text(text) => Ok(Blocks::of_text(text, block_bytes)),
            Self::File(file) => Blocks::of_file(file, block_bytes),
        }
    }
}

/// How structure shows in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markup {
    /// Paragraphs between blank lines.
    Plain,
    /// Headings, lists, code blocks and tables of Markdown as well.
    Markdown,
    /// The definitions that the places of the document say.
    Code,
}
