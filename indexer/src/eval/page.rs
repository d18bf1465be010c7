//! Page: a report as one HTML file, without scripts and without anything from elsewhere.
//!
//! Its size is bounded whatever the number of queries: plots have at most a few hundred bars, lists name the queries
//! that say most. The rest is in the report.

mod modes;
mod plot;
mod queries;
mod text;

use super::evaluation::Evaluation;
use super::measure::{Measures, at};
use super::report::Report;
use super::{scores, table};
use crate::retrieval::Mode;
use plot::{Bars, Series};
use text::escaped;

/// Most bars of a histogram of scores.
const SCORE_BARS: usize = 50;
/// Bars of the histogram of nDCG.
const NDCG_BARS: usize = 20;

/// Allows nothing but the styles that are in the page.
const HEAD: &str = "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>\n";
const STYLE: &str = include_str!("page/style.css");

/// The page. `baseline` is what the report was compared with.
pub fn page(report: &Report, baseline: Option<&Evaluation>) -> String {
    let evaluation = &report.evaluation;
    let title = format!("Evaluation of {}", evaluation.subject.alias);
    let parts = [
        format!(
            "{HEAD}{STYLE}</style>\n<title>{}</title>\n</head>\n<body>\n",
            escaped(&title)
        ),
        heading(report, &title),
        gates(report),
        modes::modes(report),
        measures(report),
        score_plot(evaluation),
        ndcg_plot(report, baseline),
        delta_plot(report),
        queries::lists(report, baseline),
        "</body>\n</html>\n".to_owned(),
    ];
    parts.concat()
}

fn heading(report: &Report, title: &str) -> String {
    let evaluation = &report.evaluation;
    let mut facts = vec![
        format!("{} queries, {}", evaluation.queries.len(), report.created),
        table::name(&evaluation.subject),
    ];
    if let Some(baseline) = &report.baseline {
        facts.push(format!("compared with {}", table::name(&baseline.subject)));
        facts.push(table::verdict(baseline, report.k));
    }
    facts.extend(table::notes(report));
    let facts: String = facts
        .iter()
        .map(|fact| format!("<li>{}</li>\n", escaped(fact)))
        .collect();
    format!("<h1>{}</h1>\n<ul>\n{facts}</ul>\n", escaped(title))
}

fn gates(report: &Report) -> String {
    let line = |gate: &super::gate::Gate| {
        let class = if gate.passed { "win" } else { "loss" };
        format!(
            "<p class=\"gate {class}\">{}</p>\n",
            escaped(&gate.to_string())
        )
    };
    report.gates.iter().map(line).collect()
}

fn measures(report: &Report) -> String {
    let baseline = report.baseline.as_ref();
    let row = |mean: &Measures| {
        let before = baseline.and_then(|it| at(&it.means, mean.k));
        let cell = |of: fn(&Measures) -> f64| {
            let delta = before.map(|before| of(mean) - of(before));
            let delta = delta.map_or(String::new(), |delta| {
                format!(" <small>{:+.4}</small>", delta + 0.0)
            });
            format!("<td>{:.4}{delta}</td>", of(mean))
        };
        let cells = [cell(|it| it.ndcg), cell(|it| it.recall), cell(|it| it.mrr)];
        format!("<tr><th>{}</th>{}</tr>\n", mean.k, cells.concat())
    };
    let rows: String = report.evaluation.means.iter().map(row).collect();
    format!(
        "<h2>Measures</h2>\n<table>\n<tr><th>k</th><th>nDCG</th><th>recall</th><th>MRR</th></tr>\n{rows}</table>\n\
         <p>Linear gain, as in trec_eval.{}</p>\n",
        if baseline.is_some() {
            " Small figures: the difference to the baseline."
        } else {
            ""
        }
    )
}

fn score_plot(evaluation: &Evaluation) -> String {
    let occupied = evaluation.scores.occupied();
    // Other scores than cosines have no bounds.
    if occupied.is_empty() || evaluation.subject.search.mode != Mode::Dense {
        return String::new();
    }
    let width = occupied.len().div_ceil(SCORE_BARS);
    let bars = |counts: &[u64]| {
        let counts = counts.get(occupied.clone()).unwrap_or_default();
        let counts = counts.chunks(width).map(|steps| steps.iter().sum());
        counts.collect::<Vec<u64>>()
    };
    let end = occupied.start + occupied.len().div_ceil(width) * width;
    plot::histogram(
        "Scores of documents that were found",
        &Bars {
            from: scores::start(occupied.start),
            to: scores::start(end),
            series: vec![
                Series::new("other", "other", &bars(&evaluation.scores.other)),
                Series::new("relevant", "relevant", &bars(&evaluation.scores.relevant)),
            ],
        },
    )
}

fn ndcg_plot(report: &Report, baseline: Option<&Evaluation>) -> String {
    let k = report.k;
    let counts = |evaluation: &Evaluation| {
        let mut counts = vec![0_u64; NDCG_BARS];
        for query in &evaluation.queries {
            let from = |index: usize| index as f64 / NDCG_BARS as f64;
            let bar = (0..NDCG_BARS)
                .rev()
                .find(|index| query.ndcg(k) >= from(*index));
            counts[bar.unwrap_or_default()] += 1;
        }
        counts
    };
    let mut series = Vec::new();
    if let Some(baseline) = baseline {
        series.push(Series::new("baseline", "other", &counts(baseline)));
    }
    series.push(Series::new("now", "relevant", &counts(&report.evaluation)));
    plot::histogram(
        &format!("nDCG@{k} of queries"),
        &Bars {
            from: 0.0,
            to: 1.0,
            series,
        },
    )
}

fn delta_plot(report: &Report) -> String {
    let Some(baseline) = &report.baseline else {
        return String::new();
    };
    let deltas = baseline.deltas.iter().filter(|one| one.delta != 0.0);
    let mut deltas: Vec<_> = deltas.map(|one| (one.delta, one.id.as_str())).collect();
    deltas.sort_by(|a, b| b.0.total_cmp(&a.0));
    plot::differences(
        &format!("Wins and losses: difference of nDCG@{}", report.k),
        &deltas,
    )
}

#[cfg(test)]
mod tests;
