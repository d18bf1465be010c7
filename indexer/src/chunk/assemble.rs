//! Assembles the tokens of a chunk from those of its block, so that no text is tokenized twice.
//!
//! A chunk is some of the block's text with something in front of it. Between two seams its tokens are the block's;
//! what is left at both ends is a word or nothing, and is tokenized with what is in front.

use contract::tokenizer::{Pieces, Tokenizer, TokenizerError};

use super::measure::Measure;

/// Longest way from an end of a chunk to a seam: ends are between words, and words are short.
const REACH_BYTES: usize = 256;

/// A chunk: `head`, then the block's text from `start` to `end`.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Prefix and context, as the model sees them.
    pub head: &'a str,
    pub start: usize,
    pub end: usize,
}

/// The tokens of the chunk `span` of `text`, special tokens included; `None` where they have to be made anew.
pub fn assemble(
    tokenizer: &Tokenizer,
    text: &str,
    measure: &Measure,
    span: Span<'_>,
) -> Result<Option<Vec<u32>>, TokenizerError> {
    let Some((from, to)) = seams(tokenizer, text, span) else {
        return Ok(None);
    };
    let Some(ids) = measure.between(from, to) else {
        return Ok(None);
    };
    let tokens = |text: &str| {
        let mut pieces = Pieces::default();
        tokenizer.add_pieces(text, 0, &mut pieces)?;
        Ok(pieces.ids)
    };
    let before = tokens(&[span.head, &text[span.start..from]].concat())?;
    let after = tokens(&text[to..span.end])?;
    Ok(tokenizer.framed([before.as_slice(), ids, after.as_slice()]))
}

/// The first and the last seam of a chunk.
fn seams(tokenizer: &Tokenizer, text: &str, span: Span<'_>) -> Option<(usize, usize)> {
    let Span { head, start, end } = span;
    let first = |at: usize| {
        // At its start the chunk has something else on the left than the block has.
        let in_chunk = at > start || head.is_empty() || joins(tokenizer, text, span);
        in_chunk && tokenizer.is_seam(text, at)
    };
    let from = (start..end.min(start + REACH_BYTES)).find(|&at| first(at))?;
    let to = (from.max(end.saturating_sub(REACH_BYTES))..=end)
        .rev()
        .find(|&at| tokenizer.is_seam(text, at))?;
    Some((from, to))
}

/// Whether the place between head and text is a seam.
fn joins(tokenizer: &Tokenizer, text: &str, span: Span<'_>) -> bool {
    let near = text.ceil_char_boundary(span.start + 1).min(span.end);
    let joined = [span.head, &text[span.start..near]].concat();
    tokenizer.is_seam(&joined, span.head.len())
}
