//! Servers that are down, that the autoscaler cannot read, or that keep less than they promise.

use fixtures::nats::NatsServer;
use fixtures::qdrant::QdrantServer;
use tests::Bed;

use super::{ROOM, Report, doctor, named, provision, provisioned};

#[tokio::test]
async fn an_endpoint_that_the_autoscaler_cannot_read_is_named() -> anyhow::Result<()> {
    let bed = provisioned().await?;
    let wrong = doctor(&bed, &["--account", "EBB"]).await?;
    named(
        &wrong,
        "error",
        "what the autoscaler reads: account",
        "none",
    );
    // The port for clients answers, but no requests of HTTP.
    let mut command = bed.stack.program("indexer");
    let clients = bed.stack.nats.url().replace("nats://", "http://");
    command.args(["doctor", "--json", "--monitoring", &clients]);
    command.env(ROOM.0, ROOM.1);
    let output = command.output().await?;
    let report = Report {
        code: output.status.code(),
        report: serde_json::from_slice(&output.stdout)?,
    };
    named(
        &report,
        "error",
        &format!("monitoring endpoint `{clients}`"),
        "failed to ask",
    );
    bed.end().await
}

#[tokio::test]
async fn a_server_that_syncs_later_is_named() -> anyhow::Result<()> {
    let mut bed = Bed::unprovisioned(&tests::tiny_embed(), "tiny").await?;
    let directory = bed.directory.path().join("lazy");
    let store = directory.join("store");
    let settings = format!(
        "jetstream {{ store_dir: \"{}\", sync_interval: \"30s\" }}\n",
        store.display()
    );
    let program = bed.stack.tools.runtime.nats_server.clone();
    bed.stack.nats = NatsServer::start_with(&program, &directory, &settings).await?;
    provision(&bed, &[]).await?;
    let report = doctor(&bed, &[]).await?;
    named(&report, "error", "sync_interval", "30s");
    assert_eq!(report.findings().len(), 1, "{:#}", report.report);
    bed.end().await
}

#[tokio::test]
async fn servers_that_are_down_are_named_and_the_rest_is_looked_at() -> anyhow::Result<()> {
    let mut bed = provisioned().await?;
    let QdrantServer::Local(local) = &mut bed.stack.qdrant else {
        return bed.end().await;
    };
    local.kill().await?;
    let report = doctor(&bed, &[]).await?;
    named(
        &report,
        "error",
        &format!("collection `{}`", bed.stack.collection),
        "",
    );
    assert_eq!(report.findings().len(), 1, "{:#}", report.report);
    if let QdrantServer::Local(local) = &mut bed.stack.qdrant {
        local.resume().await?;
    }
    bed.stack.nats.kill().await?;
    let report = doctor(&bed, &[]).await?;
    named(&report, "error", "nats", "failed to connect");
    named(&report, "error", "monitoring endpoint", "failed to ask");
    assert_eq!(report.findings().len(), 2, "{:#}", report.report);
    bed.end().await
}
