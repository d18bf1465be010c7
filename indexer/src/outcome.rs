//! Outcome: what a verb found or did, for people and as JSON, and the one way in which it is printed.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

/// What a verb gives. Its JSON is one object on one line.
pub trait Outcome: Serialize {
    fn write(&self, out: &mut dyn Write) -> io::Result<()>;

    /// What somebody has to look at; said on standard error.
    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether the exit code is 1.
    fn is_failure(&self) -> bool {
        false
    }
}

/// Prints an outcome; gives the exit code that it means.
pub fn print(outcome: &impl Outcome, json: bool, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    if json {
        print_json(outcome, out)?;
    } else {
        outcome.write(out)?;
    }
    for complaint in outcome.complaints() {
        tracing::error!("{complaint}");
    }
    Ok(match outcome.is_failure() {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    })
}

/// Writes one object on one line.
pub fn print_json(value: &(impl Serialize + ?Sized), out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}

/// Writes a line for each count that is not 0: what there are so many of.
pub fn write_counts(counts: &[(u64, &str)], out: &mut dyn Write) -> io::Result<()> {
    let mut counts = counts.iter().filter(|(count, _)| *count > 0);
    counts.try_for_each(|(count, what)| writeln!(out, "{count} {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Counted {
        refused: u64,
    }

    impl Outcome for Counted {
        fn write(&self, out: &mut dyn Write) -> io::Result<()> {
            write_counts(&[(0, "were skipped"), (self.refused, "were refused")], out)
        }

        fn is_failure(&self) -> bool {
            self.refused > 0
        }
    }

    #[test]
    fn an_outcome_is_printed_as_text_or_json_and_tells_the_exit_code() {
        let printed = |refused, json| {
            let mut out = Vec::new();
            let code = print(&Counted { refused }, json, &mut out).unwrap();
            (String::from_utf8(out).unwrap(), code)
        };
        let failed = ("2 were refused\n".to_owned(), ExitCode::FAILURE);
        assert_eq!(printed(2, false), failed);
        assert_eq!(printed(0, false), (String::new(), ExitCode::SUCCESS));
        let json = ("{\"refused\":2}\n".to_owned(), ExitCode::FAILURE);
        assert_eq!(printed(2, true), json);
    }
}
