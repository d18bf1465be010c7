//! Final state: what is there when all is over.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use async_nats::HeaderMap;
use async_nats::jetstream::{self, consumer::PullConsumer};
use contract::field;
use contract::job::Job;
use contract::topology::{DLQ, JOBS, Lane, header};
use points::payload::vector;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{RetrievedPoint, ScrollPointsBuilder, point_id::PointIdOptions};
use tests::{flag, integer, terms, text};

use crate::message::COLLECTION;
use crate::publish::NUMBER;
use crate::servers::{ATTACHED, MODEL};

const POINTS_PER_REQUEST: u32 = 2_000;
/// So many messages that were left are looked at.
const LEFT_SHOWN: usize = 20;

/// Everything that is checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct FinalState {
    /// All points.
    pub(crate) points: Vec<Point>,
    /// All points as each other node of a cluster has them.
    pub(crate) elsewhere: Vec<Vec<Point>>,
    /// All dead letters, but for those of the attached model.
    pub(crate) letters: Vec<Letter>,
    /// Points, by their ids, that dead letters were to give the attached vector, with the version that they read.
    pub(crate) unattached: BTreeSet<(String, u64)>,
    /// Jobs.
    pub(crate) jobs: Jobs,
}

/// What is left of the jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Jobs {
    /// Messages in the stream.
    pub(crate) left: u64,
    /// Messages that consumers have not delivered yet, or wait for.
    pub(crate) pending: u64,
    /// Some of the messages that are left: sequence and number.
    pub(crate) some: Vec<(u64, Option<usize>)>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Point {
    pub(crate) id: String,
    pub(crate) document: String,
    pub(crate) chunk: u32,
    pub(crate) version: u64,
    pub(crate) chunks: u32,
    pub(crate) deleted: bool,
    pub(crate) text: String,
    pub(crate) fingerprint: String,
    /// Run of the job that has written it.
    pub(crate) run: String,
    pub(crate) vector: Option<Vec<f32>>,
    /// The vector of the attached model.
    pub(crate) attached: Option<Vec<f32>>,
    /// Whether it has the vector of its words.
    pub(crate) has_words: bool,
}

/// A dead letter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Letter {
    /// Number of the message, from its own header.
    pub(crate) message: Option<usize>,
    /// Where the job was.
    pub(crate) sequence: u64,
    pub(crate) cause: String,
    pub(crate) reason: String,
    pub(crate) payload: Vec<u8>,
}

/// Reads everything.
///
/// # Errors
/// If a server refuses.
pub(crate) async fn find(
    jetstream: &jetstream::Context,
    nodes: &[Qdrant],
    lanes: &[Lane],
) -> anyhow::Result<FinalState> {
    let mut listings = Vec::new();
    for node in nodes {
        listings.push(points(node).await?);
    }
    let mut listings = listings.into_iter();
    let (letters, unattached) = sorted(letters(jetstream).await?);
    Ok(FinalState {
        points: listings.next().unwrap_or_default(),
        elsewhere: listings.collect(),
        letters,
        unattached,
        jobs: jobs(jetstream, lanes).await?,
    })
}

/// Dead letters of what was published, and the points of the jobs that workers have published for the attached model.
fn sorted(all: Vec<Letter>) -> (Vec<Letter>, BTreeSet<(String, u64)>) {
    let (mut letters, mut unattached) = (Vec::new(), BTreeSet::new());
    for letter in all {
        match Job::decode(&letter.payload) {
            Ok(Job::Attach(job)) => {
                let points = job.items.into_iter();
                unattached.extend(points.filter_map(|item| Some((item.point?, item.version?))));
            }
            Ok(_) | Err(_) => letters.push(letter),
        }
    }
    (letters, unattached)
}

