//! Command line: the verbs of the program, and how each is performed and printed.

#[cfg(test)]
mod schema;
mod settings_file;
mod watch;

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::attach::detach::{DetachConfig, detach};
use crate::attach::{AttachConfig, attach};
use crate::delete::{DeleteConfig, delete};
use crate::dlq::{DlqConfig, dlq};
use crate::doctor::{DoctorConfig, doctor};
use crate::eval::{EvalConfig, eval};
use crate::extract::{ExtractConfig, extract};
use crate::gc::{GcConfig, gc};
use crate::outcome::output::Output;
use crate::outcome::{Failure, explained, print, without_headers};
use crate::progress::be_quiet;
use crate::provision::{ProvisionConfig, provision};
use crate::publish::{PublishConfig, publish};
use crate::rebuild::{self, RebuildConfig, rebuild};
use crate::render::{RenderConfig, render};
use crate::rescore::{RescoreConfig, rescore};
use crate::rollback::{RollbackConfig, rollback};
use crate::search::{SearchConfig, search};
use crate::status::{StatusConfig, status};
use crate::sync::{self, PlanConfig, SyncConfig, sync};
use crate::ui::{UiConfig, ui};
use clap::{CommandFactory as _, Parser, Subcommand};
use points::options::Options;
use queue::denial::denied;
use queue::trace;
use runtime::log::{self, Log, LogConfig, LogFormat};
use runtime::pages::{self, CompletionsConfig, ExitCodes, ManConfig};
use runtime::settings::{self, ConfigFault, EXIT_CONFIG};
use runtime::signals;

/// Turns a corpus into embedding jobs on JetStream, and searches what became of them
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(flatten)]
    log: LogConfig,
    /// File of settings in TOML, below the environment and the options; by default `ebb.toml`, where it is there
    #[arg(long, global = true, env = "EBB_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Create and update streams, consumers, buckets and collections
    Provision(Box<ProvisionConfig>),
    /// Publish documents as jobs
    Publish(Box<PublishConfig>),
    /// Show what would be indexed, chunk by chunk, and what would be left out; no server is asked
    Extract(Box<ExtractConfig>),
    /// Publish the removal of documents
    Delete(Box<DeleteConfig>),
    /// Score the points of a collection with a cross-encoder or a classifier
    Rescore(Box<RescoreConfig>),
    /// Compute another vector for every point of an alias, by another model, while the alias goes on serving
    Attach(Box<AttachConfig>),
    /// Remove a vector that was attached
    Detach(Box<DetachConfig>),
    /// Search a collection by its vectors, its words or both; the query is embedded through the queue
    Search(Box<SearchConfig>),
    /// Measure a search by queries whose relevant documents are known; compare, and gate
    Eval(Box<EvalConfig>),
    /// Make the collection behind an alias equal to its sources
    Sync(Box<SyncConfig>),
    /// Say what a sync would do, and what it would cost; change nothing
    Plan(Box<PlanConfig>),
    /// Rebuild an alias from its sources: a new generation, proved, then switched to
    Rebuild(Box<RebuildConfig>),
    /// Point an alias to the generation before
    Rollback(Box<RollbackConfig>),
    /// Drop generations that nobody needs
    Gc(Box<GcConfig>),
    /// Show what waits, what is in flight, what failed and what is there
    Status(Box<StatusConfig>),
    /// Serve a page that shows lanes, aliases, runs and dead letters, and searches
    Ui(Box<UiConfig>),
    /// List, show, replay and drop dead letters; find exhausted jobs
    Dlq(Box<DlqConfig>),
    /// Turn a few decisions into an overlay of kustomize
    Render(Box<RenderConfig>),
    /// Look at a running system, or at manifests, and say what is wrong
    Doctor(Box<DoctorConfig>),
    /// Print completions for a shell
    Completions(CompletionsConfig),
    /// Write pages for `man`
    Man(ManConfig),
}

