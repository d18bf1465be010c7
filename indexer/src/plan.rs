//! Plan: what a sync or a rebuild would do, and what that would cost. Changes nothing.
//!
//! The work is counted by the code that does it, so that a run on the same source and collection does just that. What
//! it costs is estimated by the formulas of [`Estimate`], and what it takes in Qdrant by those of
//! [`points::options::Settings::size`].

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use contract::model::Manifest;
use contract::names::CollectionName;
use points::options::{NodeSize, Sizes};
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use crate::corpus::account::Account;
use crate::generation::record::SettingsReport;
use crate::outcome::{Failure, Outcome};
use crate::progress::as_double;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// `indexer sync`.
    Sync,
    /// `indexer rebuild`.
    Rebuild,
}

/// The work that a verb would do.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Plan {
    /// The verb that would do it.
    pub verb: Verb,
    pub alias: CollectionName,
    pub collection: CollectionName,
    /// Why the run would stop at a limit, if it would.
    pub refusal: Option<String>,
    /// How much is to be read and published.
    #[serde(flatten)]
    pub work: Work,
    /// What was read of the source, what became text, and what is left out, by the reason.
    #[serde(flatten)]
    pub account: Account,
    /// What would become of the documents of the collection; only of a sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// What the chunks take on each node of Qdrant, with the options of the alias.
    pub storage: NodeSize,
    /// How the collection would be set up in another way than it is; only of a rebuild.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<SettingsReport>,
    /// What the work would cost.
    pub estimate: Estimate,
}

/// How much is to be read and published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Work {
    pub documents: u64,
    pub chunks: u64,
    pub tokens: u64,
    /// Documents, records and files that cannot be read.
    pub refused: u64,
    /// Chunks that need no worker, because their vectors are there.
    pub reused_chunks: u64,
    pub published_chunks: u64,
    pub published_tokens: u64,
    pub embed_jobs: u64,
    pub delete_jobs: u64,
    /// Jobs of both kinds.
    pub jobs: u64,
}

/// What would become of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Changes {
    /// They stay as they are.
    pub unchanged: u64,
    /// They were written or deleted since the start, and stay as they are.
    pub newer: u64,
    pub published: u64,
    pub deleted: u64,
    /// They are not in the source, and would stay because parts of it cannot be read.
    pub kept: u64,
}

impl Work {
    /// Why a run would stop whose source cannot be read as a whole.
    pub fn refusal(&self, most: u64) -> Option<String> {
        let refused = self.refused;
        (refused > most).then(|| {
            format!(
                "refused: {refused} documents, records and files of the source cannot be read, {most} are allowed \
                 (--max-refused)"
            )
        })
    }

    fn counts(&self) -> [(&'static str, u64); 9] {
        [
            ("documents", self.documents),
            ("chunks", self.chunks),
            ("tokens", self.tokens),
            ("refused", self.refused),
            ("reused chunks", self.reused_chunks),
            ("chunks to embed", self.published_chunks),
            ("tokens to embed", self.published_tokens),
            ("jobs that embed", self.embed_jobs),
            ("jobs that delete", self.delete_jobs),
        ]
    }
}

impl Changes {
    fn counts(&self) -> [(&'static str, u64); 5] {
        [
            ("unchanged documents", self.unchanged),
            ("newer documents", self.newer),
            ("documents to publish", self.published),
            ("documents to delete", self.deleted),
            ("documents to keep", self.kept),
        ]
    }
}

/// Settings that say what a worker does and costs.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Plan")]
pub struct Sizing {
    /// Tokens that one worker embeds in a second, as measured by a sync or a rebuild with one worker
    #[arg(long)]
    pub tokens_per_second: Option<f64>,
    /// Price of an hour of one worker, in any currency
    #[arg(long, requires = "tokens_per_second")]
    pub price_per_hour: Option<f64>,
    /// Time in which the backlog is to be worked off
    #[arg(long, default_value = "30m", value_parser = humantime::parse_duration)]
    pub drain_target: Duration,
    /// Nodes of Qdrant that the shards are spread over
    #[arg(long, default_value_t = 1)]
    pub nodes: u64,
}

/// What the work would cost, and how an autoscaler on the lag of the lane works it off in time.
///
/// With R tokens per second of one worker and a target of T seconds:
/// - GPU hours = tokens to embed / R / 3600, whatever the number of workers;
/// - price = GPU hours * price per hour;
/// - tokens per job = tokens to embed / jobs that embed, in the mean;
/// - lag threshold = max(1, floor(R * T / tokens per job)): as many jobs as one worker does within the target;
/// - most replicas = max(1, ceil(jobs that embed / lag threshold)): the autoscaler starts a worker for each threshold
///   of lag, so that with so many the whole backlog is shared out in parts that one worker does within the target;
/// - drain seconds = tokens to embed / (R * most replicas). More than T only where a single job takes longer.
///
/// Starting workers and loading the model come on top. Deletions are not counted: they need no GPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Estimate {
    /// What was given, in tokens per second.
    pub tokens_per_second: Option<f64>,
    /// Hours of all workers together.
    pub gpu_hours: Option<f64>,
    /// Price of these, in the currency that was given.
    pub price: Option<f64>,
    /// What was given, in seconds.
    pub drain_target_seconds: f64,
    /// Mean of the jobs that embed; 0 where there are none.
    pub tokens_per_job: f64,
    /// Messages per worker, KEDA's `lagThreshold`.
    pub lag_threshold: Option<u64>,
    /// Most workers, KEDA's `maxReplicaCount`.
    pub max_replicas: Option<u64>,
    /// From the first job to the last with that many workers, in seconds.
    pub drain_seconds: Option<f64>,
}

impl Sizing {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let mut faults = Vec::new();
        if !self.tokens_per_second.is_none_or(positive) {
            faults.push(ConfigFault::new("--tokens-per-second", "must be above 0"));
        }
        if !self
            .price_per_hour
            .is_none_or(|price| price.is_finite() && price >= 0.0)
        {
            faults.push(ConfigFault::new("--price-per-hour", "must be at least 0"));
        }
        if self.drain_target.is_zero() {
            faults.push(ConfigFault::new("--drain-target", "must be above 0s"));
        }
        if self.nodes == 0 {
            faults.push(ConfigFault::new("--nodes", "must be at least 1"));
        }
        faults
    }

