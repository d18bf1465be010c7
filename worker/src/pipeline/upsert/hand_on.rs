//! Hand on: what was written goes on to the workers of the attached models, as jobs on their bulk lanes.
//!
//! A point that is written anew has none of its attached vectors. So their jobs are stored before the job that wrote it is
//! acknowledged: a worker that dies between the two writes it again, and hands it on again.
//!
//! **The message id** is of one write, and not of the version alone. Writing a version once more takes the attached vectors
//! from its points; a job that JetStream took for a repetition of one that is done already would leave them without. What
//! is handed on twice is computed twice, which changes nothing.
//!
//! Where the stream has no room, what is left is kept and sent again under its ids until there is room or the process is to
//! end: neither the job that wrote it is to blame, nor is anything to be written once more.

use std::time::{Duration, SystemTime};

use async_nats::HeaderMap;
use async_nats::jetstream::context::PublishError;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use contract::digest::Digest;
use contract::job::{self, Attach, Chunk, Embed, Item, Job, MAX_JOB_BYTES, MAX_ROWS};
use contract::names::CollectionName;
use contract::topology::{JOBS, Lane, Priority, Task};
use futures::future::join_all;
use points::vectors::{Attached, CollectionVectors};
use points::{head_id, point_id};
use queue::trace::Publish;
use runtime::failpoint;

use super::{Context, FIRST_RETRY_PAUSE, LONGEST_HOLD_PAUSE};
use crate::batch::{DecodedJob, Vectors};
use crate::error::HandOnError;
use crate::health::Stage;
use crate::inflight::Queue;
use crate::metrics::HeldGauge;
use crate::shutdown::Phase;

/// Bytes of the items of a job: what else is in it takes less than the rest.
const MOST_BYTES: usize = MAX_JOB_BYTES - (16 << 10);
/// How often jobs are sent under their ids before what has written them is given back.
const ATTEMPTS: usize = 3;
/// How long an answer is waited for: the client would wait for a reconnect without end.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A job for the workers of an attached model.
#[derive(Debug)]
pub struct HandedOn {
    subject: String,
    payload: Bytes,
    id: String,
}

/// The jobs for what a batch has written to a collection with these vectors.
pub(super) fn handed_on(
    vectors: &Vectors,
    collection: &CollectionName,
    of: &CollectionVectors,
) -> Vec<HandedOn> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let write = since.unwrap_or_default().as_nanos();
    let mut handed = Vec::new();
    for attached in of.attached() {
        for decoded in &vectors.jobs {
            let Job::Embed(embed) = &decoded.job else {
                continue;
            };
            if embed.collection.as_ref() != Some(collection) {
                continue;
            }
            let parts = parts(items(decoded, embed));
            let parts = parts.into_iter();
            handed.extend(parts.filter_map(|items| job(embed, attached, items, write)));
        }
    }
    handed
}

/// The chunks that a job has written, as what a vector is to be made of.
fn items(decoded: &DecodedJob, embed: &Embed) -> Vec<Item> {
    let of_document = |document: &contract::job::Document| {
        let version = document.version.unwrap_or(decoded.default_version);
        let head = points::payload::id_text(&head_id(&document.id));
        let item = |chunk: &Chunk| Item {
            point: Some(point_id(&document.id, chunk.index.unwrap_or(0)).to_string()),
            version: Some(version),
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

fn job(embed: &Embed, attached: Attached<'_>, items: Vec<Item>, write: u128) -> Option<HandedOn> {
    let attach = Attach {
        version: job::VERSION.to_owned(),
        run: embed.run.clone(),
        collection: embed.collection.clone()?,
        vector: attached.name.parse().ok()?,
        fingerprint: attached.model.fingerprint.clone(),
        items,
    };
    let payload = Bytes::from(Job::Attach(attach).encode());
    let lane = Lane::new(Task::Embed, attached.model.name.clone(), Priority::Bulk);
    Some(HandedOn {
        subject: lane.subject(),
        id: format!("{}.{write}", Digest::of(&payload)),
        payload,
    })
}

/// Stores jobs for the workers of attached models; waits where there is no room for them.
///
/// # Errors
/// [`HandOnError`] for one that is not stored; what has written it is not acknowledged then.
pub(super) async fn hand_on(context: &Context, handed: Vec<HandedOn>) -> Result<(), HandOnError> {
    if handed.is_empty() || failpoint::skips("hand-on") {
        return Ok(());
    }
    failpoint::pass("before-hand-on");
    let (mut rest, mut attempts, mut pause) = (handed, 1, FIRST_RETRY_PAUSE);
    let mut held = None;
    while let Err(error) = store_all(&context.queue, &mut rest).await {
        context.health.busy(Stage::Upsert);
        if error.is_for_room() {
            tracing::error!(
                error = crate::error::chain(&error),
                advice = "let workers of the attached models drain their lanes, or give the stream more: `indexer provision \
                          --jobs-max-bytes`",
                "no room for what is handed on; jobs are kept"
            );
            held.get_or_insert_with(|| HeldGauge::new("stream"));
        } else if attempts == ATTEMPTS {
            return Err(error);
        } else {
            attempts += 1;
            tracing::warn!(
                error = crate::error::chain(&error),
                "not handed on, trying again"
            );
        }
        let mut shutdown = context.shutdown.clone();
        tokio::select! {
            () = shutdown.reached(Phase::Draining) => return Err(error),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_HOLD_PAUSE);
    }
    failpoint::pass("after-hand-on");
    Ok(())
}

/// Stores what can be stored, and leaves the rest. The error is of one of these.
async fn store_all(queue: &Queue, jobs: &mut Vec<HandedOn>) -> Result<(), HandOnError> {
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

impl HandOnError {
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

impl HandedOn {
    async fn store(&self, queue: &Queue) -> Result<(), HandOnError> {
        let span = Publish::begin(&self.subject, self.payload.len());
        let mut headers = HeaderMap::new();
        span.write(&mut headers);
        match self.send(queue, headers).await {
            Ok(duplicate) => {
                span.stored(duplicate);
                Ok(())
            }
            Err(source) => {
                span.failed("hand_on".to_owned());
                Err(HandOnError {
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
    fn what_is_handed_on_names_the_points_of_the_write_and_their_head() {
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
}
