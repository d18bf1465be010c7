//! Progress: how far long work is, on standard error. A count has a bar on a terminal, and a line now and then otherwise.

use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use runtime::log::PROGRESS;

/// Time between two lines, where there is no terminal.
const BETWEEN: Duration = Duration::from_secs(10);

/// How much is done of something that can be counted.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    what: &'static str,
    /// When the last line was written; `None` on a terminal.
    said: Option<Mutex<Instant>>,
}

impl Progress {
    /// Counts things called `what`, like `points`, up to `total`.
    pub fn new(what: &'static str, total: u64) -> Self {
        let style =
            ProgressStyle::with_template("{bar:30} {pos} of {len} {msg} [{elapsed}, {eta} left]");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let plain = !std::io::stderr().is_terminal();
        let bar = match IS_QUIET.load(Ordering::Relaxed) {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(total),
        };
        Self {
            bar: bar.with_style(style).with_message(what),
            what,
            said: plain.then(|| Mutex::new(Instant::now())),
        }
    }

    pub fn set(&self, done: u64) {
        self.bar.set_position(done);
        let Some(Ok(mut said)) = self.said.as_ref().map(Mutex::lock) else {
            return;
        };
        if said.elapsed() > BETWEEN {
            let total = self.bar.length().unwrap_or_default();
            note(&format!("{done} of {total} {}", self.what));
            *said = Instant::now();
        }
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// Whether nobody wants to know how far anything is.
static IS_QUIET: AtomicBool = AtomicBool::new(false);

/// Says nothing any more.
pub fn be_quiet() {
    IS_QUIET.store(true, Ordering::Relaxed);
}

/// Tells people what is being done, apart from the report. It is a line of the log, in the format of the log.
pub fn note(line: &str) {
    tracing::info!(target: PROGRESS, "{line}");
}

/// A count for people and ratios.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn as_double(count: u64) -> f64 {
    count as f64
}
