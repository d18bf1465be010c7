//! Balance: waits for the jobs of the run, then compares what must be there with what is.
//!
//! What is wrong with the [`Balance`] is said by a gate, and jobs that were lost are published once more.

use contract::field;
use qdrant_client::qdrant::{Condition, Filter};

use super::Rebuild;
use crate::generation::await_jobs::{JobsOf, in_sight};
use crate::generation::ledger::{Balance, DeadPoints, dead_points, missing};
use crate::generation::record::{Gate, Phase, PhaseReport};
use crate::progress::{Progress, as_double, note};

impl Rebuild<'_> {
    /// Ends with the phase before it when jobs were lost with their stream: the source is read again then, once.
    pub async fn balance(&mut self) -> anyhow::Result<(Phase, PhaseReport)> {
        let progress = Progress::new("chunks present", self.record().expected);
        in_sight(self.await_own_jobs(), progress, || self.present()).await?;
        let dead = self.missing(&self.dead_points().await?).await?;
        self.judge_dead_letters(dead)?;
        let balance = Balance {
            expected: self.record().expected,
            present: self.present().await?,
            dead,
            superseded: self.record().superseded,
        };
        let mut report = PhaseReport::new(Phase::Balanced);
        (report.chunks, report.dead_lettered) = (balance.present, dead);
        report.tokens = self.published_tokens();
        let gate = gate(&balance);
        if balance.lacks_any() && !self.record().repeated {
            note(&format!("{}: reading the source again", gate.finding));
            self.stored.record.repeated = true;
            return Ok((Phase::Created, report));
        }
        self.judge(gate)?;
        self.attach().await?;
        Ok((Phase::Balanced, report))
    }

    fn published_tokens(&self) -> u64 {
        let copied = self.record().phases.iter();
        copied
            .filter(|report| report.phase == Phase::Copied)
            .map(|report| report.published_tokens)
            .sum()
    }

    pub fn judge_dead_letters(&mut self, dead: u64) -> anyhow::Result<()> {
        let limit = self.config.limits.max_dead_letters;
        let run = self.record().run.clone();
        let finding = format!(
            "{dead} chunks are in dead letters, {limit} are allowed (--max-dead-letters); see `indexer dlq ls --run \
             {run}`, replay them and run the rebuild again"
        );
        let (dead, limit) = (as_double(dead), as_double(limit));
        self.judge(Gate::at_most("dead letters", dead, limit, finding))
    }

    /// Waits until no job of this run is left.
    pub async fn await_own_jobs(&self) -> anyhow::Result<()> {
        let (record, model) = (self.record(), &self.manifest.name);
        let (first, of) = (record.first_sequence + 1, JobsOf::Run(&record.run));
        self.context.await_published(model, first, of).await
    }

    /// The points that dead letters of this run were to make.
    pub async fn dead_points(&self) -> anyhow::Result<DeadPoints> {
        dead_points(self.context.jetstream, &self.record().run).await
    }

    /// How many of these points the generation does not have.
    pub async fn missing(&self, points: &DeadPoints) -> anyhow::Result<u64> {
        missing(self.target(), self.record().version, points).await
    }

    /// Exact number of points of the source that this run has brought. What it has embedded of live writes has their
    /// versions.
    async fn present(&self) -> anyhow::Result<u64> {
        let run = Condition::matches(field::RUN, self.record().run.clone());
        let version = i64::try_from(self.record().version)?;
        let version = Condition::matches(field::VERSION, version);
        Ok(self.target().count(Filter::must([run, version])).await?)
    }
}

fn gate(balance: &Balance) -> Gate {
    let Balance {
        expected,
        present,
        dead,
        superseded,
    } = balance;
    Gate {
        name: "ledger".to_owned(),
        value: as_double(balance.found()),
        limit: as_double(*expected),
        passed: balance.is_even(),
        finding: format!(
            "{present} chunks present, {dead} dead-lettered and {superseded} superseded, {expected} expected"
        ),
    }
}
