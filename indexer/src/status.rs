//! Status: what waits, what is in flight, what failed and what is there.

use std::collections::BTreeMap;

use anyhow::Context as _;
use async_nats::jetstream::{self, consumer::PullConsumer, stream::Stream};
use clap::Args;
use contract::connect::ConfigFault;
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::topology::{DLQ, JOBS, Lane};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::CountPointsBuilder;
use serde::Serialize;

use crate::config::{ModelDir, Servers};
use crate::dlq::read::{Range, Reader, Stored};
use crate::dlq::stream;
use crate::unread::{Unread, unread};

/// Dead letters whose cause is read.
const MOST_CAUSES: u64 = 10_000;

/// Settings of `indexer status`.
#[derive(Args, Clone, Debug)]
pub struct StatusConfig {
    /// Aliases and collections to count, separated by commas
    #[arg(
        long,
        env = "EBB_COLLECTIONS",
        default_value = "docs",
        value_delimiter = ','
    )]
    pub collections: Vec<CollectionName>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub model: ModelDir,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub servers: Servers,
}

/// All figures.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Both lanes of the model.
    pub lanes: Vec<LaneStatus>,
    /// Jobs in the stream, those of other models included.
    pub jobs: u64,
    /// Jobs that were given up.
    pub dead_letters: u64,
    /// Why the newest of them were.
    pub dead_letter_causes: Causes,
    /// Jobs that no consumer reads.
    pub unread: Unread,
    /// The collections.
    pub collections: Vec<CollectionStatus>,
}

/// Dead letters by cause. Only headers are read, and of the newest 10,000 alone, so that a look at the figures costs
/// the same with a million of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Causes {
    /// How many were read.
    pub read: u64,
    /// How many of these there are by cause code.
    pub counts: BTreeMap<String, u64>,
}

/// One lane.
#[derive(Clone, Debug, Serialize)]
pub struct LaneStatus {
    /// Its consumer.
    pub consumer: String,
    /// Jobs that no worker has taken.
    pub pending: u64,
    /// Jobs that a worker has taken and not settled, or given back with a delay.
    pub ack_pending: usize,
    /// Of these, how many were delivered more than once.
    pub redelivered: usize,
}

/// One collection.
#[derive(Clone, Debug, Serialize)]
pub struct CollectionStatus {
    /// Its name or alias.
    pub name: String,
    /// Exact number of points, tombstones included.
    pub points: u64,
}

impl StatusConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        faults
    }
}

/// Looks at both servers.
///
/// # Errors
/// If one of them cannot be reached, or something is not provisioned.
pub async fn status(config: &StatusConfig) -> anyhow::Result<Status> {
    let manifest = config.model.manifest()?;
    let jetstream = config.servers.jetstream().await?;
    let qdrant = config.servers.qdrant.client()?;
    let jobs = stream(&jetstream, JOBS).await?;
    let dlq = stream(&jetstream, DLQ).await?;
    Ok(Status {
        lanes: lanes(&jetstream, &manifest).await?,
        jobs: jobs.cached_info().state.messages,
        dead_letters: dlq.cached_info().state.messages,
        dead_letter_causes: causes(&dlq).await?,
        unread: unread(&jobs).await?,
        collections: collections(&qdrant, &config.collections).await?,
    })
}

async fn lanes(
    jetstream: &jetstream::Context,
    manifest: &Manifest,
) -> anyhow::Result<Vec<LaneStatus>> {
    let mut lanes = Vec::new();
    for lane in Lane::of(manifest.identity.task, &manifest.name) {
        let consumer = lane.consumer();
        let found: Result<PullConsumer, _> =
            jetstream.get_consumer_from_stream(&consumer, JOBS).await;
        let found = found.with_context(|| {
            format!("failed to look up consumer `{consumer}`; run `indexer provision`")
        })?;
        let info = found.cached_info();
        lanes.push(LaneStatus {
            consumer,
            pending: info.num_pending,
            ack_pending: info.num_ack_pending,
            redelivered: info.num_redelivered,
        });
    }
    Ok(lanes)
}

async fn causes(dlq: &Stream) -> anyhow::Result<Causes> {
    let range = Range {
        filter: ">".to_owned(),
        first: dlq
            .cached_info()
            .state
            .last_sequence
            .saturating_sub(MOST_CAUSES - 1),
        headers_only: true,
    };
    let mut reader = Reader::open(dlq.clone(), range).await?;
    let mut causes = Causes::default();
    while let Some((_, message)) = reader.next().await? {
        let stored = Stored::delivered(&message)?;
        causes.read += 1;
        *causes.counts.entry(stored.cause().to_owned()).or_default() += 1;
    }
    Ok(causes)
}

async fn collections(
    qdrant: &Qdrant,
    names: &[CollectionName],
) -> anyhow::Result<Vec<CollectionStatus>> {
    let mut collections = Vec::new();
    for name in names {
        let count = qdrant
            .count(CountPointsBuilder::new(name.as_str()).exact(true))
            .await;
        let count = count.with_context(|| format!("failed to count the points of `{name}`"))?;
        let points = count.result.map_or(0, |result| result.count);
        collections.push(CollectionStatus {
            name: name.to_string(),
            points,
        });
    }
    Ok(collections)
}
