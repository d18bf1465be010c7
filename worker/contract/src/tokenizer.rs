//! The tokenizer of a model: one way to load it and one way to call it, for indexers and workers alike.
//!
//! Both sides must see exactly the same token ids, so truncation and padding that a `tokenizer.json` may
//! prescribe are switched off here: nothing is cut silently, and padding belongs to the tensor.
//!
//! Texts are tokenized part by part where that is known to be the same (`seams`), and parts that were seen before are
//! looked up (`words`). Everything else is left to the library: it tokenizes each part that is new, and whole texts
//! where no seams are known.

mod parts;
mod seams;
mod words;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use tokenizers::models::ModelWrapper;
use tokenizers::utils::truncation::{TruncationParams, TruncationStrategy, truncate_encodings};
use tokenizers::{Encoding, PostProcessor as _};

use crate::digest::Digest;
use parts::Parts;
pub use parts::Pieces;

/// A text of more bytes than this per token that a model takes is cut or refused before it is tokenized: no vocabulary has
/// longer tokens on average, and tokenizers take far more memory than their input.
pub const MAX_BYTES_PER_TOKEN: usize = 64;

/// Words and marks, each of which is the one token that there is.
const WORDS: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "post_processor": null, "decoder": null,
    "normalizer": {
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": false, "lowercase": false
    },
    "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
        { "type": "BertPreTokenizer" },
        { "type": "Split", "behavior": "Isolated", "invert": false, "pattern": {
            "Regex": "[\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u3040-\u30FF]"
        } }
    ] },
    "model": { "type": "WordLevel", "vocab": { "word": 0 }, "unk_token": "word" }
}"#;

/// Why a tokenizer could not be loaded or applied.
#[derive(Debug, Error)]
pub enum TokenizerError {
    /// The file is missing or unreadable.
    #[error("failed to read tokenizer `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a tokenizer in the Hugging Face format.
    #[error("`{path}` is not a tokenizer in the hugging face format: {reason}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the library said.
        reason: String,
    },
    /// The library refused or panicked on a text. The text itself is never part of the message.
    #[error("tokenizer failed on a text of {bytes} bytes: {reason}")]
    Encode {
        /// Length of the text.
        bytes: usize,
        /// What the library said.
        reason: String,
    },
}

/// What a model sees of a text or a pair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Which text of a pair each token belongs to, as the tokenizer has it; empty for a single text, where all are 0.
    pub types: Vec<u32>,
}

impl From<Vec<u32>> for Tokens {
    fn from(ids: Vec<u32>) -> Self {
        Self {
            ids,
            types: Vec::new(),
        }
    }
}

/// What a special token is that is written in a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum SpecialTokens {
    /// Characters like any others: a text cannot pretend to be two
    Text,
    /// The token: what other programs do
    #[default]
    Token,
}

impl SpecialTokens {
    pub(super) fn are_tokens(&self) -> bool {
        *self == Self::Token
    }
}

