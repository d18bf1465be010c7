//! The network between a worker and its servers: half-open, stalled, slow, cut, and servers that go away.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use fixtures::proxy::{Fault, Proxy};
use fixtures::stack::Worker;
use fixtures::wait::until;
use tests::{Bed, LIMIT};
use tokio::process::Command;

/// A half-open connection is noticed within this time.
const NOTICE: Duration = Duration::from_secs(30);

/// A worker whose ways to its servers can be disturbed.
struct Line {
    bed: Bed,
    nats: Proxy,
    qdrant: Proxy,
    worker: Worker,
}

impl Line {
    /// Everything is up, and one document has gone through, so that all connections are in use.
    async fn start(arguments: &[&str]) -> anyhow::Result<Self> {
        let bed = Bed::start().await?;
        let nats = Proxy::start(resolve(&bed.stack.nats.url()).await?).await?;
        let qdrant = Proxy::start(resolve(&bed.stack.qdrant.url()).await?).await?;
        let nats_url = format!("nats://{}", nats.address());
        let qdrant_url = format!("http://{}", qdrant.address());
        let mut all = vec!["--nats-url", &nats_url, "--qdrant-url", &qdrant_url];
        all.extend(arguments);
        let worker = bed.stack.worker("worker", &all).await?;
        let line = Self {
            bed,
            nats,
            qdrant,
            worker,
        };
        line.publish("first", 1).await?;
        line.bed.drained().await?;
        Ok(line)
    }

    async fn publish(&self, prefix: &str, documents: usize) -> anyhow::Result<()> {
        for n in 0..documents {
            self.bed
                .publish_document(&format!("{prefix}{n}"), 1, &["some text"])
                .await?;
        }
        Ok(())
    }

    /// Waits until some jobs are done and others are not.
    async fn busy(&self, documents: usize) -> anyhow::Result<()> {
        let before = self.bed.points().await?.len();
        self.publish("busy", documents).await?;
        until("the first points", LIMIT, async || {
            Ok((self.bed.points().await?.len() > before).then_some(()))
        })
        .await
    }

    /// Everything that was published has become points, nothing became a dead letter, and the worker is well.
    async fn ends_well(self, points: usize) -> anyhow::Result<()> {
        self.bed.drained().await?;
        assert_eq!(self.bed.points().await?.len(), points);
        assert!(self.bed.dead_letters().await?.is_empty());
        assert!(self.worker.process.terminate().await?.success());
        self.bed.end().await
    }
}

async fn resolve(url: &str) -> anyhow::Result<SocketAddr> {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    let found = tokio::net::lookup_host(host.trim_end_matches('/')).await?;
    found.into_iter().next().context("a server has an address")
}

