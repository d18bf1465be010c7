//! Table: the figures of a status for people.

mod pace;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::time::SystemTime;

use points::schema::LACKING_ADVICE;

use super::collections::AttachedStatus;
use super::{CollectionStatus, LaneStatus, RunStatus, Status, Tokens};
use crate::outcome::{Outcome, many};
use pace::pace;

impl Outcome for Status {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(self.table(false).as_bytes())
    }

    fn is_failure(&self) -> bool {
        !self.found.unknown.is_empty()
    }
}

/// A status, and whether it is one of those of a watch, whose reader needs no advice to watch.
struct Table<'a> {
    status: &'a Status,
    is_watched: bool,
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        lanes(f, status, self.is_watched)?;
        streams(f, status)?;
        failures(f, status)?;
        workers(f, status)?;
        for found in &status.found.collections {
            collection(f, found)?;
        }
        for unknown in &status.found.unknown {
            writeln!(f, "not known: {unknown}")?;
        }
        status.runs.iter().try_for_each(|found| run(f, found))
    }
}

impl Status {
    /// All figures.
    pub fn table(&self, is_watched: bool) -> String {
        let status = self;
        Table { status, is_watched }.to_string()
    }

    /// The most important figures on one line, for a watch.
    pub fn line(&self) -> String {
        let now = humantime::format_rfc3339_seconds(SystemTime::now());
        let sum = |of: fn(&LaneStatus) -> usize| self.lanes.iter().map(of).sum::<usize>();
        let tokens = all_tokens(&self.lanes);
        let rate = self.rate.as_ref();
        format!(
            "{now}  lag {} ({tokens}), {} of them in flight, {}, {}, {}",
            many(self.lag(), "job"),
            sum(|lane| lane.ack_pending),
            self.who_works(),
            rate.map_or_else(
                || "rate not known yet".to_owned(),
                |rate| pace(rate, &self.lanes, true)
            ),
            many(self.dead_letters, "dead letter")
        )
    }
}

impl Status {
    /// Workers where they are known, else what NATS knows of them.
    fn who_works(&self) -> String {
        match &self.workers {
            Some(found) => many(found.workers.len() as u64, "worker"),
            None => match self.idle_pulls() {
                0 => "no idle worker".to_owned(),
                idle => format!("at least {}", many(idle as u64, "idle worker")),
            },
        }
    }

    /// Pulls that wait, of the lane of each model that has the most: an idle worker has one on each lane.
    fn idle_pulls(&self) -> usize {
        let mut most = BTreeMap::new();
        for lane in &self.lanes {
            let pulls = most.entry((lane.task.as_str(), &lane.model)).or_insert(0);
            *pulls = lane.waiting_pulls.max(*pulls);
        }
        most.values().sum()
    }
}

fn workers(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let Some(found) = &status.workers else {
        return writeln!(
            f,
            "{:<32} {}; give --workers to see what each does",
            "workers",
            status.who_works()
        );
    };
    writeln!(
        f,
        "{:<32} {:>10} {:>10} {:>12} {:>14}",
        "worker", "in flight", "busy", "tokens/s", "dead letters"
    )?;
    for worker in &found.workers {
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        let busy = worker.busy.map_or_else(|| "?".to_owned(), percent);
        let rate = worker
            .tokens_per_second
            .map_or_else(|| "?".to_owned(), |rate| format!("{rate:.0}"));
        writeln!(
            f,
            "{:<32} {:>10} {busy:>10} {rate:>12} {:>14}",
            worker.address, worker.in_flight, worker.dead_letters
        )?;
    }
    let mut silent = found.silent.iter();
    silent.try_for_each(|(address, why)| writeln!(f, "{address:<32} no answer: {why}"))
}

fn collection(f: &mut fmt::Formatter<'_>, found: &CollectionStatus) -> fmt::Result {
    let points = found
        .points
        .map_or_else(|| "?".to_owned(), |points| points.to_string());
    write!(f, "{:<32} {points:>10} points", found.name)?;
    if let Some(generation) = &found.generation {
        write!(f, ", generation {generation}")?;
    }
    if let Some(model) = &found.model {
        write!(f, ", model {model}")?;
    }
    if let Some(since) = &found.since {
        write!(f, ", since {since}")?;
    }
    writeln!(f)?;
    if let Some(back) = &found.rollback {
        let points = back
            .points
            .map_or_else(|| "was dropped".to_owned(), |it| format!("has {it} points"));
        writeln!(
            f,
            "  a rollback would lead to {}, which {points}",
            back.generation
        )?;
    }
    for attached in &found.attached {
        let AttachedStatus {
            vector,
            model,
            complete,
            lacking,
            ..
        } = attached;
        let all = complete + lacking;
        let rest = match lacking {
            0 => "",
            _ => "; where no job for the others waits, `indexer attach` publishes them",
        };
        writeln!(
            f,
            "  vector `{vector}` by model {model}: {complete} of {all} points have it{rest}"
        )?;
    }
    let is_attached = |vector: &str| found.attached.iter().any(|it| it.vector == vector);
    for (vector, points) in &found.lacking {
        if !is_attached(vector) {
            writeln!(
                f,
                "  {points} points lack vector `{vector}`: {LACKING_ADVICE}"
            )?;
        }
    }
    Ok(())
}

