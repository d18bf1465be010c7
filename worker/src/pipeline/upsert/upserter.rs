//! The upserter: writes the points of a batch by the protocol of [`points::write`], and beside points that are there the
//! scores and attached vectors by that of [`points::additions`].
//!
//! **Cost.** `cargo bench-ebb --only pipeline --profile` with 384 dimensions: a chunk takes about 35 us of a core here
//! (making points, decoding jobs and HTTP/2 a third each), 10 us of nats-server and 80 us of the local store, of which
//! the engine's payload indexes take most. Each step waits for the one before, so a single batch leaves all of them idle
//! most of the time: the stage has several on their way.

use std::collections::BTreeMap;
use std::time::Instant;

use contract::job::Job;
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::topology::Task;
use points::additions::{Added, Addition};
use points::change::{Change, Kind};
use points::connect::check_version;
use points::limits::{self, Limits};
use points::point::WriteStamp;
use points::refusal::Refusal;
use points::replicas::Replicas;
use points::schema::Schema;
use points::store::{PointsError, Store};
use points::vectors::CollectionVectors;
use points::write::Written;
use points::{Points, Qdrant, collection};
use qdrant_client::QdrantError;
use qdrant_client::qdrant::points_update_operation::Operation;
use qdrant_client::qdrant::{
    CollectionInfo, CountPoints, CountResponse, GetCollectionInfoResponse, GetPoints, GetResponse,
    ScrollPoints, ScrollResponse, UpdateBatchPoints, UpdateBatchResponse,
};
use runtime::failpoint;

use super::additions::{AdditionTarget, additions};
use super::attach_jobs::AttachJobs;
use super::kept::PreviousVectors;
use crate::batch::Vectors;
use crate::error::UpsertError;
use crate::health::{Health, Stage};
use crate::metrics;
use crate::outcome::GIVE_UP_DELIVERIES;

/// Writes batches for one model.
pub struct Upserter {
    qdrant: Timed,
    manifest: Manifest,
}

impl std::fmt::Debug for Upserter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upserter")
            .field("model", &self.manifest.name)
            .finish_non_exhaustive()
    }
}

impl Upserter {
    /// Reports each request to `health`: a batch of many of them takes long where their rate is limited.
    pub fn new(qdrant: Qdrant, manifest: Manifest, health: Health) -> Self {
        Self {
            qdrant: Timed { qdrant, health },
            manifest,
        }
    }