/// Waits, for no longer than a half-open connection may go unnoticed, until the worker opens another one.
async fn reconnects(proxy: &Proxy, open: usize) -> anyhow::Result<()> {
    until("a new connection", NOTICE, async || {
        Ok((proxy.connections() > open).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_half_open_connection_to_nats_is_noticed_within_thirty_seconds() -> anyhow::Result<()> {
    let line = Line::start(&[]).await?;
    let open = line.nats.connections();
    line.nats.strand();
    line.publish("second", 1).await?;
    reconnects(&line.nats, open).await?;
    line.ends_well(2).await
}

#[tokio::test]
async fn a_half_open_connection_to_qdrant_is_noticed_within_thirty_seconds() -> anyhow::Result<()> {
    let line = Line::start(&[]).await?;
    let open = line.qdrant.connections();
    line.qdrant.strand();
    line.publish("second", 1).await?;
    reconnects(&line.qdrant, open).await?;
    // One connection carries everything, so that no other half-open one is left to find.
    let started = std::time::Instant::now();
    line.bed.drained().await?;
    assert!(started.elapsed() < NOTICE, "{:?}", started.elapsed());
    line.ends_well(2).await
}

#[tokio::test]
async fn nothing_is_lost_when_the_way_to_nats_stalls_under_load() -> anyhow::Result<()> {
    let line = Line::start(&["--batch-jobs", "8"]).await?;
    line.busy(300).await?;
    let open = line.nats.connections();
    line.nats.set(Fault::Stall);
    reconnects(&line.nats, open).await?;
    line.nats.set(Fault::None);
    line.ends_well(301).await
}

#[tokio::test]
async fn nothing_is_lost_when_the_way_to_qdrant_stalls_under_load() -> anyhow::Result<()> {
    let line = Line::start(&["--batch-jobs", "8"]).await?;
    line.busy(300).await?;
    let open = line.qdrant.connections();
    line.qdrant.set(Fault::Stall);
    reconnects(&line.qdrant, open).await?;
    line.qdrant.set(Fault::None);
    line.ends_well(301).await
}

#[tokio::test]
async fn answers_of_nats_that_never_come_lose_nothing() -> anyhow::Result<()> {
    let line = Line::start(&["--batch-jobs", "8"]).await?;
    line.busy(300).await?;
    let open = line.nats.connections();
    line.nats.set(Fault::LoseAnswers);
    reconnects(&line.nats, open).await?;
    line.nats.set(Fault::None);
    line.ends_well(301).await
}

#[tokio::test]
async fn answers_of_qdrant_that_never_come_lose_nothing() -> anyhow::Result<()> {
    let line = Line::start(&["--batch-jobs", "8"]).await?;
    line.busy(300).await?;
    let open = line.qdrant.connections();
    line.qdrant.set(Fault::LoseAnswers);
    reconnects(&line.qdrant, open).await?;
    line.qdrant.set(Fault::None);
    line.ends_well(301).await
}

#[tokio::test]
async fn cut_connections_are_made_anew_and_lose_nothing() -> anyhow::Result<()> {
    let line = Line::start(&["--batch-jobs", "8"]).await?;
    for round in 1..=5 {
        let before = line.bed.points().await?.len();
        line.publish(&format!("round{round}-"), 60).await?;
        until("some points of this round", LIMIT, async || {
            Ok((line.bed.points().await?.len() > before).then_some(()))
        })
        .await?;
        line.nats.cut();
        line.qdrant.cut();
    }
    line.ends_well(301).await
}

#[tokio::test]
async fn two_seconds_of_latency_cost_neither_deliveries_nor_acknowledgements() -> anyhow::Result<()>
{
    let line = Line::start(&[]).await?;
    line.nats.set(Fault::Delay(Duration::from_secs(1)));
    line.qdrant.set(Fault::Delay(Duration::from_millis(200)));
    line.publish("far", 20).await?;
    line.bed.drained().await?;
    let redeliveries = line.worker.metric("worker_redeliveries_total").await?;
    assert!(redeliveries < 1.0, "{redeliveries} redeliveries");
    line.ends_well(21).await
}

#[tokio::test]
async fn nothing_is_lost_when_nats_goes_into_lame_duck_mode_under_load() -> anyhow::Result<()> {
    let mut line = Line::start(&["--batch-jobs", "8"]).await?;
    line.busy(300).await?;
    line.bed.stack.nats.retire().await?;
    line.bed.stack.nats.resume().await?;
    until("a publish after the restart", LIMIT, async || {
        Ok(line.publish("after", 1).await.ok())
    })
    .await?;
    line.ends_well(302).await
}

#[tokio::test]
async fn a_worker_sits_an_outage_of_nats_out_without_spinning() -> anyhow::Result<()> {
    let mut line = Line::start(&[]).await?;
    line.bed.stack.nats.kill().await?;
    let log = line.worker.process.log().to_owned();
    let lines = || anyhow::Ok(std::fs::read_to_string(&log)?.lines().count());
    let complains = async |count: usize| {
        until("complaints about the outage", LIMIT, async || {
            Ok((lines()? >= count).then_some(()))
        })
        .await
    };
    // The first attempts to connect again follow each other quickly; then there are pauses.
    let early = lines()? + 30;
    complains(early).await?;
    let started = std::time::Instant::now();
    complains(early + 10).await?;
    let elapsed = started.elapsed();
    assert!(elapsed > Duration::from_secs(4), "10 lines in {elapsed:?}");
    line.bed.stack.nats.resume().await?;
    until("a publish after the restart", LIMIT, async || {
        Ok(line.publish("after", 1).await.ok())
    })
    .await?;
    line.ends_well(2).await
}

/// The addresses and ports that a trace of `strace` shows as reached for.
fn reached(trace: &str) -> BTreeSet<(String, u16)> {
    let quoted = |line: &str, before: &str| {
        let rest = line.split_once(before)?.1;
        Some(rest.split(['"', ')']).next()?.to_owned())
    };
    let address = |line: &str| {
        let ip = quoted(line, "inet_addr(\"").or_else(|| quoted(line, "AF_INET6, \""));
        let port = quoted(line, "port=htons(")?;
        Some((ip?, port.parse().ok()?))
    };
    trace.lines().filter_map(address).collect()
}

#[test]
fn a_trace_shows_what_was_reached_for() {
    let trace = "7 connect(9, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr(\"10.0.0.2\")}, 16) = 0\n\
        7 sendto(9, \"x\", 1, MSG_NOSIGNAL, NULL, 0) = 1\n\
        8 connect(9, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::1\", \
        &sin6_addr), sin6_scope_id=0}, 28) = 0\n";
    let expected = [("10.0.0.2".to_owned(), 53), ("::1".to_owned(), 443)];
    assert_eq!(reached(trace), BTreeSet::from(expected));
}

#[tokio::test]
#[ignore = "needs strace; run with --ignored strace"]
async fn strace_shows_that_a_worker_reaches_for_its_servers_alone() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_document("d", 1, &["some text"]).await?;
    let worker = bed.stack.program("worker");
    let (worker, trace) = (worker.as_std(), bed.directory.path().join("trace"));
    let mut command = Command::new("strace");
    command
        .args([
            "--follow-forks",
            "--trace=connect,sendto,sendmsg,sendmmsg",
            "--output",
        ])
        .arg(&trace)
        .arg(worker.get_program())
        .args(["run", "--drain"]);
    command.envs(
        worker
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    // As somebody starts it who knows nothing of telemetry.
    command.env_remove("ORT_DISABLE_TELEMETRY");
    let output = command
        .output()
        .await
        .context("failed to start strace; install the package `strace` of Debian")?;
    assert!(output.status.success(), "{output:?}");
    bed.drained().await?;
    let mut servers = BTreeSet::new();
    for url in [bed.stack.nats.url(), bed.stack.qdrant.url()] {
        let address = resolve(&url).await?;
        servers.insert((address.ip().to_string(), address.port()));
    }
    assert_eq!(reached(&std::fs::read_to_string(&trace)?), servers);
    bed.end().await
}
