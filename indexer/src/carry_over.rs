//! Carry over: what was written to a collection that an alias has left, and is not in the one it points to.
//!
//! Any process can do it, several at the same time and again and again: points are written by the workers' protocol, and
//! the newest version wins. Where the two collections have different models, texts are published to be embedded again,
//! and awaited.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use async_nats::jetstream::{self, stream::Stream};
use contract::names::{CollectionName, ModelName};
use contract::topology::{DLQ_MAX_AGE, Lane, Priority, Task};
use points::Points;
use points::collection::{FINGERPRINT, MODEL};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::CollectionInfo;

use crate::hand_over::HandOver;
use crate::pack::JOB_TOKENS;
use crate::rebuild::balance::dead_points;
use crate::rebuild::catch_up::{CatchUp, Scan};
use crate::rebuild::create::look_up;
use crate::rebuild::in_flight::InFlight;
use crate::rebuild::publish::{Heading, Publisher};
use crate::rebuild::say;
use crate::rebuild::switch::maker;
use crate::run::{RunRecord, as_time};
use crate::settle::{Awaited, Of};

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
    pub(crate) jetstream: &'a jetstream::Context,
    pub(crate) jobs: &'a Stream,
    pub(crate) alias: &'a CollectionName,
    /// How far the clocks of workers may be behind.
    pub(crate) clock_skew: Duration,
    pub(crate) stall_limit: Duration,
}

/// From where to where, and since when.
struct Way<'a> {
    /// The run that has moved the alias, or whose move was taken back.
    run: &'a str,
    from: &'a CollectionName,
    to: &'a CollectionName,
    began: u64,
    /// Run whose points are no live writes.
    except: Option<&'a str>,
    /// Generation that the alias has left, with the run that has filled it: jobs that others have for it are handed over.
    left: Option<(&'a CollectionName, &'a str)>,
}

/// Name of the run that carries over texts which have to be embedded again, by that of the move.
pub(crate) fn carrier(run: &str) -> String {
    format!("carried-{run}")
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
    /// After a switch: from the collection that the run has replaced to its generation. What the run has handed over to
    /// the generation is awaited.
    ///
    /// # Errors
    /// If a server refuses, workers make no progress, or `check` fails.
    pub(crate) async fn forwards(
        &self,
        run: &RunRecord,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<Scan> {
        let way = Way {
            run: &run.run,
            from: &run.serving,
            to: &run.generation,
            began: run.started,
            except: maker(run),
            left: None,
        };
        let of = Of::Collection(run.generation.as_str());
        self.settled(&run.model, of, &check).await?;
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
            run: &run.run,
            from: &run.generation,
            to: &run.serving,
            began: run.switched.unwrap_or(run.started),
            except: Some(&run.run),
            left: Some((&run.generation, &run.run)),
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
        self.hand_over(&way, &to.model, &check).await?;
        let mut models = vec![from.model.clone(), to.model.clone()];
        models.dedup();
        self.in_flight().settled(&models, &check).await?;
        let (began, run) = (as_time(way.began), carrier(way.run));
        // What an attempt that died has published is not published again.
        self.settled(&to.model, Of::Run(&run), &check).await?;
        let mut sum = Scan::default();
        for _ in 0..MOST_SCANS {
            check()?;
            let catch_up = CatchUp {
                from: self.target(way.from),
                to: self.target(way.to),
                same_model: from == to,
                space: to.clone(),
                again: None,
                floor,
                since: began - self.clock_skew - Duration::from_secs(1),
                except: way.except,
                tombstones_since: began
                    .checked_sub(DLQ_MAX_AGE)
                    .unwrap_or(SystemTime::UNIX_EPOCH),
                dead: &dead_points(self.jetstream, &run).await?,
            };
            let mut publisher = self.publisher(&to.model, &run);
            let scan = catch_up.scan(&mut publisher).await?;
            publisher.finish().await?;
            sum.add(scan);
            sum.left = scan.left;
            if scan.is_clean() {
                return Ok(sum);
            }
            if scan.published > 0 {
                self.settled(&to.model, Of::Run(&run), &check).await?;
            }
        }
        anyhow::bail!(
            "something still writes to `{}`; jobs must name the alias `{}`",
            way.from,
            self.alias
        )
    }

    /// Jobs that no worker can do any more, because the alias has another model now, and jobs for a generation that it
    /// has left.
    async fn hand_over(
        &self,
        way: &Way<'_>,
        model: &ModelName,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let hand_over = HandOver {
            jetstream: self.jetstream,
            jobs: self.jobs,
            alias: self.alias,
            left: way.left,
            model,
            to: self.alias,
        };
        let handed = hand_over.perform(check).await?;
        if handed > 0 {
            say(&format!("{handed} jobs are handed over to `{model}`"));
        }
        Ok(())
    }

    /// Publishes texts for a model whose tokenizer is not at hand: its workers have it.
    fn publisher(&self, model: &ModelName, run: &str) -> Publisher {
        let lane = Lane {
            task: Task::Embed,
            model: model.clone(),
            priority: Priority::Live,
        };
        let heading = Heading {
            subject: lane.subject(),
            run: run.to_owned(),
            collection: self.alias.clone(),
            tokenization: None,
            fingerprint: None,
            job_tokens: JOB_TOKENS,
        };
        Publisher::new(Some(self.jetstream.clone()), heading)
    }

    /// Waits for jobs that were published by now.
    async fn settled(
        &self,
        model: &ModelName,
        of: Of<'_>,
        check: impl Fn() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let state = self.jobs.get_info().await;
        let state = state.context("failed to look at the jobs")?.state;
        let awaited = Awaited {
            stream: self.jobs,
            subject: &format!("jobs.{}.{model}.*", Task::Embed.as_str()),
            first: state.first_sequence,
            last: state.last_sequence,
            of,
            stall_limit: self.stall_limit,
        };
        awaited.settled(check).await
    }

    fn in_flight(&self) -> InFlight<'_> {
        InFlight {
            jobs: self.jobs,
            alias: self.alias,
            stall_limit: self.stall_limit,
        }
    }

    fn target<'b>(&'b self, collection: &'b CollectionName) -> Points<'b> {
        Points {
            store: self.qdrant,
            collection,
        }
    }

    async fn space(&self, name: &CollectionName) -> anyhow::Result<Space> {
        let info = look_up(self.qdrant, name.as_str()).await?;
        let info = info.with_context(|| format!("collection `{name}` is gone"))?;
        Space::of(&info).with_context(|| format!("collection `{name}` does not say its model"))
    }
}