    /// What is to be stored, for [`points::options::Settings::size`].
    pub fn sizes(&self, manifest: &Manifest, chunks: u64, text_bytes: u64) -> Sizes {
        Sizes {
            points: chunks,
            dimensions: manifest.identity.dimensions as u64,
            text_bytes,
            nodes: self.nodes,
        }
    }

    pub fn estimate(&self, work: &Work) -> Estimate {
        let tokens = as_double(work.published_tokens);
        let target = self.drain_target.as_secs_f64();
        let per_job = tokens / as_double(work.embed_jobs.max(1));
        let rate = self.tokens_per_second;
        let hours = rate.map(|rate| tokens / rate / 3600.0);
        // Without a job nobody knows how large one would be.
        let rate_of_jobs = rate.filter(|_| work.embed_jobs > 0);
        let threshold = rate_of_jobs.map(|rate| threshold(rate * target, per_job));
        let replicas = threshold.map(|threshold| work.embed_jobs.div_ceil(threshold).max(1));
        Estimate {
            tokens_per_second: rate,
            gpu_hours: hours,
            price: hours
                .zip(self.price_per_hour)
                .map(|(hours, price)| hours * price),
            drain_target_seconds: target,
            tokens_per_job: per_job,
            lag_threshold: threshold,
            max_replicas: replicas,
            drain_seconds: rate
                .zip(replicas)
                .map(|(rate, replicas)| tokens / rate / as_double(replicas)),
        }
    }
}

/// Jobs of so many tokens that one worker does within some time at a rate in tokens per second, at least one.
pub fn jobs_within(rate: u64, time: Duration, job_tokens: usize) -> u64 {
    threshold(
        as_double(rate) * time.as_secs_f64(),
        as_double(job_tokens as u64),
    )
}

/// Jobs that one worker does within the target, at least one; `tokens` is what it embeds in this time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is positive, and a number too large is cut to the largest"
)]
fn threshold(tokens: f64, per_job: f64) -> u64 {
    ((tokens / per_job.max(1.0)).floor() as u64).max(1)
}

impl Outcome for Plan {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let verb = match self.verb {
            Verb::Sync => "sync",
            Verb::Rebuild => "rebuild",
        };
        writeln!(out, "a {verb} of `{}` ({})", self.alias, self.collection)?;
        let changes = self.changes.iter().flat_map(Changes::counts);
        for (name, count) in self.work.counts().into_iter().chain(changes) {
            writeln!(out, "{name:<24} {count:>14}")?;
        }
        self.account.write(out)?;
        write_storage(&self.storage, out)?;
        let settings = self.settings.iter();
        for it in settings.clone().flat_map(|settings| &settings.changed) {
            writeln!(out, "changed {}: {} -> {}", it.name, it.found, it.wanted)?;
        }
        for sentence in settings.flat_map(|settings| &settings.not_kept) {
            writeln!(out, "not kept: {sentence}")?;
        }
        self.estimate.write(out)?;
        match &self.refusal {
            Some(reason) => writeln!(out, "would fail: {reason}"),
            None => writeln!(out, "nothing was changed"),
        }
    }

    /// The run would stop at a limit.
    fn is_failure(&self) -> bool {
        self.refusal.is_some()
    }

    fn failure(&self) -> Failure {
        Failure::Gate
    }
}

