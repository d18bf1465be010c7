//! The command line: verbs and the log.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Instant;

use crate::calibrate::{CalibrateConfig, calibrate};
use crate::check::{CheckConfig, check};
use crate::config::RunConfig;
use crate::report::{print_calibration, print_findings, print_staged};
use crate::run::process_start;
use crate::session::switch_off_telemetry;
use crate::stage::{StageConfig, stage};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use contract::topology::RUNTIME_END;
use queue::trace;
use runtime::log::{self, Log, LogConfig, LogFormat};
use runtime::pages::{self, CompletionsConfig, ExitCodes, ManConfig};
use runtime::settings::{self, ConfigFault, EXIT_CONFIG};
use runtime::signals;

/// Pulls embedding jobs from JetStream, runs an ONNX model, writes vectors to Qdrant
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    log: LogConfig,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Pull jobs until told to stop
    Run(Box<RunConfig>),
    /// Verify and digest a model directory, and put it where workers find it
    Stage(Box<Printing<StageConfig>>),
    /// Measure how large tensors should be for a staged model on this device, and keep it beside the model
    Calibrate(Box<Printing<CalibrateConfig>>),
    /// Load the model, prove the device, look at NATS and Qdrant
    Check(Box<Printing<CheckConfig>>),
    /// Print completions for a shell
    Completions(CompletionsConfig),
    /// Write pages for `man`
    Man(ManConfig),
}

/// A verb that ends, and prints what came of it.
#[derive(Args, Debug)]
struct Printing<C: Args> {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: C,
}

/// What is logged unless `RUST_LOG` says otherwise. OpenTelemetry warns before each of its own attempts.
const FILTER: &str = "info,ort=warn,opentelemetry=error";

/// Exit codes, as the README has them.
const EXIT_CODES: &ExitCodes = &[
    ("0", "it is done"),
    (
        "64",
        "the configuration is bad or an option is misspelt; all values that cannot be read are reported at once",
    ),
    ("1", "anything else"),
    (
        "130, 143",
        "a verb other than `run` was ended by SIGINT or SIGTERM",
    ),
];

/// Does what the arguments of the process say.
#[must_use]
pub fn main() -> ExitCode {
    switch_off_telemetry();
    let since = process_start();
    let cli: Cli = match settings::parse() {
        Ok(cli) => cli,
        Err(faults) => {
            log::start(LogFormat::Text, Log::Error, FILTER);
            return reject(&faults);
        }
    };
    let faults = [cli.verb.faults(), settings::failpoint_faults()].concat();
    if !faults.is_empty() {
        log::start(cli.log.log_format, Log::Error, FILTER);
        return reject(&faults);
    }
    log::start(cli.log.log_format, cli.verb.log(), cli.log.filter(FILTER));
    match perform(cli.verb, since) {
        Ok(code) => code,
        Err(error) => {
            say_failed(&error);
            ExitCode::FAILURE
        }
    }
}

fn say_failed(error: &anyhow::Error) {
    tracing::error!(target: "worker", error = format!("{error:#}"), "worker failed");
}

impl Verb {
    /// Where the log goes. A worker has no other output, and platforms collect standard output; the other verbs print
    /// their result there.
    fn log(&self) -> Log {
        match self {
            Self::Run(_) => Log::Output,
            Self::Stage(_)
            | Self::Calibrate(_)
            | Self::Check(_)
            | Self::Completions(_)
            | Self::Man(_) => Log::Error,
        }
    }

    fn faults(&self) -> Vec<ConfigFault> {
        match self {
            Self::Run(config) => [config.faults(), trace::faults()].concat(),
            Self::Stage(verb) => verb.config.faults(),
            Self::Calibrate(verb) => verb.config.faults(),
            Self::Check(verb) => verb.config.faults(),
            Self::Completions(_) | Self::Man(_) => Vec::new(),
        }
    }
}

