//! Table: the figures for a person.

use std::io::{self, Write};

use super::compare::Comparison;
use super::evaluation::Subject;
use super::measure::{Measures, at};
use super::report::{ModeComparison, Report};
use crate::outcome::escaped;

/// Queries that are listed as the worst of a kind.
const LISTED: usize = 5;

/// Writes the figures of a report.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let evaluation = &report.evaluation;
    let queries = evaluation.queries.len();
    writeln!(out, "{}: {queries} queries", name(&evaluation.subject))?;
    for note in notes(report) {
        writeln!(out, "{note}")?;
    }
    write_modes(report, out)?;
    let baseline = report.baseline.as_ref();
    if let Some(baseline) = baseline {
        writeln!(out, "baseline {}", name(&baseline.subject))?;
    }
    writeln!(
        out,
        "{:<6} {:>16} {:>16} {:>16}",
        "k", "nDCG", "recall", "MRR"
    )?;
    for mean in &evaluation.means {
        write_row(mean, baseline.and_then(|it| at(&it.means, mean.k)), out)?;
    }
    if let Some(baseline) = baseline {
        write_comparison(baseline, report.k, out)?;
    }
    for gate in &report.gates {
        writeln!(out, "{gate}")?;
    }
    Ok(())
}

/// Each mode at the cutoff of the gates, and each two against each other. Which to serve is for a person to choose.
fn write_modes(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    if report.modes.is_empty() {
        return Ok(());
    }
    let k = report.k;
    writeln!(
        out,
        "{:<36} {:>10} {:>10} {:>10}",
        "mode", "nDCG", "recall", "MRR"
    )?;
    for evaluation in report.all_modes() {
        let Some(mean) = at(&evaluation.means, k) else {
            continue;
        };
        let search = evaluation.subject.search.to_string();
        let (ndcg, recall, mrr) = (mean.ndcg, mean.recall, mean.mrr);
        writeln!(out, "{search:<36} {ndcg:>10.4} {recall:>10.4} {mrr:>10.4}")?;
    }
    for between in &report.between {
        writeln!(out, "{}", against(between, k))?;
    }
    writeln!(out, "below: {}", report.evaluation.subject.search)
}

/// Two modes in a sentence.
pub fn against(between: &ModeComparison, k: usize) -> String {
    let verdict = verdict(&between.comparison, k);
    format!("{} against {}: {verdict}", between.mode, between.against)
}

/// A collection as a person knows it.
pub fn name(subject: &Subject) -> String {
    let Subject {
        alias,
        collection,
        model,
        ..
    } = subject;
    let behind = if alias == collection {
        String::new()
    } else {
        format!(" ({collection})")
    };
    let how = if subject.exact {
        "exact search"
    } else {
        "search"
    };
    let how = format!("{} {how}", subject.search);
    let fingerprint = subject.fingerprint.short();
    format!("`{alias}`{behind}, {how}, model `{model}` {fingerprint}")
}

/// What a reader must know about the figures.
pub fn notes(report: &Report) -> Vec<String> {
    let (left_out, evaluation) = (report.left_out, &report.evaluation);
    let counted = [
        (
            left_out.unjudged,
            "queries have no judgements and were left out",
        ),
        (
            left_out.without_relevant,
            "queries have no relevant document and were left out",
        ),
        (
            left_out.unknown,
            "judged queries are not in the file of queries",
        ),
        (
            evaluation.missing_documents,
            "judged documents are not in the collection and cannot be found",
        ),
        (
            evaluation.truncated_queries,
            "queries are longer than the model takes; their vectors are of the beginning alone",
        ),
    ];
    let counted = counted.iter().filter(|(count, _)| *count > 0);
    let mut notes: Vec<_> = counted
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    let judged = evaluation.judged * 100.0;
    notes.push(format!(
        "{judged:.0} % of the first ten documents are judged; all others count as not relevant"
    ));
    notes
}

fn write_row(mean: &Measures, baseline: Option<&Measures>, out: &mut dyn Write) -> io::Result<()> {
    let cell = |of: fn(&Measures) -> f64| match baseline {
        Some(baseline) => format!("{:.4} {:>+8.4}", of(mean), of(mean) - of(baseline) + 0.0),
        None => format!("{:.4}", of(mean)),
    };
    writeln!(
        out,
        "{:<6} {:>16} {:>16} {:>16}",
        mean.k,
        cell(|it| it.ndcg),
        cell(|it| it.recall),
        cell(|it| it.mrr)
    )
}

fn write_comparison(found: &Comparison, k: usize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", verdict(found, k))?;
    let mut worst: Vec<_> = found.deltas.iter().filter(|one| one.delta < 0.0).collect();
    worst.sort_by(|a, b| a.delta.total_cmp(&b.delta));
    for one in worst.iter().take(LISTED) {
        let id = escaped(&one.id);
        writeln!(
            out,
            "  {:+.4}  {:.4} to {:.4}  {id}",
            one.delta, one.baseline, one.ndcg
        )?;
    }
    Ok(())
}

/// The comparison in a sentence.
pub fn verdict(found: &Comparison, k: usize) -> String {
    let Comparison {
        wins,
        losses,
        ties,
        mean_delta,
        ..
    } = found;
    let error = match found.standard_error {
        Some(error) => format!(", standard error {error:.4}"),
        None => String::new(),
    };
    format!(
        "nDCG@{k}: {wins} queries better, {losses} worse, {ties} equal; mean {mean_delta:+.4}{error}"
    )
}
