//! Print: what was rendered.

use std::io::Write as _;
use std::process::ExitCode;

use indexer::render::{Rendered, State};

use crate::print::{Output, print_json};

pub fn print_rendered(
    rendered: &Rendered,
    check: bool,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<ExitCode> {
    if json {
        print_json(rendered, out)?;
    } else {
        for (name, value, why) in rendered.derived.explained() {
            writeln!(out, "{name:<20} {value:<32} {why}")?;
        }
        for file in &rendered.files {
            let sign = match file.state {
                State::Unchanged => ' ',
                State::Changed => '~',
                State::Created => '+',
            };
            writeln!(out, "{sign} {}", file.path.display())?;
        }
    }
    let same = (rendered.files.iter()).all(|file| file.state == State::Unchanged);
    Ok(if same || !check {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