/// Tokens of all lanes in words: those that are known, and whether there are more.
fn all_tokens(lanes: &[LaneStatus]) -> String {
    let (mut sum, mut silent) = (Tokens::default(), 0);
    for lane in lanes {
        match lane.lag_tokens {
            Some(tokens) => {
                sum.tokens += tokens.tokens;
                sum.estimate |= tokens.estimate;
            }
            None => silent += 1,
        }
    }
    match (silent, sum.tokens) {
        (0, _) => format!("{} tokens", Estimated(&sum)),
        (_, 0) => "tokens not known".to_owned(),
        (_, tokens) => format!("at least {tokens} tokens"),
    }
}

/// Tokens, with a mark where they are an estimate.
struct Estimated<'a>(&'a Tokens);

impl fmt::Display for Estimated<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.0.estimate { "~" } else { "" };
        f.pad(&format!("{mark}{}", self.0.tokens))
    }
}

fn lanes(f: &mut fmt::Formatter<'_>, status: &Status, is_watched: bool) -> fmt::Result {
    writeln!(
        f,
        "{:<32} {:>10} {:>10} {:>12} {:>14} {:>10} {:>10}",
        "lane", "pending", "in flight", "redelivered", "lag in tokens", "jobs/s", "tokens/s"
    )?;
    for lane in &status.lanes {
        let tokens = lane.lag_tokens.as_ref();
        let tokens = tokens.map_or_else(|| "?".to_owned(), |told| Estimated(told).to_string());
        let rate = lane.rate.as_ref();
        let jobs = rate.map_or_else(String::new, |rate| format!("{:.1}", rate.acked_per_second));
        let per_second = rate.and_then(|rate| rate.tokens_per_second);
        let per_second = per_second.map_or_else(String::new, |rate| format!("~{rate:.0}"));
        writeln!(
            f,
            "{:<32} {:>10} {:>10} {:>12} {tokens:>14} {jobs:>10} {per_second:>10}",
            lane.consumer, lane.pending, lane.ack_pending, lane.redelivered
        )?;
    }
    match &status.rate {
        Some(rate) if status.lag() > 0 => {
            let pace = pace(rate, &status.lanes, is_watched);
            writeln!(f, "{:<32} {pace}", "all lanes")
        }
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
        let cause = cause.escape_default().to_string();
        writeln!(f, "  {cause:<30} {count:>10}")?;
    }
    for orphaned in &status.orphaned.subjects {
        let subject = orphaned.subject.escape_default().to_string();
        writeln!(
            f,
            "{subject:<32} {:>10} waiting jobs that no consumer reads",
            orphaned.jobs
        )?;
    }
    match status.orphaned.more_subjects {
        0 => Ok(()),
        more => writeln!(f, "{more} more subjects that no consumer reads"),
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
    use contract::topology::{Priority, Task};

    use super::*;
    use crate::status::{Causes, Collections};
    use crate::streams::orphaned::Orphaned;

    #[test]
    fn one_lane_that_does_not_tell_hides_no_tokens_of_the_others() {
        let lane = |tokens: Option<u64>| LaneStatus {
            consumer: "c".to_owned(),
            task: Task::Embed,
            model: "m".parse().unwrap(),
            lane: Priority::Live,
            pending: 1,
            ack_pending: 0,
            redelivered: 0,
            lag: 1,
            lag_tokens: tokens.map(|tokens| Tokens {
                tokens,
                ..Tokens::default()
            }),
            waiting_pulls: 0,
            rate: None,
        };
        assert_eq!(all_tokens(&[lane(Some(7)), lane(Some(2))]), "9 tokens");
        assert_eq!(
            all_tokens(&[lane(Some(7)), lane(None)]),
            "at least 7 tokens"
        );
        assert_eq!(all_tokens(&[lane(None)]), "tokens not known");
    }

    #[test]
    fn causes_stand_below_each_other() {
        let status = Status {
            streams: Vec::new(),
            lanes: Vec::new(),
            rate: None,
            jobs: 0,
            dead_letters: 12,
            dead_letter_causes: Causes {
                read: 12,
                counts: [("invalid".to_owned(), 2), ("poison".to_owned(), 10)].into(),
            },
            orphaned: Orphaned::default(),
            workers: None,
            found: Collections::default(),
            runs: Vec::new(),
        };
        let text = status.table(false);
        let ends = text
            .lines()
            .filter(|line| line.starts_with("  ") || line.starts_with("dead"));
        let ends: Vec<_> = ends.map(str::len).collect();
        assert_eq!(ends, [43, 43, 43], "{text}");
    }
}
