//! Probes: what a worker answers a kubelet while it loads, while it waits for its servers, and when it pulls.

use fixtures::http;
use fixtures::process::Process;
use fixtures::qdrant::QdrantServer;
use fixtures::wait::until;
use tests::{Bed, LIMIT};
use tokio::net::TcpListener;

/// Longer than any test may take.
const FOR_EVER: (&str, &str) = ("EBB_FAILPOINTS", "before-golden=stall:600000");

/// A worker that has been started, and where it answers from its first moments on.
struct Early {
    process: Process,
    address: String,
}

impl Early {
    fn start(
        bed: &Bed,
        address: String,
        environment: Option<(&str, &str)>,
    ) -> anyhow::Result<Self> {
        let mut command = bed.stack.program("worker");
        command.args(["run", "--listen", &address]);
        command.envs(environment);
        let log = bed.directory.path().join("early.log");
        let process = Process::start(command, "early worker", &log)?;
        Ok(Self { process, address })
    }

    /// Whether it is started, ready and alive; all of it unknown while it does not listen.
    async fn answers(&self) -> Option<[bool; 3]> {
        let mut good = [false; 3];
        for (good, path) in good.iter_mut().zip(["/startupz", "/readyz", "/livez"]) {
            let (status, _) = http::answer(&self.address, path).await.ok()?;
            *good = status.contains(" 200 ");
        }
        Some(good)
    }

    async fn comes_to(&self, wanted: [bool; 3]) -> anyhow::Result<()> {
        let what = format!("started, ready and alive to be {wanted:?}");
        until(&what, LIMIT, async || {
            Ok((self.answers().await == Some(wanted)).then_some(()))
        })
        .await
    }
}

/// An address that nobody listens on.
async fn free() -> anyhow::Result<String> {
    let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    Ok(address.to_string())
}

#[tokio::test]
async fn a_worker_is_alive_and_not_started_until_its_golden_texts_are_proved() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let worker = Early::start(&bed, free().await?, Some(FOR_EVER))?;
    worker.comes_to([false, false, true]).await?;
    let session = until("the session", LIMIT, async || {
        let page = http::get(&worker.address, "/metrics").await?;
        Ok(page.contains("phase=\"session\"").then_some(page))
    });
    assert!(!session.await?.contains("phase=\"golden\""));
    assert_eq!(worker.answers().await, Some([false, false, true]));
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn a_worker_is_not_ready_while_nats_is_away() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    let worker = Early::start(&bed, free().await?, None)?;
    worker.comes_to([true, true, true]).await?;
    bed.stack.nats.kill().await?;
    worker.comes_to([true, false, true]).await?;
    bed.stack.nats.resume().await?;
    worker.comes_to([true, true, true]).await?;
    assert!(worker.process.terminate().await?.success());
    bed.end().await
}

#[tokio::test]
async fn a_worker_is_not_ready_while_qdrant_takes_no_writes() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    let worker = Early::start(&bed, free().await?, None)?;
    worker.comes_to([true, true, true]).await?;
    let QdrantServer::Local(qdrant) = &mut bed.stack.qdrant else {
        // A server that others share is not ours to kill.
        return bed.end().await;
    };
    qdrant.kill().await?;
    bed.publish_document("doc", 1, &["text"]).await?;
    worker.comes_to([true, false, true]).await?;
    if let QdrantServer::Local(qdrant) = &mut bed.stack.qdrant {
        qdrant.resume().await?;
    }
    worker.comes_to([true, true, true]).await?;
    bed.drained().await?;
    assert!(worker.process.terminate().await?.success());
    bed.end().await
}

#[tokio::test]
async fn a_worker_that_waits_for_nats_is_started_and_not_ready() -> anyhow::Result<()> {
    let mut bed = Bed::start().await?;
    bed.stack.nats.kill().await?;
    let worker = Early::start(&bed, free().await?, None)?;
    worker.comes_to([true, false, true]).await?;
    bed.stack.nats.resume().await?;
    worker.comes_to([true, true, true]).await?;
    assert!(worker.process.terminate().await?.success());
    bed.end().await
}
