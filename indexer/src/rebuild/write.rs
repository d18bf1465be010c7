//! Write: puts points into a generation by the protocol of the workers, so that the newest version of a document wins,
//! whoever writes at the same time.
//!
//! An upsert is conditional on the version, but a condition never stops an insert. Therefore whoever has written looks
//! at the heads afterwards, and removes what a newer head has made obsolete, its own points included.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::Context as _;
use contract::collection;
use contract::names::CollectionName;
use contract::point::{self, Head, field};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_update_operation::{Operation, PointStructList};
use qdrant_client::qdrant::{
    Condition, DeletePointVectors, DeletePoints, Filter, GetPoints, PayloadIncludeSelector, PointId, PointStruct,
    PointsSelector, PointsUpdateOperation, RetrievedPoint, ScrollPoints, UpdateBatchPoints,
    UpdateResult, UpdateStatus, Value, VectorsSelector, WithPayloadSelector, with_payload_selector::SelectorOptions,
};

use super::create::look_up;

/// Points of one request.
const POINTS_PER_REQUEST: usize = 128;
/// Documents that are looked at together for leftovers.
const DOCUMENTS_PER_LOOK: usize = 128;
/// Leftovers of one read; there are hardly ever any.
const LEFTOVERS_PER_REQUEST: u32 = 1024;

/// A point with what decides who wins.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Version of its document.
    pub(crate) version: u64,
    /// Whether it is a tombstone.
    pub(crate) deleted: bool,
    /// The point.
    pub(crate) point: PointStruct,
}

/// A collection that is written to.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) qdrant: &'a Qdrant,
    pub(crate) collection: &'a CollectionName,
}

impl Target<'_> {
    /// Writes points, tombstones without their vectors; those that are newer keep their state. [`Target::clean`] has to follow.
    pub(crate) async fn upsert(&self, drafts: Vec<Draft>) -> anyhow::Result<()> {
        let deleted = drafts.iter().filter(|draft| draft.deleted);
        let tombstones: Vec<_> = deleted.filter_map(|draft| draft.point.id.clone()).collect();
        let mut groups: BTreeMap<(u64, bool), Vec<PointStruct>> = BTreeMap::new();
        for draft in drafts {
            let group = groups.entry((draft.version, draft.deleted)).or_default();
            group.push(draft.point);
        }
        let mut batch = Vec::new();
        let mut points = 0;
        for ((version, deleted), mut rest) in groups {
            let guard = if deleted {
                point::not_newer_than(version)
            } else {
                point::writable(version)
            };
            while !rest.is_empty() {
                let room = POINTS_PER_REQUEST - points;
                let part = rest.split_off(rest.len().saturating_sub(room));
                points += part.len();
                batch.push(operation(part, guard.clone()));
                if points == POINTS_PER_REQUEST {
                    self.send(std::mem::take(&mut batch)).await?;
                    points = 0;
                }
            }
        }
        self.send(batch).await?;
        self.strip(tombstones).await
    }

    /// Removes the vectors that points have kept while they became tombstones.
    async fn strip(&self, tombstones: Vec<PointId>) -> anyhow::Result<()> {
        if tombstones.is_empty() {
            return Ok(());
        }
        let info = look_up(self.qdrant, self.collection.as_str()).await?;
        let names = collection::vector_names(&info.unwrap_or_default());
        for part in tombstones.chunks(POINTS_PER_REQUEST) {
            let filter = point::tombstones_among(part.iter().cloned());
            let request = DeletePointVectors {
                collection_name: self.collection.to_string(),
                wait: Some(true),
                points_selector: Some(PointsSelector {
                    points_selector_one_of: Some(PointsSelectorOneOf::Filter(filter)),
                }),
                vectors: Some(VectorsSelector {
                    names: names.clone(),
                }),
                ..DeletePointVectors::default()
            };
            let response = self.qdrant.delete_vectors(request).await;
            let response = response.with_context(|| {
                format!("failed to delete vectors of tombstones of `{}`", self.collection)
            })?;
            self.completed(response.result.as_slice())?;
        }
        Ok(())
    }

    async fn send(&self, operations: Vec<PointsUpdateOperation>) -> anyhow::Result<()> {
        if operations.is_empty() {
            return Ok(());
        }
        let request = UpdateBatchPoints {
            collection_name: self.collection.to_string(),
            wait: Some(true),
            operations,
            ..UpdateBatchPoints::default()
        };
        let response = self.qdrant.update_points_batch(request).await;
        let response = response
            .with_context(|| format!("failed to write points into `{}`", self.collection))?;
        self.completed(&response.result)
    }

    /// Removes what the heads of these documents have made obsolete.
    pub(crate) async fn clean(&self, doc_ids: &[String]) -> anyhow::Result<()> {
        let heads = self.heads(doc_ids).await?;
        let obsolete: Vec<_> = heads
            .iter()
            .map(|(doc_id, head)| (doc_id, obsolete(doc_id, head)))
            .collect();
        for part in obsolete.chunks(DOCUMENTS_PER_LOOK) {
            let any = part
                .iter()
                .map(|(_, filter)| Condition::from(filter.clone()));
            let found = self.documents_with(Filter::should(any)).await?;
            for (_, filter) in part.iter().filter(|(doc_id, _)| found.contains(*doc_id)) {
                self.delete(filter.clone()).await?;
            }
        }
        Ok(())
    }

    /// Heads of the documents that have one.
    pub(crate) async fn heads(&self, doc_ids: &[String]) -> anyhow::Result<HashMap<String, Head>> {
        let ids = doc_ids
            .iter()
            .map(|doc_id| point::point_id(doc_id, 0).to_string())
            .collect();
        let points = self.get(ids, &Head::FIELDS, false).await?;
        Ok(points.iter().filter_map(Head::read).collect())
    }

    /// Points by their ids, with some fields of their payload; with no fields named, with all.
    pub(crate) async fn get(
        &self,
        ids: Vec<String>,
        fields: &[&str],
        vectors: bool,
    ) -> anyhow::Result<Vec<RetrievedPoint>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let payload = if fields.is_empty() {
            true.into()
        } else {
            include(fields)
        };
        let request = GetPoints {
            collection_name: self.collection.to_string(),
            ids: ids.into_iter().map(PointId::from).collect(),
            with_payload: Some(payload),
            with_vectors: Some(vectors.into()),
            ..GetPoints::default()
        };
        let response = self.qdrant.get_points(request).await;
        let response =
            response.with_context(|| format!("failed to read points of `{}`", self.collection))?;
        Ok(response.result)
    }

    async fn documents_with(&self, filter: Filter) -> anyhow::Result<HashSet<String>> {
        let mut found = HashSet::new();
        let mut page = ScrollPoints {
            collection_name: self.collection.to_string(),
            filter: Some(filter),
            limit: Some(LEFTOVERS_PER_REQUEST),
            with_payload: Some(include(&[field::DOC_ID])),
            with_vectors: Some(false.into()),
            ..ScrollPoints::default()
        };
        loop {
            let response = self.qdrant.scroll(page.clone()).await;
            let response = response.with_context(|| {
                format!("failed to look for old chunks in `{}`", self.collection)
            })?;
            found.extend(response.result.iter().filter_map(doc_id));
            page.offset = response.next_page_offset;
            if page.offset.is_none() {
                return Ok(found);
            }
        }
    }

    /// Removes points.
    pub(crate) async fn delete(&self, filter: Filter) -> anyhow::Result<()> {
        let request = DeletePoints {
            collection_name: self.collection.to_string(),
            wait: Some(true),
            points: Some(PointsSelector {
                points_selector_one_of: Some(PointsSelectorOneOf::Filter(filter)),
            }),
            ..DeletePoints::default()
        };
        let response = self.qdrant.delete_points(request).await;
        let response = response
            .with_context(|| format!("failed to delete points of `{}`", self.collection))?;
        self.completed(response.result.as_slice())
    }

    /// A write is done when Qdrant says `Completed`; other answers come with gRPC status OK too.
    fn completed(&self, results: &[UpdateResult]) -> anyhow::Result<()> {
        let all = !results.is_empty()
            && results
                .iter()
                .all(|result| result.status() == UpdateStatus::Completed);
        anyhow::ensure!(
            all,
            "qdrant did not complete a write to `{}`; run it again to go on",
            self.collection
        );
        Ok(())
    }
}

