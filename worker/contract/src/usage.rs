//! Usage: what workers have computed for a run, told to whoever waits for it.
//!
//! It is published to [`crate::topology::USAGE`] without JetStream. Nothing rests on it: what nobody hears is lost.

use serde::{Deserialize, Serialize};

/// What one batch has cost one run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// The run that published the jobs.
    pub run: String,
    /// Tokens of their rows.
    pub tokens: u64,
    /// Tokens that were computed for them: each row as long as its tensor, padding included.
    pub padded_tokens: u64,
}

impl Usage {
    /// Adds what was computed for the same run.
    pub fn add(&mut self, tokens: u64, padded_tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens);
        self.padded_tokens = self.padded_tokens.saturating_add(padded_tokens);
    }
}
