//! A rebuild that runs while a test does other things.

use std::path::PathBuf;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tests::Bed;
use tokio::process::Command;

use super::Ran;

/// A rebuild that is running.
pub(crate) struct Running {
    child: tokio::process::Child,
    out: PathBuf,
    log: PathBuf,
}

/// Starts a rebuild and lets it run.
pub(crate) fn spawn(bed: &Bed, mut command: Command) -> anyhow::Result<Running> {
    let [out, log] = ["running.out", "running.log"].map(|name| bed.directory.path().join(name));
    command.stdout(std::fs::File::create(&out)?);
    command.stderr(std::fs::File::create(&log)?);
    let child = command.spawn()?;
    Ok(Running { child, out, log })
}

impl Running {
    /// Waits until it says that a phase has ended.
    pub(crate) async fn reaches(&mut self, phase: &str) -> anyhow::Result<()> {
        let line = format!("· {phase}:");
        fixtures::wait::until(phase, tests::LIMIT, async || {
            let log = std::fs::read_to_string(&self.log)?;
            anyhow::ensure!(
                self.child.try_wait()?.is_none(),
                "it ended before {phase}: {log}"
            );
            Ok(log
                .lines()
                .any(|found| found.starts_with(&line))
                .then_some(()))
        })
        .await
    }

    /// Suspends it, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let id = self.child.id().context("it has ended")?;
        let id = Pid::from_raw(i32::try_from(id)?).context("it has no id")?;
        Ok(kill_process(id, signal)?)
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(&self.log)?)
    }

    pub(crate) async fn ended(mut self) -> anyhow::Result<Ran> {
        let status = self.child.wait().await?;
        Ok(Ran {
            status,
            report: serde_json::from_slice(&std::fs::read(&self.out)?).unwrap_or(Value::Null),
            log: std::fs::read_to_string(&self.log)?,
        })
    }
}
