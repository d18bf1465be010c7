//! Catch up: carries over what was written to one collection and is not in another.
//!
//! What is due is decided point by point, never by the head alone: a document may be half written when it is looked at,
//! and its parts may lie in both collections when a worker wrote it while the alias was switched. A scan that finds
//! nothing due has seen every point of the first collection, newer than the floor, in the second one, or something
//! newer in its place.

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use contract::field;
use contract::model::Manifest;
use contract::tokenizer::Tokenizer;
use points::Points;
use points::change::Copied;
use points::guard::{Guard, Head};
use points::payload::{doc_id, id, is_deleted, number, text, vector};
use qdrant_client::qdrant::{
    Condition, DatetimeRange, Filter, NamedVectors, PointStruct, Range, RetrievedPoint, Vectors,
    vectors::VectorsOptions,
};

use super::balance::DeadPoints;
use super::publish::Publisher;
use crate::carry_over::Space;

mod again;

pub(crate) use again::{Again, meta};

/// What is looked at of a point.
const LOOK: [&str; 7] = [
    field::DOC_ID,
    field::VERSION,
    field::DELETED,
    field::CHUNK,
    field::CHUNKS,
    field::DIGEST,
    field::INDEXED_AT,
];
/// Points of one page.
const POINTS_PER_PAGE: u32 = 256;

/// From where to where, and what counts as changed.
pub(crate) struct CatchUp<'a> {
    pub(crate) from: Points<'a>,
    pub(crate) to: Points<'a>,
    /// The model of the collection that is written to.
    pub(crate) space: Space,
    /// Whether vectors of the first collection may be taken.
    pub(crate) same_model: bool,
    /// Documents that are newer than this version have changed.
    pub(crate) floor: u64,
    /// Older versions have changed if they were written since, by others than `except`.
    pub(crate) since: SystemTime,
    /// Run whose points are no changes.
    pub(crate) except: Option<&'a str>,
    /// Tombstones that were written since are kept, because a dead letter as old may be replayed.
    pub(crate) tombstones_since: SystemTime,
    /// Chunks that were published and given up.
    pub(crate) dead: &'a DeadPoints,
    /// That model with its tokenizer, where they are at hand; else texts are left to its workers to tokenize.
    pub(crate) again: Option<(&'a Manifest, &'a Tokenizer)>,
}

/// What a scan did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Documents with anything that was due.
    pub(crate) documents: u64,
    /// Points that were written.
    pub(crate) carried: u64,
    /// Texts that were published to be embedded.
    pub(crate) published: u64,
    /// Their tokens.
    pub(crate) tokens: u64,
    /// Of these, texts that the model does not take whole.
    pub(crate) truncated: u64,
    /// Texts that would have to be embedded and are in dead letters.
    pub(crate) left: u64,
}

impl Scan {
    /// Whether nothing was due.
    pub(crate) fn is_clean(&self) -> bool {
        self.carried == 0 && self.published == 0
    }

    /// Adds another scan.
    pub(crate) fn add(&mut self, other: Self) {
        self.documents += other.documents;
        self.carried += other.carried;
        self.published += other.published;
        self.tokens += other.tokens;
        self.truncated += other.truncated;
        self.left += other.left;
    }
}

