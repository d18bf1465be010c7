//! Bounds: how much a precision of 16 bits may change.

use contract::model::Manifest;
use relevance::measure::CUTOFF;

use super::{CalibrateConfig, load_in};
use crate::config::Precision;
use crate::load::{Agreement, Loaded};
use crate::quality::Subject;
use crate::quality::golden_set::GoldenSet;

/// Most by which 16 bits may change a score, relative to scores above 1.
const MOST_DIFFERENCE: f32 = 0.005;

/// Refuses a precision of 16 bits that changes vectors or scores too much.
pub(super) fn close_enough(
    loaded: &Loaded,
    precision: Option<Precision>,
    least: f32,
) -> anyhow::Result<()> {
    match (loaded.golden, precision) {
        (Agreement::Cosine(cosine), Some(Precision::Bf16 | Precision::F16)) => {
            anyhow::ensure!(
                cosine >= least,
                "a golden text has cosine {cosine:.6} to its vector when staged, expected at least {least}"
            );
            Ok(())
        }
        (Agreement::Difference(difference), Some(Precision::Bf16 | Precision::F16)) => {
            anyhow::ensure!(
                difference <= MOST_DIFFERENCE,
                "a golden pair differs by {difference} from its score when staged, expected at most {MOST_DIFFERENCE}"
            );
            Ok(())
        }
        (_, Some(Precision::F32) | None) => Ok(()),
    }
}

/// How well the model finds the documents of a golden set.
pub(super) struct Quality<'a> {
    config: &'a CalibrateConfig,
    /// Whether it is tried in several precisions, of which 32 bits are the first.
    compares: bool,
    /// Read when it is first needed; nothing for a rescorer, which finds no documents.
    set: Option<Option<GoldenSet>>,
    /// nDCG in 32 bits, once it was measured.
    full: Option<f64>,
}

impl<'a> Quality<'a> {
    pub(super) fn new(config: &'a CalibrateConfig, compares: bool) -> Self {
        Self {
            config,
            compares,
            set: None,
            full: None,
        }
    }

    /// Refuses a precision of 16 bits that finds too much less than 32 bits do.
    ///
    /// # Errors
    /// If it does, or the golden set cannot be read, or the model has no use for one.
    pub(super) fn check(
        &mut self,
        precision: Option<Precision>,
        loaded: &mut Loaded,
    ) -> anyhow::Result<()> {
        if self.config.golden_set.is_some() {
            self.set(&loaded.manifest)?;
        }
        match precision {
            None => Ok(()),
            Some(Precision::F32) if !self.compares => Ok(()),
            Some(Precision::F32) => self.measure_full(loaded),
            Some(Precision::Bf16 | Precision::F16) => self.check_16_bits(precision, loaded),
        }
    }

    fn measure_full(&mut self, loaded: &mut Loaded) -> anyhow::Result<()> {
        let config = self.config;
        self.full = match self.set(&loaded.manifest)? {
            Some(set) => Some(ndcg(loaded, config, set)?),
            None => None,
        };
        Ok(())
    }

    fn check_16_bits(
        &mut self,
        precision: Option<Precision>,
        loaded: &mut Loaded,
    ) -> anyhow::Result<()> {
        let config = self.config;
        if self.set(&loaded.manifest)?.is_none() {
            return Ok(());
        }
        if self.full.is_none() {
            self.measure_full(&mut load_in(config, Some(Precision::F32))?)?;
        }
        let full = self.full;
        let Some((full, set)) = full.zip(self.set(&loaded.manifest)?) else {
            return Ok(());
        };
        let found = ndcg(loaded, config, set)?;
        let (loss, most) = (full - found, config.max_ndcg_loss);
        let precision = precision.map_or("", Precision::as_str);
        tracing::info!(
            precision,
            full,
            found,
            loss,
            "nDCG@{CUTOFF} on the golden set"
        );
        anyhow::ensure!(
            loss <= most,
            "it loses {loss:.4} of nDCG@{CUTOFF}, from {full:.4} to {found:.4} on {} queries, more than --max-ndcg-loss {most}",
            set.topics.len()
        );
        Ok(())
    }

    fn set(&mut self, manifest: &Manifest) -> anyhow::Result<Option<&GoldenSet>> {
        if self.set.is_none() {
            let (task, given) = (manifest.identity.task, self.config.golden_set.as_deref());
            self.set = Some(GoldenSet::of_task(task, given)?);
        }
        Ok(self.set.as_ref().and_then(Option::as_ref))
    }
}

fn ndcg(loaded: &mut Loaded, config: &CalibrateConfig, set: &GoldenSet) -> anyhow::Result<f64> {
    let mut subject = Subject {
        session: &mut loaded.session,
        provider: config.session.provider,
        tokenizer: &loaded.texts.tokenizer,
        identity: &loaded.manifest.identity,
        query_weights: loaded.texts.query_weights.as_ref(),
    };
    subject.ndcg(set)
}
