//! Eval: how good a search is, by queries whose relevant documents are known.
//!
//! ```text
//! read -> batch -> (queue) -> retrieve -> measure -> compare -> gate -> report
//! ```
//! The queries go through the queue as those of `indexer search` do. Files are in the shape of BEIR; the measures are
//! those of trec_eval, see [`measure`].

use std::io::{self, Write};

use anyhow::Context as _;

use crate::outcome::Outcome;
use crate::search::ask::Asker;
pub use config::EvalConfig;
use evaluation::Evaluation;
use gate::Limits;
use points::Qdrant;
use read::Topics;
pub use relevance::{measure, rank, read};
pub use report::Report;
use retrieve::Retriever;
use run::{Limit, Run};
use target::Target;

mod batch;
mod compare;
mod config;
mod evaluation;
mod gate;
mod page;
mod report;
mod retrieve;
mod run;
mod scores;
mod table;
mod target;
#[cfg(test)]
mod tests;

/// Evaluates, and writes the files that are asked for.
///
/// # Errors
/// If the files do not belong together, no worker answers, a collection is of another model, or something cannot be
/// written.
pub async fn eval(config: &EvalConfig) -> anyhow::Result<Report> {
    let topics = read::read(&config.queries, &config.qrels)?;
    let saved = config.baseline_report.as_ref();
    let saved = saved
        .map(|path| report::load(path, &topics, config.at))
        .transpose()?;
    let mut evaluations = evaluate(config, &topics).await?.into_iter();
    let evaluation = evaluations.next().context("nothing was evaluated")?;
    let baseline = evaluations.next().or(saved);
    let report = judge(config, &topics, evaluation, baseline.as_ref());
    if let Some(path) = &config.report {
        report::save(path, &serde_json::to_vec(&report)?)?;
    }
    if let Some(path) = &config.html {
        report::save(path, page::page(&report, baseline.as_ref()).as_bytes())?;
    }
    Ok(report)
}

impl Outcome for Report {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        table::write(self, out)
    }

    fn complaints(&self) -> Vec<String> {
        self.failed().map(ToString::to_string).collect()
    }

    fn is_failure(&self) -> bool {
        self.failed().next().is_some()
    }
}

/// Evaluations of the alias, and of the baseline if that is an alias as well.
async fn evaluate(config: &EvalConfig, topics: &Topics) -> anyhow::Result<Vec<Evaluation>> {
    let qdrant = config.servers.qdrant_to_read().await?;
    let (targets, limits) = targets(config, &qdrant).await?;
    let cutoffs = config.all_cutoffs();
    let depth = cutoffs.last().copied().unwrap_or(config.at);
    let run = Run {
        asker: &Asker::connect(&config.servers, config.timeout).await?,
        retriever: Retriever {
            qdrant: &qdrant,
            depth: depth + 1,
        },
        depth,
        topics: &topics.topics,
        targets: &targets,
        cutoffs: &cutoffs,
    };
    let mut evaluations = run.evaluate(&limits).await?;
    for evaluation in &mut evaluations {
        let collection = &evaluation.subject.collection;
        evaluation.missing_documents = target::missing(&qdrant, collection, &topics.topics).await?;
        warn_of_missing(evaluation);
    }
    Ok(evaluations)
}

fn warn_of_missing(evaluation: &Evaluation) {
    let (missing, alias) = (evaluation.missing_documents, &evaluation.subject.alias);
    if missing > 0 {
        tracing::warn!(
            "{missing} judged documents are not in `{alias}`; as far as they are relevant, they count as not found"
        );
    }
}

/// The collections with what limits the input of their models.
async fn targets(
    config: &EvalConfig,
    qdrant: &Qdrant,
) -> anyhow::Result<(Vec<Target>, Vec<Limit>)> {
    let model = &config.model.model;
    let other = config.baseline_model.as_ref().unwrap_or(model);
    let both = [
        (Some(&config.alias), model),
        (config.baseline.as_ref(), other),
    ];
    let (mut targets, mut limits) = (Vec::new(), Vec::new());
    for (alias, model) in both {
        let Some(alias) = alias else { continue };
        let manifest = config.model.manifest_of(model)?;
        limits.push(Limit::load(model, &manifest)?);
        targets.push(target::target(qdrant, alias, manifest, config.exact).await?);
    }
    Ok((targets, limits))
}

fn judge(
    config: &EvalConfig,
    topics: &Topics,
    evaluation: Evaluation,
    baseline: Option<&Evaluation>,
) -> Report {
    let limits = Limits {
        k: config.at,
        min_ndcg: config.min_ndcg,
        max_regression: config.max_regression,
    };
    let mut report = Report::new(topics, config.at, evaluation);
    report.baseline = baseline.map(|it| compare::compare(&report.evaluation, it, config.at));
    report.gates = gate::gates(limits, &report.evaluation, report.baseline.as_ref());
    report
}
