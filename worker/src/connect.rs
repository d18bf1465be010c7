//! Connect: finds on NATS and Qdrant what a worker needs. It waits for servers that start later than the worker, and for
//! what is not provisioned yet; it refuses what is provisioned wrongly.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use contract::model::Manifest;
use contract::topology::ATTEMPTS;
use points::connect::ServerError;
use queue::denial::denied;
use queue::nats::{FirstConnect, jetstream};

use crate::config::RunConfig;
use crate::consumers::Consumers;
use crate::error::{UpsertError, chain};
use crate::health::Health;
use crate::inflight::Queue;
use crate::pipeline::upsert::Upserter;
use crate::quarantine::Quarantine;
use crate::shutdown::{Phase, Shutdown};

/// Pause before a server is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// What the stages need of both servers.
#[derive(Debug)]
pub struct Connected {
    pub queue: Arc<Queue>,
    pub consumers: Consumers,
    pub quarantine: Quarantine,
    pub upserter: Upserter,
}

/// Connects to both servers and checks what is there. `None` if the process was told to stop meanwhile.
///
/// # Errors
/// If something is there that the worker must not work with, or a login is refused, or may not do what it must.
pub async fn connect(
    config: &RunConfig,
    manifest: &Manifest,
    health: &Health,
    mut shutdown: Shutdown,
) -> anyhow::Result<Option<Connected>> {
    let connect = async {
        let worker = worker_name();
        let client = config.nats.connect(&worker, FirstConnect::Retry).await?;
        let jetstream = jetstream(client.clone());
        let consumers = Consumers::find(&jetstream, manifest).await?;
        let ack_wait = consumers.ack_wait_above(config.grace)?;
        let quarantine = Quarantine::new(find_attempts(&jetstream).await);
        let upserter = Upserter::new(config.qdrant.client()?, manifest.clone(), health.clone());
        check_collections(config, &upserter).await?;
        let queue = Queue {
            client,
            jetstream,
            ack_wait,
            worker,
            fingerprint: manifest.fingerprint.to_string(),
            health: health.clone(),
        };
        Ok(Connected {
            queue: Arc::new(queue),
            consumers,
            quarantine,
            upserter,
        })
    };
    tokio::select! {
        parts = connect => parts.map(Some),
        () = shutdown.reached(Phase::Draining) => Ok(None),
        denied = denied() => Err(denied.into()),
    }
}

/// Name of this worker in the server's list of connections and in dead letters: its pod, else its process.
fn worker_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("worker-{}-{}", host.trim(), std::process::id())
}

/// Looks up the bucket of attempts, until NATS can be reached and the bucket is provisioned.
async fn find_attempts(jetstream: &jetstream::Context) -> kv::Store {
    loop {
        match jetstream.get_key_value(ATTEMPTS).await {
            Ok(attempts) => return attempts,
            Err(error) => tracing::warn!(
                bucket = ATTEMPTS,
                %error,
                "bucket not found; run `indexer provision`"
            ),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits for Qdrant, and refuses collections of other models. A worker starts without a collection that is not there yet,
/// because others may be.
async fn check_collections(config: &RunConfig, upserter: &Upserter) -> anyhow::Result<()> {
    while let Err(error) = upserter.check_server().await {
        wait_out(config, error).await?;
    }
    for collection in &config.collections {
        while let Err(error) = upserter.check(collection).await {
            if error.is_not_found() {
                tracing::warn!(%collection, "collection not found; run `indexer provision`");
                break;
            }
            wait_out(config, error).await?;
        }
    }
    Ok(())
}

/// Waits before Qdrant is asked again, if that can help.
async fn wait_out(config: &RunConfig, error: UpsertError) -> anyhow::Result<()> {
    let refused = error.client_error();
    if let Some(login) = refused.and_then(|error| config.qdrant.refused_login(error)) {
        return Err(login.into());
    }
    match error {
        UpsertError::Mismatch(_) | UpsertError::Server(ServerError::TooOld { .. }) => {
            Err(error.into())
        }
        UpsertError::Points(_) | UpsertError::Server(ServerError::Unknown(_)) => {
            tracing::warn!(error = chain(&error), "waiting for qdrant");
            tokio::time::sleep(PAUSE).await;
            Ok(())
        }
    }
}
