//! Gives the chunks of a document one after another, each with its number and the number of all.

use super::outline::{Outline, OutlineState};
use super::pack::{Draft, pack};
use super::{Chunk, ChunkError, Chunker};
use crate::document::{Block, Blocks, Document};
use crate::source::SourceError;

/// The chunks of one document. Holds at most one block of its text and the chunks of that block.
#[derive(Debug)]
pub struct Chunks<'a> {
    passes: Pass<'a>,
    state: State<'a>,
}

#[derive(Debug)]
enum State<'a> {
    Start,
    SecondPass { pass: SecondPass<'a> },
    End,
}

/// What both passes over a document need.
#[derive(Debug, Clone, Copy)]
struct Pass<'a> {
    chunker: &'a Chunker,
    document: &'a Document,
}

/// Gives the chunks, once the first pass has counted them.
#[derive(Debug)]
struct SecondPass<'a> {
    /// The rest of the blocks; `None` where the first one was the last.
    blocks: Option<Blocks<'a>>,
    carry: OutlineState,
    drafts: std::vec::IntoIter<Draft>,
    next: u32,
    chunks: u32,
}

impl<'a> Chunks<'a> {
    pub fn new(chunker: &'a Chunker, document: &'a Document) -> Self {
        Self {
            passes: Pass { chunker, document },
            state: State::Start,
        }
    }

    fn advance(&mut self) -> Result<Option<Chunk>, ChunkError> {
        if matches!(self.state, State::Start) {
            self.state = State::SecondPass {
                pass: self.passes.start()?,
            };
        }
        match &mut self.state {
            State::SecondPass { pass } => self.passes.next(pass),
            State::Start | State::End => Ok(None),
        }
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<Chunk, ChunkError>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.advance().transpose();
        if !matches!(item, Some(Ok(_))) {
            self.state = State::End;
        }
        item
    }
}

impl<'a> Pass<'a> {
    fn pack(&self, block: &Block<'_>, carry: &mut OutlineState) -> Result<Vec<Draft>, ChunkError> {
        let definitions = self.document.places.definitions_in(block);
        let outline = Outline::of(&block.text, self.document.markup, &definitions, carry);
        pack(self.chunker, self.document, block, &outline)
    }

    fn start(&self) -> Result<SecondPass<'a>, ChunkError> {
        let mut blocks = self.document.text.blocks(self.chunker.block_bytes)?;
        let mut carry = OutlineState::default();
        let Some(first) = blocks.next().transpose()? else {
            return Ok(SecondPass {
                blocks: None,
                carry,
                drafts: Vec::new().into_iter(),
                next: 0,
                chunks: 0,
            });
        };
        let drafts = self.pack(&first, &mut carry)?;
        let (blocks, chunks) = if first.last {
            (None, drafts.len() as u64)
        } else {
            drop(first);
            (Some(blocks), self.count(drafts.len(), carry.clone())?)
        };
        let chunks = u32::try_from(chunks).map_err(|_| ChunkError::TooMany {
            origin: self.document.origin.clone(),
            chunks,
        })?;
        Ok(SecondPass {
            blocks,
            carry,
            drafts: drafts.into_iter(),
            next: 0,
            chunks,
        })
    }

    /// The number of chunks of a document whose first block has `first`.
    fn count(&self, first: usize, mut carry: OutlineState) -> Result<u64, ChunkError> {
        let mut chunks = first as u64;
        for block in self.document.text.blocks(self.chunker.block_bytes)?.skip(1) {
            chunks += self.pack(&block?, &mut carry)?.len() as u64;
        }
        Ok(chunks)
    }

    fn next(&self, pass: &mut SecondPass<'a>) -> Result<Option<Chunk>, ChunkError> {
        loop {
            if let Some(draft) = pass.drafts.next() {
                // The counting pass found fewer chunks: the file has changed since then.
                if pass.next == pass.chunks {
                    return Err(self.changed());
                }
                let index = pass.next;
                pass.next += 1;
                return Ok(Some(draft.number(index, pass.chunks)));
            }
            let block = match &mut pass.blocks {
                Some(blocks) => blocks.next().transpose()?,
                None => None,
            };
            match block {
                Some(block) => pass.drafts = self.pack(&block, &mut pass.carry)?.into_iter(),
                None if pass.next < pass.chunks => return Err(self.changed()),
                None => return Ok(None),
            }
        }
    }

    fn changed(&self) -> ChunkError {
        SourceError::Changed {
            origin: self.document.origin.clone(),
        }
        .into()
    }
}

impl Draft {
    fn number(self, index: u32, chunks: u32) -> Chunk {
        let Self {
            text,
            start,
            end,
            location,
            context,
            token_ids,
        } = self;
        Chunk {
            index,
            chunks,
            text,
            start,
            end,
            location,
            context,
            token_ids,
        }
    }
}
