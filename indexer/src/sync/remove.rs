//! Remove: deletes documents that the collection has and the source has not.
//!
//! All points are looked at, not only heads: a chunk whose head never came would stay for ever. What was written since
//! the start is not looked at, and the version of a deletion is the start too, so that it removes nothing newer.

use std::collections::HashSet;

use async_nats::jetstream;
use bytes::Bytes;
use contract::digest::Digest;
use contract::field;
use contract::job::Job;
use contract::names::CollectionName;
use contract::topology::Lane;
use points::guard::{self, tombstones};
use points::payload::doc_id;
use points::point_id;
use qdrant_client::qdrant::{Condition, Filter};
use runtime::failpoint;

use super::claim::SourceIdentities;
use super::comparer::Comparer;
use crate::clock::now_micros;
use crate::corpus::seen::identity;
use crate::generation::Stopped;
use crate::generation::ledger::DeadPoints;
use crate::jobs::removals;
use crate::jobs::store::store_as;
use crate::progress::as_double;

/// Points of one page.
const POINTS_PER_PAGE: u32 = 2048;

/// How much smaller the collection would become.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shrink {
    /// Documents of the collection that the sources stand for.
    pub documents: u64,
    /// Of these, documents that the source has not.
    pub absent: u64,
    /// Documents besides that the source has not, and that may be behind a missing mount.
    pub behind: u64,
    /// What is allowed, in percent.
    pub limit: f64,
}

/// Publishes deletions, or only counts them.
pub struct Remover {
    /// `None` only counts.
    pub to: Option<(jetstream::Context, Lane)>,
    pub run: String,
    pub alias: CollectionName,
    pub version: u64,
    /// More is a fault: so many were absent before anything was published, and no more were allowed.
    pub most: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub documents: u64,
    pub jobs: u64,
}

impl Shrink {
    /// Why nothing must be deleted, if that is too much.
    pub fn refusal(&self) -> Option<String> {
        let Self {
            documents,
            absent,
            limit,
            ..
        } = self;
        let less = as_double(*absent) / as_double((*documents).max(*absent).max(1)) * 100.0;
        (less > *limit).then(|| {
            format!(
                "shrink: {absent} of {documents} documents are not in the source: {less:.1} %, {limit} % are allowed \
                 (--max-shrink); is a source missing?"
            )
        })
    }
}

impl Comparer<'_> {
    /// Counts what would be deleted.
    pub async fn shrink(&self, claimed: &SourceIdentities) -> anyhow::Result<Shrink> {
        let mut heads = self.in_scope();
        heads.must.push(Condition::matches(field::CHUNK, 0));
        let nothing_died = DeadPoints::new();
        let (absent, behind) = self
            .absent(claimed, &nothing_died, async |_| Ok(()))
            .await?;
        Ok(Shrink {
            documents: self.target().count(heads).await?,
            absent,
            behind,
            limit: self.config.max_shrink,
        })
    }

    /// Deletes what the source has not; what died in an earlier attempt of the run is left.
    pub async fn remove(
        &self,
        claimed: &SourceIdentities,
        dead: &DeadPoints,
        remover: &Remover,
    ) -> anyhow::Result<Removed> {
        let mut removed = Removed::default();
        let publish = async |ids: Vec<String>| remover.publish(ids, &mut removed).await;
        self.absent(claimed, dead, publish).await?;
        Ok(removed)
    }

    /// Gives the ids of documents that the source has not to `take`, page by page, each once; then their number, and that
    /// of documents that are left because they may be behind a missing mount.
    async fn absent(
        &self,
        claimed: &SourceIdentities,
        dead: &DeadPoints,
        mut take: impl AsyncFnMut(Vec<String>) -> anyhow::Result<()>,
    ) -> anyhow::Result<(u64, u64)> {
        let (mut absent, mut behind) = (HashSet::new(), HashSet::new());
        let mut pages = self
            .target()
            .pages(self.old_points(), &[field::DOC_ID], POINTS_PER_PAGE);
        while let Some(page) = pages.next().await? {
            let mut ids: Vec<_> = page.iter().filter_map(doc_id).collect();
            ids.retain(|doc_id| {
                let identity = identity(doc_id);
                if claimed.holds(identity) || self.died(doc_id, dead) {
                    return false;
                }
                if claimed.may_hide(doc_id) {
                    behind.insert(identity);
                    return false;
                }
                absent.insert(identity)
            });
            take(ids).await?;
        }
        Ok((absent.len() as u64, behind.len() as u64))
    }

    fn old_points(&self) -> Filter {
        let mut filter = self.in_scope();
        let old = guard::not_newer_than(self.version);
        filter.must.push(Condition::from(old));
        filter
    }

    /// Points that the sources stand for, but for tombstones.
    fn in_scope(&self) -> Filter {
        let scope = self.config.filter.iter();
        Filter {
            must: scope
                .map(|scope| Condition::from(scope.filter.clone()))
                .collect(),
            must_not: vec![tombstones()],
            ..Filter::default()
        }
    }

    fn died(&self, doc_id: &str, dead: &DeadPoints) -> bool {
        let removal = dead.get(&point_id(doc_id, 0).to_string());
        removal.is_some_and(|removal| removal.version >= self.version)
    }
}

impl Remover {
    async fn publish(&self, ids: Vec<String>, removed: &mut Removed) -> anyhow::Result<()> {
        removed.documents += ids.len() as u64;
        if removed.documents > self.most {
            let (found, most) = (removed.documents, self.most);
            return Err(Stopped(format!(
                "shrink: at least {found} documents are not in the source, {most} were before it was read; run it again"
            ))
            .into());
        }
        for job in removals(&ids, self.version, &self.alias, Some(&self.run)) {
            removed.jobs += 1;
            self.store(&job).await?;
        }
        Ok(())
    }

    async fn store(&self, job: &Job) -> anyhow::Result<()> {
        let Some((jetstream, lane)) = &self.to else {
            return Ok(());
        };
        let payload = Bytes::from(job.encode());
        // A job that was lost with its stream must not be taken for a duplicate.
        let id = format!("{}.{}", Digest::of(&payload), now_micros());
        store_as(jetstream, &lane.subject(), payload, 0, &id).await?;
        failpoint::pass("sync-removing");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_shrinks_within_its_limit_and_not_beyond() {
        let shrink = |documents, absent| Shrink {
            documents,
            absent,
            behind: 0,
            limit: 20.0,
        };
        for (documents, absent) in [(0, 0), (10, 0), (10, 2), (1000, 200)] {
            let refusal = shrink(documents, absent).refusal();
            assert_eq!(refusal, None, "{absent} of {documents}");
        }
        for (documents, absent) in [(10, 3), (10, 10), (0, 1), (1000, 201)] {
            let refusal = shrink(documents, absent).refusal();
            assert!(refusal.is_some(), "{absent} of {documents}");
        }
    }
}
