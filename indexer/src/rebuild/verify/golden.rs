//! Golden: queries whose relevant documents are known must not find less than in the serving collection.

use anyhow::Context as _;
use relevance::measure::CUTOFF;

use crate::eval::{EvalConfig, Report, eval};
use crate::generation::collection::look_up;
use crate::generation::record::Gate;
use crate::rebuild::Rebuild;
use crate::retrieval::Searched;
use crate::retrieval::options::FusionChoice;

impl Rebuild<'_> {
    /// The gate, if queries are given.
    pub async fn golden(&self) -> anyhow::Result<Option<Gate>> {
        let Some(mut config) = self.evaluation() else {
            return Ok(None);
        };
        // What people get counts, each collection in the mode that it serves.
        let generation = &self.record().generation;
        let info = look_up(self.context.qdrant, generation).await?;
        let served = Searched::of(generation, &info.unwrap_or_default())?;
        config.modes = vec![served.default().mode];
        let report = eval(&config).await?;
        let found = report
            .gates
            .first()
            .context("the golden queries were not compared with the serving collection")?;
        let queries = report.evaluation.queries.len();
        let (value, limit, serving) = (found.value, found.limit, &self.record().serving);
        let nothing = found_nothing(&report);
        let finding = if nothing {
            format!(
                "none of {queries} queries finds a relevant document, neither here nor in `{serving}`, so that nothing \
                 is measured; do the judgements name documents of this alias?"
            )
        } else {
            format!(
                "mean nDCG@{CUTOFF} of {queries} queries is {value:.4} below that of `{serving}`, {limit} is allowed \
                 (--max-regression)"
            )
        };
        Ok(Some(Gate {
            passed: found.passed && !nothing,
            ..Gate::at_most("golden queries", value, limit, finding)
        }))
    }

    fn evaluation(&self) -> Option<EvalConfig> {
        let golden = &self.config.golden;
        Some(EvalConfig {
            alias: self.record().generation.clone(),
            queries: golden.golden_queries.clone()?,
            qrels: golden.golden_qrels.clone(),
            baseline: Some(self.record().serving.clone()),
            baseline_model: golden.golden_model.clone(),
            baseline_report: None,
            cutoffs: vec![CUTOFF],
            at: CUTOFF,
            modes: Vec::new(),
            fusion: FusionChoice::default(),
            exact: false,
            min_ndcg: None,
            // The same texts beside others have other vectors where the model is quantized: that is no regression.
            max_regression: Some(golden.max_regression + self.manifest.noise()),
            json: true,
            report: None,
            html: None,
            timeout: self.config.stall_limit,
            model: self.config.model.clone(),
            servers: self.config.servers.clone(),
        })
    }
}

/// Whether no query finds anything relevant in either collection: then neither can be worse.
fn found_nothing(report: &Report) -> bool {
    let before = report.baseline.iter().flat_map(|before| &before.means);
    let means = report.evaluation.means.iter().chain(before);
    means.map(|mean| mean.ndcg).sum::<f64>() <= 0.0
}
