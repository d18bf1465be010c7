//! Write: puts points into a collection so that the newest version of each document wins, whatever order jobs arrive in,
//! however often, and whoever writes at the same time.
//!
//! A conditional upsert protects points that are there, but never stops an insert: a late job of an older version could
//! bring back chunks that a newer, shorter version or a delete has removed. Therefore the head of a document (chunk 0)
//! decides. [`Points::apply`] writes what jobs say:
//!
//! 1. read the heads; a document with a newer head is superseded;
//! 2. write the heads, on condition that no newer one is there, remove the vectors of tombstones (an upsert alone may
//!    leave them, see [`crate::point`]), and read the heads back;
//! 3. write the other chunks on the same condition; look for chunks of older versions, and remove them;
//! 4. read the heads once more; where one has moved on, remove what is older than it, our own chunks included.
//!
//! Of two documents of one id and one version in the same batch, the later one is written alone.
//!
//! Whoever writes an older chunk after we have looked for them sees our head in its own last look, and removes it. A
//! crash between any two steps leaves the job unacknowledged, and the redelivered job starts again at step 1.
//!
//! Requests are cut to the limits of the collection ([`crate::limits`]), so that any step may be many of them. Nothing above
//! relies on a step being one request: chunks are written in any order after the head, and a head that is written is
//! judged by its version alone. Where a limit changes in the middle of a step, the step is done again.
//! Where a collection keeps several replicas, the last look reads back from all of them what was written, and a removal
//! is counted on them: see [`crate::replicas`].
//!
//! A point that is written anew has none of its attached vectors: whoever has written it hands it on to the workers that
//! make them. A server may leave those of the point that it replaces (see [`crate::point`]), which would be of another
//! text, so that they are removed in the same request, on condition of the version. Whoever reads between the two sees a new
//! text with the vector of another one; so vectors are taken over only where their point says that they are of its text
//! ([`crate::additions`]), which the upsert has taken away together with that text.
//!
//! [`Points::copy`] writes points that are taken over from elsewhere one by one, not documents as a whole.
//! [`Points::clean`] has to follow: it is the last step of the same protocol, by the heads as they are then.

use std::collections::{BTreeMap, HashMap, HashSet};

use contract::field;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use qdrant_client::qdrant::points_update_operation::Operation;
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::{Condition, Filter, PointId, PointStruct};
use runtime::failpoint;

use crate::Points;
use crate::change::{Change, Draft, Part};
use crate::guard::{Guard, Head, of_version, tombstones_among};
use crate::limits::{CONDITIONS_OF_A_DOCUMENT, Limits};
use crate::payload::doc_id;
use crate::point::{WriteStamp, head_id};
use crate::replicas::Replicas;
use crate::schema::Schema;
use crate::store::{
    BYTES_PER_REQUEST, POINTS_PER_REQUEST, PointsError, Store, delete_vectors, upsert,
};
use crate::vectors::CollectionVectors;

#[cfg(test)]
mod attached_tests;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod replicated;
#[cfg(test)]
mod replicated_tests;
#[cfg(test)]
mod tests;

/// Requests in flight at once.
const CONCURRENT_REQUESTS: usize = 4;
/// Documents that are looked at together for what they must not have any more.
const DOCUMENTS_PER_LOOK: usize = 128;
/// Such points of one page; there are hardly ever any.
const LEFTOVERS_PER_PAGE: u32 = 1024;

/// Counts of what a write did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Points that were sent.
    pub points: usize,
    /// Documents that were not written because a newer version was there.
    pub superseded: usize,
}

/// The part of each change that a step of [`Points::apply`] writes.
#[derive(Clone, Copy)]
struct WrittenPart<'a> {
    part: Part,
    stamp: &'a WriteStamp,
    vectors: &'a CollectionVectors,
}

/// The drafts of one request: those that share a guard are one operation, the older versions first.
type Request<'d, D> = Vec<(Guard, Vec<&'d D>)>;

