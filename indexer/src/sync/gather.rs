//! Gather: whole documents out of the slices that fit jobs.
//!
//! Whether a document has changed is known when all of its chunks have been compared, and then all of them are
//! published: a document has chunks of one version only. So its slices are held until the last one is there, up to a
//! limit. A document beyond it is given slice by slice.

use contract::job::{Chunk, Document};

use crate::corpus::seen::identity;

/// A document, or some slices of one that is too large to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Each fits a job; never empty.
    pub slices: Vec<Document>,
    /// Whether nothing of the document is missing.
    pub whole: bool,
}

/// Holds the slices of one document.
#[derive(Debug)]
pub struct Gather {
    limit: usize,
    held: Vec<Document>,
    bytes: usize,
    /// Id of the document that is too large to hold, while its slices come.
    large: Option<String>,
}

impl Piece {
    pub fn doc_id(&self) -> &str {
        self.slices.first().map_or("", |slice| &slice.id)
    }

    /// The identity of the document.
    pub fn identity(&self) -> u128 {
        identity(self.doc_id())
    }

    /// Chunks that the whole document has.
    pub fn total(&self) -> u64 {
        let total = self.slices.first().and_then(|slice| slice.total);
        u64::from(total.unwrap_or(0))
    }

    /// The chunks that are here, with their slices.
    pub fn chunks(&self) -> impl Iterator<Item = (&Document, &Chunk)> {
        self.slices
            .iter()
            .flat_map(|slice| slice.chunks.iter().map(move |chunk| (slice, chunk)))
    }
}

impl Gather {
    /// Holds at most about `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            held: Vec::new(),
            bytes: 0,
            large: None,
        }
    }

    /// Takes slices in their order; gives what is complete, or too large to wait for the rest.
    pub fn add(&mut self, slices: Vec<Document>) -> Vec<Piece> {
        let pieces = slices.into_iter().filter_map(|slice| self.add_one(slice));
        pieces.collect()
    }

    fn add_one(&mut self, slice: Document) -> Option<Piece> {
        if self.held.first().is_some_and(|held| held.id != slice.id) {
            // Its rest was refused.
            self.take();
        }
        self.large.take_if(|large| *large != slice.id);
        self.bytes += bytes(&slice);
        self.held.push(slice);
        if self.large.is_some() {
            return self.piece(false);
        }
        let held: usize = self.held.iter().map(|slice| slice.chunks.len()).sum();
        let total = self.held[0].total.unwrap_or(0);
        if held == total as usize {
            return self.piece(true);
        }
        if self.bytes <= self.limit {
            return None;
        }
        self.large = Some(self.held[0].id.clone());
        self.piece(false)
    }

    fn piece(&mut self, whole: bool) -> Option<Piece> {
        let slices = self.take();
        Some(Piece { slices, whole })
    }

    fn take(&mut self) -> Vec<Document> {
        self.bytes = 0;
        std::mem::take(&mut self.held)
    }
}

fn bytes(slice: &Document) -> usize {
    let of = |chunk: &Chunk| {
        let context = chunk.context.as_ref().map_or(0, String::len);
        chunk.text.len() + context + size_of_val(chunk.token_ids.as_slice())
    };
    slice.chunks.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(id: &str, total: u32, chunks: std::ops::Range<u32>) -> Document {
        let chunk = |index| Chunk {
            index: Some(index),
            text: "0123456789".to_owned(),
            ..Chunk::default()
        };
        Document {
            id: id.to_owned(),
            total: Some(total),
            chunks: chunks.map(chunk).collect(),
            ..Document::default()
        }
    }

    fn given(pieces: &[Piece]) -> Vec<(&str, usize, bool)> {
        let of = |piece: &'_ Piece| piece.chunks().count();
        let pieces = pieces.iter();
        pieces
            .map(|piece| (piece.doc_id(), of(piece), piece.whole))
            .collect()
    }

    #[test]
    fn a_document_is_given_when_its_last_slice_has_come() {
        let mut gather = Gather::new(1000);
        let first = gather.add(vec![slice("a", 1, 0..1), slice("b", 5, 0..2)]);
        assert_eq!(given(&first), [("a", 1, true)]);
        assert!(gather.add(vec![slice("b", 5, 2..4)]).is_empty());
        let last = gather.add(vec![slice("b", 5, 4..5), slice("c", 1, 0..1)]);
        assert_eq!(given(&last), [("b", 5, true), ("c", 1, true)]);
    }

    #[test]
    fn a_document_whose_rest_never_comes_is_left_out() {
        let mut gather = Gather::new(1000);
        assert!(gather.add(vec![slice("a", 3, 0..2)]).is_empty());
        let next = gather.add(vec![slice("b", 1, 0..1)]);
        assert_eq!(given(&next), [("b", 1, true)]);
    }

    #[test]
    fn a_document_beyond_the_limit_is_given_slice_by_slice() {
        let mut gather = Gather::new(25);
        assert!(gather.add(vec![slice("a", 6, 0..2)]).is_empty());
        let over = gather.add(vec![slice("a", 6, 2..4)]);
        assert_eq!(given(&over), [("a", 4, false)]);
        let rest = gather.add(vec![slice("a", 6, 4..6), slice("b", 1, 0..1)]);
        assert_eq!(given(&rest), [("a", 2, false), ("b", 1, true)]);
    }
}
