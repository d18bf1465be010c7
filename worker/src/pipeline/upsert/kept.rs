//! Kept: attached vectors that documents have before they are written anew, as where only their metadata have changed.
//!
//! Writing a point takes its attached vectors. A chunk that brings its primary vector is one whose text its publisher has
//! found in the collection, so that its attached vectors are likely to be there too: they are read first, and put back
//! on the same condition as any other addition. What is not found, or does not fit the memory that is meant for it, is
//! computed anew by an attach job; so is what a worker has read that dies before it has put it back.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use contract::digest::Digest;
use contract::job::Item;
use contract::names::CollectionName;
use points::additions::{Addition, AdditionValue, vector_bytes};
use points::refusal::Refusal;
use points::reuse::{Reused, Wanted};
use points::schema::Schema;
use points::selection::VectorSelection;
use points::store::{PointsError, Store};
use points::{Points, point_id};
use qdrant_client::qdrant::{CollectionInfo, Vector};

use crate::batch::Vectors;

/// Points that are looked at together.
const POINTS_PER_LOOK: usize = 128;
/// Bytes of the vectors that are kept of one batch.
const MOST_BYTES: usize = 32 << 20;

/// What a batch writes to a point whose vector it brings.
#[derive(Debug, PartialEq, Eq)]
struct Piece {
    point: String,
    version: u64,
    digest: Digest,
}

/// Attached vectors of the documents of a batch, as they were before the documents are written.
#[derive(Default)]
pub(super) struct PreviousVectors {
    pieces: Vec<Piece>,
    taken: Vec<PreviousVector>,
}

/// The values of one attached vector.
struct PreviousVector {
    name: String,
    /// Fingerprint of the model that made the values.
    fingerprint: Digest,
    /// Each value with the position of its piece.
    vectors: Vec<(usize, Vector)>,
}

/// Points whose attached vectors were put back, by the name of the vector.
#[derive(Debug, Default)]
pub(super) struct Kept(HashMap<String, HashSet<String>>);

impl Kept {
    /// Whether the point of an item has this vector.
    pub(super) fn has(&self, vector: &str, item: &Item) -> bool {
        let points = self.0.get(vector).zip(item.point.as_ref());
        points.is_some_and(|(points, point)| points.contains(point))
    }
}

impl PreviousVectors {
    /// Reads what a batch is about to take from the points of a collection.
    pub(super) async fn before<S: Store>(
        vectors: &Vectors,
        collection: &CollectionName,
        points: Points<'_, S>,
        (info, schema): (&CollectionInfo, &Schema),
    ) -> Result<Self, PointsError> {
        let mut found = Self::default();
        if schema.vectors.attached().next().is_none() {
            return Ok(found);
        }
        found.pieces = pieces(vectors, collection);
        if found.pieces.is_empty() {
            return Ok(found);
        }
        let mut left = MOST_BYTES;
        for attached in schema.vectors.attached() {
            let name = attached.name;
            let selection = VectorSelection::of(info, vec![name.to_owned()]);
            let reused = Reused { name, selection };
            let (mut vectors, mut at) = (Vec::new(), 0);
            while at < found.pieces.len() {
                let most = reused.selection.points_within(left, POINTS_PER_LOOK);
                if most == 0 {
                    break;
                }
                let part = at..found.pieces.len().min(at + most);
                at = part.end;
                let made = found.look(points, &reused, part).await?;
                let bytes: usize = made.iter().map(|it| vector_bytes(&it.1)).sum();
                left = left.saturating_sub(bytes);
                vectors.extend(made);
            }
            if !vectors.is_empty() {
                found.taken.push(PreviousVector {
                    name: name.to_owned(),
                    fingerprint: attached.model.fingerprint.clone(),
                    vectors,
                });
            }
        }
        Ok(found)
    }

    async fn look<S: Store>(
        &self,
        points: Points<'_, S>,
        reused: &Reused<'_>,
        part: Range<usize>,
    ) -> Result<Vec<(usize, Vector)>, PointsError> {
        let wanted = self.pieces[part.clone()].iter().map(|piece| Wanted {
            id: &piece.point,
            digest: piece.digest.as_str(),
        });
        let mut made = points.has_of(reused, wanted).await?;
        let vectors = part.filter_map(|position| {
            let vector = made.remove(&self.pieces[position].point)?;
            Some((position, vector))
        });
        Ok(vectors.collect())
    }

