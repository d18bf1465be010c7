//! Compare: whether a document of the source is what the collection has.
//!
//! A document is unchanged when the collection has each of its chunks, all of one version, with the same text (by
//! digest), the same model (by fingerprint), the same place in the document, and the same metadata. Only where its
//! file lies does not count: a mount that moved is no reason to embed everything again.

use std::collections::HashMap;

use contract::field;
use contract::job::{Chunk, Document, KnownVector, Location};
use points::payload::{id, is_deleted, number, text};
use points::point_id;
use points::reuse::Wanted;
use qdrant_client::qdrant::{RetrievedPoint, Value};
use serde_json::{Map, Number, Value as Json};

use super::comparer::Comparer;
use super::gather::Piece;
use crate::corpus::read::{SOURCE, SOURCE_FILE};
use crate::generation::known_vectors::{self, KnownVectors};
use crate::generation::ledger::DeadPoints;
use crate::generation::reembed::{location, meta};
use crate::jobs::packer::{MAX_ITEM_BYTES, json_bytes};

/// The fields that are read of a point.
const FIELDS: [&str; 9] = [
    field::VERSION,
    field::CHUNKS,
    field::DELETED,
    field::DIGEST,
    field::FINGERPRINT,
    field::START,
    field::END,
    field::LOCATION,
    field::META,
];
/// Largest relative difference of two numbers that were written and read as text in between.
const ROUNDING: f64 = 1e-12;

/// What is to be done about a document. Of the slices of one document the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing: the document is there as it should be.
    Unchanged,
    /// The document is published.
    Changed,
    /// Nothing: the document is a dead letter of this run.
    Dead,
    /// Nothing: the document was written or deleted since the start.
    Newer,
}

type Stored = HashMap<String, RetrievedPoint>;

impl Comparer<'_> {
    /// Compares documents, or slices of them. What is going to be published has its known vectors.
    pub async fn compare(
        &self,
        pieces: Vec<Piece>,
        dead: &DeadPoints,
    ) -> anyhow::Result<Vec<(Piece, Verdict)>> {
        let stored = self.stored(&pieces).await?;
        let verdicts = pieces.into_iter().map(|piece| {
            let verdict = self.verdict(&piece, &stored, dead);
            (piece, verdict)
        });
        let mut compared: Vec<_> = verdicts.collect();
        let is_published = |piece: &Piece, verdict| piece.whole && verdict == Verdict::Changed;
        let changed = compared
            .iter()
            .filter(|(piece, verdict)| is_published(piece, *verdict));
        let known = self
            .known(changed.flat_map(|(piece, _)| &piece.slices))
            .await?;
        for (piece, verdict) in &mut compared {
            if is_published(piece, *verdict) {
                let slices = std::mem::take(&mut piece.slices).into_iter();
                piece.slices = slices
                    .flat_map(|slice| with_vectors(slice, &known))
                    .collect();
            }
        }
        Ok(compared)
    }

    async fn stored(&self, pieces: &[Piece]) -> anyhow::Result<Stored> {
        let mut ids: Vec<_> = pieces.iter().flat_map(point_ids).collect();
        ids.sort_unstable();
        ids.dedup();
        let points = self.target().get(ids, &FIELDS).await?;
        Ok(points
            .into_iter()
            .map(|point| (id(&point), point))
            .collect())
    }

    fn verdict(&self, piece: &Piece, stored: &Stored, dead: &DeadPoints) -> Verdict {
        let ids = point_ids(piece);
        let mut points = ids.iter().filter_map(|id| stored.get(id));
        if points.any(|point| self.is_newer(point)) {
            return Verdict::Newer;
        }
        let is_dead = |id| {
            let chunk = dead.get(id);
            chunk.is_some_and(|chunk| chunk.version >= self.version)
        };
        if ids.iter().any(is_dead) {
            return Verdict::Dead;
        }
        let version = stored.get(&ids[0]).map(|head| number(head, field::VERSION));
        let same = piece
            .chunks()
            .zip(&ids[1..])
            .all(|((document, chunk), id)| {
                stored.get(id).is_some_and(|point| {
                    version == Some(number(point, field::VERSION))
                        && self.is_same(point, document, chunk)
                })
            });
        if same {
            Verdict::Unchanged
        } else {
            Verdict::Changed
        }
    }

    /// A delete wins at its own version.
    fn is_newer(&self, point: &RetrievedPoint) -> bool {
        let version = number(point, field::VERSION);
        version > self.version || (version == self.version && is_deleted(point))
    }

    fn is_same(&self, point: &RetrievedPoint, document: &Document, chunk: &Chunk) -> bool {
        let fingerprint = self.manifest.fingerprint.as_str();
        !is_deleted(point)
            && number(point, field::CHUNKS) == u64::from(document.total.unwrap_or(0))
            && offset(point, field::START) == chunk.start
            && offset(point, field::END) == chunk.end
            && text(point, field::FINGERPRINT).as_deref() == Some(fingerprint)
            && text(point, field::DIGEST) == Some(chunk.digest().into())
            && is_same_location(location(point), chunk)
            && is_same_meta(&meta(point), &document.meta)
    }
}

/// Ids of the head and of each chunk that is here.
fn point_ids(piece: &Piece) -> Vec<String> {
    let of = |index| point_id(piece.doc_id(), index).to_string();
    let chunks = piece.chunks().map(|(_, chunk)| chunk.index.unwrap_or(0));
    std::iter::once(0).chain(chunks).map(of).collect()
}

fn offset(point: &RetrievedPoint, field: &str) -> Option<u64> {
    let value = point.payload.get(field).and_then(Value::as_integer);
    value.and_then(|value| u64::try_from(value).ok())
}

