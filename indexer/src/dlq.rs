//! Dlq: lists, shows, replays and drops dead letters, and makes those of jobs that JetStream has given up.
//!
//! | verb | what it does |
//! |---|---|
//! | `list` | lists dead letters |
//! | `show` | shows one with its job |
//! | `replay` | publishes jobs again and removes their dead letters |
//! | `remove` | removes dead letters |
//! | `sweep` | makes dead letters of jobs that JetStream has given up |
//!
//! Which of them are meant, and how they are read, is said by the module `dead_letters`.

mod list;
mod remove;
mod replay;
mod show;
mod sweep;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use queue::nats::NatsConfig;
use runtime::settings::ConfigFault;
use runtime::wait::WaitConfig;

use crate::outcome::print;
use list::ListConfig;
pub use remove::{DropConfig, Dropped, remove};
pub use replay::{ReplayConfig, Replayed, replay};
use show::ShowConfig;
pub use show::ShownLetter;
use sweep::SweepConfig;
pub use sweep::Swept;

#[derive(Args, Clone, Debug)]
pub struct DlqConfig {
    #[command(subcommand)]
    pub verb: DlqVerb,
    #[command(flatten)]
    pub nats: NatsConfig,
    #[command(flatten)]
    pub wait: WaitConfig,
}

/// What to do with dead letters.
#[derive(Clone, Debug, Subcommand)]
pub enum DlqVerb {
    /// List dead letters, oldest first
    Ls(ListConfig),
    /// Show a dead letter: its headers and its job
    Show(ShowConfig),
    /// Publish jobs again as they were, and remove their dead letters
    Replay(ReplayConfig),
    /// Remove dead letters for good
    Drop(DropConfig),
    /// Find jobs that had their last delivery and make dead letters of them
    Sweep(SweepConfig),
}

impl DlqConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.nats.faults();
        match &self.verb {
            DlqVerb::Ls(config) => faults.extend(config.selection.faults()),
            DlqVerb::Replay(config) => faults.extend(config.faults()),
            DlqVerb::Drop(config) => faults.extend(config.faults()),
            DlqVerb::Show(_) | DlqVerb::Sweep(_) => {}
        }
        faults
    }
}

/// Does what was asked and writes the outcome.
pub async fn dlq(config: &DlqConfig, out: &mut (dyn Write + Send)) -> anyhow::Result<ExitCode> {
    let client = config.nats.connect("indexer", config.wait.wait()).await?;
    let jetstream = queue::nats::jetstream(client);
    match &config.verb {
        DlqVerb::Ls(config) => list::list(&jetstream, config, out).await,
        DlqVerb::Show(config) => show::show(&jetstream, config, out).await,
        DlqVerb::Replay(config) => {
            let replayed = replay(&jetstream, config, out).await?;
            print(&replayed, config.json, out)
        }
        DlqVerb::Drop(config) => {
            let dropped = remove(&jetstream, config, out).await?;
            print(&dropped, config.json, out)
        }
        DlqVerb::Sweep(config) => print(&sweep::sweep(&jetstream, config).await?, config.json, out),
    }
}
