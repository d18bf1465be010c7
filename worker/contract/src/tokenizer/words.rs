//! Words: what became of the words seen so far. Most words of a text were seen before, and finding one takes a
//! hundredth of the time of tokenizing it.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Longest word that is kept, in bytes: longer ones hardly come back.
const MAX_WORD_BYTES: usize = 64;
/// Most words that are kept, 3 MiB of common ones. When they are as many, all are forgotten: what is common comes
/// back at once.
const MAX_WORDS: usize = 1 << 16;

/// A token of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) id: u32,
    /// Where it starts in the word, in bytes.
    pub(super) start: u32,
}

/// Words with their tokens. Not shared: each thread takes one.
#[derive(Default)]
pub(super) struct Words {
    table: HashTable<Word>,
    hasher: DefaultHashBuilder,
    /// The texts of all words, one after another.
    texts: Vec<u8>,
    /// The tokens of all words, one after another.
    pieces: Vec<Piece>,
}

/// Where a word's text and tokens are.
struct Word {
    text: u32,
    pieces: u32,
    bytes: u8,
    tokens: u16,
}

impl Words {
    /// The tokens of `word`, if they are known.
    pub(super) fn get(&self, word: &[u8]) -> Option<&[Piece]> {
        let hash = self.hasher.hash_one(word);
        let known = self
            .table
            .find(hash, |known| text_of(&self.texts, known) == word)?;
        let from = known.pieces as usize;
        Some(&self.pieces[from..from + usize::from(known.tokens)])
    }

    /// Keeps the tokens of `word`, which is not known yet.
    pub(super) fn keep(&mut self, word: &[u8], pieces: &[Piece]) {
        let (Some(bytes), Ok(tokens)) = (short(word), u16::try_from(pieces.len())) else {
            return;
        };
        if self.table.len() == MAX_WORDS {
            self.table.clear();
            self.texts.clear();
            self.pieces.clear();
        }
        // A word has at most 64 bytes and 65,535 tokens: all of them together stay below 2^32.
        let (Ok(text), Ok(from)) = (
            u32::try_from(self.texts.len()),
            u32::try_from(self.pieces.len()),
        ) else {
            return;
        };
        self.texts.extend_from_slice(word);
        self.pieces.extend_from_slice(pieces);
        let entry = Word {
            text,
            pieces: from,
            bytes,
            tokens,
        };
        let Self {
            table,
            hasher,
            texts,
            ..
        } = self;
        let hash = hasher.hash_one(word);
        table.insert_unique(hash, entry, |known| hasher.hash_one(text_of(texts, known)));
    }
}

fn short(word: &[u8]) -> Option<u8> {
    u8::try_from(word.len())
        .ok()
        .filter(|_| word.len() <= MAX_WORD_BYTES)
}

fn text_of<'a>(texts: &'a [u8], word: &Word) -> &'a [u8] {
    let from = word.text as usize;
    &texts[from..from + usize::from(word.bytes)]
}
