//! Account: how much was read, how much of it became text, and how much was left out for which reason.

use std::io::{self, Write};

use documents::document::{Amount, Ledger, Reason};
use documents::source::Origin;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of one file, or of many, became text. Bytes of the original that are neither text nor left out are its markup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Bytes and characters that were read from the originals.
    #[serde(default)]
    pub read: Amount,
    /// Bytes and characters that became text.
    #[serde(default)]
    pub text: Amount,
    /// Bytes and characters that were left out, by the reason.
    #[serde(default)]
    pub dropped: Ledger,
}

impl Account {
    /// Adds a document, and what was left out of it with where it comes from.
    pub fn add(&mut self, read: Amount, text: Amount, dropped: Option<(&Origin, &Ledger)>) {
        self.read.add(read);
        self.text.add(text);
        if let Some((origin, dropped)) = dropped.filter(|(_, dropped)| !dropped.is_empty()) {
            self.dropped.absorb_from(&origin.to_string(), dropped);
        }
    }

    pub fn absorb(&mut self, other: &Self) {
        self.read.add(other.read);
        self.text.add(other.text);
        self.dropped.absorb(&other.dropped);
    }

    /// One line about bytes and characters, and one for each reason.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (read, text) = (amount(self.read), amount(self.text));
        writeln!(out, "read {read}; text {text}")?;
        self.write_dropped(out)
    }

    /// A line for each reason: how many, what, and how many bytes.
    pub fn write_dropped(&self, out: &mut dyn Write) -> io::Result<()> {
        for (reason, dropped) in self.dropped.iter() {
            write!(out, "{} {}", dropped.count, reason.name())?;
            if dropped.bytes > 0 {
                let what = if reason == Reason::LongMetadata {
                    " of metadata"
                } else {
                    ""
                };
                write!(out, ": {} bytes{what}", dropped.bytes)?;
            }
            if !dropped.first.is_empty() {
                let more = dropped.count > dropped.first.len() as u64;
                let more = if more { ", …" } else { "" };
                write!(out, " ({}{more})", dropped.first.join(", "))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn amount(amount: Amount) -> String {
    match amount.characters {
        Some(characters) => format!("{} bytes, {characters} characters", amount.bytes),
        None => format!("{} bytes", amount.bytes),
    }
}