    /// Writes all documents of a batch. When it returns `Ok`, everything is durable; the attach jobs for the workers
    /// of attached models are returned, and not published yet. What is added to a point that is not there yet comes back some deliveries later;
    /// by then the point is gone for good, as when its document is no longer in the source.
    ///
    /// # Errors
    /// [`UpsertError`]; parts may have been written, and writing all of it again is harmless.
    pub async fn write<'v>(
        &self,
        vectors: &'v Vectors,
        deliveries: i64,
    ) -> Result<(Written, AttachJobs<'v>), UpsertError> {
        let mut written = Written::default();
        let mut attach_jobs = AttachJobs::new(vectors);
        let stamp = self.stamp();
        for (collection, changes) in changes(vectors) {
            let points = self.points(collection);
            let (info, schema) = self.check_documents(collection).await?;
            let found =
                PreviousVectors::before(vectors, collection, points, (&info, &schema)).await?;
            let (part, schema) = self.apply((collection, schema), changes, &stamp).await?;
            written.points += part.points;
            written.superseded += part.superseded;
            let kept = found.put_back(points, &schema).await?;
            attach_jobs.add(collection, schema.vectors, kept);
        }
        let mut early = None;
        for (place, additions) in additions(vectors, &self.manifest) {
            let added = self.add(place, &additions).await?;
            written.points += added.written;
            written.superseded += added.superseded;
            if deliveries >= GIVE_UP_DELIVERIES {
                written.superseded += added.early;
            } else if added.early > 0 {
                early = Some(UpsertError::Early {
                    collection: place.0.clone(),
                    points: added.early,
                });
            }
        }
        match early {
            Some(early) => Err(early),
            None => Ok((written, attach_jobs)),
        }
    }

    /// Writes scores, or the vectors of an attached model, to points that are there. A collection that does not have the
    /// vector any more takes nothing: it was detached, or the alias has moved. Of several nodes, one may not know yet that it
    /// was attached: then it counts as early.
    async fn add(
        &self,
        (collection, vector): AdditionTarget<'_>,
        additions: &[Addition<'_>],
    ) -> Result<Added, UpsertError> {
        let points = self.points(collection);
        let mut looked_again = false;
        loop {
            let info = points.info().await?;
            if let Some(vector) = vector {
                let vectors = points.schema_of(&info)?.vectors;
                let attached = vectors.attached_as(vector.as_str());
                let ours = &self.manifest.fingerprint;
                if attached.is_none_or(|attached| attached.model.fingerprint != *ours) {
                    tracing::info!(%collection, %vector, "vectors are not attached");
                    let (all, none) = (additions.len(), Added::default());
                    return Ok(match Replicas::of(&info).are_several() {
                        true => Added { early: all, ..none },
                        false => Added {
                            superseded: all,
                            ..none
                        },
                    });
                }
            }
            let added = points.add(additions, Replicas::of(&info)).await;
            match added {
                // The vector may have been detached in this moment.
                Err(error) if is_refused(&error) && vector.is_some() && !looked_again => {
                    looked_again = true;
                }
                added => return Ok(added?),
            }
        }
    }

    /// Writes what belongs to one collection. Its name may be an alias that moves meanwhile to a collection with other
    /// vectors, which have then been made as those of the first one, or refused, or to one with more replicas, which have then
    /// not been asked: everything is written again.
    async fn apply(
        &self,
        (collection, mut schema): (&CollectionName, Schema),
        changes: Vec<Change<'_>>,
        stamp: &WriteStamp,
    ) -> Result<(Written, Schema), UpsertError> {
        let points = self.points(collection);
        loop {
            let written = points.apply(changes.clone(), stamp, &schema).await;
            let written = match written {
                // Whatever else has failed is known at once: a server may have asked for a pause.
                Err(error) if !is_refused(&error) => return Err(error.into()),
                written => written,
            };
            failpoint::pass("before-look-at-vectors");
            let (_, found) = self.check_documents(collection).await?;
            if found == schema {
                return Ok((written?, schema));
            }
            schema = found;
        }
    }

    /// Whether the server is one that Ebb may write to.
    ///
    /// # Errors
    /// [`UpsertError::Server`].
    pub async fn check_server(&self) -> Result<(), UpsertError> {
        Ok(check_version(&self.qdrant.qdrant).await?)
    }

    /// Whether the collection is there, and is for this model, whose vectors may also be attached to it, or have been. Gives
    /// what a writer must know of it. Any collection takes scores.
    ///
    /// # Errors
    /// [`UpsertError::Points`] and [`UpsertError::Mismatch`].
    pub async fn check(&self, collection: &CollectionName) -> Result<Schema, UpsertError> {
        Ok(self.look_up(collection).await?.1)
    }

    /// Checks a collection that takes documents: the model must be the one that embeds them.
    async fn check_documents(
        &self,
        collection: &CollectionName,
    ) -> Result<(CollectionInfo, Schema), UpsertError> {
        let (info, schema) = self.look_up(collection).await?;
        match collection::check(collection, &info, &self.manifest) {
            Ok(()) => Ok((info, schema)),
            Err(_) => Err(UpsertError::Attached {
                collection: collection.clone(),
                model: self.manifest.name.clone(),
            }),
        }
    }

    /// The same; and what in the collection's limits leaves no room for what Ebb does.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub async fn unfit(
        &self,
        collection: &CollectionName,
    ) -> Result<Vec<limits::UnfitSetting>, UpsertError> {
        Ok(limits::unfit(&self.look_up(collection).await?.0))
    }

    async fn look_up(
        &self,
        collection: &CollectionName,
    ) -> Result<(CollectionInfo, Schema), UpsertError> {
        let points = self.points(collection);
        let info = points.info().await?;
        let schema = match self.manifest.identity.task {
            Task::Embed => {
                let schema = points.schema_of(&info)?;
                if !schema.vectors.knows(&self.manifest.fingerprint) {
                    collection::check(collection, &info, &self.manifest)?;
                }
                schema
            }
            // It touches no vector, and need not know all.
            Task::Rescore => Schema {
                vectors: CollectionVectors::default(),
                replicas: Replicas::of(&info),
            },
        };
        Ok((info, schema))
    }

    /// Whether the collection is there, is for this model, takes writes, and can confirm them.
    pub async fn probe(&self, collection: &CollectionName) -> Result<(), UpsertError> {
        let schema = self.check(collection).await?;
        let points = self.points(collection);
        points.write_nothing().await?;
        if schema.replicas.are_several() {
            points.ask_all_replicas().await?;
        }
        Ok(())
    }

    fn points<'a>(&'a self, collection: &'a CollectionName) -> Points<'a, Timed> {
        Points::new(&self.qdrant, collection)
    }

    fn stamp(&self) -> WriteStamp {
        WriteStamp {
            model: self.manifest.name.clone(),
            fingerprint: self.manifest.fingerprint.clone(),
            indexed_at: humantime::format_rfc3339_seconds(std::time::SystemTime::now()).to_string(),
            run: None,
        }
    }
}

