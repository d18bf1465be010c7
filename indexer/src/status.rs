//! Status: what waits, what is in flight, what failed and what is there.
//!
//! One look tells what there is; how fast it goes takes several. A [`StatusReader`] remembers what was settled in the last
//! minutes, so that each of its looks tells the rate.

pub mod collections;
pub mod lanes;
pub mod rate;
pub mod runs;
mod table;
mod tokens;
pub mod workers;

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::jetstream::{self, stream::Stream};
use clap::Args;
pub use collections::CollectionStatus;
use collections::Collections;
use contract::names::CollectionName;
use contract::topology::{ADVISORIES, DLQ, JOBS, RESULTS};
use lanes::LaneReader;
pub use lanes::LaneStatus;
use points::Qdrant;
pub use rate::Rate;
pub use runs::RunStatus;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;
pub use tokens::Tokens;
use workers::{WorkerReader, Workers, WorkersConfig};

use crate::config::Servers;
use crate::dead_letters::StoredLetter;
use crate::streams::orphaned::{Orphaned, orphaned};
use crate::streams::{Range, Reader, stream};

#[derive(Args, Clone, Debug)]
pub struct StatusConfig {
    /// Aliases and collections to look at, separated by commas; by default all aliases
    #[arg(long, env = "EBB_COLLECTIONS", value_delimiter = ',')]
    pub collections: Vec<CollectionName>,
    /// Look again and again: in place on a terminal, a line for each look otherwise
    #[arg(long)]
    pub watch: bool,
    /// Time between two looks. The rate takes two of them, or up to six where jobs take longer; without --watch and with
    /// 0s, one look and no rate
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    pub interval: Duration,
    /// Print one JSON object, with --watch one for each look
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub workers: WorkersConfig,
    #[command(flatten)]
    pub servers: Servers,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Status {
    /// The streams, that of the jobs first.
    pub streams: Vec<StreamStatus>,
    /// The lanes of all models.
    pub lanes: Vec<LaneStatus>,
    /// How fast all lanes together are worked off; `None` at the first look.
    pub rate: Option<Rate>,
    /// Jobs in the stream, those of other models included.
    pub jobs: u64,
    /// Jobs that were given up.
    pub dead_letters: u64,
    /// Why the newest of them were.
    pub dead_letter_causes: Causes,
    /// Jobs that no consumer reads.
    pub orphaned: Orphaned,
    /// Workers whose metrics can be reached; `None` where nobody said where.
    pub workers: Option<Workers>,
    /// Aliases and collections, and what of them could not be looked at.
    #[serde(flatten)]
    pub found: Collections,
    /// Runs that are not over, and the newest that are.
    pub runs: Vec<RunStatus>,
}

#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct StreamStatus {
    pub stream: String,
    /// Messages in it.
    pub messages: u64,
    pub bytes: u64,
    /// Sequence of the message that was stored last; it counts all that were ever stored.
    pub last_sequence: u64,
    pub consumers: usize,
}

/// Looks at both servers as often as it is asked to.
pub struct StatusReader {
    config: StatusConfig,
    jetstream: jetstream::Context,
    qdrant: Qdrant,
    lanes: LaneReader,
    workers: WorkerReader,
    runs: runs::RunRecords,
}

impl std::fmt::Debug for StatusReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StatusReader")
            .field("lanes", &self.lanes)
            .finish_non_exhaustive()
    }
}

impl StatusConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.workers.faults());
        if self.watch && self.interval < Duration::from_millis(100) {
            let problem = "must be at least 100ms with --watch";
            faults.push(ConfigFault::new("--interval", problem));
        }
        faults
    }
}

/// Looks that are taken to tell how fast jobs go.
const MOST_LOOKS: usize = 6;

/// Looks once, and where jobs wait or are in flight again, until it can tell how fast they go.
pub async fn status(config: &StatusConfig) -> anyhow::Result<Status> {
    let mut looker = StatusReader::open(config).await?;
    let mut status = looker.look().await?;
    let mut looks = 1;
    while looks < MOST_LOOKS && !config.interval.is_zero() && !status.tells_how_fast() {
        tokio::time::sleep(config.interval).await;
        looker.look_at_jobs(&mut status).await?;
        looks += 1;
    }
    if looks > 1 {
        // What a worker does is told by two looks at it as well.
        status.workers = looker.workers().await;
    }
    Ok(status)
}

impl Status {
    /// Jobs that wait or are in flight, on all lanes.
    pub fn lag(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.lag).sum()
    }

    /// Whether nothing is left, or it is known how long that takes, or that nothing moves.
    fn tells_how_fast(&self) -> bool {
        let is_told = |rate: &Rate| rate.eta_seconds.is_some() || rate.stalled_seconds.is_some();
        self.lag() == 0 || self.rate.as_ref().is_some_and(is_told)
    }
}

impl StatusReader {
    pub async fn open(config: &StatusConfig) -> anyhow::Result<Self> {
        Ok(Self {
            config: config.clone(),
            jetstream: config.servers.jetstream().await?,
            qdrant: config.servers.qdrant_to_look().await?,
            lanes: LaneReader::default(),
            workers: WorkerReader::default(),
            runs: runs::RunRecords::default(),
        })
    }

    pub async fn look(&mut self) -> anyhow::Result<Status> {
        let jobs = stream(&self.jetstream, JOBS).await?;
        let dlq = stream(&self.jetstream, DLQ).await?;
        let mut streams = vec![stream_status(&jobs), stream_status(&dlq)];
        for name in [RESULTS, ADVISORIES] {
            streams.push(stream_status(&stream(&self.jetstream, name).await?));
        }
        let lanes = self.lanes.look(&jobs, usize::MAX).await?;
        self.runs.update(&self.jetstream).await?;
        let found = collections::look(&self.qdrant, &self.config.collections, &self.runs).await;
        Ok(Status {
            streams,
            lanes: lanes.lanes,
            rate: lanes.rate,
            jobs: jobs.cached_info().state.messages,
            dead_letters: dlq.cached_info().state.messages,
            dead_letter_causes: causes(&dlq).await?,
            orphaned: orphaned(&jobs).await?,
            workers: self.workers().await,
            found,
            runs: self.runs.shown(),
        })
    }

    /// Looks at the jobs and their lanes again. The rest stays as it was seen: to count all points takes long, and tells
    /// nothing of how fast jobs go.
    async fn look_at_jobs(&mut self, status: &mut Status) -> anyhow::Result<()> {
        let jobs = stream(&self.jetstream, JOBS).await?;
        let lanes = self.lanes.look(&jobs, usize::MAX).await?;
        (status.lanes, status.rate) = (lanes.lanes, lanes.rate);
        status.jobs = jobs.cached_info().state.messages;
        if let Some(first) = status.streams.first_mut() {
            *first = stream_status(&jobs);
        }
        Ok(())
    }

    async fn workers(&mut self) -> Option<Workers> {
        let config = &self.config.workers;
        if config.workers.is_empty() {
            return None;
        }
        Some(self.workers.look(config).await)
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

/// Dead letters whose cause is read.
const MOST_CAUSES: u64 = 10_000;

/// Dead letters by cause. Only headers are read, and of the newest 10,000 alone, so that a look at the figures costs
/// the same with a million of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
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
