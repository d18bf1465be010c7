//! Print: what `indexer status` sees, once or again and again.

use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use indexer::status::{LaneStatus, Looker, Rate, RunStatus, Status, StatusConfig, Tokens, status};

use crate::print::{Output, print_json};

/// Prints one look, or one after the other until the reader has gone.
pub async fn print_status(config: &StatusConfig, out: &mut Output) -> anyhow::Result<ExitCode> {
    if config.watch {
        return watch(config, out).await;
    }
    let status = status(config).await?;
    if config.json {
        print_json(&status, out)?;
    } else {
        write!(out, "{}", Table(&status))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Ends when the reader has gone, or somebody ends the process.
async fn watch(config: &StatusConfig, out: &mut Output) -> anyhow::Result<ExitCode> {
    let in_place = std::io::stdout().is_terminal();
    let mut looker = Looker::open(config).await?;
    loop {
        let status = looker.look().await?;
        if config.json {
            print_json(&status, out)?;
        } else if in_place {
            write!(out, "{}", in_place_of_the_last(&Table(&status).to_string()))?;
        } else {
            writeln!(out, "{}", line(&status))?;
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

/// The most important figures on one line.
fn line(status: &Status) -> String {
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let sum = |of: fn(&LaneStatus) -> usize| status.lanes.iter().map(of).sum::<usize>();
    let tokens = all_tokens(&status.lanes);
    let tokens = tokens.map_or_else(String::new, |told| {
        format!(" ({} tokens)", Estimated(&told))
    });
    let rate = status.rate.as_ref();
    format!(
        "{now}  lag {} jobs{tokens}, {} in flight, {} waiting pulls, {}, {} dead letters",
        status.lag(),
        sum(|lane| lane.ack_pending),
        sum(|lane| lane.waiting_pulls),
        rate.map_or_else(|| "rate not known yet".to_owned(), pace),
        status.dead_letters
    )
}

/// Tokens of both lanes; `None` where one of them does not tell.
fn all_tokens(lanes: &[LaneStatus]) -> Option<Tokens> {
    let mut sum = Tokens::default();
    for lane in lanes {
        let tokens = lane.lag_tokens?;
        sum.tokens += tokens.tokens;
        sum.estimate |= tokens.estimate;
    }
    Some(sum)
}

/// Rate and time left in words.
fn pace(rate: &Rate) -> String {
    let left = match rate.eta_seconds {
        Some(0.0) => "nothing left".to_owned(),
        Some(seconds) => {
            // Beyond a few years, any time will do.
            let whole = Duration::try_from_secs_f64(seconds.ceil()).unwrap_or(Duration::MAX);
            format!("{} left", humantime::format_duration(whole))
        }
        None => "nothing moves".to_owned(),
    };
    format!("{:.1} jobs/s, {left}", rate.acked_per_second)
}

/// Tokens, with a mark where they are an estimate.
struct Estimated<'a>(&'a Tokens);

impl fmt::Display for Estimated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.0.estimate { "~" } else { "" };
        f.pad(&format!("{mark}{}", self.0.tokens))
    }
}

/// Everything, for people.
struct Table<'a>(&'a Status);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.0;
        lanes(f, status)?;
        streams(f, status)?;
        failures(f, status)?;
        for collection in &status.collections {
            writeln!(
                f,
                "{:<32} {:>10} points",
                collection.name, collection.points
            )?;
        }
        status.runs.iter().try_for_each(|found| run(f, found))
    }
}

fn lanes(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    writeln!(
        f,
        "{:<32} {:>10} {:>10} {:>12} {:>14} {:>14} {:>10}",
        "lane", "pending", "in flight", "redelivered", "lag in tokens", "waiting pulls", "jobs/s"
    )?;
    for lane in &status.lanes {
        let tokens = lane.lag_tokens.as_ref();
        let tokens = tokens.map_or_else(|| "?".to_owned(), |told| Estimated(told).to_string());
        let rate = lane.rate.as_ref();
        let rate = rate.map_or_else(String::new, |rate| format!("{:.1}", rate.acked_per_second));
        writeln!(
            f,
            "{:<32} {:>10} {:>10} {:>12} {tokens:>14} {:>14} {rate:>10}",
            lane.consumer, lane.pending, lane.ack_pending, lane.redelivered, lane.waiting_pulls
        )?;
    }
    match &status.rate {
        Some(rate) if status.lag() > 0 => writeln!(f, "{:<32} {}", "both lanes", pace(rate)),
        Some(_) | None => Ok(()),
    }
}

fn streams(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    writeln!(f, "{:<32} {:>10} {:>14}", "stream", "messages", "bytes")?;
    for stream in &status.streams {
        writeln!(
            f,
            "{:<32} {:>10} {:>14}",
            stream.stream, stream.messages, stream.bytes
        )?;
    }
    Ok(())
}

fn failures(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let causes = &status.dead_letter_causes;
    let part = if causes.read < status.dead_letters {
        format!("  (causes of the newest {})", causes.read)
    } else {
        String::new()
    };
    writeln!(
        f,
        "{:<32} {:>10}{part}",
        "dead letters", status.dead_letters
    )?;
    for (cause, count) in &causes.counts {
        writeln!(f, "  {:<30} {count:>10}", cause.escape_default())?;
    }
    for unread in &status.unread.subjects {
        let subject = unread.subject.escape_default();
        writeln!(f, "{subject:<32} {:>10} jobs, read by nobody", unread.jobs)?;
    }
    match status.unread.more_subjects {
        0 => Ok(()),
        more => writeln!(f, "{more} more subjects are read by nobody"),
    }
}

fn run(f: &mut fmt::Formatter<'_>, run: &RunStatus) -> fmt::Result {
    let of = run.alias.as_ref().map(|alias| format!(" of `{alias}`"));
    let id = match run.run.as_str() {
        "" => String::new(),
        id => format!(" {}", id.escape_default()),
    };
    write!(
        f,
        "{}{id}{}: {} since {}",
        run.verb.escape_default(),
        of.unwrap_or_default().escape_debug(),
        run.phase.escape_default(),
        run.updated
    )?;
    if let Some(reason) = &run.failed {
        write!(f, ", stopped: {}", reason.escape_debug())?;
    }
    match (&run.owner, &run.alias) {
        (Some(owner), _) if !run.over => {
            let renewed = run.renewed.as_deref().unwrap_or_default();
            writeln!(f, ", by {owner}, seen {renewed}")
        }
        // Runs of a collection, not of an alias, have no lease.
        (None, Some(_)) if !run.over => writeln!(f, ", no process holds its lease"),
        (Some(_) | None, _) => writeln!(f),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_told_with_the_time_that_is_left() {
        let rate = |acked_per_second, eta_seconds| Rate {
            measured_seconds: 1.0,
            acked_per_second,
            eta_seconds,
        };
        assert_eq!(pace(&rate(2.0, Some(89.2))), "2.0 jobs/s, 1m 30s left");
        assert_eq!(pace(&rate(2.0, Some(0.0))), "2.0 jobs/s, nothing left");
        assert_eq!(pace(&rate(0.0, None)), "0.0 jobs/s, nothing moves");
        pace(&rate(1e-300, Some(1e300)));
    }

    #[test]
    fn a_screen_is_written_over_and_what_is_left_of_it_removed() {
        assert_eq!(
            in_place_of_the_last("a\nb\n"),
            "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"
        );
    }
}