impl Verb {
    pub fn faults(&self) -> Vec<ConfigFault> {
        match self {
            Self::Provision(config) => config.faults(),
            Self::Publish(config) => config.faults(),
            Self::Extract(config) => config.faults(),
            Self::Delete(config) => config.faults(),
            Self::Rescore(config) => config.faults(),
            Self::Attach(config) => config.faults(),
            Self::Detach(config) => config.faults(),
            Self::Search(config) => config.faults(),
            Self::Eval(config) => config.faults(),
            Self::Sync(config) => config.faults(),
            Self::Plan(config) => config.faults(),
            Self::Rebuild(config) => config.faults(),
            Self::Rollback(config) => config.faults(),
            Self::Gc(config) => config.faults(),
            Self::Status(config) => config.faults(),
            Self::Ui(config) => config.faults(),
            Self::Dlq(config) => config.faults(),
            Self::Render(config) => config.faults(),
            Self::Doctor(config) => config.faults(),
            Self::Completions(_) | Self::Man(_) => Vec::new(),
        }
    }

    pub async fn perform(self, out: &mut Output) -> anyhow::Result<ExitCode> {
        match self {
            Self::Provision(config) => print(&provision(&config).await?, config.json, out),
            Self::Publish(config) => print(&publish(&config).await?, config.json, out),
            Self::Extract(config) => extract(&config, out).await,
            Self::Delete(config) => print(&delete(&config).await?, config.json, out),
            Self::Rescore(config) => print(&rescore(&config).await?, config.json, out),
            Self::Attach(config) => print(&attach(&config).await?, config.json, out),
            Self::Detach(config) => print(&detach(&config).await?, config.json, out),
            Self::Search(config) => print(&search(&config).await?, config.json, out),
            Self::Eval(config) => print(&eval(&config).await?, config.json, out),
            Self::Sync(config) if config.dry_run => {
                let (comparison, none) = (&config.comparison, Options::default());
                let plan = sync::dry_run(comparison, &config.sizing, &none).await?;
                print(&plan, config.json, out)
            }
            Self::Sync(config) => print(&sync(&config).await?, config.json, out),
            Self::Plan(config) => {
                let (comparison, given) = (&config.comparison, config.options.options());
                let plan = sync::dry_run(comparison, &config.sizing, &given).await?;
                print(&plan, config.json, out)
            }
            Self::Rebuild(config) if config.dry_run => {
                print(&rebuild::dry_run(&config).await?, config.json, out)
            }
            Self::Rebuild(config) => print(&rebuild(&config).await?, config.json, out),
            Self::Rollback(config) => print(&rollback(&config).await?, config.json, out),
            Self::Gc(config) => {
                for generation in gc(&config).await? {
                    print(&generation, config.json, out)?;
                }
                Ok(ExitCode::SUCCESS)
            }
            Self::Status(config) if config.watch => watch::watch(&config, out).await,
            Self::Status(config) => print(&status(&config).await?, config.json, out),
            Self::Ui(config) => ui(*config, out).await,
            Self::Dlq(config) => dlq(&config, out).await,
            Self::Doctor(config) => print(&doctor(&config).await?, config.json, out),
            Self::Render(config) => print(&render(&config)?, config.json, out),
            Self::Completions(config) => {
                pages::completions(&config, Cli::command(), out)?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Man(config) => {
                pages::man(&config, Cli::command(), EXIT_CODES)?;
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

/// What is logged unless `RUST_LOG` says otherwise. What people and schedulers follow is of the target `progress`.
const FILTER: &str = "warn,progress=info,opentelemetry=error";

/// Exit codes, as the README has them.
const EXIT_CODES: &ExitCodes = &[
    ("0", "it is done"),
    (
        "1",
        "anything else than what has a code of its own, and a difference that `--check` or `doctor` found",
    ),
    (
        "2",
        "a gate did not pass, or a limit was met: the alias is as it was, and the report says why",
    ),
    (
        "64",
        "the configuration is bad or an option is misspelt; all values that cannot be read are reported at once",
    ),
    ("65", "documents were refused; all others are published"),
    (
        "69",
        "a server cannot be reached, or has no time; the same may succeed later",
    ),
    (
        "75",
        "another process has the lease: it does the same, and `indexer status` shows it",
    ),
    (
        "77",
        "a server does not know this login, does not let it do this, or is not trusted",
    ),
    (
        "143, 130",
        "it was ended by SIGTERM or SIGINT; what was begun goes on with the next call, as after a crash",
    ),
];

/// Does what the arguments of the process say.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = documents::extract::isolated::serve_if_asked() {
        return code;
    }
    let arguments = settings_file::with_settings(&Cli::command(), std::env::args_os().collect());
    let cli: Cli = match arguments.and_then(settings::parse_from) {
        Ok(cli) => cli,
        Err(faults) => {
            log::start(LogFormat::Text, Log::Error, FILTER);
            return reject(&faults);
        }
    };
    log::start(cli.log.log_format, Log::Error, cli.log.filter(FILTER));
    if cli.log.quiet {
        be_quiet();
    }
    let faults = [
        cli.verb.faults(),
        trace::faults(),
        settings::failpoint_faults(),
    ]
    .concat();
    if !faults.is_empty() {
        return reject(&faults);
    }
    let mut out = Output::default();
    let done = perform(cli.verb, &mut out).map_err(explained);
    // What was printed before an error is part of the answer.
    let flushed = out.flush().map_err(anyhow::Error::from);
    match done.and_then(|code| flushed.map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            let message = format!("{error:#}");
            let failure = Failure::of(&error);
            let advice = failure.advice().map(|advice| format!("; {advice}"));
            let advice = advice.unwrap_or_default();
            tracing::error!(target: "indexer", "{}{advice}", without_headers(&message));
            failure.code()
        }
    }
}

fn perform(verb: Verb, out: &mut Output) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async { signals::end_when_told() })?;
    let export = runtime.block_on(async { trace::start("ebb-indexer") })?;
    let done = runtime.block_on(permitted(verb, out));
    export.end();
    done
}

