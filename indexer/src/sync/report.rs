//! Report: what a sync found and did.

use std::io::{self, Write};
use std::time::Duration;

use contract::names::CollectionName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::read::ReadResult;
use crate::corpus::account::Account;
use crate::outcome::{Failure, Outcome};
use crate::progress::as_double;

/// All of a sync. Where the source was read again because jobs were lost, what was published counts each time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    pub run: String,
    pub alias: CollectionName,
    pub collection: CollectionName,
    /// Version of all that was published, in microseconds since the epoch: the start of the sync.
    pub version: u64,
    /// Whether the collection is equal to the source.
    pub done: bool,
    /// Why it is not, if something has to be looked at.
    pub failed: Option<String>,
    pub documents: u64,
    pub chunks: u64,
    pub tokens: u64,
    /// Documents, records and files that cannot be read.
    pub refused: u64,
    /// What was read of the source, what became text, and what was left out, by the reason.
    #[serde(flatten)]
    pub account: Account,
    /// Documents that the collection had as they are.
    pub unchanged: u64,
    /// Documents that were written or deleted by others since the start, and left as they are.
    pub newer: u64,
    pub published: u64,
    /// Chunks of published documents that are to be embedded.
    pub published_chunks: u64,
    pub published_tokens: u64,
    /// The other chunks of published documents: the collection has the vectors of these texts, and they travel with the jobs.
    pub reused_chunks: u64,
    pub deleted: u64,
    /// Documents that are not in the source and were not deleted.
    pub kept: u64,
    /// Jobs that were published, for documents and deletions.
    pub jobs: u64,
    /// Chunks and deletions in dead letters of the run.
    pub dead_letters: u64,
    /// From the start to the end.
    pub seconds: f64,
    /// Tokens that were embedded, by the time from the first reading to the last job being settled.
    pub tokens_per_second: f64,
}

impl Report {
    /// Adds a reading of the source; the first one says what the source has.
    pub fn add(&mut self, found: &ReadResult, first: bool) {
        if first {
            (self.documents, self.chunks) = (found.documents, found.chunks);
            (self.tokens, self.refused) = (found.tokens, found.refused);
            self.unchanged = found.unchanged.documents;
            self.account = found.account.clone();
        }
        self.newer = found.newer.documents;
        self.published += found.changed.documents;
        self.published_chunks += found.changed.chunks - found.reused;
        self.published_tokens += found.changed_tokens;
        self.reused_chunks += found.reused;
        self.jobs += found.jobs;
    }

    /// Notes how long the workers took.
    pub fn embedded_within(&mut self, elapsed: Duration) {
        if self.published_tokens > 0 && !elapsed.is_zero() {
            self.tokens_per_second = as_double(self.published_tokens) / elapsed.as_secs_f64();
        }
    }
}

impl Outcome for Report {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let (run, alias, collection, version) =
            (&self.run, &self.alias, &self.collection, self.version);
        writeln!(
            out,
            "run {run} of `{alias}` ({collection}), version {version}"
        )?;
        let counts = [
            ("documents", self.documents),
            ("chunks", self.chunks),
            ("tokens", self.tokens),
            ("refused", self.refused),
            ("unchanged documents", self.unchanged),
            ("newer documents", self.newer),
            ("published documents", self.published),
            ("published chunks", self.published_chunks),
            ("published tokens", self.published_tokens),
            ("reused chunks", self.reused_chunks),
            ("deleted documents", self.deleted),
            ("kept documents", self.kept),
            ("jobs", self.jobs),
            ("dead letters", self.dead_letters),
        ];
        for (name, count) in counts {
            writeln!(out, "{name:<22} {count:>14}")?;
        }
        self.account.write(out)?;
        writeln!(out, "{:<22} {:>14.1}", "seconds", self.seconds)?;
        let rate = self.tokens_per_second;
        writeln!(out, "{:<22} {rate:>14.0}", "tokens per second")?;
        let (unchanged, published, deleted) = (self.unchanged, self.published, self.deleted);
        let what = format!("{unchanged} unchanged, {published} published, {deleted} deleted");
        match &self.failed {
            Some(reason) => writeln!(out, "failed: {reason}"),
            None if self.done => writeln!(out, "done: {what}"),
            None => writeln!(out, "published, not waited for: {what}"),
        }
    }

    fn complaints(&self) -> Vec<String> {
        let failed = |reason| format!("run {} failed: {reason}", self.run);
        self.failed.iter().map(failed).collect()
    }

    fn is_failure(&self) -> bool {
        self.failed.is_some()
    }

    fn failure(&self) -> Failure {
        Failure::Gate
    }
}
