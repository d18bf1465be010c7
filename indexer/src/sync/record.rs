//! Record: the report of a run that is done, in the bucket of runs, so that a run with an id is not done again.
//!
//! Nothing is recorded of a run that is not done. What remains to be done is the difference between source and
//! collection, and whoever runs it again finds that.

use anyhow::Context as _;
use async_nats::jetstream::kv;
use contract::names::CollectionName;
use contract::topology::RUNS;
use serde::{Deserialize, Serialize};

use super::report::Report;
use crate::run::FORMAT;

#[derive(Serialize, Deserialize)]
struct Record {
    format: u32,
    /// What records of all verbs tell: always true here.
    finished: bool,
    report: Report,
}

/// The report of a run that is done.
///
/// # Errors
/// If NATS refuses, or the record is of another version.
pub(super) async fn find(
    bucket: &kv::Store,
    alias: &CollectionName,
    run: &str,
) -> anyhow::Result<Option<Report>> {
    let key = key(alias, run);
    let entry = bucket.get(&key).await;
    let entry = entry.with_context(|| format!("failed to read `{key}` of bucket `{RUNS}`"))?;
    let unreadable = || format!("`{key}` of bucket `{RUNS}` is not a sync that this program reads");
    let record = entry.map(|entry| serde_json::from_slice::<Record>(&entry));
    let record = record.transpose().with_context(unreadable)?;
    if let Some(Record { format, .. }) = &record {
        anyhow::ensure!(
            *format == FORMAT,
            "{}: it has format {format}, expected {FORMAT}",
            unreadable()
        );
    }
    Ok(record.map(|record| record.report))
}

/// Records that a run is done.
///
/// # Errors
/// If NATS refuses.
pub(super) async fn save(bucket: &kv::Store, report: &Report) -> anyhow::Result<()> {
    let key = key(&report.alias, &report.run);
    let record = Record {
        format: FORMAT,
        finished: report.done,
        report: report.clone(),
    };
    let saved = bucket.put(&key, serde_json::to_vec(&record)?.into()).await;
    saved.with_context(|| format!("failed to record `{key}` in bucket `{RUNS}`"))?;
    Ok(())
}

fn key(alias: &CollectionName, run: &str) -> String {
    format!("sync.{alias}/{run}")
}
