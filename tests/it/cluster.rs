//! Three NATS servers: leaders step down, are sent away and killed, and every job ends once.

use std::net::TcpListener;

use anyhow::Context as _;
use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::PullConsumer;
use contract::job::Job;
use contract::topology::{DLQ, JOBS};
use fixtures::http;
use fixtures::nats::NatsServer;
use fixtures::process::output;
use fixtures::stack::Worker;
use fixtures::wait::until;
use futures::StreamExt as _;
use tests::{Bed, LIMIT, tiny_embed};

/// Documents of one wave of publishing.
const WAVE: usize = 100;

struct Cluster {
    bed: Bed,
    servers: Vec<NatsServer>,
    jetstream: Context,
}

impl Cluster {
    async fn start() -> anyhow::Result<Self> {
        Self::start_with("3").await
    }

    /// Servers, with streams that are kept so many times.
    async fn start_with(replicas: &str) -> anyhow::Result<Self> {
        let bed = Bed::unprovisioned(&tiny_embed(), "tiny").await?;
        let servers = servers(&bed).await?;
        let urls: Vec<_> = servers.iter().map(NatsServer::url).collect();
        let client = async_nats::connect(urls).await?;
        let jetstream = queue::nats::jetstream(client);
        let cluster = Self {
            bed,
            servers,
            jetstream,
        };
        // A cluster without a leader refuses; it has one after a moment.
        until("the cluster to take streams", LIMIT, async || {
            let mut provision = cluster.bed.stack.program("indexer");
            provision.args(["provision", "--replicas", replicas]);
            provision.env("NATS_URL", cluster.urls());
            Ok(output(provision).await.ok())
        })
        .await?;
        Ok(cluster)
    }

    fn urls(&self) -> String {
        let urls: Vec<_> = self.servers.iter().map(NatsServer::url).collect();
        urls.join(",")
    }

    async fn worker(&self) -> anyhow::Result<Worker> {
        let urls = self.urls();
        let arguments = ["--nats-url", &urls, "--batch-jobs", "8"];
        self.bed.stack.worker("worker", &arguments).await
    }

    /// Publishes documents as a client does that repeats what was not acknowledged.
    async fn publish(&self, wave: &str) -> anyhow::Result<()> {
        let [live, _] = self.bed.lanes();
        for n in 0..WAVE {
            let job = serde_json::json!({
                "version": "1.0", "kind": "embed", "collection": self.bed.stack.collection,
                "documents": [{ "id": format!("{wave}{n}"), "version": 1, "chunks": [{ "text": "some text" }] }],
            });
            let job = Job::decode(job.to_string().as_bytes())?.encode();
            until("a publish to be acknowledged", LIMIT, async || {
                let sent = self.jetstream.publish(live.subject(), job.clone().into());
                Ok(match sent.await {
                    Ok(stored) => stored.await.ok(),
                    Err(_) => None,
                })
            })
            .await?;
        }
        Ok(())
    }

    /// Name of the server that leads the stream of jobs.
    async fn leader(&self) -> anyhow::Result<String> {
        until("a leader of the stream", LIMIT, async || {
            let Ok(stream) = self.jetstream.get_stream(JOBS).await else {
                return Ok(None);
            };
            Ok(stream
                .cached_info()
                .cluster
                .as_ref()
                .and_then(|it| it.leader.clone()))
        })
        .await
    }

    async fn leading_server(&mut self) -> anyhow::Result<&mut NatsServer> {
        let leader = self.leader().await?;
        let number: usize = leader.trim_start_matches('n').parse()?;
        self.servers.get_mut(number).context("no such server")
    }

    /// Whether everything that was published is a point, and nothing waits.
    async fn ends_with(&self, documents: usize) -> anyhow::Result<()> {
        until("the lanes to drain", LIMIT, async || {
            let [live, _] = self.bed.lanes();
            let consumer: Result<PullConsumer, _> = self
                .jetstream
                .get_consumer_from_stream(live.consumer(), JOBS)
                .await;
            // A new leader of the consumer begins with nothing that waits; only the stream knows which jobs there are.
            let stream = self.jetstream.get_stream(JOBS).await;
            let (Ok(consumer), Ok(stream)) = (consumer, stream) else {
                return Ok(None);
            };
            let info = consumer.cached_info();
            let jobs = stream.cached_info().state.messages;
            Ok((jobs + info.num_pending == 0 && info.num_ack_pending == 0).then_some(()))
        })
        .await?;
        assert_eq!(self.bed.points().await?.len(), documents);
        let letters = self.jetstream.get_stream(DLQ).await?;
        assert_eq!(letters.cached_info().state.messages, 0);
        Ok(())
    }
}

