//! Settle: waits for jobs, and compares what was published with what became of it.

use std::time::Duration;

use anyhow::Context as _;
use contract::field;
use contract::topology::Task;
use qdrant_client::qdrant::{Condition, Filter};

use super::attempt::Attempt;
use crate::progress::Progress;
use crate::rebuild::balance::{dead_points, missing};
use crate::rebuild::say;
use crate::settle::{Awaited, Of};

/// Time between two counts of what is there.
const BETWEEN_COUNTS: Duration = Duration::from_secs(2);

impl Attempt<'_> {
    /// Waits for all jobs for the alias that were published before the start. The source counts as of the start, so
    /// that what they write is compared with it and not written after the comparison.
    pub(super) async fn earlier_jobs_settled(&self) -> anyhow::Result<()> {
        let last = self.last_sequence().await?;
        let alias = self.config.comparison.alias.as_str();
        say(&format!(
            "waiting for jobs for `{alias}` that were published before"
        ));
        self.settled(Of::Collection(alias), 1, last).await?;
        let serving = self.comparer.serving.as_str();
        self.settled(Of::Collection(serving), 1, last).await
    }

    /// Waits for the jobs of this run. Gives whether all that was published is in the collection or a dead letter;
    /// otherwise something newer was written in its place, or jobs were lost with their stream.
    pub(super) async fn is_balanced(&mut self, expected: u64) -> anyhow::Result<bool> {
        self.own_jobs_settled_in_sight(expected).await?;
        let version = self.comparer.version;
        let mut dead = dead_points(&self.jetstream, &self.run).await?;
        // The others are of an earlier attempt, which this one has made good or repeated.
        dead.retain(|_, chunk| chunk.version >= version);
        let target = self.comparer.target();
        self.report.dead_letters = missing(target, version, &dead).await?;
        self.dead = dead;
        Ok(self.written().await? + self.report.dead_letters >= expected)
    }

    async fn own_jobs_settled_in_sight(&self, expected: u64) -> anyhow::Result<()> {
        let progress = Progress::new("chunks and deletions", expected);
        let last = self.last_sequence().await?;
        let own = self.settled(Of::Run(&self.run), self.first, last);
        let mut settled = std::pin::pin!(own);
        loop {
            tokio::select! {
                settled = &mut settled => {
                    progress.finish();
                    return settled;
                }
                () = tokio::time::sleep(BETWEEN_COUNTS) => progress.set(self.written().await?),
            }
        }
    }

    /// Exact number of points that this sync has written, tombstones included.
    async fn written(&self) -> anyhow::Result<u64> {
        let version = i64::try_from(self.comparer.version)?;
        let own = Condition::matches(field::VERSION, version);
        Ok(self.comparer.target().count(Filter::must([own])).await?)
    }

    pub(super) async fn last_sequence(&self) -> anyhow::Result<u64> {
        let info = self.jobs.get_info().await;
        let info = info.context("failed to look at the jobs")?;
        Ok(info.state.last_sequence)
    }

    async fn settled(&self, of: Of<'_>, first: u64, last: u64) -> anyhow::Result<()> {
        let model = &self.comparer.manifest.name;
        let awaited = Awaited {
            stream: &self.jobs,
            subject: &format!("jobs.{}.{model}.*", Task::Embed.as_str()),
            first,
            last,
            of,
            stall_limit: self.config.stall_limit,
        };
        awaited.settled(|| self.lease.check()).await
    }
}