fn reject(faults: &[impl Display]) -> ExitCode {
    for fault in faults {
        tracing::error!(target: "worker", "bad configuration: {fault}");
    }
    ExitCode::from(EXIT_CONFIG)
}

fn perform(verb: Verb, since: Instant) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    if !matches!(verb, Verb::Run(_)) {
        runtime.block_on(async { signals::end_when_told() })?;
    }
    match verb {
        Verb::Run(config) => {
            let export = runtime.block_on(async { trace::start("ebb-worker") })?;
            let ended = runtime.block_on(crate::run::run(*config, since));
            export.end();
            // A stage on a thread may hang in the runtime of the model; the process must end all the same.
            runtime.shutdown_timeout(RUNTIME_END);
            if let Err(error) = &ended {
                say_failed(error);
            }
            signals::exit_at_once(ended.is_err().into());
        }
        Verb::Stage(verb) => print_staged(&stage(&verb.config)?, verb.json)?,
        Verb::Calibrate(verb) => print_calibration(&calibrate(&verb.config)?, verb.json)?,
        Verb::Check(verb) => {
            let findings = runtime.block_on(check(&verb.config));
            return print_findings(&findings, verb.json);
        }
        Verb::Completions(config) => {
            pages::completions(&config, Cli::command(), &mut std::io::stdout())?;
        }
        Verb::Man(config) => pages::man(&config, Cli::command(), EXIT_CODES)?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;
    use std::collections::BTreeMap;

    use clap::error::ErrorKind;
    use clap::{Command, CommandFactory as _};

    use super::*;

    /// It is declared beside a flattened group, to which it belongs. Such a struct makes no group of its own.
    const OF_NO_GROUP: [&str; 1] = ["fingerprint"];
    /// A prefix may be none at all. The others are checked with the rest of their settings, or are no identifiers.
    const MAY_BE_EMPTY: [&str; 5] = [
        "--query-prompt",
        "--document-prompt",
        "--nats-url",
        "--nats-user",
        "--qdrant-url",
    ];

    /// An argument that is declared after a flattened group would stand under the heading of that group.
    #[test]
    fn under_a_heading_stand_the_settings_of_one_group_alone() {
        for verb in Cli::command().get_subcommands() {
            let mut groups = BTreeMap::new();
            for argument in verb.get_arguments() {
                let (id, heading) = (argument.get_id(), argument.get_help_heading());
                let group = verb
                    .get_groups()
                    .find(|it| it.get_args().any(|it| it == id));
                let group = group.map(|it| it.get_id());
                if let Some(heading) = heading.filter(|_| !OF_NO_GROUP.contains(&id.as_str())) {
                    let first = *groups.entry(heading).or_insert(group);
                    let verb = verb.get_name();
                    assert!(
                        group.is_some() && group == first,
                        "{verb}: {id} under {heading}"
                    );
                }
            }
        }
    }

    /// The long options of a command and of those below it that take any text, with the words that lead to each.
    fn texts(command: &Command, words: &[String]) -> Vec<Vec<String>> {
        let options = command.get_arguments().filter(|it| {
            it.get_action().takes_values()
                && it.get_value_parser().type_id() == TypeId::of::<String>()
        });
        let options = options.filter_map(|it| Some(format!("--{}", it.get_long()?)));
        let mut all: Vec<_> = options.map(|it| [words, &[it]].concat()).collect();
        for below in command.get_subcommands() {
            all.extend(texts(
                below,
                &[words, &[below.get_name().to_owned()]].concat(),
            ));
        }
        all
    }

    #[test]
    fn identifiers_are_not_empty() {
        for words in texts(&Cli::command(), &["worker".to_owned()]) {
            let option = words.last().unwrap().as_str();
            let parsed = Cli::try_parse_from(words.iter().map(String::as_str).chain([""]));
            let is_refused = parsed.is_err_and(|error| error.kind() == ErrorKind::ValueValidation);
            assert_eq!(is_refused, !MAY_BE_EMPTY.contains(&option), "{words:?}");
        }
    }
}
