//! Additions: what models make of points that are there, scores and attached vectors, written beside their documents.
//!
//! An addition goes to its point only while that has the version that was read, and touches nothing else of it. A point of
//! a newer version, or a tombstone, has superseded it; so has the same version with another text, where a publisher has used
//! that version twice. The point of a vector may also not be there *yet*, where its job has
//! overtaken what it is about: the head of the document tells that apart, and whoever has the job gives it back for a
//! while.
//!
//! Scores select their point by a filter, which matches nothing where it is missing. Vectors name it, and a server refuses
//! a request that names a point which is not there: so points are looked at first, and once more where one has gone since.

use std::collections::HashMap;

use contract::digest::Digest;
use contract::field;
use contract::score::ScoreField;
use qdrant_client::qdrant::points_update_operation::{Operation, SetPayload, UpdateVectors};
use qdrant_client::qdrant::{
    Condition, Filter, NamedVectors, PointId, PointVectors, RetrievedPoint, Value, Vector, vector,
};
use runtime::failpoint;

use crate::Points;
use crate::guard::{Guard, tombstones};
use crate::payload::{is_deleted, number, text};
use crate::refusal::Refusal;
use crate::replicas::Replicas;
use crate::store::{PointsError, Store, selector};

/// Points of one request.
const POINTS_PER_REQUEST: usize = 128;
/// Bytes of the vectors of one request: one of many tokens is large.
const BYTES_PER_REQUEST: usize = 4 << 20;
/// Looks at points that keep going while they are written.
const MOST_LOOKS: usize = 8;

/// What a model has made of one point.
#[derive(Clone, Debug)]
pub struct Addition<'a> {
    /// Id of the point.
    pub point: &'a str,
    /// Version that was read; `None` where whatever the point has takes it.
    pub version: Option<u64>,
    /// Digest of the text that was read; `None` where whatever text the point has takes it. A point without a digest takes
    /// it, and a score is not asked for its text.
    pub digest: Option<Digest>,
    /// Id of the point that is the head of the document, where something may come later.
    pub head: Option<&'a str>,
    /// What is written.
    pub made: Made,
}

/// What is written, and where.
#[derive(Clone, Debug)]
pub enum Made {
    /// A field of the payload.
    Score {
        /// Its path.
        field: ScoreField,
        /// A number, or one for each label.
        value: serde_json::Value,
    },
    /// A vector.
    Vector {
        /// Its name.
        name: String,
        /// The vector.
        vector: Vector,
    },
}

/// What became of additions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Sent to points that had the version, as far as that was looked at.
    pub written: usize,
    /// Not written, because something newer is there, or nothing any more.
    pub superseded: usize,
    /// Not written, because the version is not there yet.
    pub early: usize,
}

/// How a point stands to what is to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Due,
    Superseded,
    Early,
}

/// What a point that is there says of the write that it is from.
#[derive(Clone, Debug)]
struct Found {
    guard: Guard,
    digest: Option<String>,
}

