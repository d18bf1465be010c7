//! Doctor: looks at a running system, or at manifests before they are applied, and says what is wrong. Changes nothing.
//!
//! | looked at | by |
//! |---|---|
//! | streams, consumers, collections, payload indexes against what `indexer provision` would make | `drift` |
//! | the numbers of the fleet against the rules that `indexer render` keeps | `queue`, `manifests` |
//! | what the autoscaler reads, as it reads it; whether writes are synced; room on the server's disk | `monitoring` |
//! | jobs that nobody reads, exhausted jobs, dead letters, room in the stream of jobs | `queue` |
//! | the staged model against its pin and the collections | `collections` |
//! | the limits of the collections against what Ebb needs | `collections` |
//! | the replicas of each shard of the collections | `replicas` |
//!
//! Each look stands for itself: what cannot be asked is a finding of its own and keeps nothing else from being looked at.
//! Qdrant tells nothing about its disk over gRPC, so nothing is said about that.

mod collections;
mod drift;
mod finding;
mod manifests;
mod monitoring;
mod queue;
mod replicas;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use contract::digest::Digest;
use contract::model::Manifest;
use runtime::settings::{ConfigFault, identifier};

use crate::config::{ModelDir, Servers};
use crate::provision::{Installation, ProvisionConfig};
use crate::retrieval::options::{Bm25Choice, SearchChoice};
pub use finding::{Finding, Findings, Severity};

#[derive(Args, Clone, Debug)]
pub struct DoctorConfig {
    /// Look at manifests instead: a file of YAML, a directory of them, or - for standard input, as from
    /// `kubectl kustomize`
    #[arg(long)]
    pub manifests: Option<PathBuf>,
    /// Directory of a staged model, made by `worker stage`; only its manifest is read
    #[arg(long, env = "EBB_MODEL")]
    pub model: Option<PathBuf>,
    /// File with the minisign public key with which models must be signed; without it, no signature is looked at
    #[arg(long, env = "EBB_PUBLIC_KEY")]
    pub public_key: Option<PathBuf>,
    /// Fingerprint that the model must have
    #[arg(long, env = "EBB_FINGERPRINT")]
    pub fingerprint: Option<Digest>,
    /// Monitoring endpoint of NATS as the autoscaler has it, like `http://nats-headless.ebb-data.svc:8222`
    #[arg(long, env = "EBB_MONITORING", value_parser = identifier)]
    pub monitoring: Option<String>,
    /// Account of NATS as the autoscaler has it
    #[arg(long, env = "EBB_ACCOUNT", default_value = "$G", value_parser = identifier)]
    pub account: String,
    /// Grace of the workers, as their --grace
    #[arg(long, env = "EBB_GRACE", default_value = "25s", value_parser = humantime::parse_duration)]
    pub grace: Duration,
    /// Dead letters younger than this are reported
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    pub recent: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub installation: Installation,
    #[command(flatten)]
    pub servers: Servers,
}

impl DoctorConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        if self.manifests.is_some() {
            return Vec::new();
        }
        let mut faults = self.servers.faults();
        faults.extend(self.installation.faults());
        match self.model_dir() {
            Some(model) => faults.extend(model.faults()),
            None => {
                let problem = "name a staged model, or look at --manifests";
                faults.push(ConfigFault::new("--model", problem));
            }
        }
        faults
    }

    fn model_dir(&self) -> Option<ModelDir> {
        Some(ModelDir {
            model: self.model.clone()?,
            public_key: self.public_key.clone(),
        })
    }
}

/// Looks, and says what is wrong, the worst first.
pub async fn doctor(config: &DoctorConfig) -> anyhow::Result<Findings> {
    let mut findings = match &config.manifests {
        Some(path) => manifests::look(path)?,
        None => system(config).await?,
    };
    // Stable: what belongs together stays together.
    findings.sort_by_key(|finding| finding.severity);
    Ok(findings.into())
}

async fn system(config: &DoctorConfig) -> anyhow::Result<Vec<Finding>> {
    let model = config.model_dir().context("no --model")?;
    let manifest = model.manifest()?;
    let wanted = ProvisionConfig {
        json: false,
        check: true,
        installation: config.installation.clone(),
        // What an alias has is looked at, not what a new one would have.
        bm25: Bm25Choice::default(),
        search: SearchChoice::default(),
        model,
        servers: config.servers.clone(),
    };
    let mut findings = collections::pin(config, &manifest);
    // Side by side, so that a wait for one server is a wait for all.
    let (queue, collections, monitoring) = tokio::join!(
        nats(config, &wanted, &manifest),
        collections::look(&wanted, &manifest),
        monitoring::look(config, &manifest),
    );
    findings.extend([queue, collections, monitoring].into_iter().flatten());
    Ok(findings)
}

/// What the server of the queue tells its clients.
async fn nats(
    config: &DoctorConfig,
    wanted: &ProvisionConfig,
    manifest: &Manifest,
) -> Vec<Finding> {
    let jetstream = match config.servers.jetstream().await {
        Ok(jetstream) => jetstream,
        Err(error) => {
            let advice = "start nats-server, or correct --nats-url and the login";
            return vec![Finding::failed("nats", &error.into(), advice)];
        }
    };
    let mut findings = drift::streams(wanted, &jetstream, manifest).await;
    findings.extend(queue::look_at_lanes(config, &jetstream, manifest).await);
    findings.extend(queue::look(config, &jetstream).await);
    findings
}
