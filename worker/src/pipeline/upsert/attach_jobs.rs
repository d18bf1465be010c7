//! Attach jobs: for what a batch has written, each attached model gets jobs on its bulk lane.
//!
//! A point that is written anew has none of its attached vectors. So their jobs are stored before the job that wrote it is
//! acknowledged: a worker that dies between the two writes the points again, and
//! publishes the attach jobs again.
//!
//! **The message id** is of one write, and not of the version alone. Writing a version once more takes the attached vectors
//! from its points; a job that JetStream took for a repetition of one that is done already would leave them without. What
//! is published twice is computed twice, which changes nothing.
//!
//! **Room.** Documents come first: where workers of an attached model do not keep up and the stream fills
//! ([`queue::room`]), or takes nothing more, no attach job is published. The points lack the vector then, which a metric, `indexer
//! status` and `indexer doctor` say, and `indexer attach` or the next rebuild publish them. To keep the job that wrote them
//! until there is room would stop the lane of the documents for a model that may never come.
//!
//! **Memory.** Jobs are made when their turn comes, a few megabytes of them at a time.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use contract::digest::Digest;
use contract::job::{self, Attach, Chunk, Embed, Item, Job, MAX_JOB_BYTES, MAX_ROWS};
use contract::names::CollectionName;
use contract::topology::JOBS;
use futures::future::join_all;
use points::vectors::{Attached, CollectionVectors};
use points::{head_id, point_id};
use queue::room::Room;
use queue::trace::Publish;
use runtime::failpoint;

use super::kept::Kept;
use super::{Context, FIRST_RETRY_PAUSE};
use crate::batch::{DecodedJob, Vectors};
use crate::error::AttachJobError;
use crate::health::Stage;
use crate::inflight::Queue;
use crate::metrics;
use crate::shutdown::Phase;

/// Bytes of the items of a job: what else is in it takes less than the rest.
const MOST_BYTES: usize = MAX_JOB_BYTES - (16 << 10);
/// Bytes of the jobs that are on their way at once.
const BYTES_IN_FLIGHT: usize = 4 << 20;
/// How often jobs are sent under their ids before what has written them is given back.
const ATTEMPTS: usize = 3;
/// How long an answer is waited for: the client would wait for a reconnect without end.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The attach jobs for what a batch has written.
pub struct AttachJobs<'a> {
    vectors: &'a Vectors,
    to: Vec<Target>,
    /// What tells one write from another of the same content.
    write: u128,
}

/// A collection that was written to.
struct Target {
    collection: CollectionName,
    vectors: CollectionVectors,
    /// Vectors that need no job.
    kept: Kept,
}

/// A job for the workers of an attached model.
#[derive(Debug)]
struct AttachJob {
    subject: String,
    payload: Bytes,
    id: String,
    points: usize,
}

impl std::fmt::Debug for AttachJobs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let to = self.to.iter().map(|target| &target.collection);
        f.debug_list().entries(to).finish()
    }
}

impl<'a> AttachJobs<'a> {
    pub(super) fn new(vectors: &'a Vectors) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            vectors,
            to: Vec::new(),
            write: since.unwrap_or_default().as_nanos(),
        }
    }

    /// Adds what was written to a collection with these vectors, but for those that are kept.
    pub(super) fn add(
        &mut self,
        collection: &CollectionName,
        vectors: CollectionVectors,
        kept: Kept,
    ) {
        let collection = collection.clone();
        self.to.push(Target {
            collection,
            vectors,
            kept,
        });
    }

    /// How many points need an attach job for a vector of a collection.
    fn points(&self, target: &Target, attached: Attached<'_>) -> usize {
        let embeds = self.vectors.embeds_of(&target.collection);
        let items = embeds.flat_map(|(decoded, embed)| items(decoded, embed));
        items
            .filter(|item| !target.kept.has(attached.name, item))
            .count()
    }

    /// The jobs for a vector of a collection, one after the other.
    fn jobs<'s>(
        &'s self,
        target: &'s Target,
        attached: Attached<'s>,
    ) -> impl Iterator<Item = AttachJob> + 's {
        let embeds = self.vectors.embeds_of(&target.collection);
        embeds.flat_map(move |(decoded, embed)| {
            let mut items = items(decoded, embed);
            items.retain(|item| !target.kept.has(attached.name, item));
            let jobs = parts(items).into_iter();
            jobs.filter_map(move |items| job(embed, attached, items, self.write))
        })
    }
}

