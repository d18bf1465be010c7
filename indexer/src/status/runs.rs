//! Runs: what the verbs of long work have recorded about how far they are.
//!
//! Records of different verbs differ; what they have in common is read, and what is missing is left out.

use std::collections::{BTreeMap, HashSet};
use std::time::SystemTime;

use async_nats::jetstream::{self, Message};
use contract::names::CollectionName;
use contract::topology::RUNS;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::generation::lock::{self, Owner};
use crate::streams::{Range, Reader, advice};

/// Runs that are over and shown nevertheless.
const MOST_OVER: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RunStatus {
    /// The verb that runs: the part of the key before the first dot.
    pub verb: String,
    /// Its id; empty for one that has recorded nothing yet, as a sync, which records only that it is done.
    pub run: String,
    /// The alias that it works on.
    pub alias: Option<String>,
    /// The last phase that ended; `running` where none is recorded.
    pub phase: String,
    /// Whether nothing is left to do, be it done or given up.
    pub over: bool,
    /// Why the last attempt stopped, if a gate stopped it.
    pub failed: Option<String>,
    /// When it was recorded last, RFC 3339.
    pub updated: String,
    /// The process that took the lease for this verb and alias. An unfinished run without one is not worked on.
    pub owner: Option<Owner>,
    /// When that process renewed its lease last, RFC 3339: one that was killed does not any more, and stays here until
    /// another one takes over.
    pub renewed: Option<String>,
}

/// The fields that records of all verbs have in common, and those that only rebuilds have.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Record {
    phase: Option<String>,
    finished: Option<bool>,
    failed: Option<String>,
    /// The collection that it fills.
    pub generation: Option<CollectionName>,
    /// The collection that served when it began.
    pub serving: Option<CollectionName>,
    /// When the alias was about to move, in microseconds since the epoch.
    pub switched: Option<u64>,
}

/// Owners of leases by verb and alias, with the time of their last sign of life.
type Owners = BTreeMap<String, (SystemTime, Owner)>;

/// All records of runs that the bucket holds, by key. They are read once; later reads fetch only what was written since.
#[derive(Clone, Debug, Default)]
pub struct RunRecords {
    records: BTreeMap<String, (SystemTime, Record)>,
    owners: Owners,
    /// Sequence of the entry that was read last.
    last: u64,
}

impl RunRecords {
    /// Reads what was written since the last time.
    pub async fn update(&mut self, jetstream: &jetstream::Context) -> anyhow::Result<()> {
        let bucket = jetstream.get_key_value(RUNS).await;
        let bucket = bucket.map_err(|error| {
            let advice = advice(&error);
            anyhow::Error::from(error).context(format!("failed to open bucket `{RUNS}`{advice}"))
        })?;
        let written = bucket.stream.cached_info().state.last_sequence;
        if written < self.last {
            // It was made anew.
            *self = Self::default();
        }
        let prefix = bucket.prefix.clone();
        let range = Range {
            filter: format!("{prefix}>"),
            first: self.last + 1,
            headers_only: false,
        };
        let mut reader = Reader::open(bucket.stream.clone(), range).await?;
        while let Some((sequence, message)) = reader.next().await? {
            self.add(&prefix, &message)?;
            self.last = sequence;
        }
        self.last = self.last.max(written);
        Ok(())
    }

    /// The run that has put a collection behind its alias.
    pub fn behind(&self, collection: &str) -> Option<&Record> {
        let mut records = self.records.values().map(|(_, record)| record);
        records.find(|record| {
            let is_it = record
                .generation
                .as_ref()
                .is_some_and(|it| it.as_str() == collection);
            is_it && record.switched.is_some()
        })
    }

    fn add(&mut self, prefix: &str, message: &Message) -> anyhow::Result<()> {
        let Some(key) = message.subject.strip_prefix(prefix) else {
            return Ok(());
        };
        let stored = message.info().map_err(anyhow::Error::from_boxed)?.published;
        self.put(key, stored.into(), &message.payload);
        Ok(())
    }

