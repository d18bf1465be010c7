//! Queries: those that say most, with what they found.

use std::collections::HashMap;

use super::super::compare::Delta;
use super::super::evaluation::{Evaluation, JudgedHit, QueryOutcome};
use super::super::report::Report;
use super::text::excerpt;

/// Queries of each list.
const LISTED: usize = 30;
/// Hits that are shown of each.
const HITS: usize = 3;
/// Characters of a text and of an id that are shown.
const TEXT: usize = 300;
const ID: usize = 120;

/// Losses and wins against the baseline; without one, the queries with the lowest nDCG.
pub fn lists(report: &Report, baseline: Option<&Evaluation>) -> String {
    match (&report.baseline, baseline) {
        (Some(comparison), Some(baseline)) => {
            let list = List::new(report, Some(baseline));
            let mut deltas: Vec<_> = comparison.deltas.iter().collect();
            deltas.sort_by(|a, b| a.delta.total_cmp(&b.delta));
            let losses = deltas.iter().filter(|one| one.delta < 0.0);
            let wins = deltas.iter().rev().filter(|one| one.delta > 0.0);
            let losses = list.compared("Largest losses", losses.copied());
            losses + &list.compared("Largest wins", wins.copied())
        }
        (Some(_) | None, Some(_) | None) => List::new(report, None).lowest(),
    }
}

struct List<'a> {
    k: usize,
    queries: &'a [QueryOutcome],
    now: HashMap<&'a str, &'a QueryOutcome>,
    before: HashMap<&'a str, &'a QueryOutcome>,
}

impl<'a> List<'a> {
    fn new(report: &'a Report, baseline: Option<&'a Evaluation>) -> Self {
        let by_id =
            |queries: &'a [QueryOutcome]| queries.iter().map(|it| (it.id.as_str(), it)).collect();
        let queries = report.evaluation.queries.as_slice();
        Self {
            k: report.k,
            queries,
            now: by_id(queries),
            before: baseline.map_or_else(HashMap::new, |it| by_id(&it.queries)),
        }
    }

    fn compared<'b>(&self, title: &str, deltas: impl Iterator<Item = &'b Delta>) -> String {
        let row = |one: &Delta| {
            let now = self.now.get(one.id.as_str())?;
            let before = self.before.get(one.id.as_str())?;
            Some(format!(
                "<tr><td>{:+.4}<br><small>{:.4} to {:.4}</small></td>{}<td>{}</td><td>{}</td></tr>\n",
                one.delta,
                one.baseline,
                one.ndcg,
                query(now),
                hits(&now.hits),
                hits(&before.hits)
            ))
        };
        let rows: String = deltas.take(LISTED).filter_map(row).collect();
        if rows.is_empty() {
            return format!("<h2>{title}</h2>\n<p>None.</p>\n");
        }
        format!(
            "<h2>{title}</h2>\n<table>\n<tr><th>nDCG@{}</th><th>query</th><th>found now</th><th>baseline</th></tr>\n\
             {rows}</table>\n",
            self.k
        )
    }

    fn lowest(&self) -> String {
        let mut queries: Vec<_> = self.queries.iter().collect();
        queries.sort_by(|a, b| a.ndcg(self.k).total_cmp(&b.ndcg(self.k)));
        let row = |one: &&QueryOutcome| {
            let ndcg = one.ndcg(self.k);
            format!(
                "<tr><td>{ndcg:.4}</td>{}<td>{}</td></tr>\n",
                query(one),
                hits(&one.hits)
            )
        };
        let rows: String = queries.iter().take(LISTED).map(row).collect();
        format!(
            "<h2>Lowest queries</h2>\n<table>\n<tr><th>nDCG@{}</th><th>query</th><th>found</th></tr>\n{rows}</table>\n",
            self.k
        )
    }
}

fn query(outcome: &QueryOutcome) -> String {
    let (id, text) = (excerpt(&outcome.id, ID), excerpt(&outcome.text, TEXT));
    let relevant = outcome.relevant;
    format!("<td>{text}<br><small>{id}, relevant documents: {relevant}</small></td>")
}

fn hits(hits: &[JudgedHit]) -> String {
    let item = |judged: &JudgedHit| {
        let grade = judged
            .grade
            .map_or("not judged".to_owned(), |grade| format!("grade {grade}"));
        let class = if judged.grade.is_some_and(|grade| grade > 0) {
            "relevant"
        } else {
            "other"
        };
        let (id, score) = (excerpt(&judged.hit.id, ID), judged.hit.score);
        format!("<li>{id} <small class=\"{class}\">{score:.3}, {grade}</small></li>")
    };
    let items: String = hits.iter().take(HITS).map(item).collect();
    format!("<ol>{items}</ol>")
}