fn reject(faults: &[impl Display]) -> ExitCode {
    faults
        .iter()
        .for_each(|fault| tracing::error!(target: "indexer", "bad configuration: {fault}"));
    ExitCode::from(EXIT_CONFIG)
}

/// Performs a verb, unless NATS denies it something: it would wait in vain, and blame what it waited for.
async fn permitted(verb: Verb, out: &mut Output) -> anyhow::Result<ExitCode> {
    if matches!(verb, Verb::Ui(_)) {
        // It says so itself, and goes on to show what it may.
        return verb.perform(out).await;
    }
    tokio::select! {
        biased;
        denied = denied() => Err(denied.into()),
        done = verb.perform(out) => done,
    }
}

#[cfg(test)]
mod tests {
    use std::any::TypeId;
    use std::collections::BTreeMap;

    use clap::error::ErrorKind;
    use clap::{Command, CommandFactory as _};

    use super::*;

    /// These are checked with the rest of their settings, or are no identifiers.
    const MAY_BE_EMPTY: [&str; 16] = [
        "--workers",
        "--query",
        "--nats-url",
        "--nats-user",
        "--qdrant-url",
        "--datatype",
        "--vectors",
        "--payload",
        "--quantization",
        "--rescore-vectors",
        "--oversampling",
        "--hnsw",
        "--strict-mode",
        "--index",
        "--bm25",
        "--bm25-options",
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
                if let Some(heading) = heading {
                    let first = *groups.entry(heading).or_insert(group);
                    let verb = verb.get_name();
                    // Settings of a struct that flattens another are in no group.
                    assert!(group == first, "{verb}: {id} under {heading}");
                }
            }
        }
    }

    #[test]
    fn exit_codes_are_those_of_the_readme() {
        let readme = include_str!("../README.md");
        let section = readme.split("## Exit codes").nth(1).unwrap_or_default();
        let section = section.split("\n\n").nth(1).unwrap_or_default();
        let rows: Vec<_> = EXIT_CODES
            .iter()
            .map(|(code, meaning)| format!("| {code} | {meaning} |"))
            .collect();
        assert_eq!(section.lines().skip(2).collect::<Vec<_>>(), rows);
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
        let mut wrong = Vec::new();
        for words in texts(&Cli::command(), &["indexer".to_owned()]) {
            let option = words.last().unwrap().as_str();
            let parsed = Cli::try_parse_from(words.iter().map(String::as_str).chain([""]));
            let is_refused = parsed.is_err_and(|error| {
                matches!(
                    error.kind(),
                    ErrorKind::ValueValidation | ErrorKind::InvalidValue
                )
            });
            if is_refused == MAY_BE_EMPTY.contains(&option) {
                wrong.push(words.join(" "));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
