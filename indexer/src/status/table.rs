//! Table: the figures of a status for people.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use points::schema::LACKING_ADVICE;

use super::{LaneStatus, Rate, RunStatus, Status, Tokens};
use crate::outcome::Outcome;

impl Outcome for Status {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "{self}")
    }

    fn is_failure(&self) -> bool {
        !self.unknown.is_empty()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        lanes(f, self)?;
        streams(f, self)?;
        failures(f, self)?;
        for collection in &self.collections {
            let points = collection.points;
            let points = points.map_or_else(|| "?".to_owned(), |points| points.to_string());
            writeln!(f, "{:<32} {points:>10} points", collection.name)?;
            for (vector, points) in &collection.lacking {
                writeln!(
                    f,
                    "  {points} points lack vector `{vector}`: {LACKING_ADVICE}"
                )?;
            }
        }
        for unknown in &self.unknown {
            writeln!(f, "not known: {unknown}")?;
        }
        self.runs.iter().try_for_each(|found| run(f, found))
    }
}

impl Status {
    /// The most important figures on one line.
    pub fn line(&self) -> String {
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        let sum = |of: fn(&LaneStatus) -> usize| self.lanes.iter().map(of).sum::<usize>();
        let tokens = all_tokens(&self.lanes);
        let tokens = tokens.map_or_else(String::new, |told| {
            format!(" ({} tokens)", Estimated(&told))
        });
        let rate = self.rate.as_ref();
        format!(
            "{now}  lag {} jobs{tokens}, {} in flight, {} waiting pulls, {}, {} dead letters",
            self.lag(),
            sum(|lane| lane.ack_pending),
            sum(|lane| lane.waiting_pulls),
            rate.map_or_else(|| "rate not known yet".to_owned(), pace),
            self.dead_letters
        )
    }
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
    for orphaned in &status.orphaned.subjects {
        let subject = orphaned.subject.escape_default();
        writeln!(
            f,
            "{subject:<32} {:>10} jobs, read by nobody",
            orphaned.jobs
        )?;
    }
    match status.orphaned.more_subjects {
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
}
