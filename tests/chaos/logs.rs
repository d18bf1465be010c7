//! Logs: what the workers have said.

use std::path::{Path, PathBuf};

use crate::message::SECRET;
use crate::violation::{Kind, Violation};

/// Lines of evidence.
const LINES_SHOWN: usize = 40;

/// Logs of all workers.
///
/// # Errors
/// If the directory cannot be read.
pub(crate) fn logs(directory: &Path, workers: usize) -> Vec<PathBuf> {
    (0..workers)
        .map(|number| directory.join(format!("worker-{number}.log")))
        .collect()
}

/// Document text and panics must not be in logs.
///
/// # Errors
/// If one cannot be read.
pub(crate) fn check(logs: &[PathBuf]) -> anyhow::Result<Vec<Violation>> {
    let mut violations = Vec::new();
    for log in logs {
        let text = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
        let found = [(Kind::Leaked, SECRET), (Kind::BadExit, "panicked at")];
        for (kind, needle) in found {
            let line = text.lines().find(|line| line.contains(needle));
            violations.extend(line.map(|line| Violation {
                kind,
                document: None,
                message: None,
                evidence: format!("{}: {line}", log.display()),
            }));
        }
    }
    Ok(violations)
}

/// Lines that say something about these jobs or documents, with the name of their log.
pub(crate) fn about(logs: &[PathBuf], sequences: &[u64], document: Option<&str>) -> Vec<String> {
    let mut needles: Vec<_> = sequences
        .iter()
        .map(|sequence| format!("\"job.sequence\":{sequence},"))
        .collect();
    needles.extend(
        sequences
            .iter()
            .map(|sequence| format!("\"job.sequence\":{sequence}}}")),
    );
    needles.extend(document.map(|id| format!("`{id}`")));
    let mut lines = Vec::new();
    for log in logs {
        let text = std::fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let name = log.file_name().unwrap_or_default().to_string_lossy();
        let said = text
            .lines()
            .filter(|line| needles.iter().any(|it| line.contains(it)));
        lines.extend(said.map(|line| format!("{name}: {line}")));
    }
    lines.truncate(LINES_SHOWN);
    lines
}
