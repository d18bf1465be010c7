//! Dead letters: seen, read, replayed, dropped, and found where JetStream leaves them lying.
//!
//! | verb | what it does |
//! |---|---|
//! | `list` | lists dead letters |
//! | `show` | shows one with its job |
//! | `replay` | publishes jobs again and removes their dead letters |
//! | `remove` | removes dead letters |
//! | `sweep` | makes dead letters of jobs that JetStream has given up |
//!
//! Dead letters are read one after the other, headers alone; a payload is fetched when it is needed. A million of
//! them takes no more memory than ten.

pub(crate) mod letter;
mod list;
pub(crate) mod remove;
pub(crate) mod replay;
pub(crate) mod select;
pub(crate) mod show;
pub(crate) mod sweep;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use queue::nats::NatsConfig;
use runtime::settings::ConfigFault;
use runtime::wait::WaitConfig;

use crate::outcome::print;
use list::ListConfig;
use remove::DropConfig;
use replay::ReplayConfig;
use show::ShowConfig;
use sweep::SweepConfig;

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
            let replayed = replay::replay(&jetstream, config, out).await?;
            print(&replayed, config.json, out)
        }
        DlqVerb::Drop(config) => {
            let dropped = remove::remove(&jetstream, config, out).await?;
            print(&dropped, config.json, out)
        }
        DlqVerb::Sweep(config) => print(&sweep::sweep(&jetstream, config).await?, config.json, out),
    }
}

/// Characters that would move a terminal's cursor are shown, not obeyed: anybody may publish a dead letter.
pub fn shown(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}
