//! Additions: what models make of points that are there, scores and attached vectors, written beside their documents.
//!
//! An addition goes to its point only while that has the version that was read, and touches nothing else of it. A point of
//! a newer version, or a tombstone, has superseded it; so has the same version with another text, where a publisher has used
//! that version twice. The point of a vector may also not be there *yet*, where its job has
//! overtaken what it is about: the head of the document tells that apart, and whoever has the job gives it back for a
//! while.
//!
//! **What a vector was made of** is said by its point: its payload takes a mark under [`field::ATTACHED`] right after the
//! vector, on the same condition. Whoever writes the point anew replaces its payload in one step, and the mark with it,
//! whereas a server may keep the vector for a moment (see [`crate::point`]). So a vector with its mark is of the text that the
//! same read finds, whenever it is read, and whoever takes over vectors takes no other
//! ([`crate::reuse`]). The mark of a vector of which nobody has said what text it was made of is false. Two cases are left, both
//! between the requests of one addition: a version that is used for one text, another one and the first one again; and somebody
//! else who writes this vector to this point at the same time without saying its text.
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
use crate::store::{BYTES_PER_REQUEST, POINTS_PER_REQUEST, PointsError, Store, selector};

/// Conditions of the filter of some additions, for each of them: two of its own, and four of all together, so that with one
/// it has six.
const CONDITIONS_OF_AN_ADDITION: usize = 6;
/// Looks at points that keep going while they are written.
const MOST_LOOKS: usize = 8;

/// The result of a model for one point, which is added to the point.
#[derive(Clone, Debug)]
pub struct Addition<'a> {
    /// Id of the point.
    pub point: &'a str,
    /// Version that was read; `None` where whatever the point has takes it.
    pub version: Option<u64>,
    /// Digest of the text that was read; `None` where whatever text the point has takes it. A point without a digest takes
    /// it.
    pub digest: Option<Digest>,
    /// Id of the point that is the head of the document, where something may come later.
    pub head: Option<&'a str>,
    pub made: AdditionValue,
}

/// The value that is added to a point, with its field or vector.
#[derive(Clone, Debug)]
pub enum AdditionValue {
    /// A field of the payload.
    Score {
        field: ScoreField,
        /// A number, or one for each label.
        value: serde_json::Value,
    },
    Vector {
        name: String,
        vector: Vector,
    },
}

/// Counts of additions by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Sent to points that had the version, as far as that was looked at.
    pub written: usize,
    /// Not written, because something newer is there, or nothing any more.
    pub superseded: usize,
    /// Not written, because the version is not there yet.
    pub early: usize,
}

/// Whether a point may take an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PointState {
    Due,
    Superseded,
    Early,
}

/// What a point in the collection says of the write that made it.
#[derive(Clone, Debug)]
struct ExistingPoint {
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
        let limits = self.limits().await?;
        let most = limits.selected(limits.upsert(POINTS_PER_REQUEST));
        let most = limits.filters(most, CONDITIONS_OF_AN_ADDITION);
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
            let states = self.states_of(part).await?;
            let due = part.iter().zip(&states);
            let due = due.filter(|(_, state)| **state == PointState::Due);
            let due: Vec<_> = due.map(|(addition, _)| addition).collect();
            let written = self.update("add to points of", operations(&due)).await;
            match written {
                Err(error) if error.refusal() == Some(Refusal::Missing) && looks < MOST_LOOKS => {
                    looks += 1;
                }
                Err(error) => return Err(error),
                Ok(()) => {
                    let count = |wanted| states.iter().filter(|it| **it == wanted).count();
                    return Ok(Added {
                        written: due.len(),
                        superseded: count(PointState::Superseded),
                        early: count(PointState::Early),
                    });
                }
            }
        }
    }

    /// How the point of each addition stands. Those of scores are not looked at.
    async fn states_of(self, part: &[Addition<'_>]) -> Result<Vec<PointState>, PointsError> {
        let looked_at = part.iter().filter(|it| it.is_looked_at());
        let there = self.found(looked_at.map(|it| it.point)).await?;
        let unclear = part.iter().filter(|it| {
            let found = there.get(&point_id(it.point));
            it.is_looked_at() && it.state(found, None) == PointState::Early
        });
        let heads = self.found(unclear.filter_map(|it| it.head)).await?;
        let state_of = |it: &Addition<'_>| {
            if !it.is_looked_at() {
                return PointState::Due;
            }
            let head = it.head.and_then(|head| heads.get(&point_id(head)));
            it.state(there.get(&point_id(it.point)), head)
        };
        Ok(part.iter().map(state_of).collect())
    }

    /// The writes that these points are from, as far as the points exist.
    async fn found(
        self,
        ids: impl Iterator<Item = &str>,
    ) -> Result<HashMap<PointId, ExistingPoint>, PointsError> {
        let fields = [field::VERSION, field::DELETED, field::DIGEST];
        let points = self.get(ids.map(point_id), &fields).await?;
        let found = |point: RetrievedPoint| {
            let found = ExistingPoint {
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
        matches!(self.made, AdditionValue::Vector { .. })
    }

    /// How it stands to its point and the head of its document, where they are there.
    fn state(&self, there: Option<&ExistingPoint>, head: Option<&ExistingPoint>) -> PointState {
        let wanted = self.version.map(|version| Guard {
            version,
            deletes: false,
        });
        let is_newer = |it: &ExistingPoint| wanted.is_some_and(|wanted| it.guard > wanted);
        match (there, wanted) {
            (Some(found), None) if found.guard.deletes => PointState::Superseded,
            (Some(_), Some(_)) if failpoint::skips("addition-guard") => PointState::Due,
            (Some(found), wanted) if wanted.is_none_or(|wanted| wanted == found.guard) => {
                match self.is_of_text_of(found) {
                    true => PointState::Due,
                    false => PointState::Superseded,
                }
            }
            (Some(found), _) if is_newer(found) => PointState::Superseded,
            _ if head.is_some_and(is_newer) => PointState::Superseded,
            (None, _) if self.head.is_none() => PointState::Superseded,
            (Some(_) | None, _) => PointState::Early,
        }
    }

    /// Whether it was made of the text that the point has, as far as both are known.
    fn is_of_text_of(&self, found: &ExistingPoint) -> bool {
        let both = self.digest.as_ref().zip(found.digest.as_ref());
        both.is_none_or(|(ours, theirs)| ours.as_str() == theirs)
    }

    /// The text that its point must have.
    fn text(&self) -> Option<Condition> {
        let digest = self.digest.as_ref()?;
        Some(Condition::matches(field::DIGEST, digest.to_string()))
    }

    /// The condition that a point has this text, as one of several of which one must hold for each point.
    fn text_of_point(&self) -> Option<Condition> {
        let own = Condition::has_id([point_id(self.point)]);
        Some(Condition::from(Filter::must([own, self.text()?])))
    }

    /// Its vector, if it is one.
    fn vector(&self) -> Option<PointVectors> {
        let AdditionValue::Vector { name, vector } = &self.made else {
            return None;
        };
        let named = NamedVectors::default().add_vector(name, vector.clone());
        Some(PointVectors {
            id: Some(point_id(self.point)),
            vectors: Some(named.into()),
        })
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
            AdditionValue::Score { .. } => 0,
            AdditionValue::Vector { vector, .. } => vector_bytes(vector),
        }
    }
}

