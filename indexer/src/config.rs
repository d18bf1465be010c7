//! Settings that several verbs share.

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use points::Qdrant;
use points::connect::{ClientToWriteError, QdrantConfig, QdrantSetupError};
use queue::nats::{NatsConfig, NatsError, jetstream};
pub use runtime::model_dir::ModelDir;
use runtime::settings::ConfigFault;
use runtime::wait::WaitConfig;
use serde::Serialize;

#[derive(Args, Clone, Debug)]
pub struct Servers {
    #[command(flatten)]
    pub nats: NatsConfig,
    #[command(flatten)]
    pub qdrant: QdrantConfig,
    #[command(flatten)]
    pub wait: WaitConfig,
}

impl Servers {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.nats.faults();
        faults.extend(self.qdrant.faults());
        faults
    }

    pub async fn jetstream(&self) -> Result<async_nats::jetstream::Context, NatsError> {
        Ok(jetstream(self.client().await?))
    }

    pub async fn client(&self) -> Result<async_nats::Client, NatsError> {
        self.nats.connect("indexer", self.wait.wait()).await
    }

    /// Qdrant, for a verb that writes points or changes collections.
    pub async fn qdrant_to_write(&self) -> Result<Qdrant, ClientToWriteError> {
        self.qdrant.client_to_write(self.wait.wait()).await
    }

    /// Qdrant, for a verb that looks at the system.
    pub async fn qdrant_to_look(&self) -> Result<Qdrant, QdrantSetupError> {
        self.qdrant.client_to_look(self.wait.wait()).await
    }

    /// Qdrant, for a verb that reads much.
    pub async fn qdrant_to_read(&self) -> Result<Qdrant, QdrantSetupError> {
        self.qdrant.client_to_read(self.wait.wait()).await
    }
}

/// Why a report could not be written at the end, if that can be known at the beginning.
pub fn report_fault(path: Option<&Path>) -> Option<ConfigFault> {
    let path = path?;
    let mut options = std::fs::OpenOptions::new();
    let error = options.append(true).create(true).open(path).err()?;
    let problem = format!("`{}` cannot be written: {error}", path.display());
    Some(ConfigFault::new("--report", problem))
}

/// Writes a report as JSON, if a file for it is given.
pub fn save_report(path: Option<&Path>, report: &impl Serialize) -> anyhow::Result<()> {
    let Some(path) = path else {
        return Ok(());
    };
    let json = serde_json::to_vec_pretty(report)?;
    std::fs::write(path, json)
        .with_context(|| format!("failed to write the report `{}`", path.display()))
}
