//! PDF: one document per file, its pages as paragraphs.

use super::decode::read;
use super::text::whole;
use super::{Limit, guarded};
use crate::document::{Document, Markup};
use crate::source::{Input, SourceError};

/// The document of a PDF input.
pub fn pdf(input: &Input, limit: Limit) -> Result<Document, SourceError> {
    let bytes = read(input, limit)?;
    if bytes.is_empty() {
        return Err(SourceError::Empty {
            origin: input.origin(),
        });
    }
    let pages = guarded(|| pdf_extract::extract_text_from_mem_by_pages(&bytes));
    let broken = |reason| SourceError::Pdf {
        origin: input.origin(),
        reason,
    };
    let pages = match pages {
        Some(Ok(pages)) => pages,
        Some(Err(error)) => return Err(broken(error.to_string())),
        None => return Err(broken("the library panicked".to_owned())),
    };
    let pages: Vec<&str> = pages.iter().map(|page| page.trim()).collect();
    whole(
        input,
        None,
        pages.join("\n\n").replace('\0', ""),
        Markup::Plain,
    )
}
