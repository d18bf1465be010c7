//! Guard: who wins. The head of a document (chunk 0) carries its version, and the filters here let a write replace, or
//! remove, only what is older.

use contract::field;
use qdrant_client::qdrant::{Condition, Filter, PointId, Range, RetrievedPoint};
use runtime::failpoint;

use crate::payload::{doc_id, is_deleted, number};

/// What the head of a document says about the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Version of the document.
    pub version: u64,
    /// How many chunks it has, 0 for a tombstone.
    pub chunks: u32,
    /// Whether the document is deleted.
    pub deleted: bool,
}

/// Who writes: decides which points may be replaced. The older one comes first, and of one version the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guard {
    /// Version of the document.
    pub version: u64,
    /// Whether a tombstone is written. A delete wins at its own version: it removes that version and all before it.
    pub deletes: bool,
}

impl Head {
    /// Fields that must be asked for to read a head.
    pub const FIELDS: [&str; 4] = [field::DOC_ID, field::VERSION, field::CHUNKS, field::DELETED];

    /// Reads a head with the id of its document. A point that Ebb did not write has none, or version 0.
    #[must_use]
    pub fn read(point: &RetrievedPoint) -> Option<(String, Self)> {
        let head = Self {
            version: number(point, field::VERSION),
            chunks: u32::try_from(number(point, field::CHUNKS)).unwrap_or(0),
            deleted: is_deleted(point),
        };
        Some((doc_id(point)?, head))
    }

    /// The points that the document must not have, whatever is written at the same time: those of older versions, and
    /// of a deleted document all but the head.
    #[must_use]
    pub fn overtaken(&self, doc_id: &str) -> Filter {
        if self.deleted {
            body_up_to(doc_id, self.version)
        } else {
            older_than(doc_id, self.version)
        }
    }

    /// The points that the document must not have once all of its version is written: as [`Head::overtaken`], and those
    /// of its own version beyond its end.
    #[must_use]
    pub fn obsolete(&self, doc_id: &str) -> Filter {
        if self.deleted {
            body_up_to(doc_id, self.version)
        } else {
            obsolete(doc_id, self.version, self.chunks)
        }
    }
}

impl Guard {
    /// Whether a document with this head must not be changed any more.
    #[must_use]
    pub fn is_superseded_by(self, head: &Head) -> bool {
        let tombstone_wins = head.deleted && !self.deletes && head.version == self.version;
        head.version > self.version || tombstone_wins
    }

    /// Existing points that may be replaced: the same or an older version, and points without one. Qdrant compares as
    /// doubles, which is exact up to [`contract::job::MAX_VERSION`].
    #[must_use]
    pub fn filter(self) -> Filter {
        if failpoint::skips("version-guard") {
            return Filter::default();
        }
        let not_newer = not_newer_than(self.version);
        if self.deletes {
            return not_newer;
        }
        let tombstone = Filter::must([
            Condition::matches(field::DELETED, true),
            version(Range {
                gte: Some(as_double(self.version)),
                ..Range::default()
            }),
        ]);
        Filter {
            must_not: vec![Condition::from(tombstone)],
            ..not_newer
        }
    }
}

/// Points of this version or of an older one, and those without any.
#[must_use]
pub fn not_newer_than(last: u64) -> Filter {
    let upto = Range {
        lte: Some(as_double(last)),
        ..Range::default()
    };
    Filter::should([Condition::is_empty(field::VERSION), version(upto)])
}

/// The points among these that are tombstones.
#[must_use]
pub fn tombstones_among(ids: impl IntoIterator<Item = PointId>) -> Filter {
    Filter::must([Condition::has_id(ids), tombstones()])
}

/// The points among these that have this version.
pub(crate) fn of_version(ids: Vec<PointId>, version: u64) -> Filter {
    let version = i64::try_from(version).unwrap_or(i64::MAX);
    Filter::must([
        Condition::has_id(ids),
        Condition::matches(field::VERSION, version),
    ])
}

/// All tombstones. No search may find one: it has no vector, but a server before 1.19 may keep that of the point that it
/// replaced for the moment until its writer has removed it.
#[must_use]
pub fn tombstones() -> Condition {
    Condition::matches(field::DELETED, true)
}

/// The heads of all documents, tombstones included.
#[must_use]
pub fn heads() -> Filter {
    Filter::must([Condition::matches(field::CHUNK, 0)])
}

/// All points of a document older than `before`.
fn older_than(doc_id: &str, before: u64) -> Filter {
    let older = Range {
        lt: Some(as_double(before)),
        ..Range::default()
    };
    Filter::must([of_document(doc_id), version(older)])
}

/// All points that a document of version `own` with `total` chunks must not have: those of older versions, and those of
/// its own beyond its end, which a publisher leaves that uses a version twice.
pub(crate) fn obsolete(doc_id: &str, own: u64, total: u32) -> Filter {
    let upto = Range {
        lte: Some(as_double(own)),
        ..Range::default()
    };
    let beyond = Range {
        gte: Some(f64::from(total)),
        ..Range::default()
    };
    let own_beyond = Filter::must([version(upto), Condition::range(field::CHUNK, beyond)]);
    let older = Range {
        lt: Some(as_double(own)),
        ..Range::default()
    };
    Filter {
        must: vec![of_document(doc_id)],
        should: vec![version(older), Condition::from(own_beyond)],
        ..Filter::default()
    }
}

/// All points of a document but its head, up to and including version `last`.
pub(crate) fn body_up_to(doc_id: &str, last: u64) -> Filter {
    let upto = Range {
        lte: Some(as_double(last)),
        ..Range::default()
    };
    Filter {
        must: vec![of_document(doc_id), version(upto)],
        must_not: vec![Condition::matches(field::CHUNK, 0)],
        ..Filter::default()
    }
}

fn of_document(doc_id: &str) -> Condition {
    Condition::matches(field::DOC_ID, doc_id.to_owned())
}

fn version(range: Range) -> Condition {
    Condition::range(field::VERSION, range)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "versions are at most 2^53 - 1, which is exact"
)]
fn as_double(version: u64) -> f64 {
    debug_assert!(
        version <= contract::job::MAX_VERSION,
        "version {version} is not exact as a double"
    );
    version as f64
}

#[cfg(test)]
mod tests {
    use super::{Guard, Head};

    #[test]
    fn a_newer_head_wins_and_of_one_version_the_delete() {
        let head = |version, deleted| Head {
            version,
            chunks: 1,
            deleted,
        };
        let write = Guard {
            version: 5,
            deletes: false,
        };
        let delete = Guard {
            deletes: true,
            ..write
        };
        for (head, write_loses, delete_loses) in [
            (head(4, false), false, false),
            (head(4, true), false, false),
            (head(5, false), false, false),
            (head(5, true), true, false),
            (head(6, false), true, true),
            (head(6, true), true, true),
        ] {
            assert_eq!(write.is_superseded_by(&head), write_loses, "{head:?}");
            assert_eq!(delete.is_superseded_by(&head), delete_loses, "{head:?}");
        }
    }
}