    /// Takes an entry. One that was deleted is empty, and what is none of ours cannot be read: both are left out.
    fn put(&mut self, key: &str, stored: SystemTime, value: &[u8]) {
        if let Some(lease) = key.strip_prefix(lock::PREFIX) {
            match serde_json::from_slice(value) {
                Ok(owner) => drop(self.owners.insert(lease.to_owned(), (stored, owner))),
                Err(_) => drop(self.owners.remove(lease)),
            }
        } else {
            match serde_json::from_slice(value) {
                Ok(record) => drop(self.records.insert(key.to_owned(), (stored, record))),
                Err(_) => drop(self.records.remove(key)),
            }
        }
    }

    /// How many runs are recorded.
    pub fn count(&self) -> usize {
        self.records.len()
    }

    /// All runs that are recorded, the one that was written last first.
    pub fn all(&self) -> Vec<RunStatus> {
        let mut all: Vec<_> = self.records.iter().collect();
        all.sort_by_key(|(_, (stored, _))| std::cmp::Reverse(*stored));
        let run = |(key, (stored, record)): (&String, &(SystemTime, Record))| {
            run(key, *stored, record.clone(), &self.owners)
        };
        all.into_iter().filter_map(run).collect()
    }

    /// Runs that are not over, then the newest of the others.
    pub fn shown(&self) -> Vec<RunStatus> {
        let (over, mut shown): (Vec<_>, Vec<_>) = self.all().into_iter().partition(|run| run.over);
        let unrecorded = unrecorded(&self.owners, &shown);
        shown.extend(unrecorded);
        // A run that was followed by another one is history.
        let mut seen = HashSet::new();
        let newest = over
            .into_iter()
            .filter(|run| seen.insert((run.verb.clone(), run.alias.clone())));
        shown.extend(newest.take(MOST_OVER));
        shown
    }
}

/// Runs that have a lease and no record.
fn unrecorded(owners: &Owners, recorded: &[RunStatus]) -> Vec<RunStatus> {
    let unknown = |owner: &Owner| !recorded.iter().any(|run| run.owner.as_ref() == Some(owner));
    let of_work = owners.iter().filter_map(|(key, found)| {
        let alias = ["rebuild.", "sync."].map(|verb| key.strip_prefix(verb));
        Some((alias.into_iter().flatten().next()?, found))
    });
    of_work
        .filter(|(_, (_, owner))| unknown(owner))
        .map(|(alias, (renewed, owner))| RunStatus {
            verb: match owner.verb.as_str() {
                "" => "rebuild".to_owned(),
                verb => verb.to_owned(),
            },
            run: String::new(),
            alias: Some(alias.to_owned()),
            phase: "running".to_owned(),
            over: false,
            failed: None,
            updated: rfc3339(crate::clock::as_time(owner.since)),
            owner: Some(owner.clone()),
            renewed: Some(rfc3339(*renewed)),
        })
        .collect()
}

fn run(key: &str, stored: SystemTime, record: Record, owners: &Owners) -> Option<RunStatus> {
    let (verb, rest) = key.split_once('.')?;
    let (alias, run) = match rest.split_once('/') {
        Some((alias, run)) => (Some(alias), run),
        None => (None, rest),
    };
    let finished = record.finished.unwrap_or(false);
    let phase = record.phase.unwrap_or_else(|| {
        let phase = if finished { "done" } else { "publishing" };
        phase.to_owned()
    });
    // Both take the lease of rebuilds.
    let lease = if verb == "attach" { "rebuild" } else { verb };
    let lease = alias.and_then(|alias| owners.get(&format!("{lease}.{alias}")));
    // A rebuild that was killed does not hold the lease that a sync has taken since.
    let lease = lease.filter(|(_, owner)| owner.verb.is_empty() || owner.verb == verb);
    Some(RunStatus {
        verb: verb.to_owned(),
        run: run.to_owned(),
        alias: alias.map(str::to_owned),
        over: finished || matches!(phase.as_str(), "done" | "abandoned"),
        phase,
        failed: record.failed,
        updated: rfc3339(stored),
        owner: lease.map(|(_, owner)| owner.clone()),
        renewed: lease.map(|(renewed, _)| rfc3339(*renewed)),
    })
}

