//! Replicas: what the protocol of writes asks of a collection that keeps several copies of each shard, and
//! why that is enough. A collection with one replica is asked for nothing more than before.
//!
//! **What Qdrant does** (read in the sources of 1.16.3, 1.18.3 and 1.19.0, and tried on three nodes of 1.18.3):
//! - The node that takes a write sends it to all replicas that it believes to be alive, and waits for all of them. Each
//!   replica evaluates filters, also `update_filter`, against its own points.
//! - A replica that fails is reported to the consensus of the nodes, and that write waits until it is marked as dead.
//!   **Later writes do not wait.** Until the consensus has decided, the node leaves the failed replica out and answers
//!   `Completed`. A node that was cut off from its peers answered so to all writes but the first. When it came back, its
//!   replica was the dead one and was made anew from the other: what it had acknowledged was gone.
//! - Orderings choose the node that sends a write to the replicas (`medium`: the replica with the highest id that this
//!   node believes to be alive; `strong`: the highest of all), and let it do one write after the other. Cut off, it
//!   acknowledges alone all the same: with `medium` any node, with `strong` the highest; both were tried, and lost writes.
//! - A write consistency factor of 2 makes every write fail that meets the failure, and then no replica is left out, with
//!   `weak`. With `medium`, forwarding that fails leaves one out all the same. Replicas that are marked as dead do not count.
//! - A read without a consistency is answered by one replica, if possible by the node's own. A node that others cannot
//!   reach, but that reaches them, does not learn that its replica was marked as dead, and goes on answering from it.
//! - With `all`, every replica of every shard must answer, those that are marked as dead included, or the read fails
//!   (`INTERNAL`: "does not have enough active replicas"). A point that differs in the requested fields is **left out**.
//!   `quorum` is the same with half of the replicas and one more; of two replicas that is both. A count is the least of the
//!   counts with `all`; with `majority` it is the middle one, which of two replicas is the greater.
//! - A replica that is dead is made anew from a live one before it counts again; writes go to both meanwhile.
//!
//! **Writes need no ordering** (`weak`, the default, is the weakest). A client waits for each of its requests, so every
//! replica sees the steps of one client in their order, and those of several clients in some interleaving, not
//! necessarily the same on each. The protocol is right under every interleaving:
//!
//! | pair on one replica | whichever comes first |
//! |---|---|
//! | guarded upserts of different versions | the newer one is there |
//! | upsert and tombstone of one version | the tombstone is there |
//! | tombstone with the removal of its vectors, newer upsert | the upsert with its vector: the removal asks for a tombstone |
//! | insert of an older chunk, removal of older chunks | **differs**: the chunk stays where it comes last |
//! | two contents under one version | **differs**: the later one is there, and replicas may keep different ones |
//!
//! The fourth is why whoever inserts looks at the head afterwards (step 4) and removes its own chunks, on all replicas
//! and after its insert on each of them. The fifth needs a publisher that uses a version twice. Two deliveries of one job
//! differ in `indexed_at` alone. No ordering would help it: two contents written side by side mix in one replica, too.
//!
//! **What must be true before a job is acknowledged** is therefore about reads: that each replica has what was written, the
//! live ones and those that are marked as dead. Then it does not matter which of them the cluster goes on with: a
//! replica that is made anew is copied from one that has it. Less is not enough: `quorum` of three lets two
//! nodes that were cut off together acknowledge what the third, if other nodes go on with it, will replace. So
//! - step 4 reads back every point that was written (version, and whether it is a tombstone) with `all`: one that is
//!   missing, or older, is [`PointsError::NotOnAllReplicas`]; a tombstone is read with its vectors, of which it must have
//!   none. A newer head on all replicas means superseded, as before;
//! - a removal, of leftovers or of what was overtaken, is counted afterwards with `majority`, and must have left nothing.
//!   Leftovers are looked for in this way too: one replica may have lost them to an earlier attempt that failed on the
//!   other. Of three replicas or more, a majority does not see what a single one has: there the removal is always made,
//!   and rests on this: while its node leaves a replica out, the read with `all` that follows on the same
//!   node fails;
//! - steps 1 and 2 read one replica. An older head than the newest only costs work, because step 4 follows. A newer head
//!   than others have is that of a job that is not acknowledged yet, and that will be done again;
//! - a body without its head, one slice of a document, may find no head because there is none yet, or because a newer
//!   one is on its way. Then one replica is asked; if it has a head, the slice is not confirmed.
//!
//! **All other reads need no consistency**: what was acknowledged is on every replica, a stale one included. So carry-over,
//! ledgers, gates and searches read one of them. Points that are copied are confirmed in the same way before
//! their phase ends. What is not acknowledged may be on some replicas only, and comes again.
//!
//! **What a collection says of itself** is kept by the consensus of the nodes, not by replicas, and no read of it takes a
//! consistency: a node that is behind tells what was. Where more hangs on it than work that is done again, as whether a vector
//! is still attached, a node is believed only if it reaches all replicas ([`Points::confirmed_schema`]), which one that is
//! cut off does not; and a job is not given up by one answer, but comes back, until a node that lags has caught up.
//!
//! **Cost**, on three nodes of 1.18.3 that shared two busy cores, 3 shards, 2 replicas, 384 dimensions, 4 writers, in one run:
//! 0.74 to 0.95 of the points per second without it (`medium` alone: 0.87 to 1.01); 0.72 to 0.78 of the heads read per
//! second. A collection with one replica is asked exactly what it was asked before.
//!
//! **The price is availability**: while one replica of any shard is missing, being made anew or moved, nothing is
//! confirmed. Failed reads and [`PointsError::NotOnAllReplicas`] are transient: the worker repeats the write, then
//! waits, with the backlog in the stream. Searches go on. A node that is lost for good has to be removed from the
//! cluster, or its replicas dropped. A node of the type `Listener` never answers reads, so that a collection which has
//! replicas on one takes no writes from Ebb.

