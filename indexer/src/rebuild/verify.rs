//! Verify: the gates. Each measures, says what it found, and stops the run if that is not within its limit.

use contract::field;
use points::schema::LACKING_ADVICE;
use qdrant_client::qdrant::{Condition, Filter};

use super::Rebuild;
use crate::generation::collection::documents;
use crate::generation::record::{Gate, Phase, PhaseReport};
use crate::progress::as_double;

mod complete;
mod golden;
mod sample;

impl Rebuild<'_> {
    pub async fn verify(&mut self) -> anyhow::Result<PhaseReport> {
        let complete = self.complete().await?;
        self.judge(complete)?;
        let vectors = self.vectors().await?;
        self.judge(vectors)?;
        self.attach().await?;
        let shrink = self.shrink().await?;
        self.judge(shrink)?;
        let samples = self.samples().await?;
        let sound = self.sound(&samples);
        self.judge(sound)?;
        let recall = self.recall(&samples).await?;
        self.judge(recall)?;
        if let Some(golden) = self.golden().await? {
            self.judge(golden)?;
        }
        let mut report = PhaseReport::new(Phase::Verified);
        report.documents = self.target().count(documents()).await?;
        let deleted = Condition::matches(field::DELETED, true);
        report.chunks = self.target().count(Filter::must_not([deleted])).await?;
        Ok(report)
    }

    /// Every point has every vector: a worker of an older version writes points without those that it does not know.
    async fn vectors(&self) -> anyhow::Result<Gate> {
        let target = self.target();
        let vectors = target.schema().await?.vectors;
        let mut lacking = target.lacking(&vectors).await?;
        // Dead letters of attached vectors were judged by themselves, and those of live writes come later.
        lacking.retain(|name, _| vectors.attached_as(name).is_none());
        let named = lacking
            .iter()
            .map(|(name, points)| format!("{points} points lack vector `{name}`"));
        let finding = match named.collect::<Vec<_>>().join(", ") {
            none if none.is_empty() => "every point has every vector".to_owned(),
            lacking => format!("{lacking}; {LACKING_ADVICE}"),
        };
        let points = lacking.values().sum();
        Ok(Gate::at_most(
            "every vector",
            as_double(points),
            0.0,
            finding,
        ))
    }

    /// Documents that the generation has, against those of the serving collection.
    async fn shrink(&self) -> anyhow::Result<Gate> {
        let old = self.serving().count(documents()).await?;
        let new = self.target().count(documents()).await?;
        Ok(shrink(old, new, self.config.limits.max_shrink))
    }
}

/// Judges how many documents there are against how many there were; the limit is in percent.
pub fn shrink(old: u64, new: u64, limit: f64) -> Gate {
    let less = as_double(old.saturating_sub(new)) / as_double(old.max(1)) * 100.0;
    let finding = format!(
        "{new} documents, {old} in the serving collection: {less:.1} % less, {limit} % are allowed (--max-shrink); is a \
         source missing?"
    );
    Gate::at_most("shrink", less, limit, finding)
}
