//! Plan: what a sync or a rebuild would do, and what that would cost. Changes nothing.
//!
//! The work is counted by the code that does it, so that a run on the same source and collection does just that. What
//! it costs is estimated by the formulas of [`Estimate`].

use std::fmt;

use clap::Args;
use contract::names::CollectionName;
use runtime::settings::ConfigFault;
use serde::Serialize;

use crate::sync::{self, Comparison};
pub(crate) use estimate::jobs_within;
pub use estimate::{Estimate, Sizing};

mod estimate;

/// Settings of `indexer plan`.
#[derive(Args, Clone, Debug)]
pub struct PlanConfig {
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub comparison: Comparison,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would show the comment as help")]
    pub sizing: Sizing,
}

/// What is planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// `indexer sync`.
    Sync,
    /// `indexer rebuild`.
    Rebuild,
}

/// What would be done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// By which verb.
    pub verb: Verb,
    /// The alias.
    pub alias: CollectionName,
    /// The collection behind it.
    pub collection: CollectionName,
    /// Why the run would stop at a limit, if it would.
    pub refusal: Option<String>,
    /// How much is to be read and published.
    #[serde(flatten)]
    pub work: Work,
    /// What would become of the documents of the collection; only of a sync.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
    /// What the work would cost.
    pub estimate: Estimate,
}

/// How much is to be read and published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Documents of the source.
    pub documents: u64,
    /// Their chunks.
    pub chunks: u64,
    /// Tokens of the chunks.
    pub tokens: u64,
    /// Documents, records and files that cannot be read.
    pub refused: u64,
    /// Chunks that need no worker, because their vectors are there.
    pub reused_chunks: u64,
    /// Chunks to be embedded.
    pub published_chunks: u64,
    /// Tokens of these.
    pub published_tokens: u64,
    /// Jobs that embed.
    pub embed_jobs: u64,
    /// Jobs that delete.
    pub delete_jobs: u64,
    /// Both.
    pub jobs: u64,
}

/// What would become of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// They stay as they are.
    pub unchanged: u64,
    /// They were written or deleted since the start, and stay as they are.
    pub newer: u64,
    /// They would be published.
    pub published: u64,
    /// They would be deleted.
    pub deleted: u64,
    /// They are not in the source, and would stay because parts of it cannot be read.
    pub kept: u64,
}

impl PlanConfig {
    /// Everything that is wrong with these settings.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.comparison.faults();
        faults.extend(self.sizing.faults());
        faults
    }
}

/// Plans a sync.
///
/// # Errors
/// If the source or Qdrant cannot be read.
pub async fn plan(comparison: &Comparison, sizing: &Sizing) -> anyhow::Result<Plan> {
    sync::dry_run(comparison, sizing).await
}

impl Work {
    /// Why a run would stop whose source cannot be read as a whole.
    pub(crate) fn refusal(&self, most: u64) -> Option<String> {
        let refused = self.refused;
        (refused > most).then(|| {
            format!(
                "refused: {refused} documents, records and files of the source cannot be read, {most} are allowed \
                 (--max-refused)"
            )
        })
    }

    fn counts(&self) -> [(&'static str, u64); 9] {
        [
            ("documents", self.documents),
            ("chunks", self.chunks),
            ("tokens", self.tokens),
            ("refused", self.refused),
            ("reused chunks", self.reused_chunks),
            ("chunks to embed", self.published_chunks),
            ("tokens to embed", self.published_tokens),
            ("jobs that embed", self.embed_jobs),
            ("jobs that delete", self.delete_jobs),
        ]
    }
}

impl Changes {
    fn counts(&self) -> [(&'static str, u64); 5] {
        [
            ("unchanged documents", self.unchanged),
            ("newer documents", self.newer),
            ("documents to publish", self.published),
            ("documents to delete", self.deleted),
            ("documents to keep", self.kept),
        ]
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.verb {
            Verb::Sync => "sync",
            Verb::Rebuild => "rebuild",
        };
        writeln!(f, "a {verb} of `{}` ({})", self.alias, self.collection)?;
        let changes = self.changes.iter().flat_map(Changes::counts);
        for (name, count) in self.work.counts().into_iter().chain(changes) {
            writeln!(f, "{name:<24} {count:>14}")?;
        }
        write!(f, "{}", self.estimate)?;
        match &self.refusal {
            Some(reason) => writeln!(f, "would fail: {reason}"),
            None => writeln!(f, "nothing was changed"),
        }
    }
}
