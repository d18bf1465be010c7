//! Account: how much was read, how much of it became text, and how much was left out for which reason.

use std::io::{self, Write};

use documents::document::{Amount, Ledger, Reason};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Of one file or of many. Bytes of the original that are neither text nor left out are its markup.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// What was read of the originals.
    #[serde(default)]
    pub read: Amount,
    /// What became text.
    #[serde(default)]
    pub text: Amount,
    /// What was left out, by the reason.
    #[serde(default)]
    pub dropped: Ledger,
}

impl Account {
    pub fn add(&mut self, read: Amount, text: Amount, dropped: Option<&Ledger>) {
        self.read.add(read);
        self.text.add(text);
        if let Some(dropped) = dropped {
            self.dropped.absorb(&dropped.clone().unnamed());
        }
    }

    pub fn absorb(&mut self, other: &Self) {
        self.add(other.read, other.text, Some(&other.dropped));
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
                write!(out, " ({})", dropped.first.join(", "))?;
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
