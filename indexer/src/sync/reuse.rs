//! Reuse: gives chunks of changed documents the vectors that the collection has of the same texts.
//!
//! A document is published as a whole, because its chunks are of one version; but a job carries the vectors of those
//! chunks whose text the model has seen, wherever in the collection they are, so that only new text is embedded.

use contract::job::{Document, KnownVector};
use points::point_id;

use super::compare::digest;
use super::comparer::Comparer;
use crate::generation::known_vectors::{Vectors, Wanted, vectors};
use crate::jobs::packer::{MAX_ITEM_BYTES, json_bytes};

impl Comparer<'_> {
    /// Vectors that the collection has of the texts of these slices.
    pub async fn known<'a>(
        &self,
        slices: impl Iterator<Item = &'a Document>,
    ) -> anyhow::Result<Vectors> {
        let chunks = slices.flat_map(|slice| {
            let chunks = slice.chunks.iter();
            chunks.map(|chunk| (&slice.id, chunk))
        });
        let chunks = chunks.map(|(doc_id, chunk)| {
            let id = point_id(doc_id, chunk.index.unwrap_or(0));
            (id.to_string(), digest(chunk))
        });
        let chunks: Vec<_> = chunks.collect();
        let wanted = chunks.iter().map(|(id, digest)| Wanted { id, digest });
        vectors(self.target(), &self.manifest, &wanted.collect::<Vec<_>>()).await
    }
}

/// Gives the chunks of a slice their vectors. A chunk with a vector needs no token ids, but may take more room than they
/// did: what does not fit a job any more is cut into smaller slices.
pub fn with_vectors(mut slice: Document, known: &Vectors) -> Vec<Document> {
    for chunk in &mut slice.chunks {
        if let Some(vector) = known.vector(&digest(chunk)) {
            chunk.vector = Some(KnownVector(vector.clone()));
            chunk.token_ids = Vec::new();
        }
    }
    fitting(slice)
}

/// Slices that fit a job each. A single chunk does: its text and its vector are far smaller.
fn fitting(mut slice: Document) -> Vec<Document> {
    if json_bytes(&slice) <= MAX_ITEM_BYTES || slice.chunks.len() < 2 {
        return vec![slice];
    }
    let chunks = slice.chunks.split_off(slice.chunks.len() / 2);
    let rest = Document {
        id: slice.id.clone(),
        meta: slice.meta.clone(),
        version: slice.version,
        total: slice.total,
        chunks,
    };
    [slice, rest].into_iter().flat_map(fitting).collect()
}

#[cfg(test)]
mod tests {
    use contract::job::Chunk;

    use super::*;

    #[test]
    fn what_does_not_fit_a_job_with_its_vectors_is_cut() {
        let chunk = |index| Chunk {
            index: Some(index),
            text: "Ebb.".to_owned(),
            vector: Some(KnownVector(vec![0.5; 1024])),
            ..Chunk::default()
        };
        let slice = Document {
            id: "long".to_owned(),
            total: Some(1024),
            chunks: (0..1024).map(chunk).collect(),
            ..Document::default()
        };
        let slices = fitting(slice.clone());
        assert_eq!(slices.len(), 8);
        for slice in &slices {
            assert!(serde_json::to_vec(slice).expect("json").len() <= MAX_ITEM_BYTES);
            assert_eq!((slice.id.as_str(), slice.total), ("long", Some(1024)));
        }
        let chunks: Vec<_> = slices.into_iter().flat_map(|slice| slice.chunks).collect();
        assert_eq!(chunks, slice.chunks);
    }
}