impl<S: Store> Points<'_, S> {
    /// Writes additions one request after the other: a later one of the same place wins. While Qdrant leaves a replica out,
    /// the last question fails.
    ///
    /// # Errors
    /// [`PointsError`]; a part may have been written, and writing all of it again is harmless.
    pub async fn add(
        self,
        additions: &[Addition<'_>],
        replicas: Replicas,
    ) -> Result<Added, PointsError> {
        let most = self.limits().await?.upsert(POINTS_PER_REQUEST);
        let mut sum = Added::default();
        let mut rest = additions;
        while !rest.is_empty() {
            let (part, others) = rest.split_at(first_request(rest, most));
            let added = self.add_part(part).await?;
            sum.written += added.written;
            sum.superseded += added.superseded;
            sum.early += added.early;
            rest = others;
            failpoint::pass("after-additions");
        }
        if replicas.are_several() {
            self.ask_all_replicas().await?;
        }
        Ok(sum)
    }

    async fn add_part(self, part: &[Addition<'_>]) -> Result<Added, PointsError> {
        let mut looks = 1;
        loop {
            let standings = self.standings(part).await?;
            let due = part.iter().zip(&standings);
            let due = due.filter(|(_, standing)| **standing == Standing::Due);
            let due: Vec<_> = due.map(|(addition, _)| addition).collect();
            let written = self.update("add to points of", operations(&due)).await;
            match written {
                Err(error) if error.refusal() == Some(Refusal::Missing) && looks < MOST_LOOKS => {
                    looks += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    let count = |wanted| standings.iter().filter(|it| **it == wanted).count();
                    return Ok(Added {
                        written: due.len(),
                        superseded: count(Standing::Superseded),
                        early: count(Standing::Early),
                    });
                }
            }
        }
    }

    /// How the point of each addition stands. Those of scores are not looked at.
    async fn standings(self, part: &[Addition<'_>]) -> Result<Vec<Standing>, PointsError> {
        let looked_at = part.iter().filter(|it| it.is_looked_at());
        let there = self.found(looked_at.map(|it| it.point)).await?;
        let unclear = part.iter().filter(|it| {
            let found = there.get(&point_id(it.point));
            it.is_looked_at() && it.standing(found, None) == Standing::Early
        });
        let heads = self.found(unclear.filter_map(|it| it.head)).await?;
        let standing = |it: &Addition<'_>| {
            if !it.is_looked_at() {
                return Standing::Due;
            }
            let head = it.head.and_then(|head| heads.get(&point_id(head)));
            it.standing(there.get(&point_id(it.point)), head)
        };
        Ok(part.iter().map(standing).collect())
    }

    /// What has written these points, of those that are there.
    async fn found(
        self,
        ids: impl Iterator<Item = &str>,
    ) -> Result<HashMap<PointId, Found>, PointsError> {
        let fields = [field::VERSION, field::DELETED, field::DIGEST];
        let points = self.get(ids.map(point_id), &fields, false).await?;
        let found = |point: RetrievedPoint| {
            let found = Found {
                guard: Guard {
                    version: number(&point, field::VERSION),
                    deletes: is_deleted(&point),
                },
                digest: text(&point, field::DIGEST),
            };
            Some((point.id?, found))
        };
        Ok(points.into_iter().filter_map(found).collect())
    }
}

impl Addition<'_> {
    fn is_looked_at(&self) -> bool {
        matches!(self.made, Made::Vector { .. })
    }

    /// How it stands to its point and the head of its document, where they are there.
    fn standing(&self, there: Option<&Found>, head: Option<&Found>) -> Standing {
        let wanted = self.version.map(|version| Guard {
            version,
            deletes: false,
        });
        let is_newer = |it: &Found| wanted.is_some_and(|wanted| it.guard > wanted);
        match (there, wanted) {
            (Some(found), None) if found.guard.deletes => Standing::Superseded,
            (Some(_), Some(_)) if failpoint::skips("addition-guard") => Standing::Due,
            (Some(found), wanted) if wanted.is_none_or(|wanted| wanted == found.guard) => {
                match self.is_of_text_of(found) {
                    true => Standing::Due,
                    false => Standing::Superseded,
                }
            }
            (Some(found), _) if is_newer(found) => Standing::Superseded,
            _ if head.is_some_and(is_newer) => Standing::Superseded,
            (None, _) if self.head.is_none() => Standing::Superseded,
            (Some(_) | None, _) => Standing::Early,
        }
    }

    /// Whether it was made of the text that the point has, as far as both are known.
    fn is_of_text_of(&self, found: &Found) -> bool {
        let both = self.digest.as_ref().zip(found.digest.as_ref());
        both.is_none_or(|(ours, theirs)| ours.as_str() == theirs)
    }

    /// The text that its point must have, as one of the conditions of a request of which one must hold for each point.
    fn text(&self) -> Option<Condition> {
        let digest = self.digest.as_ref()?;
        let text = Filter::must([
            Condition::has_id([point_id(self.point)]),
            Condition::matches(field::DIGEST, digest.to_string()),
        ]);
        Some(Condition::from(text))
    }

    /// The versions that it may be written to.
    fn versions(&self) -> Vec<Condition> {
        if failpoint::skips("addition-guard") {
            return Vec::new();
        }
        let version = self.version.map(|it| i64::try_from(it).unwrap_or(i64::MAX));
        let version = version.map(|version| Condition::matches(field::VERSION, version));
        version.into_iter().collect()
    }

    /// About how much memory it takes in a request.
    fn bytes(&self) -> usize {
        match &self.made {
            Made::Score { .. } => 0,
            Made::Vector { vector, .. } => match &vector.vector {
                Some(vector::Vector::Dense(dense)) => size_of_val(dense.data.as_slice()),
                Some(vector::Vector::Sparse(sparse)) => 2 * size_of_val(sparse.values.as_slice()),
                Some(vector::Vector::MultiDense(multi)) => {
                    let vectors = multi.vectors.iter();
                    vectors.map(|it| size_of_val(it.data.as_slice())).sum()
                }
                Some(_) | None => 0,
            },
        }
    }
}

