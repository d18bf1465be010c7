//! Catch up: carries over what was written to one collection and is not in another.
//!
//! What is due is decided point by point, never by the head alone: a document may be half written when it is looked at,
//! and its parts may lie in both collections when a worker wrote it while the alias was switched. A scan that finds
//! nothing due has seen every point of the first collection, newer than the floor, in the second one, or something
//! newer in its place.
//!
//! **Attached vectors** travel with their points only where the point says that they are of its text
//! ([`points::payload::is_made_of_text`]). A server before 1.19 may show a point that has just been written with the vector of
//! the text before, until the next operation of its writer removes that. Carried over, it would stay in the second
//! collection for ever: the job that makes the right one may have run on the first collection already, and the same version
//! is not due again. What travels without a vector is filled in by the look that follows ([`super::fill`]), or by the job of
//! its write, where that comes later.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, SystemTime};

use contract::field;
use contract::model::Manifest;
use contract::tokenizer::Tokenizer;
use contract::topology::DLQ_MAX_AGE;
use points::Points;
use points::change::Copied;
use points::guard::{Guard, Head, tombstones};
use points::payload::{
    doc_id, id, is_deleted, is_made_of_text, made_of_text, named_vector, number, text, vector,
};
use points::schema::Schema;
use points::selection::VectorSelection;
use qdrant_client::qdrant::{
    Condition, DatetimeRange, Filter, NamedVectors, PointStruct, Range, RetrievedPoint, Vector,
    Vectors, vectors::VectorsOptions,
};

use super::collection::CollectionModel;
use super::ledger::DeadPoints;
use super::reembed::Reembed;
use crate::clock::as_time;
use crate::jobs::publisher::Publisher;
use crate::progress::as_double;

/// The fields that are read of a point.
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

/// The collections between which points are carried over, and which points count as changed.
pub struct CatchUp<'a> {
    pub from: Points<'a>,
    pub to: Points<'a>,
    /// The model of the collection that is written to.
    pub model: CollectionModel,
    /// Whether vectors of the first collection may be taken.
    pub same_model: bool,
    /// Documents that are newer than this version have changed.
    pub floor: u64,
    /// Start of the time in which writes may have been missed. Older versions have changed if they were written since, by
    /// others than `except`.
    pub began: u64,
    /// How far the clocks of workers may be behind.
    pub clock_skew: Duration,
    /// Run whose points are no changes.
    pub except: Option<&'a str>,
    /// Chunks that were published and given up.
    pub dead: &'a DeadPoints,
    /// That model with its tokenizer, where they are at hand; else texts are left to its workers to tokenize.
    pub tokenizing: Option<(&'a Manifest, &'a Tokenizer)>,
}

/// The vectors that are carried over with points.
struct Transferred {
    /// The schema of the collection that is written to.
    schema: Schema,
    /// Attached vectors.
    attached: Vec<String>,
    /// The vectors that are read: these and the primary one.
    selection: VectorSelection,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Documents with anything that was due.
    pub documents: u64,
    pub carried: u64,
    /// Texts that were published to be embedded.
    pub published: u64,
    pub tokens: u64,
    /// Of these, texts that the model does not take whole.
    pub truncated: u64,
    /// Texts that would have to be embedded and are in dead letters.
    pub left: u64,
}

impl Scan {
    pub fn is_clean(&self) -> bool {
        self.carried == 0 && self.published == 0
    }

    pub fn add(&mut self, other: Self) {
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
    pub async fn scan(&self, publisher: &mut Publisher) -> anyhow::Result<Scan> {
        let schema = self.to.schema().await?;
        let attached = self.attached(&schema).await?;
        let names = attached.iter().map(String::as_str);
        let names = names.chain([self.model.model.as_str()]);
        let transferred = Transferred {
            selection: self.from.select(names).await?,
            schema,
            attached,
        };
        let mut pages = self.from.pages(self.changed(), &LOOK, POINTS_PER_PAGE);
        let mut scan = Scan::default();
        while let Some(page) = pages.next().await? {
            scan.add(self.page(&page, publisher, &transferred).await?);
        }
        Ok(scan)
    }

    /// The attached vectors that both collections have by the same model.
    async fn attached(&self, schema: &Schema) -> anyhow::Result<Vec<String>> {
        let from = self.from.schema().await?.vectors;
        let same = schema.vectors.attached().filter(|ours| {
            let theirs = from.attached_as(ours.name);
            theirs.is_some_and(|theirs| theirs.model.fingerprint == ours.model.fingerprint)
        });
        Ok(same.map(|ours| ours.name.to_owned()).collect())
    }

    fn changed(&self) -> Filter {
        // Versions are at most 2^53 - 1, which is exact.
        let floor = as_double(self.floor);
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
            // Points say when they were written in whole seconds.
            must: vec![written_since(
                as_time(self.began) - self.clock_skew - Duration::from_secs(1),
            )],
            must_not: self
                .except
                .map(|run| Condition::matches(field::RUN, run.to_owned()))
                .into_iter()
                .collect(),
            ..Filter::default()
        };
        // Younger tombstones are kept, because a dead letter as old may be replayed.
        let kept_since = as_time(self.began).checked_sub(DLQ_MAX_AGE);
        let removed = Filter::must([
            tombstones(),
            written_since(kept_since.unwrap_or(SystemTime::UNIX_EPOCH)),
        ]);
        Filter::should([
            Condition::range(field::VERSION, newer),
            Condition::from(late),
            Condition::from(removed),
        ])
    }

