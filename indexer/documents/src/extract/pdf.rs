//! PDF: one document per file, its pages as paragraphs.
//!
//! A page is interpreted as if it were drawn, and what would be drawn of letters is taken instead, see [`page`]. A page that
//! cannot be read costs itself only.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hayro_interpret::InterpreterCache;
use hayro_syntax::{DecryptionError, LoadPdfError, Pdf};
use memchr::memmem;

use super::extracted::{Block, Extracted};
use crate::document::{Location, Reason};

mod collections;
mod form;
mod letters;
mod line;
mod page;
mod strings;
#[cfg(test)]
mod tests;

/// Reads the text of a PDF, page by page. A file that is encrypted is tried with an empty password, as readers do.
pub fn pdf(bytes: &[u8], extracted: &mut Extracted) -> Result<(), String> {
    let pdf = Pdf::new(bytes.to_vec()).map_err(|error| reason(error, bytes))?;
    let cache = InterpreterCache::new();
    let mut fonts = letters::Fonts::of(&pdf);
    let pages = pdf.pages();
    if pages.is_empty() {
        return Err("it has no pages".to_owned());
    }
    for (number, page) in (1..).zip(pages.iter()) {
        let location = Location::Page(number);
        let read = AssertUnwindSafe(|| page::read(page, &pdf, &cache, &mut fonts));
        let Ok(read) = catch_unwind(read) else {
            let name = Some(location.to_string());
            extracted.dropped.add(Reason::BrokenPage, 0, name);
            continue;
        };
        if read.unknown > 0 {
            let name = Some(location.to_string());
            extracted
                .dropped
                .add_many(Reason::UnknownLetter, read.unknown, 0, name);
        }
        if read.text.trim().is_empty() {
            let name = Some(location.to_string());
            extracted.dropped.add(Reason::PageWithoutText, 0, name);
            continue;
        }
        extracted.at(location);
        extracted.add(Block::Paragraph(&read.text));
    }
    Ok(())
}

fn reason(error: LoadPdfError, bytes: &[u8]) -> String {
    let is_encrypted = || memmem::find(bytes, b"/Encrypt").is_some();
    let reason = match error {
        LoadPdfError::Invalid if is_encrypted() => {
            "it is encrypted, and its pages cannot be found with an empty password"
        }
        LoadPdfError::Invalid => "it has no pages that can be found",
        LoadPdfError::Decryption(DecryptionError::PasswordProtected) => {
            "it is encrypted, and its password is not empty"
        }
        LoadPdfError::Decryption(_) => "it is encrypted in a way that is not known",
    };
    reason.to_owned()
}
