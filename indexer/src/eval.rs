//! Eval: how good a search is, by queries whose relevant documents are known.
//!
//! ```text
//! read -> batch -> (queue) -> retrieve -> measure -> compare -> gate -> report
//! ```
//! The queries go through the queue as those of `indexer search` do. Files are in the shape of BEIR; the measures are
//! those of trec_eval, see [`measure`].

use std::io::{self, Write};

use anyhow::Context as _;

use crate::outcome::{Failure, Outcome};
use crate::retrieval::Searched;
use crate::retrieval::options::SearchSettings;
use crate::retrieval::query_client::QueryClient;
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
    let mut found = evaluate(config, &topics).await?;
    found.baseline = found.baseline.or(saved);
    let baseline = found.baseline.clone();
    let report = judge(config, &topics, found);
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

    fn failure(&self) -> Failure {
        Failure::Gate
    }
}

struct Evaluations {
    /// The alias in the mode that counts.
    served: Evaluation,
    /// The alias in the other modes.
    others: Vec<Evaluation>,
    baseline: Option<Evaluation>,
}

/// Evaluations of the alias, and of the baseline if that is an alias as well.
async fn evaluate(config: &EvalConfig, topics: &Topics) -> anyhow::Result<Evaluations> {
    let qdrant = config.servers.qdrant_to_read().await?;
    let (targets, limits) = targets(config, &qdrant).await?;
    let has_baseline = config.baseline.is_some();
    let cutoffs = config.all_cutoffs();
    let depth = cutoffs.last().copied().unwrap_or(config.at);
    let run = Run {
        query_client: &QueryClient::connect(&config.servers, config.timeout).await?,
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
    let baseline = has_baseline.then(|| evaluations.pop()).flatten();
    let mut evaluations = evaluations.into_iter();
    Ok(Evaluations {
        served: evaluations.next().context("nothing was evaluated")?,
        others: evaluations.collect(),
        baseline,
    })
}

fn warn_of_missing(evaluation: &Evaluation) {
    let (missing, alias) = (evaluation.missing_documents, &evaluation.subject.alias);
    if missing > 0 {
        tracing::warn!(
            "{missing} judged documents are not in `{alias}`; as far as they are relevant, they count as not found"
        );
    }
}

/// The alias in each mode, that which counts first, then the baseline as it is served; with what limits the input of their
/// models.
async fn targets(
    config: &EvalConfig,
    qdrant: &Qdrant,
) -> anyhow::Result<(Vec<Target>, Vec<Limit>)> {
    let model = &config.model.model;
    let other = config.baseline_model.as_ref().unwrap_or(model);
    let both = [
        (Some(&config.alias), model, config.fusion.asked(None)),
        (config.baseline.as_ref(), other, SearchSettings::default()),
    ];
    let (mut targets, mut limits) = (Vec::new(), Vec::new());
    for (alias, model, asked) in both {
        let Some(alias) = alias else { continue };
        let manifest = config.model.manifest_of(model)?;
        limits.push(Limit::load(model, &manifest)?);
        let is_first = targets.is_empty();
        let found = target::target(qdrant, alias, manifest, asked, config.exact);
        let (target, searched) = found.await?;
        match is_first {
            true => targets.extend(in_each_mode(config, &target, &searched)?),
            false => targets.push(target),
        }
    }
    for target in &targets {
        target.subject.search.check_server(qdrant).await?;
    }
    Ok((targets, limits))
}

/// The mode that the alias serves counts, unless others are asked for and no gate.
fn in_each_mode(
    config: &EvalConfig,
    target: &Target,
    searched: &Searched,
) -> anyhow::Result<Vec<Target>> {
    let served = target.subject.search.mode;
    let mut modes = config.modes.clone();
    if modes.is_empty() {
        modes = searched.modes();
    }
    let has_gates = config.min_ndcg.is_some() || config.max_regression.is_some();
    if has_gates || modes.contains(&served) {
        modes.retain(|mode| *mode != served);
        modes.insert(0, served);
    }
    modes.iter().try_for_each(|mode| searched.check(*mode))?;
    let mut seen = std::collections::HashSet::new();
    modes.retain(|mode| seen.insert(*mode));
    Ok(modes.into_iter().map(|mode| target.by(mode)).collect())
}

fn judge(config: &EvalConfig, topics: &Topics, found: Evaluations) -> Report {
    let limits = Limits {
        k: config.at,
        min_ndcg: config.min_ndcg,
        max_regression: config.max_regression,
    };
    let mut report = Report::new(topics, config.at, found.served);
    let baseline = found.baseline.as_ref();
    report.baseline = baseline.map(|it| compare::compare(&report.evaluation, it, config.at));
    report.compare_modes(found.others);
    report.gates = gate::gates(limits, &report.evaluation, report.baseline.as_ref());
    report
}