use std::collections::{HashMap, HashSet};

use contract::field;
use qdrant_client::qdrant::{
    CollectionInfo, Condition, Filter, PointId, ReadConsistency, ReadConsistencyType,
    RetrievedPoint, read_consistency,
};
use runtime::failpoint;
use uuid::Uuid;

use crate::Points;
use crate::change::Draft;
use crate::guard::Guard;
use crate::limits::CONDITIONS_OF_A_DOCUMENT;
use crate::payload::{has_vectors, is_deleted, number};
use crate::point::head_id;
use crate::selection::VectorSelection;
use crate::store::{PointsError, Store};

/// Filters of one request.
const FILTERS_PER_REQUEST: usize = 128;

/// How many copies of each shard a collection keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicas(u32);

impl Replicas {
    pub const ONE: Self = Self(1);

    /// The replicas that a collection says it has.
    #[must_use]
    pub fn of(info: &CollectionInfo) -> Self {
        if failpoint::skips("replicas") {
            return Self::ONE;
        }
        let config = info.config.as_ref();
        let params = config.and_then(|config| config.params.as_ref());
        let factor = params.and_then(|params| params.replication_factor);
        Self(factor.unwrap_or(1))
    }

    /// Whether there is more than one, so that what was written has to be confirmed.
    #[must_use]
    pub fn are_several(self) -> bool {
        self.0 > 1
    }

    /// Whether a majority does not see what a single replica has.
    fn are_many(self) -> bool {
        self.0 > 2
    }
}

