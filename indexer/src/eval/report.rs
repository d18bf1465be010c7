//! Report: an evaluation as it is kept, and read again as a baseline.

use std::path::Path;

use anyhow::{Context as _, ensure};
use contract::digest::Digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compare::{Comparison, compare};
use super::evaluation::Evaluation;
use super::gate::Gate;
use super::measure::at;
use super::read::{LeftOut, Topics};
use crate::retrieval::Mode;

/// Version of this file that the program reads and writes.
const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    pub format: u32,
    /// When it was made, RFC 3339.
    pub created: String,
    /// Gain of a document in nDCG: `linear`, its grade.
    pub gain: String,
    /// Digest of queries and judgements.
    pub judgements: Digest,
    pub left_out: LeftOut,
    /// Cutoff of deltas and gates.
    pub k: usize,
    pub evaluation: Evaluation,
    /// The same collection in other modes.
    #[serde(default)]
    pub modes: Vec<Evaluation>,
    /// Each two modes against each other.
    #[serde(default)]
    pub between: Vec<ModeComparison>,
    /// The same queries against the baseline.
    pub baseline: Option<Comparison>,
    /// The limits that were asked for.
    pub gates: Vec<Gate>,
}

/// A comparison of two modes of the same collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ModeComparison {
    pub mode: Mode,
    /// What it is compared with: the baseline of the comparison.
    pub against: Mode,
    pub comparison: Comparison,
}

impl Report {
    /// A report without baseline and gates yet.
    pub fn new(topics: &Topics, k: usize, evaluation: Evaluation) -> Self {
        let now = std::time::SystemTime::now();
        Self {
            format: FORMAT,
            created: humantime::format_rfc3339_seconds(now).to_string(),
            gain: "linear".to_owned(),
            judgements: topics.digest.clone(),
            left_out: topics.left_out,
            k,
            evaluation,
            modes: Vec::new(),
            between: Vec::new(),
            baseline: None,
            gates: Vec::new(),
        }
    }

    /// Takes the other modes, and compares each two; the richer one with the poorer.
    pub fn compare_modes(&mut self, others: Vec<Evaluation>) {
        self.modes = others;
        let mut between = Vec::new();
        let all = self.all_modes();
        for (index, one) in all.iter().enumerate() {
            for other in &all[..index] {
                between.push(ModeComparison {
                    mode: one.subject.search.mode,
                    against: other.subject.search.mode,
                    comparison: compare(one, other, self.k),
                });
            }
        }
        self.between = between;
    }

    /// The collection in each mode, in the order of the modes.
    pub fn all_modes(&self) -> Vec<&Evaluation> {
        let mut all: Vec<_> = self.modes.iter().chain([&self.evaluation]).collect();
        all.sort_by_key(|evaluation| evaluation.subject.search.mode);
        all
    }

    /// The gates that do not hold.
    pub fn failed(&self) -> impl Iterator<Item = &Gate> {
        self.gates.iter().filter(|gate| !gate.passed)
    }
}

/// Reads the evaluation of a saved report, which must be of the same queries and judgements and know the cutoff.
pub fn load(path: &Path, topics: &Topics, k: usize) -> anyhow::Result<Evaluation> {
    let name = path.display();
    let json = std::fs::read(path).with_context(|| format!("failed to read `{name}`"))?;
    let report: Report = serde_json::from_slice(&json)
        .with_context(|| format!("`{name}` is not a report of `indexer eval --report`"))?;
    ensure!(
        report.format == FORMAT,
        "baseline report `{name}` has format {}, this program reads {FORMAT}; make it again",
        report.format
    );
    let queries = report.evaluation.queries.iter();
    let theirs: std::collections::HashSet<_> = queries.map(|query| query.id.as_str()).collect();
    let shared = topics
        .topics
        .iter()
        .filter(|topic| theirs.contains(topic.id.as_str()));
    ensure!(
        report.judgements == topics.digest,
        "baseline report `{name}` was made with other queries or judgements ({} queries there, {} here, {} of the \
         same id); evaluate the baseline again with these",
        theirs.len(),
        topics.topics.len(),
        shared.count()
    );
    ensure!(
        at(&report.evaluation.means, k).is_some(),
        "baseline report `{name}` has no nDCG@{k}; choose another --at"
    );
    Ok(report.evaluation)
}

/// Writes a file that is there whole or not at all.
pub fn save(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.part", std::process::id()));
    let written = std::fs::write(&beside, content).and_then(|()| std::fs::rename(&beside, path));
    written.with_context(|| format!("failed to write `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::tests::{evaluation, topics};

    fn saved(topics: &Topics, evaluation: Evaluation) -> tempfile::NamedTempFile {
        let report = Report::new(topics, 10, evaluation);
        let file = tempfile::NamedTempFile::new().expect("there is room");
        let json = serde_json::to_vec(&report).expect("a report is json");
        save(file.path(), &json).expect("there is room");
        file
    }

    #[test]
    fn a_saved_report_is_read_as_it_was() {
        let (topics, evaluation) = (topics(&["a"]), evaluation(&[("a", 0.5)]));
        let file = saved(&topics, evaluation.clone());
        assert_eq!(load(file.path(), &topics, 10).expect("it fits"), evaluation);
    }

    #[test]
    fn a_report_of_other_queries_or_cutoffs_is_refused() {
        let file = saved(&topics(&["a"]), evaluation(&[("a", 0.5)]));
        let error = |topics: &Topics, k| {
            let error = load(file.path(), topics, k).expect_err("it is refused");
            error.to_string()
        };
        let other = error(&topics(&["a", "b"]), 10);
        assert!(
            other.contains("1 queries there, 2 here, 1 of the same id"),
            "{other}"
        );
        let cutoff = error(&topics(&["a"]), 5);
        assert!(cutoff.contains("no nDCG@5"), "{cutoff}");
    }
}