impl<S: Store> Points<'_, S> {
    /// Writes all changes to a collection with this schema. When it returns `Ok`, everything is durable.
    ///
    /// # Errors
    /// [`PointsError`]; parts may have been written, and writing all of it again is harmless.
    pub async fn apply(
        self,
        mut changes: Vec<Change<'_>>,
        stamp: &WriteStamp,
        schema: &Schema,
    ) -> Result<Written, PointsError> {
        let replicas = schema.replicas;
        let part = |part| WrittenPart {
            part,
            stamp,
            vectors: &schema.vectors,
        };
        let all = changes.len();
        changes.sort_by_key(Change::guard);
        leave_out_repeated(&mut changes);
        let live = self.without_superseded(changes, replicas).await?;
        let mut points = self.upsert_part(&live, part(Part::Head)).await?;
        failpoint::pass("after-head");
        let live = self.without_superseded(live, replicas).await?;
        points += self.upsert_part(&live, part(Part::Body)).await?;
        failpoint::pass("after-body");
        if !failpoint::skips("prune") {
            let obsolete = live
                .iter()
                .filter_map(|change| Some((change.doc_id, change.obsolete()?)));
            self.remove_leftovers(obsolete.collect(), replicas).await?;
        }
        let kept = self.last_look(live, stamp, replicas).await?;
        Ok(Written {
            points,
            superseded: all - kept.len(),
        })
    }

    /// Leaves out what was superseded meanwhile. Of several replicas, all must have the rest.
    async fn last_look<'c>(
        self,
        live: Vec<Change<'c>>,
        stamp: &WriteStamp,
        replicas: Replicas,
    ) -> Result<Vec<Change<'c>>, PointsError> {
        if replicas.are_several() {
            let parts = [Part::Head, Part::Body];
            let drafts = live.iter().flat_map(|change| {
                let of_part = move |part| change.drafts(part, stamp);
                parts.into_iter().flat_map(of_part)
            });
            let is_overtaken = self.confirm(&drafts.collect::<Vec<_>>()).await?;
            if !is_overtaken {
                return Ok(live);
            }
        }
        self.without_superseded(live, replicas).await
    }

    /// Writes points that are taken over from elsewhere; those that are newer keep their state.
    ///
    /// # Errors
    /// [`PointsError`]; a part may have been written.
    pub async fn copy<D: Draft>(self, drafts: &[D], schema: &Schema) -> Result<(), PointsError> {
        self.upsert(drafts, &schema.vectors, 1).await?;
        if schema.replicas.are_several() {
            self.confirm(drafts).await?;
        }
        Ok(())
    }

    /// Removes what the heads of these documents have made obsolete: chunks, and the vectors of tombstones, which somebody
    /// may have written who died before they were removed.
    ///
    /// # Errors
    /// [`PointsError`].
    pub async fn clean<D: AsRef<str>>(
        self,
        doc_ids: &[D],
        schema: &Schema,
    ) -> Result<(), PointsError> {
        let heads = self.heads(doc_ids).await?;
        let deleted = heads.iter().filter(|(_, head)| head.deleted);
        let deleted: Vec<_> = deleted.map(|(doc_id, _)| head_id(doc_id)).collect();
        if !deleted.is_empty() && !failpoint::skips("tombstone-vectors") {
            let names = schema.vectors.names();
            let limits = self.limits().await?;
            for deleted in deleted.chunks(limits.selected(POINTS_PER_REQUEST)) {
                let tombstones = tombstones_among(deleted.to_vec());
                let strip = delete_vectors(names.to_vec(), tombstones);
                self.update("delete vectors from", vec![strip]).await?;
            }
        }
        let obsolete = heads
            .iter()
            .map(|(doc_id, head)| (doc_id.as_str(), head.obsolete(doc_id)));
        self.remove_leftovers(obsolete.collect(), schema.replicas)
            .await
    }

    /// Heads of the documents that have one.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn heads<D: AsRef<str>>(
        self,
        doc_ids: &[D],
    ) -> Result<HashMap<String, Head>, PointsError> {
        let ids = doc_ids.iter().map(|doc_id| head_id(doc_id.as_ref()));
        let points = self.get(ids, &Head::FIELDS).await?;
        Ok(points.iter().filter_map(Head::read).collect())
    }

    /// Reads the heads, leaves out the changes that one has overtaken, and removes what they, or others that were as
    /// old, may have left.
    async fn without_superseded<'c>(
        self,
        changes: Vec<Change<'c>>,
        replicas: Replicas,
    ) -> Result<Vec<Change<'c>>, PointsError> {
        if failpoint::skips("version-guard") {
            return Ok(changes);
        }
        let doc_ids: Vec<_> = changes.iter().map(|change| change.doc_id).collect();
        let heads = self.heads(&doc_ids).await?;
        let (mut live, mut overtaken) = (Vec::new(), Vec::new());
        for change in changes {
            let head = heads.get(change.doc_id);
            match head.filter(|head| change.guard().is_superseded_by(head)) {
                Some(head) => overtaken.push(head.overtaken(change.doc_id)),
                None => live.push(change),
            }
        }
        if replicas.are_several() {
            self.remove_everywhere(overtaken, replicas).await?;
            return Ok(live);
        }
        for filter in overtaken {
            self.delete(filter).await?;
        }
        Ok(live)
    }

    /// Writes a part of each change. Versions of one document in the same batch go one after the other, the older
    /// first; otherwise requests run side by side.
    async fn upsert_part(
        self,
        changes: &[Change<'_>],
        WrittenPart {
            part,
            stamp,
            vectors,
        }: WrittenPart<'_>,
    ) -> Result<usize, PointsError> {
        let drafts: Vec<_> = changes
            .iter()
            .flat_map(|change| change.drafts(part, stamp))
            .collect();
        let mut seen = HashSet::new();
        let is_each_once = changes.iter().all(|change| seen.insert(change.doc_id));
        let concurrent = if is_each_once { CONCURRENT_REQUESTS } else { 1 };
        self.upsert(&drafts, vectors, concurrent).await?;
        Ok(drafts.len())
    }

    async fn upsert<D: Draft>(
        self,
        drafts: &[D],
        vectors: &CollectionVectors,
        concurrent: usize,
    ) -> Result<(), PointsError> {
        let mut limits = self.limits().await?;
        let strips = vectors.attached().next().is_some();
        loop {
            // Points are made when their request is due, so that only a few requests are in memory.
            let written = stream::iter(requests(drafts, limits, strips))
                .map(|request| self.update("upsert points into", operations(request, vectors)))
                .buffered(concurrent)
                .try_collect()
                .await;
            match written {
                Ok(()) => return Ok(()),
                Err(error) => limits = self.limits_after(limits, error).await?,
            }
        }
    }

    /// Removes points that documents must not have any more. Deleting by filter is slow and looking is quick, so
    /// documents are looked at together, and only those with leftovers are pruned.
    async fn remove_leftovers(
        self,
        obsolete: Vec<(&str, Filter)>,
        replicas: Replicas,
    ) -> Result<(), PointsError> {
        if replicas.are_several() {
            let filters = obsolete.into_iter().map(|(_, filter)| filter);
            return self.remove_everywhere(filters.collect(), replicas).await;
        }
        let mut rest = obsolete.as_slice();
        if rest.is_empty() {
            return Ok(());
        }
        let mut limits = self.limits().await?;
        while !rest.is_empty() {
            let part = limits.filters(DOCUMENTS_PER_LOOK, CONDITIONS_OF_A_DOCUMENT);
            let (part, others) = rest.split_at(part.min(rest.len()));
            match self.remove_leftovers_of(part).await {
                Ok(()) => rest = others,
                Err(error) => limits = self.limits_after(limits, error).await?,
            }
        }
        Ok(())
    }

    async fn remove_leftovers_of(self, documents: &[(&str, Filter)]) -> Result<(), PointsError> {
        let any = documents
            .iter()
            .map(|(_, filter)| Condition::from(filter.clone()));
        let any = Filter::should(any);
        let mut with_leftovers = HashSet::new();
        let mut pages = self.pages(any, &[field::DOC_ID], LEFTOVERS_PER_PAGE);
        while let Some(page) = pages.next().await? {
            with_leftovers.extend(page.iter().filter_map(doc_id));
        }
        for (_, filter) in documents
            .iter()
            .filter(|(doc_id, _)| with_leftovers.contains(*doc_id))
        {
            self.delete(filter.clone()).await?;
        }
        Ok(())
    }
}