/// Whether the server has read what was written and does not take it, as a vector that the collection does not have.
fn is_refused(error: &PointsError) -> bool {
    error.refusal() == Some(Refusal::Content)
}

/// The changes of a batch, by the collection that they go to.
fn changes(vectors: &Vectors) -> BTreeMap<&CollectionName, Vec<Change<'_>>> {
    let mut by_collection: BTreeMap<&CollectionName, Vec<Change<'_>>> = BTreeMap::new();
    for (decoded, rows) in vectors.jobs.iter().zip(&vectors.vectors) {
        let Some(collection) = decoded.job.collection() else {
            continue;
        };
        if matches!(decoded.job, Job::Rescore(_) | Job::Attach(_)) {
            continue;
        }
        let changes = by_collection.entry(collection).or_default();
        let run = decoded.job.run();
        let mut change = |doc_id, version: Option<u64>, kind| {
            changes.push(Change {
                doc_id,
                version: decoded.version_of(version),
                run,
                kind,
            });
        };
        match &decoded.job {
            Job::Embed(job) => {
                let mut rest = rows.as_slice();
                for document in &job.documents {
                    let (vectors, others) = rest.split_at(document.chunks.len());
                    rest = others;
                    let kind = Kind::Write { document, vectors };
                    change(&document.id, document.version, kind);
                }
            }
            Job::Delete(job) => {
                for removal in &job.documents {
                    change(&removal.id, removal.version, Kind::Delete);
                }
            }
            Job::Rescore(_) | Job::Attach(_) => {}
        }
    }
    by_collection
}

/// The client of Qdrant, whose requests are timed in the metrics.
struct Timed {
    qdrant: Qdrant,
    health: Health,
}

impl Store for Timed {
    async fn info(&self, collection: &str) -> Result<GetCollectionInfoResponse, QdrantError> {
        self.timed("collection_info", self.qdrant.info(collection))
            .await
    }

    async fn limits(&self, collection: &str) -> Result<Limits, QdrantError> {
        self.qdrant.limits(collection).await
    }

    async fn get(&self, request: GetPoints) -> Result<GetResponse, QdrantError> {
        self.timed("get", self.qdrant.get(request)).await
    }

    async fn scroll(&self, request: ScrollPoints) -> Result<ScrollResponse, QdrantError> {
        self.timed("scroll", self.qdrant.scroll(request)).await
    }

    async fn count(&self, request: CountPoints) -> Result<CountResponse, QdrantError> {
        self.qdrant.count(request).await
    }

    async fn update(&self, request: UpdateBatchPoints) -> Result<UpdateBatchResponse, QdrantError> {
        self.timed(operation(&request), self.qdrant.update(request))
            .await
    }
}

impl Timed {
    async fn timed<T>(
        &self,
        operation: &'static str,
        request: impl Future<Output = Result<T, QdrantError>>,
    ) -> Result<T, QdrantError> {
        let started = Instant::now();
        let answer = request.await;
        metrics::qdrant_answered(operation, started.elapsed(), answer.is_ok());
        self.health.step(Stage::Upsert);
        answer
    }
}

/// Writes are named by their first operation: what follows in the same request belongs to it.
fn operation(request: &UpdateBatchPoints) -> &'static str {
    let first = request.operations.first();
    match first.and_then(|first| first.operation.as_ref()) {
        Some(Operation::Upsert(_)) => "upsert",
        Some(Operation::DeletePoints(_)) => "delete",
        Some(Operation::UpdateVectors(_)) => "update_vectors",
        _ => "set_payload",
    }
}
