//! Generation: the life of an alias, and of the collections that take turns behind it.
//!
//! An alias points to one collection, its generation. A rebuild fills another one and moves the alias there, a rollback
//! moves it back, and live writes go on all the time. Verbs are made of the steps that this module has:
//!
//! | module | what it does |
//! |---|---|
//! | [`alias`] | what an alias points to, and the request that points it elsewhere |
//! | [`collection`] | which model a collection is for |
//! | [`record`] | what is recorded of a rebuild, the ids of runs |
//! | [`lock`] | one process at a time does a thing |
//! | [`move_alias`] | moves an alias, so that whoever comes after a crash knows where it was to go |
//! | [`recover`] | ends moves that somebody has begun and not ended |
//! | [`carry_over`] | brings what was written to a collection that an alias has left to the one behind it |
//! | [`catch_up`] | one look at two collections, point by point: what is in one and due in the other |
//! | [`fill`] | gives points the attached vectors that they lack |
//! | [`reembed`] | a stored chunk as a document for another model |
//! | [`reroute`] | jobs in the lanes of a model that the alias no longer has |
//! | [`await_jobs`] | waits until jobs are acknowledged or dead letters |
//! | [`ledger`] | what a run has published, against what became of it |
//! | [`known_vectors`] | vectors that a collection already has |
//! | [`retire`] | which generations nobody needs |

pub mod alias;
pub mod await_jobs;
pub mod carry_over;
pub mod catch_up;
pub mod collection;
pub mod fill;
pub mod known_vectors;
pub mod ledger;
pub mod lock;
pub mod move_alias;
pub mod record;
pub mod recover;
pub mod reembed;
pub mod reroute;
pub mod retire;

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::{self, stream::Stream};
use contract::names::CollectionName;
use points::{Points, Qdrant};

use lock::Lock;
use record::Runs;

/// What each step on an alias works with.
#[derive(Clone, Copy)]
pub struct AliasContext<'a> {
    pub alias: &'a CollectionName,
    pub qdrant: &'a Qdrant,
    pub jetstream: &'a jetstream::Context,
    pub jobs: &'a Stream,
    pub runs: &'a Runs,
    /// The lock of the verb that is at work. A rollback that carries over has none: anybody may do that.
    pub lock: Option<&'a Lock>,
    pub limits: TimeLimits,
}

/// Times that users set for their clocks, processes and workers.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimits {
    /// How far the clocks of publishers and workers may be behind.
    pub clock_skew: Duration,
    /// How long the owner of a lock may be silent.
    pub silence: Duration,
    /// Longest time without any progress of the workers.
    pub stall: Duration,
}

/// Why a run stops that somebody has to look at. Not an accident: repeating the run changes nothing until then.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Stopped(pub String);

impl<'a> AliasContext<'a> {
    /// Whether the lock is still ours.
    pub fn check(&self) -> anyhow::Result<()> {
        self.lock.map_or(Ok(()), Lock::check)
    }

    /// The collection behind the alias.
    pub async fn target(&self) -> anyhow::Result<CollectionName> {
        alias::target(self.qdrant, self.alias).await
    }

    pub fn points<'b>(&self, collection: &'b CollectionName) -> Points<'b>
    where
        'a: 'b,
    {
        Points::new(self.qdrant, collection)
    }

    /// Sequence of the job that was published last.
    pub async fn last_sequence(&self) -> anyhow::Result<u64> {
        let info = self.jobs.get_info().await;
        let info = info.context("failed to look at the jobs")?;
        Ok(info.state.last_sequence)
    }
}
