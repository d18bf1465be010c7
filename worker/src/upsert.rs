//! Upsert: writes the points of a batch so that the newest version of each document wins, whatever order jobs
//! arrive in and however often.
//!
//! Takes [`Vectors`], gives durable points; owns the Qdrant client. A conditional upsert protects points that are
//! there, but never stops an insert: a late job of an older version could bring back chunks that a newer, shorter
//! version or a delete has removed. Therefore the head of a document (chunk 0) decides:
//!
//! 1. read the heads; a document with a newer head is superseded;
//! 2. write the heads, on condition that no newer one is there, and read them back;
//! 3. remove the vectors of tombstones, which an upsert alone may leave (see [`contract::point`]); write the other
//!    chunks on the same condition; look for chunks of older versions, and remove them;
//! 4. read the heads once more; where one has moved on, remove what is older than it, our own chunks included.
//!
//! Scores are written beside: each goes to its point only while that has the version that was scored, and touches
//! nothing else of it.
//!
//! **Cost.** `cargo bench-ebb --only pipeline --profile` with 384 dimensions: a chunk takes about 35 us of a core here
//! (making points, decoding jobs and HTTP/2 a third each), 10 us of nats-server and 80 us of the local store, of which
//! the engine's payload indexes take most. Each step waits for the one before, so a single batch leaves all of them idle
//! most of the time: the write stage has several on their way.
//!
//! Whoever writes an older chunk after we have looked for them sees our head in its own last look, and removes it. A
//! crash between any two steps leaves the job unacknowledged, and the redelivered job starts again at step 1.

mod change;
mod request;
mod scores;

use std::collections::{BTreeMap, HashSet};

use contract::collection;
use contract::connect::qdrant::check_version;
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::point::{self, Stamp};
use contract::topology::Task;
use futures::{StreamExt, TryStreamExt, stream};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{CollectionInfo, Condition, Filter};

use crate::batch::Vectors;
use crate::error::UpsertError;
use crate::failpoint;
use change::{Change, Draft, Part, changes, cut, overtaken};
use request::{failed, timed};

/// Points of one request: larger ones gain little and hold more memory on both sides.
const POINTS_PER_REQUEST: usize = 128;
/// Bytes of one request in memory: a few points with much metadata are a large request too.
const BYTES_PER_REQUEST: usize = 4 << 20;
/// Requests in flight at once.
const CONCURRENT_REQUESTS: usize = 4;

/// Writes batches for one model.
pub struct Upserter {
    qdrant: Qdrant,
    manifest: Manifest,
}

impl std::fmt::Debug for Upserter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upserter")
            .field("model", &self.manifest.name)
            .finish_non_exhaustive()
    }
}

/// What a write did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Points that were sent.
    pub points: usize,
    /// Documents that were not written because a newer version was there.
    pub superseded: usize,
}

impl Upserter {
    /// Writes with this client for this model.
    #[must_use]
    pub fn new(qdrant: Qdrant, manifest: Manifest) -> Self {
        Self { qdrant, manifest }
    }

    /// Writes all documents of a batch. When it returns `Ok`, everything is durable.
    ///
    /// # Errors
    /// [`UpsertError`]; parts may have been written, and writing all of it again is harmless.
    pub async fn write(&self, vectors: &Vectors) -> Result<Written, UpsertError> {
        let mut written = Written::default();
        for (collection, changes) in changes(vectors) {
            let info = self.checked_info(collection).await?;
            let names = collection::vector_names(&info);
            let part = self.write_collection(collection, &names, changes).await?;
            written.points += part.points;
            written.superseded += part.superseded;
        }
        for (collection, scores) in scores::scores(vectors, &self.manifest) {
            self.check(collection).await?;
            written.points += scores.len();
            scores::write(&self.qdrant, collection, &scores).await?;
        }
        Ok(written)
    }

    /// Whether the server is one that Ebb may write to.
    ///
    /// # Errors
    /// [`UpsertError::Server`].
    pub async fn check_server(&self) -> Result<(), UpsertError> {
        Ok(check_version(&self.qdrant).await?)
    }

    /// Whether the collection is there, and is for this model. Any collection takes scores.
    ///
    /// # Errors
    /// [`UpsertError::Qdrant`] and [`UpsertError::Mismatch`].
    pub async fn check(&self, collection: &CollectionName) -> Result<(), UpsertError> {
        self.checked_info(collection).await.map(drop)
    }

    async fn checked_info(
        &self,
        collection: &CollectionName,
    ) -> Result<CollectionInfo, UpsertError> {
        let info = self.qdrant.collection_info(collection.as_str());
        let response = timed("collection_info", info).await;
        let response = response.map_err(failed("look up", collection))?;
        let info = response.result.unwrap_or_default();
        match self.manifest.identity.task {
            Task::Embed => collection::check(collection, &info, &self.manifest)?,
            Task::Rescore => {}
        }
        Ok(info)
    }

    /// Whether the collection is there, is for this model, and takes writes.
    ///
    /// # Errors
    /// [`UpsertError`].
    pub async fn probe(&self, collection: &CollectionName) -> Result<(), UpsertError> {
        self.check(collection).await?;
        request::write_nothing(&self.qdrant, collection).await
    }

