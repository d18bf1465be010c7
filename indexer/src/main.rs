//! The indexer of Ebb.

#![allow(unreachable_pub, reason = "`pub` is what other modules may use")]

mod cli;

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use points::connect::{login_advice, of_qdrant};
use queue::denial::denied;
use queue::trace;
use runtime::settings::{self, EXIT_CONFIG};
use tracing_subscriber::EnvFilter;

use cli::output::Output;
use cli::{Cli, Verb};

fn main() -> ExitCode {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("warn,opentelemetry=error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let cli: Cli = match settings::parse() {
        Ok(cli) => cli,
        Err(faults) => return reject(&faults),
    };
    let faults = [cli.verb.faults(), trace::faults()].concat();
    if !faults.is_empty() {
        return reject(&faults);
    }
    let mut out = Output::new();
    let done = perform(cli.verb, &mut out).map_err(explained);
    // What was printed before an error is part of the answer.
    let flushed = out.flush().map_err(anyhow::Error::from);
    match done.and_then(|code| flushed.map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(verb: Verb, out: &mut Output) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    let export = runtime.block_on(async { trace::start("ebb-indexer") })?;
    let done = runtime.block_on(permitted(verb, out));
    export.end();
    done
}

/// Says what to do about a login that Qdrant refused.
fn explained(error: anyhow::Error) -> anyhow::Error {
    let of_qdrant = error.chain().find_map(of_qdrant);
    match of_qdrant.and_then(login_advice) {
        Some(advice) => error.context(advice),
        None => error,
    }
}

fn reject(faults: &[impl Display]) -> ExitCode {
    faults
        .iter()
        .for_each(|fault| tracing::error!("bad configuration: {fault}"));
    ExitCode::from(EXIT_CONFIG)
}

/// Performs a verb, unless NATS denies it something: it would wait in vain, and blame what it waited for.
async fn permitted(verb: Verb, out: &mut Output) -> anyhow::Result<ExitCode> {
    tokio::select! {
        biased;
        denied = denied() => Err(denied.into()),
        done = verb.perform(out) => done,
    }
}