/// A loaded tokenizer with the digest of the file it came from.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    parts: Option<Arc<Parts>>,
    digest: Digest,
    special_tokens: usize,
    vocabulary: usize,
    /// Ids of special tokens, and the one that stands in for them in a text that has none.
    in_texts: Option<(HashSet<u32>, u32)>,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// Loads a `tokenizer.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Read`] and [`TokenizerError::Parse`].
    pub fn load(path: &Path) -> Result<Self, TokenizerError> {
        Self::load_with(path, SpecialTokens::Token)
    }

    /// Loads a `tokenizer.json` for texts in which special tokens are what `special` says.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(path: &Path, special: SpecialTokens) -> Result<Self, TokenizerError> {
        let bytes = std::fs::read(path).map_err(|source| TokenizerError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::guarded_load(&bytes, special).map_err(|reason| TokenizerError::Parse {
            path: path.to_owned(),
            reason,
        })
    }

    /// The library panics on some files that are none of its own.
    fn guarded_load(bytes: &[u8], special: SpecialTokens) -> Result<Self, String> {
        let loaded = catch_unwind(|| Self::from_bytes(bytes, special));
        loaded.unwrap_or_else(|_| Err("the library panicked on it".to_owned()))
    }

    /// A tokenizer whose tokens are words and marks, and single characters of scripts that write no spaces: for those who have
    /// no model and want to know about how long a text is.
    ///
    /// # Panics
    /// Never: it is a constant.
    #[must_use]
    pub fn of_words() -> Self {
        Self::from_bytes(WORDS.as_bytes(), SpecialTokens::Text)
            .expect("the tokenizer of words is valid")
    }

    /// Reads a tokenizer from the bytes of a `tokenizer.json`.
    fn from_bytes(bytes: &[u8], special: SpecialTokens) -> Result<Self, String> {
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| e.to_string())?;
        inner.set_encode_special_tokens(special == SpecialTokens::Text);
        inner.with_truncation(None).map_err(|e| e.to_string())?;
        inner.with_padding(None);
        let mut tokenizer = Self {
            inner,
            parts: None,
            digest: Digest::of(bytes),
            special_tokens: 0,
            vocabulary: 0,
            in_texts: None,
        };
        if special == SpecialTokens::Text {
            tokenizer.in_texts = tokenizer.stand_in();
        }
        tokenizer.special_tokens = tokenizer.encode("").map_err(|e| e.to_string())?.len();
        let highest = tokenizer.inner.get_vocab(true).into_values().max();
        tokenizer.vocabulary = highest.map_or(0, |id| id as usize + 1);
        // Parts are put together from ids as the library gives them.
        if tokenizer.in_texts.is_none() {
            tokenizer.parts = Parts::of(&tokenizer).map(Arc::new);
        }
        Ok(tokenizer)
    }

    /// A unigram model has special tokens among its pieces, and would find them in texts all the same.
    fn stand_in(&self) -> Option<(HashSet<u32>, u32)> {
        if !matches!(self.inner.get_model(), ModelWrapper::Unigram(_)) {
            return None;
        }
        let names = ["<unk>", "[UNK]", "<UNK>"];
        let unknown = names.iter().find_map(|name| self.id_of(name));
        let unknown = unknown.unwrap_or(self.padding_id());
        let added = self.inner.get_added_tokens_decoder().into_iter();
        let special = added.filter(|(id, token)| token.special && *id != unknown);
        Some((special.map(|(id, _)| id).collect(), unknown))
    }

    /// The ids of an encoding. Where special tokens in texts are text, only those are left that the tokenizer has added.
    fn ids(&self, encoding: &Encoding) -> Vec<u32> {
        let Some((special, unknown)) = &self.in_texts else {
            return encoding.get_ids().to_vec();
        };
        let added = encoding.get_special_tokens_mask().iter();
        let ids = encoding.get_ids().iter().zip(added);
        ids.map(|(id, added)| match *added {
            0 if special.contains(id) => *unknown,
            _ => *id,
        })
        .collect()
    }

    fn tokens(&self, encoding: &Encoding) -> Tokens {
        Tokens {
            ids: self.ids(encoding),
            types: encoding.get_type_ids().to_vec(),
        }
    }

    /// The same tokenizer, by the library alone: what its results are measured by.
    #[must_use]
    pub fn on_whole_texts(self) -> Self {
        Self {
            parts: None,
            ..self
        }
    }

    /// How many special tokens the tokenizer adds to a single text.
    #[must_use]
    pub fn special_tokens(&self) -> usize {
        self.special_tokens
    }

    /// The id that pads a short row of a tensor; 0 where the tokenizer names none.
    #[must_use]
    pub fn padding_id(&self) -> u32 {
        ["[PAD]", "<pad>", "<|endoftext|>"]
            .iter()
            .find_map(|token| self.inner.token_to_id(token))
            .unwrap_or(0)
    }

    /// The id of a token, if there is one that is written so.
    #[must_use]
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Whether an id is that of a special token, which no word has.
    #[must_use]
    pub fn is_special(&self, id: u32) -> bool {
        let token = self.inner.id_to_token(id);
        token.is_some_and(|token| {
            let added = self.inner.get_added_vocabulary();
            added.is_special_token(&token)
        })
    }

    /// Ids of all special tokens, ascending.
    #[must_use]
    pub fn special_ids(&self) -> Vec<u32> {
        let added = self.inner.get_added_tokens_decoder().into_iter();
        let special = added.filter(|(_, token)| token.special);
        let mut ids: Vec<_> = special.map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// How many tokens at the start of a text belong to a prefix: those of the prefix alone, with the special tokens before
    /// it and without one at its end. None for no prefix.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] where the library refuses the text or panics on it.
    pub fn prompt_tokens(&self, prefix: &str) -> Result<usize, TokenizerError> {
        if prefix.is_empty() {
            return Ok(0);
        }
        let encoding = self.guarded(prefix.len(), |inner| inner.encode_fast(prefix, true))?;
        let ends = encoding.get_ids().last().is_some_and(|id| {
            let added = self.inner.get_added_tokens_decoder();
            added.get(id).is_some_and(|token| token.special)
        });
        Ok(encoding.len() - usize::from(ends))
    }

    /// One more than the highest token id, added tokens included: every id is below it.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Cuts ids to `max`, keeping the special token at the end that the tokenizer puts there. What fits stays as it is.
    pub fn truncate(&self, ids: &mut Vec<u32>, max: usize) {
        if ids.len() <= max {
            return;
        }
        let tail = usize::from(self.special_tokens > 1).min(max);
        let kept: Vec<u32> = ids[ids.len().saturating_sub(tail)..].to_vec();
        ids.truncate(max.saturating_sub(tail));
        ids.extend(kept);
    }

    /// Token ids of `text` as the model sees them, special tokens included.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] where the library refuses the text or panics on it.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        match &self.parts {
            Some(parts) => parts.encode(self, text),
            None => self.encode_whole(text),
        }
    }

    fn encode_whole(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let encoding = self.guarded(text.len(), |inner| inner.encode_fast(text, true))?;
        Ok(self.ids(&encoding))
    }

    /// Tokens of a pair as the model sees it, special tokens included.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] where the library refuses a text or panics on it.
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<Tokens, TokenizerError> {
        let encoding = self.guarded(first.len() + second.len(), |inner| {
            inner.encode_fast((first, second), true)
        })?;
        Ok(self.tokens(&encoding))
    }

    /// Tokens of a pair, cut to `max`: of the longer text, and of both where neither fits beside the half.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] where the library refuses a text or panics on it.
    pub fn encode_pair_within(
        &self,
        first: &str,
        second: &str,
        max: usize,
    ) -> Result<Tokens, TokenizerError> {
        let encoding = self.guarded(first.len() + second.len(), |inner| {
            let added = inner
                .get_post_processor()
                .map_or(0, |processor| processor.added_tokens(true));
            let room = TruncationParams {
                max_length: max.saturating_sub(added),
                strategy: TruncationStrategy::LongestFirst,
                ..TruncationParams::default()
            };
            let first = inner.encode_fast(first, false)?;
            let mut second = inner.encode_fast(second, false)?;
            second.set_type_ids(vec![1; second.len()]);
            let (mut first, mut second) = truncate_encodings(first, Some(second), &room)?;
            // What was cut off would be combined into pairs of its own.
            drop(first.take_overflowing());
            drop(second.as_mut().map(Encoding::take_overflowing));
            inner.post_process(first, second, true)
        })?;
        Ok(self.tokens(&encoding))
    }

    /// Adds the tokens of `text` to `pieces`, special tokens left out. Their places count from `base`.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] where the library refuses the text or panics on it.
    pub fn add_pieces(
        &self,
        text: &str,
        base: usize,
        pieces: &mut Pieces,
    ) -> Result<(), TokenizerError> {
        match &self.parts {
            Some(parts) => parts.add(self, text, base, pieces),
            None => self.add_pieces_whole(text, base, pieces),
        }
    }

    fn add_pieces_whole(
        &self,
        text: &str,
        base: usize,
        pieces: &mut Pieces,
    ) -> Result<(), TokenizerError> {
        let encoding = self.guarded(text.len(), |inner| inner.encode(text, false))?;
        for (id, &(start, _)) in self.ids(&encoding).into_iter().zip(encoding.get_offsets()) {
            pieces.push(id, base + start, base);
        }
        Ok(())
    }

    /// Whether the tokens of every text that is the same around `at` as `text` is are those of what is before `at`
    /// and, after them, those of what follows. `false` where that is not known.
    #[must_use]
    pub fn is_seam(&self, text: &str, at: usize) -> bool {
        self.parts
            .as_ref()
            .is_some_and(|parts| parts.seams.at(text, at))
    }

    /// Puts the special tokens of a single text around its tokens; `None` where [`Tokenizer::is_seam`] knows none.
    #[must_use]
    pub fn framed<'a>(&self, ids: impl IntoIterator<Item = &'a [u32]>) -> Option<Vec<u32>> {
        let parts = self.parts.as_ref()?;
        Some(parts.frame.around(ids))
    }

    /// Some tokenizers panic on rare texts; one text must not end a process that serves others.
    fn guarded<T>(
        &self,
        bytes: usize,
        call: impl FnOnce(&tokenizers::Tokenizer) -> tokenizers::Result<T>,
    ) -> Result<T, TokenizerError> {
        let failed = |reason: String| TokenizerError::Encode { bytes, reason };
        match catch_unwind(AssertUnwindSafe(|| call(&self.inner))) {
            Ok(Ok(encoding)) => Ok(encoding),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed("the tokenizer panicked".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(name: &str, special: SpecialTokens) -> Tokenizer {
        let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/models");
        let path = Path::new(models).join(name).join("tokenizer.json");
        Tokenizer::load_with(&path, special).unwrap()
    }

    #[test]
    fn a_special_token_in_a_text_is_a_token_or_text() {
        for (name, token, id) in [("shapes/xlm", "</s>", 2), ("tiny-rerank", "[SEP]", 3)] {
            let text = format!("the tide {token} goes out");
            let count = |special| {
                let tokens = shape(name, special).encode_pair("query", &text).unwrap();
                tokens.ids.iter().filter(|it| **it == id).count()
            };
            let frame = shape(name, SpecialTokens::Text)
                .encode_pair("query", "the tide")
                .unwrap();
            let framing = frame.ids.iter().filter(|it| **it == id).count();
            assert_eq!(count(SpecialTokens::Text), framing, "{name}");
            assert_eq!(count(SpecialTokens::Token), framing + 1, "{name}");
        }
    }

    #[test]
    fn the_tokens_of_a_prompt_are_counted_without_the_end_of_a_text() {
        for name in ["shapes/xlm", "shapes/roberta", "tiny-embed"] {
            let tokenizer = shape(name, SpecialTokens::Token);
            let whole = tokenizer.encode("query: ").unwrap().len();
            assert_eq!(tokenizer.prompt_tokens("query: ").unwrap(), whole - 1);
            assert_eq!(tokenizer.prompt_tokens("").unwrap(), 0);
        }
    }
}
