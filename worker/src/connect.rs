//! Connect: finds on NATS and Qdrant what a worker needs. It waits for servers that start later than the worker, and for
//! what is not provisioned yet; it refuses what is provisioned wrongly.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::{self, kv};
use contract::model::Manifest;
use contract::topology::{ATTEMPTS, Lane};
use points::connect::ServerError;
use points::store::PointsError;
use queue::denial::denied;
use queue::nats::jetstream;
use queue::room::Room;
use runtime::wait::Wait;

use crate::config::RunConfig;
use crate::consumers::Consumers;
use crate::error::UpsertError;
use crate::health::Health;
use crate::inflight::Queue;
use crate::pipeline::upsert::Upserter;
use crate::quarantine::Quarantine;
use crate::shutdown::{Phase, Shutdown};

/// Pause before a server is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// The connections to both servers that the stages need.
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
        let client = config.nats.connect(&worker, Wait::ENDLESS).await?;
        let jetstream = jetstream(client.clone());
        let consumers = Consumers::find(&jetstream, manifest).await?;
        let ack_wait = consumers.ack_wait_above(config.grace)?;
        ask_for_room(&jetstream, manifest).await;
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

/// Asks what is asked after a write: a login that may not ask is found out before anything is pulled.
pub async fn ask_for_room(jetstream: &jetstream::Context, manifest: &Manifest) {
    let [_, bulk] = Lane::of(manifest.identity.task, &manifest.name);
    Room::default().look(jetstream, &bulk).await;
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
    let may_pass = |error: &UpsertError| may_pass(config, error);
    let server = config.qdrant.server();
    let checked =
        Wait::ENDLESS.for_answer(&server, may_pass, async || upserter.check_server().await);
    checked.await.map_err(|error| refused(config, error))?;
    for collection in &config.collections {
        let checked =
            Wait::ENDLESS.for_answer(&server, may_pass, async || upserter.check(collection).await);
        match checked.await {
            Err(error) if error.is_not_found() => {
                tracing::warn!(%collection, "collection not found; run `indexer provision`");
            }
            checked => drop(checked.map_err(|error| refused(config, error))?),
        }
    }
    Ok(())
}

/// Whether Qdrant may have another answer later. Beside what cannot be reached, a worker waits for whatever a server may
/// say while it starts or is in trouble: it would be restarted, and load its model, in vain.
fn may_pass(config: &RunConfig, error: &UpsertError) -> bool {
    let refused = error.client_error();
    let refused = refused.and_then(|error| config.qdrant.refused_login(error));
    match error {
        UpsertError::Mismatch(_)
        | UpsertError::Attached { .. }
        | UpsertError::Early { .. }
        | UpsertError::Points(PointsError::Vectors { .. })
        | UpsertError::Server(ServerError::TooOld { .. }) => false,
        UpsertError::Points(_) | UpsertError::Server(ServerError::Unknown(_)) => {
            refused.is_none() && !error.is_not_found()
        }
    }
}

/// Says whose turn it is, where that is known.
fn refused(config: &RunConfig, error: UpsertError) -> anyhow::Error {
    let of_client = error.client_error();
    match of_client.and_then(|error| config.qdrant.refused_login(error)) {
        Some(login) => login.into(),
        None => error.into(),
    }
}