/// Of several documents with one id and one version, the last one counts, whole: each would remove the chunks of the others
/// that are beyond its own end. Slices of one document belong together by their total.
fn leave_out_repeated(changes: &mut Vec<Change<'_>>) {
    let mut last = HashMap::new();
    for change in changes.iter() {
        if let Some((total, true)) = change.total() {
            last.insert((change.doc_id, change.guard()), total);
        }
    }
    changes.retain(|change| {
        let Some((total, _)) = change.total() else {
            return true;
        };
        let last = last.get(&(change.doc_id, change.guard()));
        last.is_none_or(|last| *last == total)
    });
}

/// Cuts drafts into requests by the number of points, and by their size for the few that are large.
/// `strips` says that vectors of what is replaced are removed.
fn requests<D: Draft>(drafts: &[D], limits: Limits, strips: bool) -> Vec<Request<'_, D>> {
    let mut most = limits.upsert(POINTS_PER_REQUEST);
    // Vectors are removed by a condition on the ids of their points.
    if strips || drafts.iter().any(|draft| draft.guard().deletes) {
        most = limits.selected(most);
    }
    let mut groups: BTreeMap<Guard, Vec<&D>> = BTreeMap::new();
    for draft in drafts {
        groups.entry(draft.guard()).or_default().push(draft);
    }
    let mut requests = Vec::new();
    let mut request: Request<'_, D> = Vec::new();
    let (mut points, mut bytes) = (0, 0);
    for (guard, draft) in groups
        .into_iter()
        .flat_map(|(guard, drafts)| drafts.into_iter().map(move |draft| (guard, draft)))
    {
        let size = draft.bytes();
        if points > 0 && (points == most || bytes + size > BYTES_PER_REQUEST) {
            requests.push(std::mem::take(&mut request));
            (points, bytes) = (0, 0);
        }
        match request.last_mut() {
            Some((last, drafts)) if *last == guard => drafts.push(draft),
            _ => request.push((guard, vec![draft])),
        }
        (points, bytes) = (points + 1, bytes + size);
    }
    if !request.is_empty() {
        requests.push(request);
    }
    requests
}