    async fn page(
        &self,
        found: &[RetrievedPoint],
        publisher: &mut Publisher,
        transferred: &Transferred,
    ) -> anyhow::Result<Scan> {
        let doc_ids: BTreeSet<_> = found.iter().filter_map(doc_id).collect();
        let doc_ids: Vec<_> = doc_ids.into_iter().collect();
        let heads = self.to.heads(&doc_ids).await?;
        let there = self.to.get(found.iter().map(id), &LOOK).await?;
        let there = there.into_iter().map(|it| (id(&it), it));
        let there: HashMap<_, _> = there.collect();
        let due = found.iter().filter(|point| is_due(point, &heads, &there));
        let due: Vec<_> = due.map(id).collect();
        let Transferred {
            selection, schema, ..
        } = transferred;
        let (mut scan, mut documents) = (Scan::default(), BTreeSet::new());
        for ids in due.chunks(selection.points(due.len())) {
            // Read once more, with everything: what has changed meanwhile is carried over as it is now.
            let ids = ids.iter().map(String::as_str);
            let points = self.from.get_with(selection, ids, &[]).await?;
            documents.extend(points.iter().filter_map(doc_id));
            scan.add(self.carry(points, publisher, transferred).await?);
        }
        if !scan.is_clean() {
            scan.documents = documents.len() as u64;
        }
        self.to.clean(&doc_ids, schema).await?;
        Ok(scan)
    }

    async fn carry(
        &self,
        points: Vec<RetrievedPoint>,
        publisher: &mut Publisher,
        transferred: &Transferred,
    ) -> anyhow::Result<Scan> {
        let mut scan = Scan::default();
        let mut drafts = Vec::new();
        for point in points {
            if let Some(draft) = self.draft(&point, &transferred.attached) {
                drafts.push(draft);
                continue;
            }
            if self.is_dead(&point) {
                scan.left += 1;
                continue;
            }
            scan.published += 1;
            let reembed = match self.tokenizing {
                Some((manifest, tokenizer)) => Reembed::of(&point, manifest, tokenizer)?,
                None => Reembed::untokenized(&point),
            };
            scan.tokens += reembed.tokens;
            scan.truncated += u64::from(reembed.truncated);
            publisher.add(vec![reembed.document]).await?;
        }
        scan.carried = drafts.len() as u64;
        self.to.copy(&drafts, &transferred.schema).await?;
        Ok(scan)
    }