/// A point without one was written before there were any, or by a worker that knows none: it gets its location with the
/// next change, or with a rebuild.
fn is_same_location(stored: Option<Location>, chunk: &Chunk) -> bool {
    stored.is_none_or(|stored| Some(stored) == chunk.location)
}

/// Where the file lies does not count, and `source` says that unless the document has a field of that name itself.
fn is_same_meta(stored: &Map<String, Json>, source: &Map<String, Json>) -> bool {
    let is_own = [stored, source]
        .iter()
        .any(|meta| meta.contains_key(SOURCE_FILE));
    let is_place = |key: &str| key == SOURCE_FILE || (key == SOURCE && !is_own);
    let keys = stored.keys().chain(source.keys());
    keys.filter(|key| !is_place(key))
        .all(|key| is_same_value(stored.get(key), source.get(key)))
}

/// A value that is not there is `null`.
fn is_same_value(a: Option<&Json>, b: Option<&Json>) -> bool {
    match (a.unwrap_or(&Json::Null), b.unwrap_or(&Json::Null)) {
        (Json::Object(a), Json::Object(b)) => {
            let mut keys = a.keys().chain(b.keys());
            keys.all(|key| is_same_value(a.get(key), b.get(key)))
        }
        (Json::Array(a), Json::Array(b)) => {
            let mut pairs = a.iter().zip(b);
            a.len() == b.len() && pairs.all(|(a, b)| is_same_value(Some(a), Some(b)))
        }
        (Json::Number(a), Json::Number(b)) => is_same_number(a, b),
        (a, b) => a == b,
    }
}

fn is_same_number(a: &Number, b: &Number) -> bool {
    if a == b || (a.is_i64() && b.is_i64()) {
        return a == b;
    }
    let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) else {
        return false;
    };
    (a - b).abs() <= ROUNDING * a.abs().max(b.abs())
}

impl Comparer<'_> {
    /// Vectors that the collection has of the texts of these slices.
    pub async fn known<'a>(
        &self,
        slices: impl Iterator<Item = &'a Document>,
    ) -> anyhow::Result<KnownVectors> {
        let chunks = slices.flat_map(|slice| {
            let chunks = slice.chunks.iter();
            chunks.map(|chunk| (&slice.id, chunk))
        });
        let chunks = chunks.map(|(doc_id, chunk)| {
            let id = point_id(doc_id, chunk.index.unwrap_or(0));
            (id.to_string(), String::from(chunk.digest()))
        });
        let chunks: Vec<_> = chunks.collect();
        let wanted = chunks.iter().map(|(id, digest)| Wanted { id, digest });
        known_vectors::find(
            (self.target(), &self.selection),
            &self.manifest,
            &wanted.collect::<Vec<_>>(),
        )
        .await
    }
}

/// Gives the chunks of a slice their vectors. A chunk with a vector needs no token ids, but may take more room than they
/// did: what does not fit a job any more is cut into smaller slices.
pub fn with_vectors(mut slice: Document, known: &KnownVectors) -> Vec<Document> {
    for chunk in &mut slice.chunks {
        if let Some(vector) = known.vector(chunk.digest().as_str()) {
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
    use serde_json::json;

    use super::*;

    fn is_same(a: Json, b: Json) -> bool {
        match (a, b) {
            (Json::Object(a), Json::Object(b)) => is_same_meta(&a, &b),
            (a, b) => panic!("{a} and {b} are not metadata"),
        }
    }

    #[test]
    fn metadata_is_the_same_when_it_says_the_same() {
        for (a, b) in [
            (
                json!({ "source": "/a/x.md" }),
                json!({ "source": "/b/x.md" }),
            ),
            (
                json!({ "source": "lecture", "source_file": "/a/x.jsonl" }),
                json!({ "source": "lecture", "source_file": "/b/x.jsonl" }),
            ),
            (
                json!({ "n": 0.1 }),
                json!({ "n": 0.100_000_000_000_000_02 }),
            ),
            (json!({ "n": 3 }), json!({ "n": 3.0 })),
            (json!({ "a": null }), json!({})),
            (
                json!({ "a": [{ "b": 1 }] }),
                json!({ "a": [{ "b": 1, "c": null }] }),
            ),
        ] {
            assert!(is_same(a.clone(), b.clone()), "{a} {b}");
        }
    }

    #[test]
    fn metadata_that_says_something_else_is_not_the_same() {
        for (a, b) in [
            (json!({ "title": "A" }), json!({ "title": "B" })),
            (json!({ "title": "A" }), json!({})),
            (
                json!({ "source": "lecture", "source_file": "/a/x.jsonl" }),
                json!({ "source": "seminar", "source_file": "/a/x.jsonl" }),
            ),
            (
                json!({ "source": "/a/x.jsonl" }),
                json!({ "source": "seminar", "source_file": "/a/x.jsonl" }),
            ),
            (
                json!({ "n": 9_007_199_254_740_992_i64 }),
                json!({ "n": 9_007_199_254_740_993_i64 }),
            ),
            (json!({ "n": 0.1 }), json!({ "n": 0.1001 })),
            (json!({ "a": [1, 2] }), json!({ "a": [1] })),
            (json!({ "a": "1" }), json!({ "a": 1 })),
        ] {
            assert!(!is_same(a.clone(), b.clone()), "{a} {b}");
        }
    }

    #[test]
    fn a_location_counts_where_the_point_has_one() {
        let on = |page| Location {
            page: Some(page),
            ..Location::default()
        };
        let chunk = Chunk {
            location: Some(on(2)),
            ..Chunk::default()
        };
        assert!(is_same_location(Some(on(2)), &chunk));
        assert!(!is_same_location(Some(on(1)), &chunk));
        assert!(is_same_location(None, &chunk));
        assert!(!is_same_location(Some(on(1)), &Chunk::default()));
    }

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
