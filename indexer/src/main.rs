//! The indexer of Ebb.

#![allow(unreachable_pub, reason = "`pub` is what other modules may use")]

mod print;
mod print_doctor;
mod print_rebuild;
mod print_render;
mod print_status;
mod print_sync;

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use indexer::delete::{self, DeleteConfig};
use indexer::dlq::{DlqConfig, dlq};
use indexer::doctor::{DoctorConfig, doctor};
use indexer::eval::{EvalConfig, eval};
use indexer::gc::{GcConfig, gc};
use indexer::provision::{ProvisionConfig, provision};
use indexer::publish::{PublishConfig, publish};
use indexer::rebuild::{RebuildConfig, dry_run, rebuild};
use indexer::render::{RenderConfig, render};
use indexer::rescore::{RescoreConfig, rescore};
use indexer::rollback::{RollbackConfig, rollback};
use indexer::search::{SearchConfig, search};
use indexer::status::StatusConfig;
use indexer::sync::{self, PlanConfig, SyncConfig, sync};
use points::connect::login_advice;
use queue::denial::denied;
use queue::trace;
use runtime::settings;
use runtime::settings::{ConfigFault, EXIT_CONFIG};
use tracing_subscriber::EnvFilter;

use print::{Output, print_hits, print_published, print_steps};
use print_doctor::print_findings;
use print_rebuild::{print_generations, print_report, print_rolled_back};
use print_render::print_rendered;
use print_status::print_status;
use print_sync::{print_plan, print_synced};

/// Turns a corpus into embedding jobs on JetStream, and searches what became of them
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create and update streams, consumers, buckets and collections
    Provision(Box<ProvisionConfig>),
    /// Publish documents as jobs
    Publish(Box<PublishConfig>),
    /// Publish the removal of documents
    Delete(Box<DeleteConfig>),
    /// Score the points of a collection with a cross-encoder or a classifier
    Rescore(Box<RescoreConfig>),
    /// Search a collection; the query is embedded through the queue
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
    /// List, show, replay and drop dead letters; find exhausted jobs
    Dlq(Box<DlqConfig>),
    /// Turn a few decisions into an overlay of kustomize
    Render(Box<RenderConfig>),
    /// Look at a running system, or at manifests, and say what is wrong
    Doctor(Box<DoctorConfig>),
}

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
    let done = runtime.block_on(verb.perform_permitted(out));
    export.end();
    done
}

/// Says what to do about a login that Qdrant refused.
fn explained(error: anyhow::Error) -> anyhow::Error {
    let of_qdrant = error.chain().find_map(|cause| cause.downcast_ref());
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

impl Verb {
    fn faults(&self) -> Vec<ConfigFault> {
        match self {
            Self::Provision(config) => config.faults(),
            Self::Publish(config) => config.faults(),
            Self::Delete(config) => config.faults(),
            Self::Rescore(config) => config.faults(),
            Self::Search(config) => config.faults(),
            Self::Eval(config) => config.faults(),
            Self::Sync(config) => config.faults(),
            Self::Plan(config) => config.faults(),
            Self::Rebuild(config) => config.faults(),
            Self::Rollback(config) => config.faults(),
            Self::Gc(config) => config.faults(),
            Self::Status(config) => config.faults(),
            Self::Dlq(config) => config.faults(),
            Self::Render(config) => config.faults(),
            Self::Doctor(config) => config.faults(),
        }
    }

    /// Performs the verb, unless NATS denies it something: it would wait in vain, and blame what it waited for.
    async fn perform_permitted(self, out: &mut Output) -> anyhow::Result<ExitCode> {
        tokio::select! {
            biased;
            denied = denied() => Err(denied.into()),
            done = self.perform(out) => done,
        }
    }

    async fn perform(self, out: &mut Output) -> anyhow::Result<ExitCode> {
        match self {
            Self::Provision(config) => print_steps(&provision(&config).await?, config.check, out),
            Self::Publish(config) => print_published(&publish(&config).await?, config.json, out),
            Self::Delete(config) if config.dry_run => {
                let (there, asked) = (delete::dry_run(&config).await?, config.documents.len());
                writeln!(out, "would delete {there} of {asked} documents")?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Delete(config) => {
                let removals = delete::delete(&config).await?;
                writeln!(out, "published the removal of {removals} documents")?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Rescore(config) => rescore(&config, out).await,
            Self::Search(config) => {
                print_hits(&config.query, &search(&config).await?, config.json, out)
            }
            Self::Eval(config) => eval(&config, out).await,
            Self::Sync(config) if config.dry_run => {
                let plan = sync::dry_run(&config.comparison, &config.sizing).await?;
                print_plan(&plan, config.json, out)
            }
            Self::Sync(config) => print_synced(&sync(&config).await?, config.json, out),
            Self::Plan(config) => {
                let plan = sync::dry_run(&config.comparison, &config.sizing).await?;
                print_plan(&plan, config.json, out)
            }
            Self::Rebuild(config) if config.dry_run => {
                print_plan(&dry_run(&config).await?, config.json, out)
            }
            Self::Rebuild(config) => print_report(&rebuild(&config).await?, config.json, out),
            Self::Rollback(config) => {
                print_rolled_back(&rollback(&config).await?, config.json, out)
            }
            Self::Gc(config) => print_generations(&gc(&config).await?, config.json, out),
            Self::Status(config) => print_status(&config, out).await,
            Self::Dlq(config) => dlq(&config, out).await,
            Self::Doctor(config) => print_findings(&doctor(&config).await?, config.json, out),
            Self::Render(config) => {
                print_rendered(&render(&config)?, config.check, config.json, out)
            }
        }
    }
}