    /// The point as it is written to the other collection; `None` if its text has to be embedded by another model.
    fn draft(&self, point: &RetrievedPoint, attached: &[String]) -> Option<Copied> {
        let deleted = is_deleted(point);
        let mut payload = point.payload.clone();
        let vectors = if deleted {
            let fingerprint = self.model.fingerprint.clone();
            payload.insert(field::FINGERPRINT.to_owned(), fingerprint.into());
            NamedVectors::default()
        } else {
            let name = self.model.model.as_str();
            let fingerprint = text(point, field::FINGERPRINT)?;
            if !self.same_model || fingerprint != self.model.fingerprint {
                return None;
            }
            let primary = NamedVectors::default().add_vector(name, vector(point, name)?);
            let brought = brought(point, attached);
            payload.remove(field::ATTACHED);
            let marks = made_of_text(brought.iter().map(|(name, _)| *name));
            payload.extend(marks.map(|marks| (field::ATTACHED.to_owned(), marks)));
            let add = |vectors: NamedVectors, (name, vector)| vectors.add_vector(name, vector);
            brought.into_iter().fold(primary, add)
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

/// The attached vectors of a point that are of its text.
fn brought<'a>(point: &RetrievedPoint, attached: &'a [String]) -> Vec<(&'a str, Vector)> {
    let of_text = attached.iter().filter(|name| is_made_of_text(point, name));
    let vectors = of_text.filter_map(|name| Some((name.as_str(), named_vector(point, name)?)));
    vectors.collect()
}

/// The rank by which one of two points with the same id wins: a delete wins at its own version.
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

#[cfg(test)]
mod tests {
    use contract::field::{ATTACHED, CHUNK, CHUNKS, DELETED, DIGEST, DOC_ID, INDEXED_AT, VERSION};
    use points::point_id;
    use qdrant_client::qdrant::{
        DenseVector, NamedVectorsOutput, PointId, VectorOutput, VectorsOutput, vector_output,
        vectors_output,
    };
    use serde_json::{Value, json};

    use super::*;

    /// Chunk `chunk` of document `a`, of two chunks.
    fn point(chunk: u32, version: u64, other: Value) -> RetrievedPoint {
        let mut payload = json!({
            DOC_ID: "a", VERSION: version, CHUNK: chunk, CHUNKS: 2, DIGEST: "d", INDEXED_AT: "2026-01-01T00:00:00Z",
        });
        let fields = payload.as_object_mut().unwrap();
        fields.extend(other.as_object().cloned().unwrap_or_default());
        let fields = fields.iter().map(|(k, v)| (k.clone(), v.clone().into()));
        RetrievedPoint {
            id: Some(PointId::from(point_id("a", chunk).to_string())),
            payload: fields.collect(),
            ..RetrievedPoint::default()
        }
    }

    fn live(chunk: u32, version: u64) -> RetrievedPoint {
        point(chunk, version, json!({}))
    }

    fn tombstone(version: u64) -> RetrievedPoint {
        point(0, version, json!({ DELETED: true }))
    }

    /// Whether a point is due where the other collection has these points of the same document.
    fn due(new: &RetrievedPoint, there: Vec<RetrievedPoint>) -> bool {
        let heads = there.iter().filter_map(Head::read).collect();
        let there = there.into_iter().map(|it| (id(&it), it)).collect();
        is_due(new, &heads, &there)
    }

    #[test]
    fn what_is_not_there_is_due_and_what_is_there_is_not() {
        assert!(due(&live(0, 5), vec![]));
        assert!(due(&live(1, 5), vec![live(0, 5)]));
        assert!(!due(&live(1, 5), vec![live(0, 5), live(1, 5)]));
    }

    #[test]
    fn the_newer_version_wins() {
        assert!(due(&live(0, 6), vec![live(0, 5)]));
        assert!(!due(&live(0, 5), vec![live(0, 6)]));
        assert!(!due(&live(1, 5), vec![live(0, 6)]), "by the head alone");
    }

    #[test]
    fn a_delete_wins_at_its_own_version_and_not_against_a_newer_one() {
        assert!(due(&tombstone(5), vec![live(0, 5)]));
        assert!(!due(&live(0, 5), vec![tombstone(5)]));
        assert!(!due(&live(1, 5), vec![tombstone(5)]));
        assert!(!due(&tombstone(5), vec![live(0, 6)]));
        assert!(!due(&tombstone(5), vec![tombstone(5)]));
    }

    #[test]
    fn of_two_writes_of_one_version_the_later_wins_with_all_its_chunks() {
        let later = |chunk| {
            let other = json!({ DIGEST: "e", INDEXED_AT: "2026-01-01T00:00:01Z" });
            point(chunk, 5, other)
        };
        assert!(due(&later(0), vec![live(0, 5)]));
        assert!(!due(&live(0, 5), vec![later(0)]));
        let same_text = point(0, 5, json!({ INDEXED_AT: "2026-01-01T00:00:01Z" }));
        assert!(!due(&same_text, vec![live(0, 5)]));
    }

    #[test]
    fn a_chunk_beyond_the_end_of_the_later_document_is_not_due() {
        let shorter = point(0, 5, json!({ CHUNKS: 1 }));
        assert!(!due(&live(1, 5), vec![shorter]));
    }

    #[test]
    fn scans_add_up_and_one_that_has_carried_nothing_is_clean() {
        let one = Scan {
            documents: 1,
            carried: 2,
            published: 3,
            tokens: 4,
            truncated: 5,
            left: 6,
        };
        let mut sum = one;
        sum.add(one);
        assert_eq!((sum.documents, sum.carried, sum.left), (2, 4, 12));
        assert!(!one.is_clean());
        let left = Scan {
            left: 1,
            ..Scan::default()
        };
        assert!(left.is_clean(), "what is left has died already");
    }

    #[test]
    fn an_attached_vector_travels_where_its_point_says_that_it_is_of_its_text() {
        let vector = |number: f32| VectorOutput {
            vector: Some(vector_output::Vector::Dense(DenseVector {
                data: vec![number],
            })),
            ..VectorOutput::default()
        };
        let vectors = [("a", 1.0), ("b", 2.0)].map(|(name, it)| (name.to_owned(), vector(it)));
        let named = NamedVectorsOutput {
            vectors: vectors.into(),
        };
        let point = RetrievedPoint {
            vectors: Some(VectorsOutput {
                vectors_options: Some(vectors_output::VectorsOptions::Vectors(named)),
            }),
            // One may have lost its vector, and one may have that of the text before.
            ..point(0, 5, json!({ ATTACHED: { "a": true, "lost": true } }))
        };
        let all = ["a", "b", "lost"].map(str::to_owned);
        let brought = brought(&point, &all);
        let names: Vec<_> = brought.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["a"]);
    }
}
