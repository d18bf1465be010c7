//! Cuts documents into chunks that fit the model, exactly, in the model's own tokens.
//!
//! The chunker takes a [`Document`] and gives its chunks in order. It holds no more than one block of the text. If any
//! part of a document cannot be chunked, the whole document fails. Every chunk carries the number of all chunks, and
//! the first one is published first, so that this number has to be known before any chunk is given. A document of one
//! block is packed at once. A larger one is packed twice, first to count its chunks and then to give them: keeping its
//! chunks would take memory in proportion to the document, and keeping them on disk would give the indexer state. The
//! price is that such documents are tokenized twice. The gain, apart from the memory, is that a fault anywhere in the
//! text shows before the first chunk is given.
//!
//! How a block is packed:
//! 1. `outline` finds headings and blocks of text, `measure` tokenizes the text once, in windows, which tells the
//!    tokens between any two places;
//! 2. `pack` takes as much as fits, ends it at the best place (`cut`) and prepends the headings above
//!    (`context`);
//! 3. `assemble` puts the tokens of the chunk together as the model will see it, from those of the block where they are
//!    known to add up. Where they are not, the chunk is tokenized as a whole. This count and no other decides; a chunk
//!    above the limit is cut shorter and tried again.

use contract::tokenizer::{Tokenizer, TokenizerError};
use thiserror::Error;

use crate::document::Document;
use crate::document::blocks::BLOCK_BYTES;
use crate::source::Origin;
use crate::source::SourceError;

mod context;
mod cut;
mod emit;
mod measure;
mod outline;
mod pack;
mod sentence;
mod words;

pub use emit::Chunks;

/// Most bytes of text in a chunk, per token of the limit. A tokenizer may see a word of any length as one unknown
/// token; larger chunks would be text that the model never sees.
const MAX_BYTES_PER_TOKEN: usize = 16;

/// Fewest tokens of text a chunk must have room for: below, single characters do not fit.
const MIN_TEXT_TOKENS: usize = 8;

#[derive(Debug, Clone)]
pub struct ChunkOptions {
    /// The model's limit in tokens, special tokens included: no chunk is longer.
    pub max_tokens: usize,
    /// The length that chunks aim at, counted like `max_tokens`; `None` for as long as possible.
    pub target_tokens: Option<usize>,
    /// Most tokens of the end of a chunk that the next one of the same section repeats. Only whole sentences are
    /// repeated, or words where a sentence had to be cut.
    pub overlap_tokens: usize,
    /// What the model wants in front of every document; it counts.
    pub prefix: String,
    /// Whether the title and the headings above a chunk are put in front of what is embedded; they count, and take
    /// at most a quarter of the length that chunks aim at.
    pub context: bool,
}

/// Why a document could not be chunked, or why no document can be.
#[derive(Debug, Error)]
pub enum ChunkError {
    #[error(
        "chunks of {limit} tokens leave no room for text: special tokens and prefix take {fixed}, titles and headings \
         up to {context}, at least {MIN_TEXT_TOKENS} are needed for text; raise --chunk-tokens{}",
        if *context > 0 { ", or leave titles and headings out with --no-context" } else { "" }
    )]
    Limit {
        /// The smaller of limit and target.
        limit: usize,
        /// Most tokens that special tokens and the prefix take.
        fixed: usize,
        /// Most tokens that the context takes.
        context: usize,
    },
    #[error("a target of {target} tokens is above the limit of {limit}")]
    Target { target: usize, limit: usize },
    #[error("an overlap of {overlap} tokens is too large: expected at most {most}")]
    Overlap {
        overlap: usize,
        /// Half of the room for text.
        most: usize,
    },
    #[error("failed to tokenize {origin}")]
    Tokenizer {
        origin: Origin,
        #[source]
        source: TokenizerError,
    },
    #[error("failed to tokenize the prefix")]
    Prefix(#[source] TokenizerError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{origin} has a character of {tokens} tokens at byte {offset}, the limit is {limit}")]
    Character {
        origin: Origin,
        /// Where in the text, in bytes.
        offset: u64,
        /// Tokens of the character, with special tokens and prefix.
        tokens: usize,
        limit: usize,
    },
    #[error("{origin} has {chunks} chunks, at most {} are possible", u32::MAX)]
    TooMany { origin: Origin, chunks: u64 },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Number within the document, from 0.
    pub index: u32,
    /// How many chunks the document has.
    pub chunks: u32,
    /// The text of the document from `start` to `end`.
    pub text: String,
    /// First byte in the text of the document.
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Where a person looks for it in the original.
    pub location: Option<contract::job::Location>,
    /// Title and headings above the text, without those that the text starts with, and the header of the table among whose
    /// rows it starts.
    pub context: Option<String>,
    /// The tokens of [`Chunk::input`], special tokens included.
    pub token_ids: Vec<u32>,
}

impl Chunk {
    /// The input whose tokens `token_ids` are: `prefix`, context and text.
    pub fn input(&self, prefix: &str) -> String {
        contract::job::Chunk::model_input(prefix, self.context.as_deref(), &self.text)
    }
}

/// Cuts documents with one tokenizer and one set of options. Shared by reference between threads.
#[derive(Debug)]
pub struct Chunker {
    tokenizer: Tokenizer,
    options: ChunkOptions,
    /// Tokens of an input without context and text.
    fixed_tokens: usize,
    /// Most text that is looked at together.
    block_bytes: usize,
}

impl Chunker {
    /// A chunker of documents for the model that `tokenizer` belongs to.
    pub fn new(tokenizer: Tokenizer, options: ChunkOptions) -> Result<Self, ChunkError> {
        let limit = options.max_tokens;
        let target = options.target_tokens.unwrap_or(limit);
        if target > limit {
            return Err(ChunkError::Target { target, limit });
        }
        let fixed_tokens = tokenizer
            .encode(&options.prefix)
            .map_err(ChunkError::Prefix)?
            .len();
        let context = if options.context {
            context::most_tokens(target)
        } else {
            0
        };
        let room = target.saturating_sub(fixed_tokens + context);
        if room < MIN_TEXT_TOKENS {
            return Err(ChunkError::Limit {
                limit: target,
                fixed: fixed_tokens,
                context,
            });
        }
        if options.overlap_tokens > room / 2 {
            return Err(ChunkError::Overlap {
                overlap: options.overlap_tokens,
                most: room / 2,
            });
        }
        Ok(Self {
            tokenizer,
            options,
            fixed_tokens,
            block_bytes: BLOCK_BYTES,
        })
    }

    /// The tokenizer that the token ids are from.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub fn options(&self) -> &ChunkOptions {
        &self.options
    }

    /// The chunks of `document`, in order; ends after the first error.
    pub fn chunks<'a>(&'a self, document: &'a Document) -> Chunks<'a> {
        Chunks::new(self, document)
    }

    fn target(&self) -> usize {
        self.options
            .target_tokens
            .unwrap_or(self.options.max_tokens)
    }

    fn max_bytes(&self) -> usize {
        self.options.max_tokens.saturating_mul(MAX_BYTES_PER_TOKEN)
    }
}

#[cfg(test)]
mod languages;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tiny_tokenizer;
