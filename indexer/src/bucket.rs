//! Bucket: the records of runs and the locks, each an entry that is written by compare-and-set.
//!
//! Whoever changes an entry says which revision it has read. Of two processes that work on one entry the second to write
//! fails, whatever it believes about its lock. Nothing in this bucket is written in any other way.

use anyhow::Context as _;
use async_nats::jetstream::kv::{CreateErrorKind, Entry, Operation, Store};
use async_nats::jetstream::{self};
use bytes::Bytes;
use contract::topology::RUNS;
use futures::TryStreamExt as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::streams::advice;

/// Version of the records that this code reads and writes.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug)]
pub struct Bucket(Store);

/// An entry with the revision at which it was read or written.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    pub record: T,
    key: String,
    revision: u64,
    /// When it was written, by the clock of NATS.
    pub written: std::time::SystemTime,
}

impl<T> Stored<T> {
    /// Whether both are of one write.
    pub fn is_same_write(&self, other: &Self) -> bool {
        self.revision == other.revision
    }
}

impl Bucket {
    pub async fn open(jetstream: &jetstream::Context) -> anyhow::Result<Self> {
        let store = jetstream.get_key_value(RUNS).await;
        let store = store.map_err(|error| {
            let advice = advice(&error);
            anyhow::Error::from(error).context(format!("failed to open bucket `{RUNS}`{advice}"))
        })?;
        Ok(Self(store))
    }

    /// Stores a new entry; `None` if there is one of this key.
    pub async fn create<T>(&self, key: &str, record: T) -> anyhow::Result<Option<Stored<T>>>
    where
        T: Serialize,
    {
        match self.0.create(key, encode(&record)?).await {
            Ok(revision) => Ok(Some(Stored {
                record,
                key: key.to_owned(),
                revision,
                written: std::time::SystemTime::now(),
            })),
            Err(error) if error.kind() == CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => {
                Err(error).with_context(|| format!("failed to record `{key}` in bucket `{RUNS}`"))
            }
        }
    }

    /// Stores a changed entry.
    ///
    /// # Errors
    /// `UpdateError` of the client, among others if somebody else has written the entry since.
    pub async fn save<T: Serialize>(&self, stored: &mut Stored<T>) -> anyhow::Result<()> {
        let json = encode(&stored.record)?;
        stored.revision = self.0.update(&stored.key, json, stored.revision).await?;
        Ok(())
    }

    pub async fn find<T: DeserializeOwned>(&self, key: &str) -> anyhow::Result<Option<Stored<T>>> {
        let entry = self.0.entry(key).await;
        let entry = entry.with_context(|| format!("failed to read `{key}` of bucket `{RUNS}`"))?;
        entry
            .filter(|entry| entry.operation == Operation::Put)
            .map(decode)
            .transpose()
    }

    /// All entries whose keys begin with `prefix`.
    pub async fn under<T: DeserializeOwned>(&self, prefix: &str) -> anyhow::Result<Vec<Stored<T>>> {
        let keys = self.0.keys().await;
        let keys = keys.with_context(|| format!("failed to list bucket `{RUNS}`"))?;
        let keys: Vec<String> = keys
            .try_filter(|key| std::future::ready(key.starts_with(prefix)))
            .try_collect()
            .await?;
        let mut found = Vec::new();
        for key in keys {
            found.extend(self.find(&key).await?);
        }
        Ok(found)
    }

    /// Removes an entry, unless somebody else has written it since.
    pub async fn remove<T>(&self, stored: &Stored<T>) -> anyhow::Result<()> {
        let (key, revision) = (&stored.key, stored.revision);
        Ok(self.0.delete_expect_revision(key, Some(revision)).await?)
    }
}

fn encode(record: &impl Serialize) -> anyhow::Result<Bytes> {
    Ok(serde_json::to_vec(record)?.into())
}

fn decode<T: DeserializeOwned>(entry: Entry) -> anyhow::Result<Stored<T>> {
    let record = read(&entry.key, &entry.value)?;
    Ok(Stored {
        record,
        key: entry.key,
        revision: entry.revision,
        written: entry.created.into(),
    })
}

/// The record in an entry. Records that say their format must be of ours.
fn read<T: DeserializeOwned>(key: &str, value: &[u8]) -> anyhow::Result<T> {
    #[derive(Deserialize)]
    struct Versioned {
        format: Option<u32>,
    }
    let unreadable =
        || format!("`{key}` of bucket `{RUNS}` is not a record that this program reads");
    let Versioned { format } = serde_json::from_slice(value).with_context(unreadable)?;
    let found = format.unwrap_or(FORMAT);
    anyhow::ensure!(
        found == FORMAT,
        "`{key}` of bucket `{RUNS}` has format {found}, expected {FORMAT}; use the indexer that wrote it"
    );
    serde_json::from_slice(value).with_context(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Record {
        n: u32,
    }

    #[test]
    fn records_of_another_format_are_refused_and_those_that_say_none_are_read() {
        assert_eq!(read::<Record>("k", br#"{"n":1}"#).unwrap(), Record { n: 1 });
        let same = read::<Record>("k", br#"{"n":1,"format":1}"#).unwrap();
        assert_eq!(same, Record { n: 1 });
        let newer = read::<Record>("k", br#"{"format":2,"other":true}"#).unwrap_err();
        assert!(newer.to_string().contains("has format 2"), "{newer}");
        let other = read::<Record>("k", b"none").unwrap_err();
        assert!(other.to_string().contains("is not a record"), "{other}");
    }
}
