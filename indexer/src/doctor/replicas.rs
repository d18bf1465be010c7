//! Replicas: the shards of a collection that are not whole on one of their servers.
//!
//! One server of a cluster is asked, and tells what the cluster has agreed on about all others. A server that does not run
//! shows only once a write or a read has met it, so that its replicas may count as active for a while.

use std::collections::BTreeMap;

use contract::names::CollectionName;
use points::Qdrant;
use points::refusal::Refusal;
use points::status_code;
use qdrant_client::QdrantError;
use qdrant_client::qdrant::{CollectionClusterInfoResponse, ReplicaState};

use super::Finding;

/// A replica of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Replica {
    peer: u64,
    state: Option<ReplicaState>,
}

/// What a replica can be used for in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReplicaUse {
    /// It is complete: reads and writes may go to it.
    Whole,
    /// It is being filled, and will be complete by itself.
    Becoming,
    /// It is broken until somebody acts.
    Broken,
}

impl Replica {
    fn use_of(self) -> ReplicaUse {
        match self.state {
            Some(ReplicaState::Active) => ReplicaUse::Whole,
            Some(
                ReplicaState::Partial
                | ReplicaState::Initializing
                | ReplicaState::PartialSnapshot
                | ReplicaState::Recovery
                | ReplicaState::Resharding
                | ReplicaState::ReshardingScaleDown
                | ReplicaState::ActiveRead
                | ReplicaState::Listener,
            ) => ReplicaUse::Becoming,
            Some(ReplicaState::Dead | ReplicaState::ManualRecovery) | None => ReplicaUse::Broken,
        }
    }

    fn state(self) -> &'static str {
        self.state
            .map_or("in an unknown state", |state| state.as_str_name())
    }
}

/// Looks at all replicas of a collection, or of what is behind an alias.
pub async fn look(qdrant: &Qdrant, name: &CollectionName) -> Result<Vec<Finding>, QdrantError> {
    match qdrant.collection_cluster_info(name.as_str()).await {
        Ok(info) => Ok(findings(name, &info)),
        // The store of the local stack has one copy of everything.
        Err(error) if status_code::is(&error, status_code::UNIMPLEMENTED) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The finding that the replicas could not be looked at.
pub fn failed(name: &CollectionName, error: QdrantError) -> Finding {
    let refusal = Refusal::of(&error);
    let (what, advice) = (format!("collection `{name}`: replicas"), refusal.advice());
    if refusal == Refusal::Rights {
        return Finding::unknown(what, error, advice);
    }
    Finding::failed(what, &error.into(), advice)
}

fn findings(name: &CollectionName, info: &CollectionClusterInfoResponse) -> Vec<Finding> {
    let mut found = Vec::new();
    for (shard, replicas) in shards(info) {
        let whole = replicas
            .iter()
            .filter(|replica| replica.use_of() == ReplicaUse::Whole)
            .count();
        for replica in &replicas {
            let what = format!(
                "collection `{name}`: shard {shard} on peer {}",
                replica.peer
            );
            let left = match whole {
                0 => "no other replica is whole, so that it is neither read nor written",
                1 => "one replica is whole",
                _ => "several replicas are whole",
            };
            let finding = |advice: &str| {
                let advice = format!("{advice}; {left}");
                Finding::error(what.clone(), replica.state(), "Active", advice)
            };
            match replica.use_of() {
                ReplicaUse::Whole => {}
                ReplicaUse::Becoming if whole > 0 => {
                    let advice = "wait until it is whole; look again if it stays like this";
                    found.push(finding(advice).into_warning());
                }
                ReplicaUse::Becoming => found.push(finding("wait until it is whole")),
                ReplicaUse::Broken => found.push(finding(
                    "start the server of this peer, look at its log, or move the shard to another",
                )),
            }
        }
    }
    found
}

/// The replicas of each shard, in the order of their peers.
fn shards(info: &CollectionClusterInfoResponse) -> BTreeMap<u32, Vec<Replica>> {
    let local = info.local_shards.iter();
    let local = local.map(|shard| (shard.shard_id, info.peer_id, shard.state));
    let remote = info.remote_shards.iter();
    let remote = remote.map(|shard| (shard.shard_id, shard.peer_id, shard.state));
    let mut shards: BTreeMap<u32, Vec<Replica>> = BTreeMap::new();
    for (shard, peer, state) in local.chain(remote) {
        let state = ReplicaState::try_from(state).ok();
        shards
            .entry(shard)
            .or_default()
            .push(Replica { peer, state });
    }
    for replicas in shards.values_mut() {
        replicas.sort_unstable_by_key(|replica| replica.peer);
    }
    shards
}

#[cfg(test)]
mod tests {
    use qdrant_client::qdrant::{LocalShardInfo, RemoteShardInfo};

    use super::*;
    use crate::doctor::Severity;

    #[test]
    fn a_replica_that_is_not_whole_is_named_with_its_shard_and_peer() {
        let local = |shard_id, state: ReplicaState| LocalShardInfo {
            shard_id,
            state: state.into(),
            ..LocalShardInfo::default()
        };
        let remote = |shard_id, peer_id, state: ReplicaState| RemoteShardInfo {
            shard_id,
            peer_id,
            state: state.into(),
            ..RemoteShardInfo::default()
        };
        let info = CollectionClusterInfoResponse {
            peer_id: 1,
            local_shards: vec![
                local(0, ReplicaState::Active),
                local(1, ReplicaState::Dead),
                local(2, ReplicaState::Active),
            ],
            remote_shards: vec![
                remote(0, 2, ReplicaState::Dead),
                remote(1, 3, ReplicaState::Recovery),
                remote(2, 2, ReplicaState::Partial),
                remote(2, 3, ReplicaState::Active),
            ],
            ..CollectionClusterInfoResponse::default()
        };
        let found = findings(&"docs".parse().unwrap(), &info);
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.what.as_str(), it.found.as_str(), it.severity))
            .collect();
        let expected = [
            (
                "collection `docs`: shard 0 on peer 2",
                "Dead",
                Severity::Error,
            ),
            (
                "collection `docs`: shard 1 on peer 1",
                "Dead",
                Severity::Error,
            ),
            (
                "collection `docs`: shard 1 on peer 3",
                "Recovery",
                Severity::Error,
            ),
            (
                "collection `docs`: shard 2 on peer 2",
                "Partial",
                Severity::Warning,
            ),
        ];
        assert_eq!(found, expected);
    }
}