    async fn write_collection(
        &self,
        collection: &CollectionName,
        vector_names: &[String],
        changes: Vec<Change<'_>>,
    ) -> Result<Written, UpsertError> {
        let all = changes.len();
        let live = self.without_superseded(collection, changes).await?;
        let mut points = self.upsert(collection, &live, Part::Head).await?;
        failpoint::pass("after-head");
        let live = self.without_superseded(collection, live).await?;
        self.strip_tombstones(collection, vector_names, &live)
            .await?;
        points += self.upsert(collection, &live, Part::Body).await?;
        failpoint::pass("after-body");
        self.prune(collection, &live).await?;
        let kept = self.without_superseded(collection, live).await?.len();
        Ok(Written {
            points,
            superseded: all - kept,
        })
    }

    /// Reads the heads, leaves out the changes that one has overtaken, and removes what they, or others that were as
    /// old, may have left.
    async fn without_superseded<'a>(
        &self,
        collection: &CollectionName,
        changes: Vec<Change<'a>>,
    ) -> Result<Vec<Change<'a>>, UpsertError> {
        if failpoint::skips("version-guard") {
            return Ok(changes);
        }
        let doc_ids: Vec<_> = changes.iter().map(|change| change.doc_id).collect();
        let heads = request::heads(&self.qdrant, collection, &doc_ids).await?;
        let mut live = Vec::new();
        for change in changes {
            match heads
                .get(change.doc_id)
                .filter(|head| change.is_superseded_by(head))
            {
                Some(head) => {
                    let leftovers = overtaken(change.doc_id, head);
                    request::delete(&self.qdrant, collection, leftovers).await?;
                }
                None => live.push(change),
            }
        }
        Ok(live)
    }

    /// Writes a part of each change. Versions of one document in the same batch go one after the other, the older
    /// first; otherwise requests run side by side.
    async fn upsert(
        &self,
        collection: &CollectionName,
        changes: &[Change<'_>],
        part: Part,
    ) -> Result<usize, UpsertError> {
        let mut groups: BTreeMap<(u64, bool), (Filter, Vec<Draft<'_>>)> = BTreeMap::new();
        for change in changes {
            let group = groups.entry(change.guard_key());
            group
                .or_insert_with(|| (change.guard(), Vec::new()))
                .1
                .extend(change.drafts(part));
        }
        let written = groups.values().map(|(_, drafts)| drafts.len()).sum();
        let mut requests = Vec::new();
        for (guard, drafts) in groups.values() {
            requests.extend(cut(drafts).into_iter().map(|drafts| (guard, drafts)));
        }
        let stamp = self.stamp();
        let concurrent = if is_each_document_once(changes) {
            CONCURRENT_REQUESTS
        } else {
            1
        };
        // Points are made when their request is due, so that only a few requests are in memory.
        stream::iter(requests)
            .map(|(guard, drafts)| {
                let points = drafts.iter().map(|draft| draft.point(&stamp)).collect();
                request::upsert(&self.qdrant, collection, guard.clone(), points)
            })
            .buffered(concurrent)
            .try_collect::<()>()
            .await?;
        Ok(written)
    }

    /// Removes the vectors that heads have kept while they became tombstones.
    async fn strip_tombstones(
        &self,
        collection: &CollectionName,
        vector_names: &[String],
        changes: &[Change<'_>],
    ) -> Result<(), UpsertError> {
        if failpoint::skips("tombstone-vectors") {
            return Ok(());
        }
        let deleted: Vec<_> = changes.iter().filter(|change| change.is_delete()).collect();
        for part in deleted.chunks(POINTS_PER_REQUEST) {
            let heads = part.iter().map(|change| point::head_id(change.doc_id));
            let filter = point::tombstones_among(heads);
            request::delete_vectors(&self.qdrant, collection, vector_names, filter).await?;
        }
        Ok(())
    }

    /// Removes chunks that documents no longer have. Deleting by filter is slow and looking is quick, so documents
    /// are looked at together, and only those with leftovers are pruned.
    async fn prune(
        &self,
        collection: &CollectionName,
        changes: &[Change<'_>],
    ) -> Result<(), UpsertError> {
        if failpoint::skips("prune") {
            return Ok(());
        }
        let obsolete: Vec<_> = changes
            .iter()
            .filter_map(|change| Some((change.doc_id, change.obsolete()?)))
            .collect();
        for part in obsolete.chunks(POINTS_PER_REQUEST) {
            let any = Filter::should(
                part.iter()
                    .map(|(_, filter)| Condition::from(filter.clone())),
            );
            let with_leftovers = request::documents_with(&self.qdrant, collection, any).await?;
            for (_, filter) in part
                .iter()
                .filter(|(doc_id, _)| with_leftovers.contains(*doc_id))
            {
                request::delete(&self.qdrant, collection, filter.clone()).await?;
            }
        }
        Ok(())
    }

    fn stamp(&self) -> Stamp {
        Stamp {
            model: self.manifest.name.clone(),
            fingerprint: self.manifest.fingerprint.clone(),
            indexed_at: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
            run: None,
        }
    }
}

fn is_each_document_once(changes: &[Change<'_>]) -> bool {
    let mut seen = HashSet::new();
    changes.iter().all(|change| seen.insert(change.doc_id))
}
