//! Counts the tokens between any two places of a block, having tokenized it once.

use contract::tokenizer::{Pieces, Tokenizer, TokenizerError};

/// Most bytes that are tokenized in one call. Some tokenizers take more than linear time for long words; larger
/// windows would gain nothing but fewer seams.
const WINDOW_BYTES: usize = 16 << 10;

/// The tokens of a block and where they start, in order. Counts are exact for tokenizers that work word by word and
/// good estimates for all others.
#[derive(Debug)]
pub struct Measure {
    pieces: Pieces,
    /// Where two windows meet whose text may have other tokens as a whole than window by window.
    breaks: Vec<usize>,
    end: usize,
}

impl Measure {
    /// The measure of a text that is not tokenized yet.
    pub fn none() -> Self {
        Self {
            pieces: Pieces::default(),
            breaks: Vec::new(),
            end: 0,
        }
    }

    pub fn of(text: &str, tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let mut pieces = Pieces::with_room_for(text.len());
        let mut breaks = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let end = window_end(text, at);
            tokenizer.add_pieces(&text[at..end], at, &mut pieces)?;
            if !tokenizer.is_seam(text, end) {
                breaks.push(end);
            }
            at = end;
        }
        Ok(Self {
            pieces,
            breaks,
            end: text.len(),
        })
    }

    /// The tokens from one seam to another; `None` where they are not those of the text between.
    pub fn between(&self, start: usize, end: usize) -> Option<&[u32]> {
        let next = self.breaks.partition_point(|&at| at <= start);
        let broken = self.breaks.get(next).is_some_and(|&at| at < end);
        if broken || end > self.end {
            return None;
        }
        self.pieces.ids.get(self.before(start)..self.before(end))
    }

    pub fn count(&self, start: usize, end: usize) -> usize {
        self.before(end).saturating_sub(self.before(start))
    }

    /// The farthest place up to which there are at most `tokens` from `start`.
    pub fn reach(&self, start: usize, tokens: usize) -> usize {
        self.pieces
            .starts
            .get(self.before(start) + tokens)
            .copied()
            .unwrap_or(self.end)
    }

    /// The first place from which there are at most `tokens` to `end`.
    pub fn reach_back(&self, end: usize, tokens: usize) -> usize {
        let first = self.before(end).saturating_sub(tokens);
        self.pieces
            .starts
            .get(first)
            .copied()
            .unwrap_or(self.end)
            .min(end)
    }

    fn before(&self, at: usize) -> usize {
        self.pieces.starts.partition_point(|&start| start < at)
    }
}

fn window_end(text: &str, at: usize) -> usize {
    if text.len() - at <= WINDOW_BYTES {
        return text.len();
    }
    let longest = text.floor_char_boundary(at + WINDOW_BYTES);
    let window = &text[at..longest];
    let space = || window.rfind(char::is_whitespace);
    match window.rfind('\n').or_else(space) {
        // White space goes to the window after: that is where most tokenizers put it.
        Some(space) if space > 0 => at + space,
        Some(_) | None => longest,
    }
}

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

/// The last head, with its tokens: chunks beside each other mostly share it.
#[derive(Debug, Default)]
pub struct Head {
    text: String,
    ids: Vec<u32>,
}

impl Head {
    pub fn new(text: String, ids: Vec<u32>) -> Self {
        Self { text, ids }
    }

    fn ids(&mut self, tokenizer: &Tokenizer, text: &str) -> Result<&[u32], TokenizerError> {
        if self.text != text {
            *self = Self::new(text.to_owned(), tokens(tokenizer, text)?.ids);
        }
        Ok(&self.ids)
    }
}

/// The tokens of a short text, special tokens left out.
pub fn tokens(tokenizer: &Tokenizer, text: &str) -> Result<Pieces, TokenizerError> {
    let mut pieces = Pieces::with_room_for(text.len());
    tokenizer.add_pieces(text, 0, &mut pieces)?;
    Ok(pieces)
}

/// The tokens of the chunk `span` of `text`, special tokens included; `None` where it has to be tokenized as a whole.
pub fn assemble(
    tokenizer: &Tokenizer,
    text: &str,
    measure: &Measure,
    span: Span<'_>,
    head: &mut Head,
) -> Result<Option<Vec<u32>>, TokenizerError> {
    let joins = span.head.is_empty() || joins(tokenizer, text, span);
    let Some((from, to)) = seams(tokenizer, text, span, joins) else {
        return Ok(None);
    };
    let Some(ids) = measure.between(from, to) else {
        return Ok(None);
    };
    let (first, last) = (&text[span.start..from], &text[to..span.end]);
    let (own, first) = if joins {
        let own = head.ids(tokenizer, span.head)?;
        (own, tokens(tokenizer, first)?)
    } else {
        let joined = [span.head, first].concat();
        (&[] as &[u32], tokens(tokenizer, &joined)?)
    };
    let last = tokens(tokenizer, last)?;
    Ok(tokenizer.framed([own, &first.ids, ids, &last.ids]))
}

/// The first and the last seam of a chunk, whose start is one if its head joins it.
fn seams(tokenizer: &Tokenizer, text: &str, span: Span<'_>, joins: bool) -> Option<(usize, usize)> {
    let Span { start, end, .. } = span;
    // On the left of its start, the chunk has its head, and the block has other text.
    let first = |at: usize| (at > start || joins) && tokenizer.is_seam(text, at);
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
