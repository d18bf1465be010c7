//! Carry over: what was written to a collection that an alias has left, and is not in the one it points to.
//!
//! Any process can do it, several at the same time and again and again: points are written by the workers' protocol, and
//! the newest version wins.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_nats::jetstream::stream::Stream;
use contract::collection::{FINGERPRINT, MODEL};
use contract::names::{CollectionName, ModelName};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::CollectionInfo;

use crate::rebuild::balance::DeadPoints;
use crate::rebuild::catch_up::{CatchUp, Scan};
use crate::rebuild::create::look_up;
use crate::rebuild::in_flight::InFlight;
use crate::rebuild::switch::{TOMBSTONES, maker};
use crate::rebuild::write::Target;
use crate::run::{RunRecord, as_time};

/// Scans that may find something after the last worker has left.
const MOST_SCANS: u32 = 1000;

/// The model that a collection is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Space {
    /// Its name, and that of its vectors.
    pub(crate) model: ModelName,
    /// Its fingerprint.
    pub(crate) fingerprint: String,
}

/// What all that is carried over for an alias has in common.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) qdrant: &'a Qdrant,
    pub(crate) jobs: &'a Stream,
    pub(crate) alias: &'a CollectionName,
    /// How far the clocks of workers may be behind.
    pub(crate) clock_skew: Duration,
    pub(crate) stall_limit: Duration,
}

/// From where to where, and since when.
struct Way<'a> {
    from: &'a CollectionName,
    to: &'a CollectionName,
    began: u64,
    /// Run whose points are no live writes.
    except: Option<&'a str>,
}

impl Space {
    /// What the metadata of a collection say.
    pub(crate) fn of(info: &CollectionInfo) -> Option<Self> {
        let metadata = &info.config.as_ref()?.metadata;
        Some(Self {
            model: metadata.get(MODEL)?.as_str()?.parse().ok()?,
            fingerprint: metadata.get(FINGERPRINT)?.as_str()?.clone(),
        })
    }
}

impl Scene<'_> {
    /// After a switch: from the collection that the run has replaced to its generation.
    ///
    /// # Errors
    /// If a server refuses, workers make no progress, or `check` fails.
    pub(crate) async fn forwards(
        &self,
        run: &RunRecord,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Scan> {
        let way = Way {
            from: &run.serving,
            to: &run.generation,
            began: run.started,
            except: maker(run),
        };
        self.carry(way, run.version, check).await
    }

    /// After a rollback: from the generation of the run to the collection that it had replaced.
    ///
    /// # Errors
    /// If a server refuses, workers make no progress, or `check` fails.
    pub(crate) async fn backwards(
        &self,
        run: &RunRecord,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Scan> {
        let way = Way {
            from: &run.generation,
            to: &run.serving,
            began: run.switched.unwrap_or(run.started),
            except: Some(&run.run),
        };
        self.carry(way, run.version, check).await
    }

    async fn carry(
        &self,
        way: Way<'_>,
        floor: u64,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Scan> {
        let (from, to) = (self.space(way.from).await?, self.space(way.to).await?);
        let mut models = vec![from.model.clone(), to.model.clone()];
        models.dedup();
        self.in_flight().settled(&models, &check).await?;
        let began = as_time(way.began);
        let catch_up = CatchUp {
            from: self.target(way.from),
            to: self.target(way.to),
            same_model: from == to,
            space: to,
            again: None,
            floor,
            since: began - self.clock_skew - Duration::from_secs(1),
            except: way.except,
            tombstones_since: began
                .checked_sub(TOMBSTONES)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            dead: &DeadPoints::new(),
        };
        let mut sum = Scan::default();
        for _ in 0..MOST_SCANS {
            check()?;
            let scan = catch_up.scan(None).await?;
            sum.add(scan);
            if scan.is_clean() {
                return Ok(sum);
            }
        }
        anyhow::bail!(
            "something still writes to `{}`; jobs must name the alias `{}`",
            way.from,
            self.alias
        )
    }

    fn in_flight(&self) -> InFlight<'_> {
        InFlight {
            jobs: self.jobs,
            alias: self.alias,
            stall_limit: self.stall_limit,
        }
    }

    fn target<'b>(&'b self, collection: &'b CollectionName) -> Target<'b> {
        Target {
            qdrant: self.qdrant,
            collection,
        }
    }

    async fn space(&self, name: &CollectionName) -> anyhow::Result<Space> {
        let info = look_up(self.qdrant, name.as_str()).await?;
        let info = info.with_context(|| format!("collection `{name}` is gone"))?;
        Space::of(&info).with_context(|| format!("collection `{name}` does not say its model"))
    }
}