pub fn rfc3339(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn found(entries: &[(&str, u64, &str)]) -> Vec<RunStatus> {
        let mut book = RunRecords::default();
        for (key, seconds, value) in entries {
            let stored = UNIX_EPOCH + Duration::from_secs(*seconds);
            book.put(key, stored, value.as_bytes());
        }
        book.shown()
    }

    #[test]
    fn runs_that_are_not_over_come_first_and_of_the_others_the_newest() {
        let runs = found(&[
            ("rebuild.docs/a", 1, r#"{"phase":"done"}"#),
            ("rebuild.docs/b", 2, r#"{"phase":"abandoned"}"#),
            (
                "rebuild.docs/c",
                3,
                r#"{"phase":"copied","failed":"ledger"}"#,
            ),
            ("rebuild.other/d", 9, r#"{"phase":"done"}"#),
            ("rescore.e", 4, r#"{"finished":false}"#),
            (
                "lease.rebuild.docs",
                5,
                r#"{"host":"h","process":7,"since":1}"#,
            ),
            ("lease.change.docs", 6, ""),
            ("rebuild.docs/gone", 7, ""),
        ]);
        let short: Vec<_> = runs
            .iter()
            .map(|run| (run.run.as_str(), run.phase.as_str(), run.over))
            .collect();
        let expected = [
            ("e", "publishing", false),
            ("c", "copied", false),
            ("d", "done", true),
            ("b", "abandoned", true),
        ];
        assert_eq!(short, expected);
        assert_eq!(runs[1].owner.as_ref().map(|owner| owner.process), Some(7));
        assert_eq!(runs[1].renewed.as_deref(), Some("1970-01-01T00:00:05Z"));
        assert_eq!(runs[1].failed.as_deref(), Some("ledger"));
        assert_eq!(runs[1].updated, "1970-01-01T00:00:03Z");
        assert_eq!((runs[0].verb.as_str(), &runs[0].alias), ("rescore", &None));
    }

    #[test]
    fn an_entry_that_was_deleted_is_gone_and_a_run_is_known_by_what_it_has_put_behind_an_alias() {
        let switched =
            r#"{"phase":"done","generation":"docs--a","serving":"docs--0","switched":5}"#;
        let mut book = RunRecords::default();
        let mut put = |key: &str, value: &str| book.put(key, UNIX_EPOCH, value.as_bytes());
        put("rebuild.docs/a", switched);
        put("lease.sync.docs", r#"{"host":"h","process":7,"since":1}"#);
        put("lease.sync.docs", "");
        put("rebuild.docs/b", switched);
        put("rebuild.docs/b", "");
        assert_eq!((book.count(), book.owners.len()), (1, 0));
        let serving = book.behind("docs--a").and_then(|run| run.serving.clone());
        assert_eq!(serving, Some("docs--0".parse().unwrap()));
        assert!(book.behind("docs--0").is_none());
    }

    #[test]
    fn a_sync_is_seen_by_its_lease_and_is_no_owner_of_a_rebuild_that_was_killed() {
        let runs = found(&[
            ("rebuild.docs/a", 1, r#"{"phase":"copied"}"#),
            (
                "lease.sync.docs",
                5,
                r#"{"host":"h","process":7,"since":2000000,"verb":"sync"}"#,
            ),
        ]);
        let short: Vec<_> = runs
            .iter()
            .map(|run| (run.verb.as_str(), run.phase.as_str(), run.owner.is_some()))
            .collect();
        let expected = [("rebuild", "copied", false), ("sync", "running", true)];
        assert_eq!(short, expected);
        assert_eq!(runs[1].updated, "1970-01-01T00:00:02Z");
        assert_eq!(runs[1].renewed.as_deref(), Some("1970-01-01T00:00:05Z"));
    }
}