/// Three servers that know each other. Their names end in their position.
async fn servers(bed: &Bed) -> anyhow::Result<Vec<NatsServer>> {
    let free = || TcpListener::bind("127.0.0.1:0");
    let listeners = [free()?, free()?, free()?];
    let mut routes = Vec::new();
    for listener in listeners {
        routes.push(format!("127.0.0.1:{}", listener.local_addr()?.port()));
    }
    let peers: Vec<_> = routes
        .iter()
        .map(|route| format!("\"nats://{route}\""))
        .collect();
    let peers = peers.join(", ");
    let mut servers = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        let settings = format!(
            "server_name: n{number}\ncluster {{ name: test, listen: \"{route}\", routes: [{peers}] }}\n"
        );
        let directory = bed.directory.path().join(format!("n{number}"));
        let program = &bed.stack.tools.runtime.nats_server;
        servers.push(NatsServer::start_with(program, &directory, &settings).await?);
    }
    Ok(servers)
}

#[tokio::test]
async fn nothing_is_lost_when_leaders_step_down() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let worker = cluster.worker().await?;
    let [live, _] = cluster.bed.lanes();
    let requests = [
        format!("STREAM.LEADER.STEPDOWN.{JOBS}"),
        format!("CONSUMER.LEADER.STEPDOWN.{JOBS}.{}", live.consumer()),
    ];
    for (n, request) in requests.iter().cycle().take(6).enumerate() {
        cluster.publish(&format!("wave{n}-")).await?;
        let _: serde_json::Value = cluster
            .jetstream
            .request(request.clone(), &serde_json::json!({}))
            .await?;
    }
    cluster.ends_with(6 * WAVE).await?;
    assert!(worker.process.terminate().await?.success());
    cluster.bed.end().await
}

#[tokio::test]
async fn nothing_is_lost_when_the_leading_server_is_killed_or_sent_away() -> anyhow::Result<()> {
    let mut cluster = Cluster::start().await?;
    let worker = cluster.worker().await?;
    cluster.publish("before-").await?;
    cluster.leading_server().await?.kill().await?;
    cluster.publish("without-").await?;
    let dead = cluster
        .servers
        .iter_mut()
        .find(|server| !server.is_running());
    dead.context("one was killed")?.resume().await?;
    cluster.publish("again-").await?;
    cluster.leading_server().await?.retire().await?;
    cluster.publish("retired-").await?;
    cluster.ends_with(4 * WAVE).await?;
    assert!(worker.process.terminate().await?.success());
    cluster.bed.end().await
}

/// Streams and buckets alike: a bucket that is kept once is gone with its server.
#[tokio::test]
async fn provisioning_for_more_servers_keeps_all_that_is_there_more_often() -> anyhow::Result<()> {
    let cluster = Cluster::start_with("1").await?;
    cluster.publish("before-").await?;
    let mut provision = cluster.bed.stack.program("indexer");
    provision.args(["provision", "--replicas", "3"]);
    provision.env("NATS_URL", cluster.urls());
    output(provision).await?;
    let mut names = cluster.jetstream.stream_names();
    let mut seen = 0;
    while let Some(name) = names.next().await {
        let name = name?;
        let stream = cluster.jetstream.get_stream(&name).await?;
        assert_eq!(stream.cached_info().config.num_replicas, 3, "{name}");
        seen += 1;
    }
    assert_eq!(seen, 6, "four streams and two buckets");
    let _worker = cluster.worker().await?;
    cluster.ends_with(WAVE).await?;
    cluster.bed.end().await
}

/// The servers that are left answer connections, but have no leader: nothing is handed out.
#[tokio::test]
async fn a_worker_is_not_ready_while_two_of_three_servers_are_away() -> anyhow::Result<()> {
    let mut cluster = Cluster::start().await?;
    let worker = cluster.worker().await?;
    let ready = async || {
        let (status, _) = http::answer(&worker.address, "/readyz").await?;
        anyhow::Ok(status.contains(" 200 "))
    };
    until("the worker to be ready", LIMIT, async || {
        Ok(ready().await?.then_some(()))
    })
    .await?;
    for server in &mut cluster.servers[1..] {
        server.kill().await?;
    }
    until("the worker to be unready", LIMIT, async || {
        Ok((!ready().await?).then_some(()))
    })
    .await?;
    let (alive, _) = http::answer(&worker.address, "/livez").await?;
    assert!(alive.contains(" 200 "), "{alive}");
    for server in &mut cluster.servers[1..] {
        server.resume().await?;
    }
    until("the worker to be ready again", LIMIT, async || {
        Ok(ready().await?.then_some(()))
    })
    .await?;
    assert!(worker.process.terminate().await?.success());
    cluster.bed.end().await
}

#[tokio::test]
async fn a_cluster_behind_one_address_is_not_headless() -> anyhow::Result<()> {
    let cluster = Cluster::start().await?;
    let mut doctor = cluster.bed.stack.program("indexer");
    doctor.args(["doctor", "--json", "--replicas", "3", "--monitoring"]);
    doctor.arg(cluster.servers[0].monitoring_url());
    doctor.env("NATS_URL", cluster.urls());
    let output = doctor.output().await?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    let findings = report["findings"].as_array().context("a list")?;
    let of = |finding: &&serde_json::Value| {
        let what = finding["what"].as_str().unwrap_or_default();
        what == "monitoring endpoint `127.0.0.1`: addresses"
    };
    let headless = findings.iter().find(of).context("it is named")?;
    assert_eq!(headless["found"], "1");
    assert_eq!(headless["wanted"], "3, one a server");
    cluster.bed.end().await
}
