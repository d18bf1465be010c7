//! Markup: texts whose structure is written with signs, set as blocks, each with the line that it starts on.
//!
//! These readers go by lines and never look back far: any text gives a result, in time that grows with its length. What they
//! do not understand stays as text.

mod asciidoc;
mod inline;
mod latex;
mod lines;
mod org;
mod rst;
mod subtitles;
mod xml;

#[cfg(test)]
mod mutations;
#[cfg(test)]
mod tests;

pub use asciidoc::asciidoc;
pub use latex::latex;
pub use org::org;
pub use rst::rst;
pub use subtitles::{srt, vtt};
pub use xml::xml;

/// The text of a file whose encoding was settled before.
fn utf8(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes);
    text.map_err(|error| format!("it is not utf-8 at byte {}", error.valid_up_to()))
}
