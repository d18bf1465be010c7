//! Modes: the same queries by each mode, and which of them one finds better than another.

use super::super::compare::Delta;
use super::super::measure::at;
use super::super::report::{ModeComparison, Report};
use super::super::table;
use super::text::{escaped, excerpt};

/// Queries of each list.
const LISTED: usize = 10;
/// Characters of an id that are shown.
const ID: usize = 120;

/// A table of the modes and, for each two, the queries that differ most. Nothing where there is one mode.
pub fn modes(report: &Report) -> String {
    if report.modes.is_empty() {
        return String::new();
    }
    let row = |evaluation: &super::Evaluation| {
        let mean = at(&evaluation.means, report.k)?;
        let search = escaped(&evaluation.subject.search.to_string());
        Some(format!(
            "<tr><th>{search}</th><td>{:.4}</td><td>{:.4}</td><td>{:.4}</td></tr>\n",
            mean.ndcg, mean.recall, mean.mrr
        ))
    };
    let rows: String = report.all_modes().into_iter().filter_map(row).collect();
    let between: String = report
        .between
        .iter()
        .map(|it| differences(it, report.k))
        .collect();
    format!(
        "<h2>Modes</h2>\n<table>\n<tr><th>at {}</th><th>nDCG</th><th>recall</th><th>MRR</th></tr>\n{rows}</table>\n\
         {between}<p>Below: {}</p>\n",
        report.k,
        escaped(&report.evaluation.subject.search.to_string())
    )
}

fn differences(between: &ModeComparison, k: usize) -> String {
    let mut deltas: Vec<_> = between.comparison.deltas.iter().collect();
    deltas.sort_by(|a, b| a.delta.total_cmp(&b.delta));
    let losses = deltas.iter().filter(|one| one.delta < 0.0).take(LISTED);
    let wins = deltas.iter().rev().filter(|one| one.delta > 0.0);
    let row = |one: &&Delta| {
        let class = if one.delta > 0.0 { "win" } else { "loss" };
        format!(
            "<tr><td class=\"{class}\">{:+.4}</td><td>{:.4} to {:.4}</td><td>{}</td></tr>\n",
            one.delta,
            one.baseline,
            one.ndcg,
            excerpt(&one.id, ID)
        )
    };
    let rows: String = wins.take(LISTED).map(row).chain(losses.map(row)).collect();
    format!(
        "<details><summary>{}</summary>\n<table>\n{rows}</table></details>\n",
        escaped(&table::against(between, k))
    )
}
