//! Print: what rebuild, rollback and gc did.

use std::io::Write as _;
use std::process::ExitCode;

use indexer::gc::{Fate, Generation};
use indexer::rebuild::Report;
use indexer::rollback::RolledBack;

use crate::print::{Output, print_json};

/// A run that is not done makes the exit code 1.
pub fn print_report(report: &Report, json: bool, out: &mut Output) -> anyhow::Result<ExitCode> {
    if json {
        print_json(report, out)?;
    } else {
        write!(out, "{report}")?;
    }
    if let Some(reason) = &report.failed {
        tracing::error!("run {} failed: {reason}", report.run);
    }
    Ok(if report.done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Texts that became dead letters are named and do not make it a failure: the rollback is done, and doing it again would
/// go a generation further back.
pub fn print_rolled_back(
    rolled_back: &RolledBack,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<ExitCode> {
    let RolledBack {
        alias,
        from,
        to,
        carried,
        embedded,
        left,
        dry_run,
        ..
    } = rolled_back;
    if json {
        print_json(rolled_back, out)?;
    } else if *dry_run {
        writeln!(out, "alias `{alias}` would go: {from} -> {to}")?;
    } else {
        writeln!(
            out,
            "alias `{alias}`: {from} -> {to}, {carried} points carried over, {embedded} texts embedded again"
        )?;
    }
    if *left > 0 {
        tracing::error!(
            "{left} texts of `{from}` were written since and are not in `{to}`, whose model could not embed them; they \
             are dead letters, see `indexer dlq ls`"
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub fn print_generations(
    generations: &[Generation],
    json: bool,
    out: &mut Output,
) -> anyhow::Result<ExitCode> {
    for generation in generations {
        if json {
            print_json(generation, out)?;
            continue;
        }
        let fate = match generation.fate {
            Fate::Serving => "serving",
            Fate::Previous => "previous",
            Fate::InUse => "in use",
            Fate::Unknown => "unknown",
            Fate::Drop => "drop",
        };
        writeln!(out, "{fate:<10} {}", generation.collection)?;
    }
    Ok(ExitCode::SUCCESS)
}
