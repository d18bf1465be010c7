//! Print: what a sync did, and what a plan says.

use std::io::Write as _;
use std::process::ExitCode;

use indexer::plan::Plan;
use indexer::sync::Report;

use crate::print::{Output, print_json};

/// A sync that a limit stopped makes the exit code 1.
pub fn print_synced(report: &Report, json: bool, out: &mut Output) -> anyhow::Result<ExitCode> {
    if json {
        print_json(report, out)?;
    } else {
        write!(out, "{report}")?;
    }
    if let Some(reason) = &report.failed {
        tracing::error!("run {} failed: {reason}", report.run);
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// A plan whose run would stop at a limit makes the exit code 1.
pub fn print_plan(plan: &Plan, json: bool, out: &mut Output) -> anyhow::Result<ExitCode> {
    if json {
        print_json(plan, out)?;
    } else {
        write!(out, "{plan}")?;
    }
    Ok(match plan.refusal {
        Some(_) => ExitCode::FAILURE,
        None => ExitCode::SUCCESS,
    })
}
