//! Status: what waits, what is in flight, what failed and what is there.
//!
//! One look tells what there is; how fast it goes takes two. A [`Looker`] remembers its last look, so that each of its
//! looks tells the rate since the one before.

mod lanes;
mod rate;
mod runs;
mod table;
mod tokens;

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::{self, stream::Stream};
use clap::Args;
use contract::model::Manifest;
use contract::names::CollectionName;
use contract::topology::{ADVISORIES, DLQ, JOBS, RESULTS};
pub use lanes::LaneStatus;
use points::{Points, Qdrant};
use qdrant_client::qdrant::Filter;
pub use rate::Rate;
pub use runs::RunStatus;
use runtime::settings::ConfigFault;
use serde::Serialize;
pub use tokens::Tokens;

use crate::config::{ModelDir, Servers};
use crate::dlq::letter::StoredLetter;
use crate::outcome::explained;
use crate::streams::orphaned::{Orphaned, orphaned};
use crate::streams::{Range, Reader, stream};

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
    /// Look again and again: in place on a terminal, a line for each look otherwise
    #[arg(long)]
    pub watch: bool,
    /// Time between two looks, over which the rate is measured; without --watch and with 0s, one look and no rate
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// Print one JSON object, with --watch one for each look
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The streams, that of the jobs first.
    pub streams: Vec<StreamStatus>,
    /// Both lanes of the model.
    pub lanes: Vec<LaneStatus>,
    /// How fast both lanes together are worked off; `None` at the first look.
    pub rate: Option<Rate>,
    /// Jobs in the stream, those of other models included.
    pub jobs: u64,
    /// Jobs that were given up.
    pub dead_letters: u64,
    /// Why the newest of them were.
    pub dead_letter_causes: Causes,
    /// Jobs that no consumer reads.
    #[serde(rename = "unread")]
    pub orphaned: Orphaned,
    pub collections: Vec<CollectionStatus>,
    /// What could not be looked at, and why.
    pub unknown: Vec<String>,
    /// Runs that are not over, and the newest that are.
    pub runs: Vec<RunStatus>,
}

#[derive(Clone, Debug, Serialize)]
pub struct StreamStatus {
    pub stream: String,
    /// Messages in it.
    pub messages: u64,
    pub bytes: u64,
    /// Sequence of the message that was stored last; it counts all that were ever stored.
    pub last_sequence: u64,
    pub consumers: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct CollectionStatus {
    pub name: String,
    /// Exact number of points, tombstones included; `None` where Qdrant does not tell.
    pub points: Option<u64>,
    /// How many points lack each vector, where any do; tombstones have none.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub lacking: BTreeMap<String, u64>,
}

/// Looks at both servers as often as it is asked to.
pub struct Looker {
    config: StatusConfig,
    manifest: Manifest,
    jetstream: jetstream::Context,
    qdrant: Qdrant,
    before: Option<rate::Look>,
}

impl std::fmt::Debug for Looker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Looker")
            .field("model", &self.manifest.name)
            .field("before", &self.before)
            .finish_non_exhaustive()
    }
}

impl StatusConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        if self.watch && self.interval < Duration::from_millis(100) {
            let problem = "must be at least 100ms with --watch";
            faults.push(ConfigFault::new("--interval", problem));
        }
        faults
    }
}

/// Looks once, and where jobs wait or are in flight a second time, to tell how fast they go.
pub async fn status(config: &StatusConfig) -> anyhow::Result<Status> {
    let mut looker = Looker::open(config).await?;
    let status = looker.look().await?;
    if config.interval.is_zero() || status.lag() == 0 {
        return Ok(status);
    }
    tokio::time::sleep(config.interval).await;
    looker.look().await
}

impl Status {
    /// Jobs that wait or are in flight, on both lanes.
    pub fn lag(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.lag).sum()
    }
}

impl Looker {
    pub async fn open(config: &StatusConfig) -> anyhow::Result<Self> {
        Ok(Self {
            config: config.clone(),
            manifest: config.model.manifest()?,
            jetstream: config.servers.jetstream().await?,
            qdrant: config.servers.qdrant_to_look().await?,
            before: None,
        })
    }

    pub async fn look(&mut self) -> anyhow::Result<Status> {
        let jobs = stream(&self.jetstream, JOBS).await?;
        let dlq = stream(&self.jetstream, DLQ).await?;
        let mut streams = vec![stream_status(&jobs), stream_status(&dlq)];
        for name in [RESULTS, ADVISORIES] {
            streams.push(stream_status(&stream(&self.jetstream, name).await?));
        }
        let found = lanes::look(&jobs, &self.manifest).await?;
        let now = rate::Look::new(&jobs.cached_info().state, &found);
        let before = self.before.replace(now.clone());
        let rate = before.as_ref().map(|before| now.since(before));
        let mut lanes = Vec::new();
        for (index, found) in found.iter().enumerate() {
            let rate = before.as_ref().map(|before| now.of_lane(index, before));
            lanes.push(found.status(&jobs, rate).await?);
        }
        let (collections, unknown) = collections(&self.qdrant, &self.config.collections).await;
        Ok(Status {
            streams,
            lanes,
            rate,
            jobs: jobs.cached_info().state.messages,
            dead_letters: dlq.cached_info().state.messages,
            dead_letter_causes: causes(&dlq).await?,
            orphaned: orphaned(&jobs).await?,
            collections,
            unknown,
            runs: runs::runs(&self.jetstream).await?,
        })
    }
}

fn stream_status(stream: &Stream) -> StreamStatus {
    let info = stream.cached_info();
    StreamStatus {
        stream: info.config.name.clone(),
        messages: info.state.messages,
        bytes: info.state.bytes,
        last_sequence: info.state.last_sequence,
        consumers: info.state.consumer_count,
    }
}

/// Counts what can be counted, and says what cannot: a shard that is down hides nothing else.
async fn collections(
    qdrant: &Qdrant,
    names: &[CollectionName],
) -> (Vec<CollectionStatus>, Vec<String>) {
    let (mut collections, mut unknown) = (Vec::new(), Vec::new());
    for name in names {
        let points = Points::new(qdrant, name);
        let (mut count, mut lacking) = (None, BTreeMap::new());
        let looked = async {
            count = Some(points.count(Filter::default()).await?);
            lacking = points.lacking(&points.schema().await?.vectors).await?;
            anyhow::Ok(())
        };
        if let Err(error) = looked.await {
            unknown.push(on_one_line(error));
        }
        collections.push(CollectionStatus {
            name: name.to_string(),
            points: count,
            lacking,
        });
    }
    (collections, unknown)
}

/// Qdrant tells of the errors of its peers on lines of their own.
fn on_one_line(error: anyhow::Error) -> String {
    let text = format!("{:#}", explained(error));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Dead letters whose cause is read.
const MOST_CAUSES: u64 = 10_000;

/// Dead letters by cause. Only headers are read, and of the newest 10,000 alone, so that a look at the figures costs
/// the same with a million of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Causes {
    pub read: u64,
    /// How many of these there are by cause code.
    pub counts: BTreeMap<String, u64>,
}

pub async fn causes(dlq: &Stream) -> anyhow::Result<Causes> {
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
        let stored = StoredLetter::delivered(&message)?;
        causes.read += 1;
        *causes.counts.entry(stored.cause().to_owned()).or_default() += 1;
    }
    Ok(causes)
}
