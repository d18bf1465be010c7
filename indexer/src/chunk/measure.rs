//! Counts the tokens between any two places of a block, having tokenized it once.

use contract::tokenizer::{Tokenizer, TokenizerError};

/// Most bytes that are tokenized in one call. Some tokenizers take more than linear time for long words; larger
/// windows would gain nothing but fewer seams.
const WINDOW_BYTES: usize = 16 << 10;

/// Where the tokens of a block start, in order. Counts are exact for tokenizers that work word by word and good
/// estimates for all others.
#[derive(Debug)]
pub(super) struct Measure {
    starts: Vec<usize>,
    end: usize,
}

impl Measure {
    /// Of a text that is not measured yet.
    pub(super) fn none() -> Self {
        Self {
            starts: Vec::new(),
            end: 0,
        }
    }

    /// Tokenizes `text`.
    pub(super) fn of(text: &str, tokenizer: &Tokenizer) -> Result<Self, TokenizerError> {
        let mut starts = Vec::with_capacity(text.len() / 4);
        let mut at = 0;
        while at < text.len() {
            let end = window_end(text, at);
            for (start, _) in tokenizer.offsets(&text[at..end])? {
                // Tokens that stand for nothing in the text have offset 0, whatever their place.
                let least = starts.last().copied().unwrap_or(at);
                starts.push((at + start).max(least));
            }
            at = end;
        }
        Ok(Self {
            starts,
            end: text.len(),
        })
    }

    /// Tokens from `start` to `end`.
    pub(super) fn count(&self, start: usize, end: usize) -> usize {
        self.before(end).saturating_sub(self.before(start))
    }

    /// The farthest place up to which there are at most `tokens` from `start`.
    pub(super) fn reach(&self, start: usize, tokens: usize) -> usize {
        self.starts
            .get(self.before(start) + tokens)
            .copied()
            .unwrap_or(self.end)
    }

    /// The first place from which there are at most `tokens` to `end`.
    pub(super) fn reach_back(&self, end: usize, tokens: usize) -> usize {
        let first = self.before(end).saturating_sub(tokens);
        self.starts.get(first).copied().unwrap_or(self.end).min(end)
    }

    fn before(&self, at: usize) -> usize {
        self.starts.partition_point(|&start| start < at)
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