    /// Puts back what is still attached with the same model, when the points are written. A vector that is detached
    /// meanwhile is refused: it gets an attach job like any other, and the worker that takes the job finds the vector gone.
    pub(super) async fn put_back<S: Store>(
        self,
        points: Points<'_, S>,
        schema: &Schema,
    ) -> Result<Kept, PointsError> {
        let mut kept = Kept::default();
        for taken in self.taken {
            let PreviousVector {
                name,
                fingerprint,
                vectors,
            } = taken;
            let attached = schema.vectors.attached_as(&name);
            if attached.is_none_or(|attached| attached.model.fingerprint != fingerprint) {
                continue;
            }
            let addition = |(position, vector)| {
                let piece: &Piece = &self.pieces[position];
                Addition {
                    point: &piece.point,
                    version: Some(piece.version),
                    digest: Some(piece.digest.clone()),
                    head: None,
                    made: AdditionValue::Vector {
                        name: name.clone(),
                        vector,
                    },
                }
            };
            let additions: Vec<_> = vectors.into_iter().map(addition).collect();
            match points.add(&additions, schema.replicas).await {
                Ok(_) => {}
                Err(error) if error.refusal() == Some(Refusal::Content) => continue,
                Err(error) => return Err(error),
            }
            let there = additions.iter().map(|it| it.point.to_owned());
            kept.0.insert(name.clone(), there.collect());
        }
        Ok(kept)
    }
}

/// The points of which a batch brings the vector in what it writes there last: of two writes of a document, the newer one
/// stays, and of two of one version the later one.
fn pieces(vectors: &Vectors, collection: &CollectionName) -> Vec<Piece> {
    let mut last = BTreeMap::<String, (u64, Option<Digest>)>::new();
    for (decoded, embed) in vectors.embeds_of(collection) {
        for document in &embed.documents {
            let version = decoded.version_of(document.version);
            for chunk in &document.chunks {
                let point = point_id(&document.id, chunk.index.unwrap_or(0)).to_string();
                if last.get(&point).is_none_or(|&(there, _)| there <= version) {
                    let digest = chunk.vector.is_some().then(|| chunk.digest());
                    last.insert(point, (version, digest));
                }
            }
        }
    }
    let brought = last.into_iter().filter_map(|(point, (version, digest))| {
        Some(Piece {
            point,
            version,
            digest: digest?,
        })
    });
    brought.collect()
}

#[cfg(test)]
mod tests {
    use contract::job::{Chunk, Document, Embed, Job, KnownVector};

    use super::*;
    use crate::batch::DecodedJob;

    /// A job that writes a document of one chunk.
    fn job(version: u64, text: &str, brings: bool) -> DecodedJob {
        let chunk = Chunk {
            text: text.to_owned(),
            vector: brings.then(|| KnownVector(vec![1.0])),
            ..Chunk::default()
        };
        let document = Document {
            id: "d".to_owned(),
            version: Some(version),
            chunks: vec![chunk],
            ..Document::default()
        };
        let embed = Embed {
            version: contract::job::VERSION.to_owned(),
            collection: Some("docs".parse().unwrap()),
            documents: vec![document],
            ..Embed::default()
        };
        DecodedJob {
            job: Job::Embed(embed),
            default_version: 1,
            truncated: Vec::new(),
            incomplete: None,
        }
    }

    /// The version and the text whose attached vectors a batch is to keep.
    fn kept<const JOBS: usize>(jobs: [(u64, &str, bool); JOBS]) -> Vec<(u64, Digest)> {
        let jobs = jobs.map(|(version, text, brings)| job(version, text, brings));
        let vectors = Vectors {
            jobs: jobs.into(),
            vectors: Vec::new(),
        };
        let found = pieces(&vectors, &"docs".parse().unwrap());
        found
            .into_iter()
            .map(|it| (it.version, it.digest))
            .collect()
    }

    #[test]
    fn of_several_writes_of_a_point_the_last_one_says_what_is_kept() {
        let of = |version, text: &str| vec![(version, Digest::of(text.as_bytes()))];
        assert_eq!(kept([(1, "x", true)]), of(1, "x"));
        assert_eq!(kept([(1, "x", false)]), []);
        // Two changes of metadata that wait together.
        assert_eq!(kept([(1, "x", true), (2, "x", true)]), of(2, "x"));
        // The text that is written last is another one, whose vectors nobody has.
        assert_eq!(kept([(1, "x", true), (2, "y", false)]), []);
        // The older one comes again, behind the newer one.
        assert_eq!(kept([(2, "y", true), (1, "x", true)]), of(2, "y"));
        assert_eq!(kept([(2, "x", true), (2, "y", true)]), of(2, "y"));
    }
}
