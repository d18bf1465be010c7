//! Records how a real Qdrant answers the requests of Ebb, for the comparison with the local one.
//!
//! ```console
//! $ cargo conformance record --qdrant /usr/local/bin/qdrant    # writes fixtures/conformance/qdrant-<version>.json
//! $ cargo conformance compare --qdrant-url http://host:6334    # prints where a server and the recordings differ
//! ```

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use fixtures::qdrant::LocalProcess;
use qdrant_client::Qdrant;
use tests::conformance::{Answers, Transcript, differences, play, recordings, version};

#[derive(Parser)]
#[command(about = "Compares servers of Qdrant by their answers to the requests of Ebb")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Plays all requests, and keeps the answers as those of the server's version
    Record(Server),
    /// Plays all requests, and prints what is answered differently in each recording
    Compare(Server),
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Server {
    /// Program of a server, which is started for this
    #[arg(long)]
    qdrant: Option<PathBuf>,
    /// Address of a server that runs
    #[arg(long)]
    qdrant_url: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().verb {
        Verb::Record(server) => {
            let (server, answers) = server.play().await?;
            let recorded = humantime::format_rfc3339(SystemTime::now()).to_string();
            let transcript = Transcript {
                server,
                recorded: recorded.chars().take(10).collect(),
                answers,
            };
            println!("{}", transcript.save()?.display());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Compare(server) => {
            let (_, answers) = server.play().await?;
            let mut differ = false;
            for recording in recordings()? {
                for found in differences(&recording.answers, &answers) {
                    differ = true;
                    println!("{}: {}", recording.server, found.request);
                    println!("    recorded {}", found.recorded);
                    println!("    answered {}", found.answered);
                }
            }
            Ok(if differ {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
    }
}

impl Server {
    /// The server's version and its answers.
    async fn play(self) -> anyhow::Result<(String, Answers)> {
        let directory = tempfile::tempdir()?;
        let started = match &self.qdrant {
            Some(program) => Some(LocalProcess::start_real(program, directory.path()).await?),
            None => None,
        };
        let url = started.as_ref().map(LocalProcess::url).or(self.qdrant_url);
        let client = Qdrant::from_url(&url.context("no server is named")?)
            .skip_compatibility_check()
            .timeout(Duration::from_secs(60))
            .build()?;
        let prefix = format!("conformance-{}", std::process::id());
        Ok((version(&client).await?, play(&client, &prefix).await?))
    }
}
