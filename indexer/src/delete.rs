//! Delete: publishes the removal of documents.

use std::io::{self, Write};

use async_nats::jetstream;
use clap::Args;
use contract::job;
use contract::names::CollectionName;
use contract::topology::{Lane, Priority, Task};
use points::Points;
use runtime::settings::ConfigFault;
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::now_micros;
use crate::config::{ModelDir, Servers};
use crate::generation::alias::warn_of_missing;
use crate::jobs::store::store;
use crate::jobs::{REMOVALS_PER_JOB, removals};
use crate::outcome::{Outcome, many};

#[derive(Args, Clone, Debug)]
pub struct DeleteConfig {
    /// Ids of the documents
    #[arg(required = true)]
    pub documents: Vec<String>,
    /// Alias or collection that holds them
    #[arg(long, env = "EBB_COLLECTION", default_value = "docs")]
    pub collection: CollectionName,
    /// Publish nothing; say how many of the documents are there
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

impl DeleteConfig {
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.servers.faults();
        faults.extend(self.model.faults());
        let bad = self
            .documents
            .iter()
            .filter(|id| id.is_empty() || id.len() > job::MAX_DOCUMENT_ID_BYTES);
        faults.extend(bad.map(|id| {
            let problem = format!(
                "an id has {} bytes, expected 1 to {}",
                id.len(),
                job::MAX_DOCUMENT_ID_BYTES
            );
            ConfigFault::new("DOCUMENT", problem)
        }));
        faults
    }
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Deleted {
    /// Documents whose removal was published, or that are there to be removed.
    pub documents: usize,
    pub named: usize,
    /// Whether nothing was published, because that was asked for.
    pub dry_run: bool,
}

impl Outcome for Deleted {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (documents, named) = (self.documents, self.named);
        if self.dry_run {
            writeln!(
                out,
                "would delete {documents} of {}",
                many(named as u64, "document")
            )
        } else {
            let documents = many(documents as u64, "document");
            writeln!(out, "published the removal of {documents}")
        }
    }
}

/// Publishes the removals, or only looks how many of the documents are there.
pub async fn delete(config: &DeleteConfig) -> anyhow::Result<Deleted> {
    let named = config.documents.len();
    Ok(Deleted {
        documents: if config.dry_run {
            count(config).await?
        } else {
            publish(config).await?;
            named
        },
        named,
        dry_run: config.dry_run,
    })
}

/// How many of the documents are there and not deleted.
async fn count(config: &DeleteConfig) -> anyhow::Result<usize> {
    let qdrant = config.servers.qdrant_to_read().await?;
    let target = Points::new(&qdrant, &config.collection);
    let mut there = 0;
    for ids in config.documents.chunks(REMOVALS_PER_JOB) {
        let heads = target.heads(ids).await?;
        there += heads.values().filter(|head| !head.deleted).count();
    }
    Ok(there)
}

async fn publish(config: &DeleteConfig) -> anyhow::Result<()> {
    let manifest = config.model.embedding()?;
    let jetstream = config.servers.jetstream().await?;
    let lane = Lane::new(Task::Embed, manifest.name, Priority::Live);
    let (sent, ()) = tokio::join!(
        send_all(config, &jetstream, &lane),
        warn_of_missing(&config.servers, &config.collection)
    );
    sent
}

async fn send_all(
    config: &DeleteConfig,
    jetstream: &jetstream::Context,
    lane: &Lane,
) -> anyhow::Result<()> {
    for job in removals(&config.documents, now_micros(), &config.collection, None) {
        store(jetstream, &lane.subject(), &job, 0).await?;
    }
    Ok(())
}