impl CatchUp<'_> {
    /// Looks at all that has changed and carries over what is due.
    pub(crate) async fn scan(&self, publisher: &mut Publisher) -> anyhow::Result<Scan> {
        let mut pages = self.from.pages(self.changed(), &LOOK, POINTS_PER_PAGE);
        let mut scan = Scan::default();
        while let Some(page) = pages.next().await? {
            scan.add(self.page(&page, publisher).await?);
        }
        Ok(scan)
    }

    fn changed(&self) -> Filter {
        #[expect(
            clippy::cast_precision_loss,
            reason = "versions are at most 2^53 - 1, which is exact"
        )]
        let floor = self.floor as f64;
        let newer = Range {
            gt: Some(floor),
            ..Range::default()
        };
        let written_since = |time: SystemTime| {
            let range = DatetimeRange {
                gte: Some(time.into()),
                ..DatetimeRange::default()
            };
            Condition::datetime_range(field::INDEXED_AT, range)
        };
        let late = Filter {
            must: vec![written_since(self.since)],
            must_not: self
                .except
                .map(|run| Condition::matches(field::RUN, run.to_owned()))
                .into_iter()
                .collect(),
            ..Filter::default()
        };
        let tombstones = Filter::must([
            Condition::matches(field::DELETED, true),
            written_since(self.tombstones_since),
        ]);
        Filter::should([
            Condition::range(field::VERSION, newer),
            Condition::from(late),
            Condition::from(tombstones),
        ])
    }

    async fn page(
        &self,
        found: &[RetrievedPoint],
        publisher: &mut Publisher,
    ) -> anyhow::Result<Scan> {
        let doc_ids: BTreeSet<_> = found.iter().filter_map(doc_id).collect();
        let doc_ids: Vec<_> = doc_ids.into_iter().collect();
        let heads = self.to.heads(&doc_ids).await?;
        let there = self.to.get(found.iter().map(id), &LOOK, false).await?;
        let there = there.into_iter().map(|it| (id(&it), it));
        let there: HashMap<_, _> = there.collect();
        let due = found.iter().filter(|point| is_due(point, &heads, &there));
        // Read once more, with everything: what has changed meanwhile is carried over as it is now.
        let points = self.from.get(due.map(id), &[], true).await?;
        let scan = self.carry(points, publisher).await?;
        self.to.clean(&doc_ids).await?;
        Ok(scan)
    }

    async fn carry(
        &self,
        points: Vec<RetrievedPoint>,
        publisher: &mut Publisher,
    ) -> anyhow::Result<Scan> {
        let documents: BTreeSet<_> = points.iter().filter_map(doc_id).collect();
        let mut scan = Scan::default();
        let mut drafts = Vec::new();
        for point in points {
            if let Some(draft) = self.draft(&point) {
                drafts.push(draft);
                continue;
            }
            if self.is_dead(&point) {
                scan.left += 1;
                continue;
            }
            scan.published += 1;
            let again = match self.again {
                Some((manifest, tokenizer)) => Again::of(&point, manifest, tokenizer)?,
                None => Again::untokenized(&point),
            };
            scan.tokens += again.tokens;
            scan.truncated += u64::from(again.truncated);
            publisher.add(vec![again.document]).await?;
        }
        scan.carried = drafts.len() as u64;
        if !scan.is_clean() {
            scan.documents = documents.len() as u64;
        }
        self.to.copy(&drafts).await?;
        Ok(scan)
    }

    /// The same point for the other collection; `None` if its text has to be embedded by another model.
    fn draft(&self, point: &RetrievedPoint) -> Option<Copied> {
        let deleted = is_deleted(point);
        let mut payload = point.payload.clone();
        let vectors = if deleted {
            let fingerprint = self.space.fingerprint.clone();
            payload.insert(field::FINGERPRINT.to_owned(), fingerprint.into());
            NamedVectors::default()
        } else {
            let name = self.space.model.as_str();
            let fingerprint = text(point, field::FINGERPRINT)?;
            if !self.same_model || fingerprint != self.space.fingerprint {
                return None;
            }
            NamedVectors::default().add_vector(name, vector(point, name)?)
        };
        let vectors = Vectors {
            vectors_options: Some(VectorsOptions::Vectors(vectors)),
        };
        Some(Copied {
            guard: Guard {
                version: number(point, field::VERSION),
                deletes: deleted,
            },
            point: PointStruct::new(id(point), vectors, payload),
        })
    }

    fn is_dead(&self, point: &RetrievedPoint) -> bool {
        let dead = self.dead.get(&id(point));
        dead.is_some_and(|dead| dead.version >= number(point, field::VERSION))
    }
}

/// What decides which of two points with the same id wins: a delete wins at its own version.
fn rank(point: &RetrievedPoint) -> (u64, bool) {
    (number(point, field::VERSION), is_deleted(point))
}

/// Whether the other collection has neither this point, nor anything newer instead. Who writes a document again under the
/// same version means the later one: its head is due first, and then the chunks that only the later one has.
fn is_due(
    point: &RetrievedPoint,
    heads: &HashMap<String, Head>,
    there: &HashMap<String, RetrievedPoint>,
) -> bool {
    let (version, deleted) = rank(point);
    let head = doc_id(point).and_then(|doc_id| heads.get(&doc_id));
    let beyond = |head: &Head| !deleted && number(point, field::CHUNK) >= u64::from(head.chunks);
    let superseded = head.is_some_and(|head| {
        let same = head.version == version && ((head.deleted && !deleted) || beyond(head));
        head.version > version || same
    });
    let is_older = |there: &RetrievedPoint| {
        let same = rank(there) == (version, deleted);
        rank(there) < (version, deleted) || (same && is_rewritten(there, point))
    };
    !superseded && there.get(&id(point)).is_none_or(is_older)
}

/// Whether `new` is another text, or of a document of another length, and was written later.
fn is_rewritten(old: &RetrievedPoint, new: &RetrievedPoint) -> bool {
    let content = |point| (number(point, field::CHUNKS), text(point, field::DIGEST));
    content(old) != content(new) && text(old, field::INDEXED_AT) < text(new, field::INDEXED_AT)
}