/// Points get the vectors that Qdrant makes. Tombstones lose the vectors of what they replace in the same request, if they
/// are still tombstones then.
fn operations<D: Draft>(request: Request<'_, D>, vectors: &CollectionVectors) -> Vec<Operation> {
    let mut operations = Vec::new();
    for (guard, drafts) in request {
        let mut points: Vec<_> = drafts.into_iter().map(Draft::point).collect();
        if !failpoint::skips("other-vectors") {
            points.iter_mut().for_each(|point| vectors.complete(point));
        }
        let ids: Vec<_> = points.iter().filter_map(|point| point.id.clone()).collect();
        let strips = strips(&points, guard, vectors);
        operations.push(upsert(points, guard));
        operations.extend(strips);
        if guard.deletes && !failpoint::skips("tombstone-vectors") {
            operations.push(delete_vectors(
                vectors.names().to_vec(),
                tombstones_among(ids),
            ));
        }
    }
    operations
}

/// Removes from points that are written the attached vectors that they do not bring, by the names of these vectors.
fn strips(points: &[PointStruct], guard: Guard, vectors: &CollectionVectors) -> Vec<Operation> {
    if guard.deletes || failpoint::skips("attached-vectors") {
        return Vec::new();
    }
    let mut lacking: BTreeMap<Vec<String>, Vec<PointId>> = BTreeMap::new();
    for point in points {
        let names = vectors.attached().map(|attached| attached.name);
        let names = names.filter(|name| !has_vector(point, name));
        let names: Vec<_> = names.map(str::to_owned).collect();
        if let (false, Some(id)) = (names.is_empty(), point.id.clone()) {
            lacking.entry(names).or_default().push(id);
        }
    }
    let strip = |(names, ids)| delete_vectors(names, of_version(ids, guard.version));
    lacking.into_iter().map(strip).collect()
}

fn has_vector(point: &PointStruct, name: &str) -> bool {
    let vectors = point.vectors.as_ref();
    match vectors.and_then(|vectors| vectors.vectors_options.as_ref()) {
        Some(VectorsOptions::Vectors(named)) => named.vectors.contains_key(name),
        Some(VectorsOptions::Vector(_)) | None => false,
    }
}