/// The chunks that a job has written, as what a vector is to be made of.
fn items(decoded: &DecodedJob, embed: &Embed) -> Vec<Item> {
    let of_document = |document: &contract::job::Document| {
        let version = decoded.version_of(document.version);
        let head = points::payload::id_text(&head_id(&document.id));
        let item = |chunk: &Chunk| Item {
            point: Some(point_id(&document.id, chunk.index.unwrap_or(0)).to_string()),
            version: Some(version),
            digest: None,
            head: Some(head.clone()),
            query: None,
            text: Chunk::model_input("", chunk.context.as_deref(), &chunk.text),
        };
        document.chunks.iter().map(item).collect::<Vec<_>>()
    };
    embed.documents.iter().flat_map(of_document).collect()
}

/// Cuts items into jobs that are no larger than a job may be: ids and versions take more room here than where they came
/// from.
fn parts(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut parts: Vec<Vec<Item>> = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = serde_json::to_vec(&item).map_or(0, |json| json.len() + 1);
        match parts.last_mut() {
            Some(part) if bytes + size <= MOST_BYTES && part.len() < MAX_ROWS => {
                part.push(item);
                bytes += size;
            }
            _ => {
                parts.push(vec![item]);
                bytes = size;
            }
        }
    }
    parts
}

fn job(embed: &Embed, attached: Attached<'_>, items: Vec<Item>, write: u128) -> Option<AttachJob> {
    let attach = Attach {
        version: job::VERSION.to_owned(),
        run: embed.run.clone(),
        collection: embed.collection.clone()?,
        vector: attached.name.parse().ok()?,
        fingerprint: attached.model.fingerprint.clone(),
        items,
    };
    let points = attach.items.len();
    let payload = Bytes::from(Job::Attach(attach).encode());
    Some(AttachJob {
        subject: attached.lane().subject(),
        id: format!("{}.{write}", Digest::of(&payload)),
        payload,
        points,
    })
}

/// Stores jobs for the workers of attached models, as far as there is room for them.
///
/// # Errors
/// [`AttachJobError`] for one that is not stored; what has written it is not acknowledged then.
pub(super) async fn publish_attach_jobs(
    context: &Context,
    room: &Room,
    attach_jobs: &AttachJobs<'_>,
) -> Result<(), AttachJobError> {
    if failpoint::skips("attach-jobs") {
        return Ok(());
    }
    for target in &attach_jobs.to {
        for attached in target.vectors.attached() {
            let stored = publish_for(context, room, (attach_jobs, target), attached).await?;
            if let Stored::Part(points) = stored {
                let all = attach_jobs.points(target, attached);
                left_out(&target.collection, attached, all - points);
            }
        }
    }
    Ok(())
}

/// How much was stored of what is for one attached model.
enum Stored {
    All,
    /// Jobs for this many points are stored; there was no room for the others.
    Part(usize),
}

