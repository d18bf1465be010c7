//! PDF: one document per file, its pages as paragraphs.

use super::extracted::{Block, Extracted};
use crate::document::{Location, Reason};

/// Reads the text of a PDF, page by page.
pub fn pdf(bytes: &[u8], extracted: &mut Extracted) -> Result<(), String> {
    let pages = pdf_extract::extract_text_from_mem_by_pages(bytes);
    let pages = pages.map_err(|error| error.to_string())?;
    for (number, page) in (1..).zip(&pages) {
        let location = Location::Page(number);
        if page.trim().is_empty() {
            extracted
                .dropped
                .add(Reason::PageWithoutText, 0, Some(location.to_string()));
            continue;
        }
        extracted.at(location);
        extracted.add(Block::Paragraph(&page.replace('\0', "")));
    }
    Ok(())
}