async fn points(qdrant: &Qdrant) -> anyhow::Result<Vec<Point>> {
    let mut points = Vec::new();
    let mut offset = None;
    loop {
        let mut scroll = ScrollPointsBuilder::new(COLLECTION)
            .limit(POINTS_PER_REQUEST)
            .with_payload(true)
            .with_vectors(true);
        if let Some(offset) = offset.take() {
            scroll = scroll.offset::<qdrant_client::qdrant::PointId>(offset);
        }
        let page = qdrant
            .scroll(scroll)
            .await
            .context("failed to read the points")?;
        points.extend(page.result.iter().map(point));
        match page.next_page_offset {
            Some(next) => offset = Some(next),
            None => return Ok(points),
        }
    }
}

fn point(point: &RetrievedPoint) -> Point {
    let id = point.id.as_ref().and_then(|id| id.point_id_options.clone());
    let unsigned = |name| u64::try_from(integer(point, name)).unwrap_or(u64::MAX);
    let small = |name| u32::try_from(integer(point, name)).unwrap_or(u32::MAX);
    Point {
        id: match id {
            Some(PointIdOptions::Uuid(id)) => id,
            Some(PointIdOptions::Num(id)) => id.to_string(),
            None => String::new(),
        },
        document: text(point, field::DOC_ID),
        chunk: small(field::CHUNK),
        version: unsigned(field::VERSION),
        chunks: small(field::CHUNKS),
        deleted: flag(point, field::DELETED),
        text: text(point, field::TEXT),
        fingerprint: text(point, field::FINGERPRINT),
        run: text(point, field::RUN),
        vector: vector(point, MODEL),
        attached: vector(point, ATTACHED),
        has_words: terms(point).is_some(),
    }
}

async fn letters(jetstream: &jetstream::Context) -> anyhow::Result<Vec<Letter>> {
    let stream = jetstream.get_stream(DLQ).await?;
    let state = &stream.cached_info().state;
    let mut letters = Vec::new();
    if state.messages == 0 {
        return Ok(letters);
    }
    for sequence in state.first_sequence..=state.last_sequence {
        let message = stream.get_raw_message(sequence).await?;
        let of = |name| value(&message.headers, name);
        letters.push(Letter {
            message: of(NUMBER).parse().ok(),
            sequence: of(header::SEQUENCE).parse().unwrap_or(0),
            cause: of(header::CAUSE),
            reason: of(header::REASON),
            payload: message.payload.to_vec(),
        });
    }
    Ok(letters)
}

fn value(headers: &HeaderMap, name: &str) -> String {
    headers
        .get(name)
        .map(|value| value.as_str().to_owned())
        .unwrap_or_default()
}

/// What is left of the jobs.
///
/// # Errors
/// If JetStream refuses.
pub(crate) async fn jobs(jetstream: &jetstream::Context, lanes: &[Lane]) -> anyhow::Result<Jobs> {
    let stream = jetstream.get_stream(JOBS).await?;
    let state = &stream.cached_info().state;
    let mut jobs = Jobs {
        left: state.messages,
        ..Jobs::default()
    };
    for lane in lanes {
        let consumer: PullConsumer = jetstream
            .get_consumer_from_stream(lane.consumer(), JOBS)
            .await?;
        let info = consumer.cached_info();
        jobs.pending += info.num_pending + u64::try_from(info.num_ack_pending)?;
    }
    Ok(jobs)
}

/// Looks at some of the messages that are left.
///
/// # Errors
/// If JetStream refuses.
pub(crate) async fn some_left(
    jetstream: &jetstream::Context,
) -> anyhow::Result<Vec<(u64, Option<usize>)>> {
    let stream = jetstream.get_stream(JOBS).await?;
    let state = &stream.cached_info().state;
    let mut left = BTreeMap::new();
    for sequence in state.first_sequence..=state.last_sequence {
        if left.len() == LEFT_SHOWN {
            break;
        }
        if let Ok(message) = stream.get_raw_message(sequence).await {
            left.insert(sequence, value(&message.headers, NUMBER).parse().ok());
        }
    }
    Ok(left.into_iter().collect())
}