/// How many additions at the beginning go into one request.
fn first_request(additions: &[Addition<'_>], most: usize) -> usize {
    let mut bytes = 0;
    let fits = |addition: &&Addition<'_>| {
        bytes += addition.bytes();
        bytes <= BYTES_PER_REQUEST
    };
    additions.iter().take(most).take_while(fits).count().max(1)
}

/// Vectors of one name and one version are one operation; so is each score. Those whose text does not matter travel apart
/// from the others, whose operation names the text of each point.
fn operations(additions: &[&Addition<'_>]) -> Vec<Operation> {
    let mut operations: Vec<Operation> = Vec::new();
    let mut last: Option<(&str, Option<u64>, bool)> = None;
    for addition in additions {
        match &addition.made {
            Made::Score { field, value } => {
                operations.push(set_field(addition, field, value));
                last = None;
            }
            Made::Vector { name, vector } => {
                let point = PointVectors {
                    id: Some(point_id(addition.point)),
                    vectors: Some(
                        NamedVectors::default()
                            .add_vector(name, vector.clone())
                            .into(),
                    ),
                };
                let text = addition
                    .text()
                    .filter(|_| !failpoint::skips("addition-guard"));
                let group = (name.as_str(), addition.version, text.is_some());
                match operations.last_mut() {
                    Some(Operation::UpdateVectors(update)) if last == Some(group) => {
                        update.points.push(point);
                        let filter = update.update_filter.get_or_insert_default();
                        filter.should.extend(text);
                    }
                    _ => operations.push(Operation::UpdateVectors(UpdateVectors {
                        points: vec![point],
                        update_filter: Some(guarded_with(addition.versions(), text)),
                        ..UpdateVectors::default()
                    })),
                }
                last = Some(group);
            }
        }
    }
    operations
}

/// Sets one field of the point and leaves the rest of its payload, and its vectors, alone. A selection by filter creates no
/// point, and does not fail if the point is missing.
fn set_field(addition: &Addition<'_>, field: &ScoreField, value: &serde_json::Value) -> Operation {
    let (above, name) = field.split();
    let mut must = vec![Condition::has_id([point_id(addition.point)])];
    must.extend(addition.versions());
    Operation::SetPayload(SetPayload {
        payload: [(name.to_owned(), Value::from(value.clone()))].into(),
        points_selector: Some(selector(guarded(must))),
        key: above.map(str::to_owned),
        ..SetPayload::default()
    })
}

/// As [`guarded`]; and where a text is asked for, points have it or no digest of any.
fn guarded_with(must: Vec<Condition>, text: Option<Condition>) -> Filter {
    let unknown = text.is_some().then(|| Condition::is_empty(field::DIGEST));
    Filter {
        should: unknown.into_iter().chain(text).collect(),
        ..guarded(must)
    }
}

fn guarded(must: Vec<Condition>) -> Filter {
    Filter {
        must,
        must_not: vec![tombstones()],
        ..Filter::default()
    }
}

/// Others than Ebb may have written a point, whose id may be a number.
fn point_id(id: &str) -> PointId {
    match id.parse::<u64>() {
        Ok(number) => PointId::from(number),
        Err(_) => PointId::from(id),
    }
}

#[cfg(test)]
mod tests;
