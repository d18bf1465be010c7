//! Await replicas: a stream that is to be kept more often takes its servers one after the other, and a consumer can only be kept
//! on those that it has.

use std::time::Duration;

use anyhow::Context as _;
use async_nats::jetstream::stream::{ClusterInfo, Info};
use async_nats::jetstream::{Context, context::GetStreamError};
use tokio::time::{Instant, sleep};

use crate::progress::note;

/// How long the servers may take. They first elect a leader for the larger group, which takes 10 s where nothing else is to be
/// done.
const LIMIT: Duration = Duration::from_secs(180);
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
const SAY_INTERVAL: Duration = Duration::from_secs(5);

/// Waits until each of the streams is on as many servers as its configuration says.
///
/// # Errors
/// If one of them is not by [`LIMIT`].
pub(super) async fn await_replicas(
    jetstream: &Context,
    streams: &[String],
    replicas: usize,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIMIT;
    for name in streams {
        await_stream(jetstream, name, replicas, deadline).await?;
    }
    Ok(())
}

async fn await_stream(
    jetstream: &Context,
    name: &str,
    replicas: usize,
    deadline: Instant,
) -> anyhow::Result<()> {
    let mut say = Instant::now() + SAY_INTERVAL;
    loop {
        let looked = look(jetstream, name).await;
        let now = Instant::now();
        match looked {
            Ok(found) if found >= replicas => return Ok(()),
            Ok(found) if now >= deadline => anyhow::bail!(
                "stream `{name}` is on {found} of {replicas} servers after {LIMIT:?}; look at the servers of NATS, and run \
                 `indexer provision` again"
            ),
            // The server that led it may have stepped down just now.
            Err(error) if now >= deadline => {
                return Err(error).with_context(|| format!("failed to look up stream `{name}`"));
            }
            Ok(found) if now >= say => {
                note(&format!(
                    "stream `{name}` is on {found} of {replicas} servers; waiting for the others"
                ));
                say = now + SAY_INTERVAL;
            }
            Ok(_) | Err(_) => {}
        }
        sleep(LOOK_INTERVAL).await;
    }
}

async fn look(jetstream: &Context, name: &str) -> Result<usize, GetStreamError> {
    let stream = jetstream.get_stream(name).await?;
    Ok(servers(stream.cached_info()))
}

/// On how many servers a stream is. A single server says nothing about it.
fn servers(info: &Info) -> usize {
    info.cluster.as_ref().map_or(1, members)
}

/// The leader is not among the replicas, where there is one.
fn members(cluster: &ClusterInfo) -> usize {
    cluster.replicas.len() + usize::from(cluster.leader.is_some())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_leader_is_one_of_the_servers_and_not_one_of_the_replicas() {
        let members = |cluster| members(&serde_json::from_value(cluster).unwrap());
        let replica = |name| json!({ "name": name, "current": true, "active": 0 });
        assert_eq!(members(json!({ "leader": "n0" })), 1);
        assert_eq!(members(json!({ "replicas": [replica("n0")] })), 1);
        let all = json!({ "leader": "n0", "replicas": [replica("n1"), replica("n2")] });
        assert_eq!(members(all), 3);
    }
}
