//! Print: what the verbs of the program found, on standard output.

use std::io::{self, BufWriter, Stdout, Write};
use std::process::ExitCode;

use indexer::provision::{Change, Step};
use indexer::publish::Published;
use indexer::search::Hit;
use serde::Serialize;

/// Standard output that may lose its reader. `head` has read enough then, which is no failure; the work goes on to its
/// end, and the exit code tells how it ended.
#[derive(Debug)]
pub struct Output {
    stdout: BufWriter<Stdout>,
    closed: bool,
}

impl Output {
    pub fn new() -> Self {
        Self {
            stdout: BufWriter::new(io::stdout()),
            closed: false,
        }
    }

    /// Whether the reader has gone: what never ends by itself ends then.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// What is written, or `nobody` where nobody reads it.
    fn unless_closed<T>(&mut self, written: io::Result<T>, nobody: T) -> io::Result<T> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(nobody)
            }
            written => written,
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.closed {
            return Ok(bytes.len());
        }
        let written = self.stdout.write(bytes);
        self.unless_closed(written, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let flushed = self.stdout.flush();
        self.unless_closed(flushed, ())
    }
}

pub fn print_steps(steps: &[Step], check: bool, out: &mut Output) -> anyhow::Result<ExitCode> {
    for step in steps {
        writeln!(out, "{step}")?;
    }
    let changed = steps
        .iter()
        .filter(|step| step.change != Change::None)
        .count();
    match (changed, check) {
        (0, _) => writeln!(out, "everything is as it should be")?,
        (_, true) => writeln!(out, "{changed} differ; run `indexer provision`")?,
        (_, false) => writeln!(out, "{changed} changed")?,
    }
    Ok(if check && changed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Documents that were refused make the exit code 1: somebody has to look at them.
pub fn print_published(
    published: &Published,
    json: bool,
    out: &mut Output,
) -> anyhow::Result<ExitCode> {
    if json {
        print_json(published, out)?;
    } else {
        writeln!(
            out,
            "{} {} documents: {} chunks, {} tokens, {} jobs, version {}",
            if published.dry_run {
                "would publish"
            } else {
                "published"
            },
            published.documents,
            published.chunks,
            published.tokens,
            published.jobs,
            published.version
        )?;
        let rest = [
            (published.duplicates, "jobs were stored already"),
            (
                published.refused,
                "documents, records or files were refused",
            ),
            (
                published.skipped,
                "files have an unknown extension and were passed over",
            ),
        ];
        for (count, what) in rest.iter().filter(|(count, _)| *count > 0) {
            writeln!(out, "{count} {what}")?;
        }
    }
    Ok(if published.refused > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

pub fn print_hits(
    query: &str,
    hits: &[Hit],
    json: bool,
    out: &mut Output,
) -> anyhow::Result<ExitCode> {
    if json {
        print_json(&serde_json::json!({ "query": query, "hits": hits }), out)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (rank, hit) in (1..).zip(hits) {
        let place = match (hit.start, hit.end) {
            (Some(start), Some(end)) => format!(", bytes {start} to {end}"),
            _ => String::new(),
        };
        let scores = match hit.rescore {
            Some(rescore) => format!("{rescore:.3}  {:.3}", hit.score),
            None => format!("{:.3}", hit.score),
        };
        writeln!(
            out,
            "{rank}. {scores}  {}  (chunk {} of {}{place})",
            hit.doc_id,
            hit.chunk + 1,
            hit.chunks
        )?;
        writeln!(out, "   {}", excerpt(&hit.text))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The beginning of a text on one line.
fn excerpt(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let short: String = words.chars().take(160).collect();
    if short.len() < words.len() {
        format!("{short}…")
    } else {
        short
    }
}

pub fn print_json(value: &impl Serialize, out: &mut Output) -> anyhow::Result<()> {
    writeln!(out, "{}", serde_json::to_string(value)?)?;
    Ok(())
}