/// About how much memory a vector takes.
#[must_use]
pub fn vector_bytes(vector: &Vector) -> usize {
    match &vector.vector {
        Some(vector::Vector::Dense(dense)) => size_of_val(dense.data.as_slice()),
        Some(vector::Vector::Sparse(sparse)) => 2 * size_of_val(sparse.values.as_slice()),
        Some(vector::Vector::MultiDense(multi)) => {
            let vectors = multi.vectors.iter();
            vectors.map(|it| size_of_val(it.data.as_slice())).sum()
        }
        Some(_) | None => 0,
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

/// Additions that are one operation: a score, or vectors of one name and one version. Those whose text does not matter travel
/// apart from the others, whose operation names the text of each point.
struct Group<'a> {
    first: &'a Addition<'a>,
    rest: Vec<&'a Addition<'a>>,
}

impl<'a> Group<'a> {
    fn takes(&self, other: &Addition<'_>) -> bool {
        let key = |addition: &Addition<'_>| match &addition.made {
            AdditionValue::Score { .. } => None,
            AdditionValue::Vector { name, .. } => {
                Some((name.clone(), addition.version, addition.digest.is_some()))
            }
        };
        key(self.first).is_some_and(|own| key(other) == Some(own))
    }

    fn all(&self) -> impl Iterator<Item = &'a Addition<'a>> {
        std::iter::once(self.first).chain(self.rest.iter().copied())
    }

    /// The version and the texts that its points must have.
    fn guard(&self) -> Filter {
        let texts = self
            .all()
            .filter_map(|addition| match self.rest.is_empty() {
                true => addition.text(),
                false => addition.text_of_point(),
            });
        let texts = texts.filter(|_| !failpoint::skips("addition-guard"));
        let mut should: Vec<_> = texts.collect();
        if !should.is_empty() {
            should.insert(0, Condition::is_empty(field::DIGEST));
        }
        Filter {
            must: self.first.versions(),
            must_not: vec![tombstones()],
            should,
            ..Filter::default()
        }
    }

    /// The filter for exactly these points.
    fn selector(&self) -> Filter {
        let guard = self.guard();
        let points = self.all().map(|addition| point_id(addition.point));
        let points = Condition::has_id(points.collect::<Vec<_>>());
        Filter {
            must: std::iter::once(points).chain(guard.must).collect(),
            ..guard
        }
    }

    fn operations(&self) -> Vec<Operation> {
        match &self.first.made {
            AdditionValue::Score { field, value } => {
                let (above, name) = field.split();
                vec![self.set(above, name, Value::from(value.clone()))]
            }
            AdditionValue::Vector { name, .. } => {
                let update = Operation::UpdateVectors(UpdateVectors {
                    points: self.all().filter_map(Addition::vector).collect(),
                    update_filter: Some(self.guard()),
                    ..UpdateVectors::default()
                });
                let mark = |is_known| self.set(Some(field::ATTACHED), name, Value::from(is_known));
                // The mark of the vector before, which is of another text, goes first.
                match self.first.digest.is_some() {
                    true => vec![update, mark(true)],
                    false => vec![mark(false), update],
                }
            }
        }
    }

    /// Sets one field of the points and leaves the rest of their payload, and their vectors, alone. A selection by filter
    /// creates no point, and does not fail if one is missing.
    fn set(&self, above: Option<&str>, name: &str, value: Value) -> Operation {
        Operation::SetPayload(SetPayload {
            payload: [(name.to_owned(), value)].into(),
            points_selector: Some(selector(self.selector())),
            key: above.map(str::to_owned),
            ..SetPayload::default()
        })
    }
}

fn operations(additions: &[&Addition<'_>]) -> Vec<Operation> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for addition in additions {
        match groups.last_mut() {
            Some(group) if group.takes(addition) => group.rest.push(addition),
            _ => groups.push(Group {
                first: addition,
                rest: Vec::new(),
            }),
        }
    }
    groups.iter().flat_map(Group::operations).collect()
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
