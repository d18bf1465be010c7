//! Watch: `indexer status` again and again.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use crate::outcome::{print_json, shown};
use crate::status::{StatusConfig, StatusReader};

use crate::outcome::output::Output;

/// Ends when the reader has gone, or somebody ends the process.
pub async fn watch(config: &StatusConfig, out: &mut Output) -> anyhow::Result<ExitCode> {
    let in_place = std::io::stdout().is_terminal();
    let mut looker = StatusReader::open(config).await?;
    loop {
        let status = looker.look().await?;
        if config.json {
            print_json(&status, out)?;
        } else if in_place {
            let table = status.table(true);
            write!(out, "{}", in_place_of_the_last(&shown(&table)))?;
        } else {
            writeln!(out, "{}", status.line())?;
        }
        out.flush()?;
        if out.is_closed() {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(config.interval).await;
    }
}

/// Writes over what was there, line by line, so that nothing flickers, and removes what is left of it.
fn in_place_of_the_last(table: &str) -> String {
    let mut screen = String::from("\x1b[H");
    for line in table.lines() {
        screen.extend([line, "\x1b[K\n"]);
    }
    screen.push_str("\x1b[J");
    screen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_written_over_and_what_is_left_of_it_removed() {
        assert_eq!(
            in_place_of_the_last("a\nb\n"),
            "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"
        );
    }
}