async fn publish_for(
    context: &Context,
    room: &Room,
    (attach_jobs, target): (&AttachJobs<'_>, &Target),
    attached: Attached<'_>,
) -> Result<Stored, AttachJobError> {
    let points = |jobs: &[AttachJob]| jobs.iter().map(|job| job.points).sum::<usize>();
    let (lane, mut stored) = (attached.lane(), 0);
    let mut jobs = attach_jobs.jobs(target, attached).peekable();
    while jobs.peek().is_some() {
        if !room.look(&context.queue.jetstream, &lane).await.has_room {
            return Ok(Stored::Part(stored));
        }
        let mut window = window(&mut jobs);
        failpoint::pass("before-attach-jobs");
        let all = points(&window);
        let has_taken = store(context, &mut window).await?;
        stored += all - points(&window);
        if !has_taken {
            return Ok(Stored::Part(stored));
        }
        failpoint::pass("after-attach-jobs");
    }
    Ok(Stored::All)
}

/// The next jobs, as many as may be on their way at once.
fn window(jobs: &mut impl Iterator<Item = AttachJob>) -> Vec<AttachJob> {
    let (mut window, mut bytes) = (Vec::new(), 0);
    while bytes < BYTES_IN_FLIGHT
        && let Some(job) = jobs.next()
    {
        bytes += job.payload.len();
        window.push(job);
    }
    window
}

fn left_out(collection: &CollectionName, attached: Attached<'_>, points: usize) {
    metrics::not_handed_on(points);
    tracing::error!(
        %collection,
        vector = attached.name,
        points,
        advice = "let workers of its model drain their lane, then run `indexer attach`, which publishes what lacks the vector",
        "no room for attach jobs; the points that were written lack an attached vector"
    );
}

/// Stores jobs; whether there was room for all of them. Those that there was none for are left.
async fn store(context: &Context, jobs: &mut Vec<AttachJob>) -> Result<bool, AttachJobError> {
    let (mut attempts, mut pause) = (1, FIRST_RETRY_PAUSE);
    while let Err(error) = store_all(&context.queue, jobs).await {
        context.health.busy(Stage::Upsert);
        let reason = crate::error::chain(&error);
        if error.is_for_room() {
            tracing::warn!(error = reason, "the stream takes no more");
            return Ok(false);
        }
        if attempts == ATTEMPTS {
            return Err(error);
        }
        attempts += 1;
        tracing::warn!(error = reason, "attach jobs not stored, trying again");
        let mut shutdown = context.shutdown.clone();
        tokio::select! {
            () = shutdown.reached(Phase::Draining) => return Err(error),
            () = tokio::time::sleep(pause) => {}
        }
        pause *= 2;
    }
    Ok(true)
}

/// Stores what can be stored, and leaves the rest. The error is of one of these.
async fn store_all(queue: &Queue, jobs: &mut Vec<AttachJob>) -> Result<(), AttachJobError> {
    let stored = join_all(jobs.iter().map(|job| job.store(queue))).await;
    let (mut stored, mut failed) = (stored.into_iter(), Ok(()));
    jobs.retain(|_| match stored.next() {
        Some(Err(error)) => {
            failed = Err(error);
            true
        }
        Some(Ok(())) | None => false,
    });
    failed
}

impl AttachJobError {
    /// Whether JetStream is there and has no room for the job.
    fn is_for_room(&self) -> bool {
        const NO_ROOM: [ErrorCode; 4] = [
            ErrorCode::STREAM_STORE_FAILED,
            ErrorCode::INSUFFICIENT_RESOURCES,
            ErrorCode::STORAGE_RESOURCES_EXCEEDED,
            ErrorCode::MEMORY_RESOURCES_EXCEEDED,
        ];
        let source = self.source.downcast_ref::<PublishError>();
        let source = source.and_then(std::error::Error::source);
        let said = source.and_then(|source| source.downcast_ref::<jetstream::Error>());
        said.is_some_and(|error| NO_ROOM.contains(&error.error_code()))
    }
}

impl AttachJob {
    async fn store(&self, queue: &Queue) -> Result<(), AttachJobError> {
        let span = Publish::begin(&self.subject, self.payload.len());
        let mut headers = HeaderMap::new();
        span.write(&mut headers);
        match self.send(queue, headers).await {
            Ok(duplicate) => {
                span.stored(duplicate);
                Ok(())
            }
            Err(source) => {
                span.failed("attach_jobs".to_owned());
                Err(AttachJobError {
                    subject: self.subject.clone(),
                    source,
                })
            }
        }
    }

    async fn send(&self, queue: &Queue, headers: HeaderMap) -> Result<bool, async_nats::Error> {
        let message = PublishMessage::build()
            .payload(self.payload.clone())
            .headers(headers)
            .expected_stream(JOBS)
            .message_id(&self.id);
        let sent = async {
            let sent = queue.jetstream.send_publish(self.subject.clone(), message);
            sent.await?.await
        };
        let stored = tokio::time::timeout(TIMEOUT, sent).await??;
        Ok(stored.duplicate)
    }
}

#[cfg(test)]
mod tests {
    use points::vectors::VECTORS;
    use qdrant_client::qdrant::{CollectionConfig, CollectionInfo};

    use super::*;

    fn batch(json: &str) -> DecodedJob {
        DecodedJob {
            job: Job::decode(json.as_bytes()).unwrap(),
            default_version: 7,
            truncated: Vec::new(),
            incomplete: None,
        }
    }

    #[test]
    fn attach_jobs_name_the_points_of_the_write_and_their_head() {
        let decoded = batch(
            r#"{"version":"1.0","kind":"embed","collection":"docs","documents":[
                {"id":"a","version":5,"chunks":[{"text":"one"},{"text":"two","context":"Title"}]},
                {"id":"b","chunks":[{"text":"three"}]}]}"#,
        );
        let Job::Embed(embed) = &decoded.job else {
            panic!("another job");
        };
        let items = items(&decoded, embed);
        let read: Vec<_> = items
            .iter()
            .map(|item| (item.text.as_str(), item.version))
            .collect();
        let expected = [
            ("one", Some(5)),
            ("Title\ntwo", Some(5)),
            ("three", Some(7)),
        ];
        assert_eq!(read, expected);
        assert_eq!(items[1].point, Some(point_id("a", 1).to_string()));
        assert_eq!(items[1].head, Some(point_id("a", 0).to_string()));
    }

    #[test]
    fn jobs_are_no_larger_than_a_job_may_be() {
        let item = |text: &str| Item {
            point: Some(point_id("a", 0).to_string()),
            text: text.to_owned(),
            ..Item::default()
        };
        let large = "\u{1}".repeat(60_000);
        let all = vec![item(&large); 5];
        let cut = parts(all);
        assert!(cut.len() > 1, "{}", cut.len());
        assert_eq!(cut.iter().map(Vec::len).sum::<usize>(), 5);
        let many = parts(vec![item("a"); MAX_ROWS + 1]);
        assert_eq!(many.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_ROWS, 1]);
    }

    #[test]
    fn jobs_are_made_a_few_megabytes_at_a_time() {
        let text = "a".repeat(900_000);
        let job = |id: usize| {
            batch(&format!(
                r#"{{"version":"1.0","kind":"embed","collection":"docs","documents":[
                    {{"id":"{id}","version":5,"chunks":[{{"text":"{text}"}}]}}]}}"#
            ))
        };
        let vectors = Vectors {
            jobs: (0..12).map(job).collect(),
            vectors: Vec::new(),
        };
        let listed = serde_json::json!([{ "name": "second", "kind": "dense", "maker": { "model": {
            "name": "second", "fingerprint": Digest::of(b"second"), "dimensions": 2, "normalize": true,
        } } }]);
        let config = CollectionConfig {
            metadata: [(VECTORS.to_owned(), listed.into())].into(),
            ..CollectionConfig::default()
        };
        let info = CollectionInfo {
            config: Some(config),
            ..CollectionInfo::default()
        };
        let collection = "docs".parse().unwrap();
        let mut attach_jobs = AttachJobs::new(&vectors);
        let attached = CollectionVectors::of(&info).unwrap();
        attach_jobs.add(&collection, attached, Kept::default());
        let target = &attach_jobs.to[0];
        let mut jobs = attach_jobs.jobs(target, target.vectors.attached().next().unwrap());
        let mut windows = Vec::new();
        loop {
            let window = window(&mut jobs);
            if window.is_empty() {
                break;
            }
            let bytes: usize = window.iter().map(|job| job.payload.len()).sum();
            assert!(bytes < BYTES_IN_FLIGHT + MAX_JOB_BYTES, "{bytes}");
            windows.push(window.len());
        }
        assert_eq!(windows, [5, 5, 2]);
    }
}
