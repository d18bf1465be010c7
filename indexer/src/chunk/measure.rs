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
    /// Where windows meet that may have other tokens than their texts together.
    breaks: Vec<usize>,
    end: usize,
}

impl Measure {
    /// Of a text that is not measured yet.
    pub fn none() -> Self {
        Self {
            pieces: Pieces::default(),
            breaks: Vec::new(),
            end: 0,
        }
    }

    /// Tokenizes `text`.
    pub fn of(text: &str, tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let mut pieces = Pieces::default();
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

    /// Tokens from `start` to `end`.
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