fn operation(points: Vec<PointStruct>, guard: Filter) -> PointsUpdateOperation {
    let list = PointStructList {
        points,
        update_filter: Some(guard),
        ..PointStructList::default()
    };
    PointsUpdateOperation {
        operation: Some(Operation::Upsert(list)),
    }
}

/// The points that a document with this head must not have.
fn obsolete(doc_id: &str, head: &Head) -> Filter {
    if head.deleted {
        point::body_up_to(doc_id, head.version)
    } else {
        point::obsolete(doc_id, head.version, head.chunks)
    }
}

pub(crate) fn include(fields: &[&str]) -> WithPayloadSelector {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    WithPayloadSelector {
        selector_options: Some(SelectorOptions::Include(PayloadIncludeSelector { fields })),
    }
}

/// Id of the document that a point belongs to.
pub(crate) fn doc_id(point: &RetrievedPoint) -> Option<String> {
    text(point, field::DOC_ID)
}

/// A text of a payload.
pub(crate) fn text(point: &RetrievedPoint, field: &str) -> Option<String> {
    point.payload.get(field).and_then(Value::as_str).cloned()
}

/// A count of a payload, 0 if it is not there.
pub(crate) fn number(point: &RetrievedPoint, field: &str) -> u64 {
    let value = point.payload.get(field).and_then(Value::as_integer);
    value
        .and_then(|value| u64::try_from(value).ok())
        .unwrap_or(0)
}

/// Whether a point is a tombstone.
pub(crate) fn is_deleted(point: &RetrievedPoint) -> bool {
    let value = point.payload.get(field::DELETED).and_then(Value::as_bool);
    value.unwrap_or(false)
}

/// Id of a point as text. Ebb writes no others.
pub(crate) fn id(point: &RetrievedPoint) -> String {
    use qdrant_client::qdrant::point_id::PointIdOptions;
    match point
        .id
        .as_ref()
        .and_then(|id| id.point_id_options.as_ref())
    {
        Some(PointIdOptions::Uuid(uuid)) => uuid.clone(),
        Some(PointIdOptions::Num(number)) => number.to_string(),
        None => String::new(),
    }
}
