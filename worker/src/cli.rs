//! The command line: verbs, the log, and what is printed.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Instant;

use crate::calibrate::{CalibrateConfig, calibrate};
use crate::calibration::Calibration;
use crate::check::{CheckConfig, check};
use crate::config::RunConfig;
use crate::run::process_start;
use crate::stage::{StageConfig, stage};
use clap::{Parser, Subcommand};
use contract::topology::RUNTIME_END;
use queue::trace;
use runtime::log::{self, Log, LogConfig, LogFormat};
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
    Stage(Box<StageConfig>),
    /// Measure how large tensors should be for a staged model on this device, and keep it beside the model
    Calibrate(Box<CalibrateConfig>),
    /// Load the model, prove the device, look at NATS and Qdrant
    Check(Box<CheckConfig>),
}

/// What is logged unless `RUST_LOG` says otherwise. OpenTelemetry warns before each of its own attempts.
const FILTER: &str = "info,ort=warn,opentelemetry=error";

/// Does what the arguments of the process say.
#[must_use]
pub fn main() -> ExitCode {
    let since = process_start();
    let cli: Cli = match settings::parse() {
        Ok(cli) => cli,
        Err(faults) => {
            log::start(LogFormat::Text, Log::Error, FILTER);
            return reject(&faults);
        }
    };
    let faults = cli.verb.faults();
    if !faults.is_empty() {
        log::start(cli.log.log_format, Log::Error, FILTER);
        return reject(&faults);
    }
    log::start(cli.log.log_format, cli.verb.log(), FILTER);
    match perform(cli.verb, since) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!(target: "worker", error = format!("{error:#}"), "worker failed");
            ExitCode::FAILURE
        }
    }
}

impl Verb {
    /// Where the log goes. A worker has no other output, and platforms collect standard output; the other verbs print
    /// their result there.
    fn log(&self) -> Log {
        match self {
            Self::Run(_) => Log::Output,
            Self::Stage(_) | Self::Calibrate(_) | Self::Check(_) => Log::Error,
        }
    }

    fn faults(&self) -> Vec<ConfigFault> {
        match self {
            Self::Run(config) => [config.faults(), trace::faults()].concat(),
            Self::Stage(config) => config.faults(),
            Self::Calibrate(config) => config.faults(),
            Self::Check(config) => config.faults(),
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
            ended?;
        }
        Verb::Stage(config) => print_staged(&stage(&config)?),
        Verb::Calibrate(config) => print_calibration(&calibrate(&config)?),
        Verb::Check(config) => return Ok(print_findings(&runtime.block_on(check(&config)))),
    }
    Ok(ExitCode::SUCCESS)
}

/// The path alone on standard output, for scripts; the rest in the log.
fn print_staged(staged: &crate::stage::Staged) {
    tracing::info!(
        target: "worker",
        model = %staged.manifest.name,
        fingerprint = staged.manifest.fingerprint.as_str(),
        dimensions = staged.manifest.identity.dimensions,
        existed = staged.existed,
        "staged"
    );
    println!("{}", staged.directory.display());
}

fn print_calibration(calibration: &Calibration) {
    println!("{}", calibration.device);
    for measured in &calibration.measured {
        let best = measured.tensor_tokens == calibration.tensor_tokens;
        println!(
            "{:>8} tokens a tensor {:>12.0} tokens/s{}",
            measured.tensor_tokens,
            measured.tokens_per_second,
            if best { "  <- taken" } else { "" }
        );
    }
}

fn print_findings(findings: &[crate::check::Finding]) -> ExitCode {
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
