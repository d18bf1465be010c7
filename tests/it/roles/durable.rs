//! Durable: what was acknowledged stays, and a dead letter has room.

use contract::job::MAX_JOB_BYTES;
use serde_json::Value;

use super::server::{AckForm, Role, Server};
use super::wire::Wire;

#[tokio::test]
async fn the_server_is_as_durable_and_as_roomy_as_jobs_need() -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let server = Server::committed(directory.path(), AckForm::V1).await?;
    let page = fixtures::http::get(&server.monitoring(), "/jsz?config=true").await?;
    let state: Value = serde_json::from_str(&page)?;
    assert_eq!(state["config"]["sync_always"], true, "{state:#}");
    assert_eq!(state["config"]["max_storage"], 22_u64 << 30, "{state:#}");
    let wire = Wire::open(server.address(), "worker", &Role::Worker.password()).await?;
    let room = wire.info["max_payload"].as_u64().unwrap_or(0);
    let dead_letter = u64::try_from(MAX_JOB_BYTES)? + 32 * 1024;
    assert!(
        room >= dead_letter,
        "{room} bytes are no room for {dead_letter}"
    );
    Ok(())
}
