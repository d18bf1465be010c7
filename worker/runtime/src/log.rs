//! Log: its format, and where it goes.

use std::io::{IsTerminal as _, stderr, stdout};

use clap::{Args, ValueEnum};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{Format, Writer};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Target of lines that tell people how far the work is.
pub const PROGRESS: &str = "progress";

/// How the log is written.
#[derive(Args, Clone, Copy, Debug)]
pub struct LogConfig {
    /// Format of the log, which is on standard error; only `worker run`, which has no other output, writes it to standard
    /// output
    #[arg(long, global = true, env = "EBB_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Log nothing but errors: no progress, no warnings
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// The filter of the log with `--quiet`.
const QUIET: &str = "error,opentelemetry=off";

impl LogConfig {
    /// What is logged, where usually it is `filter`.
    #[must_use]
    pub fn filter<'a>(&self, filter: &'a str) -> &'a str {
        if self.quiet { QUIET } else { filter }
    }
}

/// Format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// A JSON object on each line
    Json,
}

/// The stream that takes the log.
#[derive(Clone, Copy, Debug)]
pub enum Log {
    /// Standard output, of a program that has no other output.
    Output,
    /// Standard error, beside a result on standard output.
    Error,
}

/// Starts the log of the process. `filter` holds unless `RUST_LOG` says otherwise.
pub fn start(format: LogFormat, log: Log, filter: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let (writer, is_terminal) = match log {
        Log::Output => (BoxMakeWriter::new(stdout), stdout().is_terminal()),
        Log::Error => (BoxMakeWriter::new(stderr), stderr().is_terminal()),
    };
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(is_terminal);
    match format {
        LogFormat::Text => log.event_format(Text::default()).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// The usual lines; progress has neither time nor level, because a person follows it.
#[derive(Debug, Default)]
struct Text(Format);

impl<S, F> FormatEvent<S, F> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, F>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        if event.metadata().target() != PROGRESS {
            return self.0.format_event(context, writer, event);
        }
        write!(writer, "· ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}