impl<S: Store> Points<'_, S> {
    /// Asks all replicas for a point that is not there: fails while nothing could be confirmed.
    ///
    /// # Errors
    /// [`PointsError::Qdrant`].
    pub async fn ask_all_replicas(self) -> Result<(), PointsError> {
        let nobody = PointId::from(Uuid::nil().to_string());
        let all = read_by(ReadConsistencyType::All);
        let none = VectorSelection::none();
        let asked = self.get_at(all, [nobody], &[field::VERSION], &none).await;
        asked.map(drop)
    }

    /// Makes sure that these points, or something newer, are on all replicas. Returns whether a document has a newer
    /// head; its points are not looked at.
    ///
    /// # Errors
    /// [`PointsError`].
    pub(crate) async fn confirm<D: Draft>(self, drafts: &[D]) -> Result<bool, PointsError> {
        let found = self.found_on_all(drafts).await?;
        let (mut missing, mut is_overtaken) = (0, false);
        let mut headless = HashSet::new();
        for draft in drafts {
            let (doc_id, id) = draft.ids();
            let head = found.get(&head_id(&doc_id));
            if head.is_some_and(|head| draft.guard() < *head) {
                is_overtaken = true;
                continue;
            }
            if found.get(&id).is_none_or(|there| *there < draft.guard()) {
                missing += 1;
            }
            if head.is_none() {
                headless.insert(doc_id);
            }
        }
        if missing == 0 && !headless.is_empty() {
            let headless: Vec<_> = headless.into_iter().collect();
            missing += self.heads(&headless).await?.len() as u64;
        }
        self.is_confirmed(missing).map(|()| is_overtaken)
    }

    /// These points and the heads of their documents, as far as all replicas have the same.
    async fn found_on_all<D: Draft>(
        self,
        drafts: &[D],
    ) -> Result<HashMap<PointId, Guard>, PointsError> {
        let (mut written, mut tombstones) = (HashSet::new(), HashSet::new());
        for draft in drafts {
            let (doc_id, id) = draft.ids();
            if draft.guard().deletes {
                tombstones.insert(id);
            } else {
                written.extend([id, head_id(&doc_id)]);
            }
        }
        let with_vectors = match tombstones.is_empty() {
            true => VectorSelection::none(),
            false => self.select_all().await?,
        };
        let mut found = HashMap::new();
        for (ids, vectors) in [
            (written, VectorSelection::none()),
            (tombstones, with_vectors),
        ] {
            let (all, fields) = (
                read_by(ReadConsistencyType::All),
                [field::VERSION, field::DELETED],
            );
            let points = self.get_at(all, ids, &fields, &vectors).await?;
            found.extend(points.into_iter().filter_map(read));
        }
        Ok(found)
    }

    /// Removes what any of these filters matches from all replicas, if there is anything.
    ///
    /// # Errors
    /// [`PointsError`].
    pub(crate) async fn remove_everywhere(
        self,
        filters: Vec<Filter>,
        replicas: Replicas,
    ) -> Result<(), PointsError> {
        let mut rest = filters.as_slice();
        if rest.is_empty() {
            return Ok(());
        }
        let mut limits = self.limits().await?;
        while !rest.is_empty() {
            let part = limits.filters(FILTERS_PER_REQUEST, CONDITIONS_OF_A_DOCUMENT);
            let (part, others) = rest.split_at(part.min(rest.len()));
            let any = Filter::should(part.iter().cloned().map(Condition::from));
            // Without exact counts nobody can say what a single replica has.
            let is_seen = limits.exact && !replicas.are_many();
            match self.remove_from_each(any, is_seen, limits.exact).await {
                Ok(()) => rest = others,
                Err(error) => limits = self.limits_after(limits, error).await?,
            }
        }
        Ok(())
    }

    /// Removes all that `filter` matches: `is_seen` if a look shows whether there is anything, `is_counted` if one shows
    /// what is left.
    async fn remove_from_each(
        self,
        filter: Filter,
        is_seen: bool,
        is_counted: bool,
    ) -> Result<(), PointsError> {
        let majority = read_by(ReadConsistencyType::Majority);
        if is_seen && self.count_at(majority, filter.clone()).await? == 0 {
            return Ok(());
        }
        self.delete(filter.clone()).await?;
        if !is_counted {
            return Ok(());
        }
        self.is_confirmed(self.count_at(majority, filter).await?)
    }

    fn is_confirmed(self, points: u64) -> Result<(), PointsError> {
        match points {
            0 => Ok(()),
            points => Err(PointsError::NotOnAllReplicas {
                collection: self.collection.clone(),
                points,
            }),
        }
    }
}

fn read_by(consistency: ReadConsistencyType) -> Option<ReadConsistency> {
    Some(ReadConsistency {
        value: Some(read_consistency::Value::Type(consistency.into())),
    })
}

/// A point with what could have written it. A tombstone that has a vector was not written to the end.
fn read(point: RetrievedPoint) -> Option<(PointId, Guard)> {
    let guard = Guard {
        version: number(&point, field::VERSION),
        deletes: is_deleted(&point),
    };
    let is_whole = !(guard.deletes && has_vectors(&point));
    is_whole.then_some((point.id?, guard))
}
