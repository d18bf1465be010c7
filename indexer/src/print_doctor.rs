//! Print: what the doctor found.

use std::io::Write as _;
use std::process::ExitCode;

use indexer::doctor::{Finding, Severity};

use crate::print::{Output, print_json};

/// Errors make the exit code 1.
pub fn print_findings(
    findings: &[Finding],
    json: bool,
    out: &mut Output,
) -> anyhow::Result<ExitCode> {
    let count = |severity| {
        let of_it = findings
            .iter()
            .filter(|finding| finding.severity == severity);
        of_it.count()
    };
    let [errors, warnings, unknown] =
        [Severity::Error, Severity::Warning, Severity::Unknown].map(count);
    if json {
        let report = serde_json::json!({
            "errors": errors, "warnings": warnings, "unknown": unknown, "findings": findings,
        });
        print_json(&report, out)?;
    } else {
        for finding in findings {
            writeln!(out, "{finding}")?;
        }
        writeln!(
            out,
            "{errors} errors, {warnings} warnings, {unknown} unknown"
        )?;
    }
    Ok(if errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
