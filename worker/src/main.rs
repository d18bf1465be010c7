//! The worker of Ebb.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use contract::connect::EXIT_CONFIG;
use contract::settings;
use tracing_subscriber::EnvFilter;
use worker::check::{CheckConfig, check};
use worker::config::RunConfig;
use worker::stage::{StageConfig, stage};

/// Pulls embedding jobs from JetStream, runs an ONNX model, writes vectors to Qdrant
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// Format of the log on standard error
    #[arg(long, global = true, env = "EBB_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Pull jobs until told to stop
    Run(Box<RunConfig>),
    /// Verify and digest a model directory, and put it where workers find it
    Stage(Box<StageConfig>),
    /// Load the model, prove the device, look at NATS and Qdrant
    Check(Box<CheckConfig>),
}

fn main() -> ExitCode {
    let since = Instant::now();
    let cli: Cli = match settings::parse() {
        Ok(cli) => cli,
        Err(faults) => {
            start_log(LogFormat::Text);
            return reject(&faults);
        }
    };
    start_log(cli.log_format);
    let faults = match &cli.verb {
        Verb::Run(config) => config.faults(),
        Verb::Stage(config) => config.faults(),
        Verb::Check(config) => config.faults(),
    };
    if !faults.is_empty() {
        return reject(&faults);
    }
    match perform(cli.verb, since) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "worker failed");
            ExitCode::FAILURE
        }
    }
}

fn start_log(format: LogFormat) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,ort=warn"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
}

fn reject(faults: &[impl Display]) -> ExitCode {
    for fault in faults {
        tracing::error!("bad configuration: {fault}");
    }
    ExitCode::from(EXIT_CONFIG)
}

fn perform(verb: Verb, since: Instant) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    match verb {
        Verb::Run(config) => {
            let ended = runtime.block_on(worker::run::run(*config, since));
            // A stage on a thread may hang in the runtime of the model; the process must end all the same.
            runtime.shutdown_timeout(Duration::from_secs(5));
            ended?;
        }
        Verb::Stage(config) => print_staged(&stage(&config)?),
        Verb::Check(config) => return Ok(print_findings(&runtime.block_on(check(&config)))),
    }
    Ok(ExitCode::SUCCESS)
}

/// The path alone on standard output, for scripts; the rest in the log.
fn print_staged(staged: &worker::stage::Staged) {
    tracing::info!(
        model = %staged.manifest.name,
        fingerprint = staged.manifest.fingerprint.as_str(),
        dimensions = staged.manifest.identity.dimensions,
        existed = staged.existed,
        "staged"
    );
    println!("{}", staged.directory.display());
}

fn print_findings(findings: &[worker::check::Finding]) -> ExitCode {
    for finding in findings {
        match &finding.result {
            Ok(found) => println!("ok    {}: {found}", finding.subject),
            Err(problem) => println!("FAIL  {}: {problem}", finding.subject),
        }
    }
    let good = findings.iter().all(|finding| finding.result.is_ok());
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
