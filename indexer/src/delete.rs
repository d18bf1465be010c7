//! Delete: publishes the removal of documents.

use clap::Args;
use contract::job::{self, Delete, Job, Removal};
use contract::names::CollectionName;
use contract::topology::{Lane, Priority, Task};
use points::Points;
use runtime::settings::ConfigFault;

use crate::clock::now_micros;
use crate::config::{ModelDir, Servers};
use crate::jobs::store::store;

/// Documents of one job: a removal costs Qdrant more than a write.
const REMOVALS_PER_JOB: usize = 100;

/// Settings of `indexer delete`.
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
    #[command(flatten)]
    pub model: ModelDir,
    #[command(flatten)]
    pub servers: Servers,
}

impl DeleteConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
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

/// How many of the documents are there and not deleted.
///
/// # Errors
/// If Qdrant cannot be asked.
pub async fn dry_run(config: &DeleteConfig) -> anyhow::Result<usize> {
    let qdrant = config.servers.qdrant.client()?;
    let target = Points {
        store: &qdrant,
        collection: &config.collection,
    };
    let mut there = 0;
    for ids in config.documents.chunks(REMOVALS_PER_JOB) {
        let heads = target.heads(ids).await?;
        there += heads.values().filter(|head| !head.deleted).count();
    }
    Ok(there)
}

/// Publishes the removals; gives the number of documents.
///
/// # Errors
/// If the model is none for documents, or a job cannot be stored.
pub async fn delete(config: &DeleteConfig) -> anyhow::Result<usize> {
    let manifest = config.model.embedding()?;
    let jetstream = config.servers.jetstream().await?;
    let lane = Lane {
        task: Task::Embed,
        model: manifest.name,
        priority: Priority::Live,
    };
    let version = now_micros();
    for ids in config.documents.chunks(REMOVALS_PER_JOB) {
        let removal = |id: &String| Removal {
            id: id.clone(),
            version: Some(version),
        };
        let job = Job::Delete(Delete {
            version: job::VERSION.to_owned(),
            run: None,
            collection: config.collection.clone(),
            documents: ids.iter().map(removal).collect(),
        });
        store(&jetstream, &lane.subject(), &job, 0).await?;
    }
    Ok(config.documents.len())
}