fn write_storage(size: &NodeSize, out: &mut dyn Write) -> io::Result<()> {
    let parts = [
        ("points per node", size.points),
        ("vectors, MiB per node", size.vectors_bytes >> 20),
        ("quantized, MiB", size.quantized_bytes >> 20),
        ("graph, MiB", size.graph_bytes >> 20),
        ("payload, MiB", size.payload_bytes >> 20),
        ("ids and indexes, MiB", size.index_bytes >> 20),
        ("memory, MiB per node", size.memory_bytes >> 20),
        ("disk, MiB per node", size.disk_bytes >> 20),
    ];
    for (name, value) in parts {
        writeln!(out, "{name:<24} {value:>14}")?;
    }
    Ok(())
}

impl Estimate {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{:<24} {:>14.1}",
            "tokens per job", self.tokens_per_job
        )?;
        let Some(rate) = self.tokens_per_second else {
            return writeln!(
                out,
                "give --tokens-per-second of one worker for hours and replicas"
            );
        };
        writeln!(out, "{:<24} {rate:>14.0}", "tokens per second")?;
        let hours = self.gpu_hours.unwrap_or(0.0);
        writeln!(out, "{:<24} {hours:>14.3}", "GPU hours")?;
        if let Some(price) = self.price {
            writeln!(out, "{:<24} {price:>14.2}", "price")?;
        }
        let Some((threshold, replicas)) = self.lag_threshold.zip(self.max_replicas) else {
            return writeln!(
                out,
                "nothing is to be embedded: no lagThreshold to recommend"
            );
        };
        let seconds = Duration::try_from_secs_f64(self.drain_seconds.unwrap_or(0.0).ceil());
        let seconds = seconds.unwrap_or(Duration::MAX);
        writeln!(out, "{:<24} {threshold:>14}", "lagThreshold")?;
        writeln!(out, "{:<24} {replicas:>14}", "maxReplicaCount")?;
        let drained = humantime::format_duration(seconds).to_string();
        writeln!(out, "{:<24} {drained:>14}", "drained within")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizing(tokens_per_second: Option<f64>) -> Sizing {
        Sizing {
            tokens_per_second,
            price_per_hour: tokens_per_second.map(|_| 2.0),
            drain_target: Duration::from_secs(1800),
            nodes: 1,
        }
    }

    fn work(published_tokens: u64, embed_jobs: u64) -> Work {
        Work {
            published_tokens,
            embed_jobs,
            ..Work::default()
        }
    }

    #[test]
    fn a_backlog_is_drained_within_the_target_by_the_replicas_that_are_recommended() {
        // 10,000 jobs of 8,000 tokens; one worker does 2,250 of them in half an hour.
        let estimate = sizing(Some(10_000.0)).estimate(&work(80_000_000, 10_000));
        assert_eq!(estimate.gpu_hours, Some(80_000_000.0 / 10_000.0 / 3600.0));
        assert_eq!(estimate.price, estimate.gpu_hours.map(|hours| hours * 2.0));
        assert_eq!(estimate.lag_threshold, Some(2250));
        assert_eq!(estimate.max_replicas, Some(5));
        assert_eq!(estimate.drain_seconds, Some(1600.0));
    }

    #[test]
    fn a_job_that_takes_longer_than_the_target_has_a_worker_of_its_own() {
        let estimate = sizing(Some(1.0)).estimate(&work(8000, 2));
        assert_eq!(estimate.lag_threshold, Some(1));
        assert_eq!(estimate.max_replicas, Some(2));
    }

    #[test]
    fn no_work_costs_nothing_and_no_rate_says_nothing() {
        let nothing = sizing(Some(1000.0)).estimate(&work(0, 0));
        assert_eq!((nothing.gpu_hours, nothing.price), (Some(0.0), Some(0.0)));
        assert_eq!((nothing.lag_threshold, nothing.max_replicas), (None, None));
        let unknown = sizing(None).estimate(&work(8000, 2));
        assert_eq!((unknown.gpu_hours, unknown.lag_threshold), (None, None));
    }
}
