//! Ledger: what a run has published, against what became of it.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use async_nats::jetstream;
use contract::field;
use contract::job::{Document, Job, Removal};
use contract::topology::DLQ;
use points::Points;
use points::payload::number;
use points::point_id;

use crate::dead_letters::{Selected, Selection};
use crate::streams::{message_at, stream};

/// What is expected of a run, and what was found, each chunk counted once. Nothing is concluded while a job of the run is
/// left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    pub expected: u64,
    pub present: u64,
    /// Chunks in dead letters that are not there.
    pub dead: u64,
    /// Chunks of documents that a live write had replaced in the generation when the source was read: none, unless an
    /// earlier process had come as far as the catch-up.
    pub superseded: u64,
}

impl Balance {
    pub fn found(&self) -> u64 {
        self.present + self.dead + self.superseded
    }

    /// Whether jobs were lost with their stream: reading the source again brings what is missing.
    pub fn lacks_any(&self) -> bool {
        self.found() < self.expected
    }

    pub fn is_even(&self) -> bool {
        self.found() == self.expected
    }
}

/// Chunks that dead letters of a run were to make, by the ids of their points.
pub type DeadPoints = HashMap<String, DeadChunk>;

/// A chunk in a dead letter.
#[derive(Clone, Debug)]
pub struct DeadChunk {
    pub doc_id: String,
    pub version: u64,
}

/// The points that dead letters of a run were to make, or to make tombstones.
pub async fn dead_points(jetstream: &jetstream::Context, run: &str) -> anyhow::Result<DeadPoints> {
    let mut points = DeadPoints::new();
    each_dead_job(jetstream, run, |job| match job {
        Job::Embed(job) => points.extend(job.documents.iter().flat_map(chunks)),
        Job::Delete(job) => points.extend(job.documents.iter().map(head)),
        Job::Rescore(_) | Job::Attach(_) => {}
    })
    .await?;
    Ok(points)
}

/// Points of attach jobs in dead letters, by their ids.
pub type DeadAttached = HashSet<String>;

/// The points that dead letters of a run were to give a vector.
pub async fn dead_attached(
    jetstream: &jetstream::Context,
    run: &str,
    vector: &str,
) -> anyhow::Result<DeadAttached> {
    let mut points = DeadAttached::new();
    each_dead_job(jetstream, run, |job| {
        if let Job::Attach(job) = job
            && job.vector.as_str() == vector
        {
            points.extend(job.items.iter().filter_map(|item| item.point.clone()));
        }
    })
    .await?;
    Ok(points)
}

/// Reads the jobs in the dead letters of a run, one after the other.
async fn each_dead_job(
    jetstream: &jetstream::Context,
    run: &str,
    mut take: impl FnMut(&Job),
) -> anyhow::Result<()> {
    let dlq = stream(jetstream, DLQ).await?;
    let selection = Selection {
        run: Some(run.to_owned()),
        ..Selection::default()
    };
    let mut selected = Selected::open(dlq.clone(), selection).await?;
    while let Some(letter) = selected.next().await? {
        // Replayed or dropped meanwhile.
        let Some(message) = message_at(&dlq, letter.id).await? else {
            continue;
        };
        let job = Job::decode(&message.payload);
        take(&job.with_context(|| format!("dead letter {} is not a job", letter.id))?);
    }
    Ok(())
}

/// How many of these points a collection does not have at `version` or newer. A job may have died after some of its
/// points were written.
pub async fn missing(target: Points<'_>, version: u64, points: &DeadPoints) -> anyhow::Result<u64> {
    let ids = points.keys().map(String::as_str);
    let found = target.get(ids, &[field::VERSION]).await?;
    let there = found
        .iter()
        .filter(|point| number(point, field::VERSION) >= version);
    Ok((points.len() - there.count()) as u64)
}

fn head(removal: &Removal) -> (String, DeadChunk) {
    let dead = DeadChunk {
        doc_id: removal.id.clone(),
        version: removal.version.unwrap_or(0),
    };
    (point_id(&removal.id, 0).to_string(), dead)
}

fn chunks(document: &Document) -> impl Iterator<Item = (String, DeadChunk)> {
    document.chunks.iter().map(|chunk| {
        let id = point_id(&document.id, chunk.index.unwrap_or(0)).to_string();
        let dead = DeadChunk {
            doc_id: document.id.clone(),
            version: document.version.unwrap_or(0),
        };
        (id, dead)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_even_when_each_chunk_is_present_dead_or_superseded() {
        let even = Balance {
            expected: 10,
            present: 7,
            dead: 2,
            superseded: 1,
        };
        assert!(even.is_even() && !even.lacks_any());
        let lost = Balance { present: 6, ..even };
        assert!(!lost.is_even() && lost.lacks_any());
        let more = Balance { present: 8, ..even };
        assert!(
            !more.is_even() && !more.lacks_any(),
            "nothing to read again"
        );
    }

    #[test]
    fn a_dead_letter_stands_for_the_points_that_it_was_to_make() {
        let document = Document {
            id: "a".to_owned(),
            version: Some(7),
            chunks: [0, 3]
                .map(|index| contract::job::Chunk {
                    index: Some(index),
                    ..contract::job::Chunk::default()
                })
                .into(),
            ..Document::default()
        };
        let dead: DeadPoints = chunks(&document).collect();
        let ids = [0, 3].map(|chunk| point_id("a", chunk).to_string());
        assert!(dead.len() == 2 && ids.iter().all(|id| dead[id].version == 7));
        let removal = Removal {
            id: "a".to_owned(),
            version: Some(9),
        };
        assert_eq!(head(&removal).0, ids[0], "a removal writes the head");
    }
}
