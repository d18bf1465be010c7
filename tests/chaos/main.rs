//! Chaos: the proof of the delivery guarantees.
//!
//! Real workers with a tiny model run against a real nats-server and a local Qdrant, each connection through a proxy; or
//! against a real Qdrant, or a cluster of them.
//! Versioned documents are published while processes are killed, stopped and restarted, connections cut, delayed and
//! silenced, and requests failed. Then all is healed, the backlog must drain, and what is there is compared with what
//! was published.
//!
//! ```text
//! workload --> publish --> JetStream --wires--> workers --wires--> Qdrant
//!                 |                       ^                          |
//!              history                  inject <-- schedule          |
//!                 '-----------> check <-- final state <-------------'
//! ```
//! The same seed gives the same documents, operations and faults at the same times; how they meet is up to the machine.

mod check;
mod disturbances;
mod drain;
mod failpoints;
mod fault;
mod final_state;
mod history;
mod inject;
mod links;
mod logs;
mod message;
mod nodes;
mod poll;
mod publish;
mod reference;
mod report;
mod run;
mod schedule;
mod servers;
mod settings;
mod story;
mod tally;
mod violation;
mod wire;
mod worker;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;

use settings::Settings;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    ::worker::session::switch_off_telemetry();
    let settings = Settings::parse();
    let json = settings.json;
    let (directory, temporary) = match &settings.directory {
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            (directory.clone(), None)
        }
        None => {
            let temporary = tempfile::Builder::new().prefix("chaos-").tempdir()?;
            (temporary.path().to_owned(), Some(temporary))
        }
    };
    let report = run::run(settings, &directory).await?;
    print!("{}", report.text());
    if json {
        println!("{}", report.json());
    }
    if report.violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    // What was found is kept: the next run of the same seed may not meet it again.
    drop(temporary.map(tempfile::TempDir::keep));
    Ok(ExitCode::FAILURE)
}
