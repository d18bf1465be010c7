//! PDF: one document per file, its pages as paragraphs.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::Limit;
use super::decode::read;
use super::text::whole;
use crate::document::{Document, Markup};
use crate::source::{Input, SourceError};

thread_local! {
    /// Whether a panic on this thread is expected and becomes an error.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The document of a PDF input.
pub(super) fn pdf(input: &Input, limit: Limit) -> Result<Document, SourceError> {
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

/// Runs `call`; `None` where it panics. Broken files make the library panic rather often: the hook of the process
/// is told to keep quiet about this thread meanwhile, and is as it was for all others.
fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                loud(info);
            }
        }));
    });
    GUARDED.set(true);
    let result = catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(false);
    result.ok()
}
