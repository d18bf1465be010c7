//! Streams, consumers and permissions that change under a running worker: it complains, it does not spin, it takes
//! nothing for settled that is not, and it goes on when they are mended.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::{FromConsumer as _, PullConsumer, pull};
use contract::topology::JOBS;
use fixtures::nats::NatsServer;
use fixtures::process::Process;
use fixtures::qdrant::QdrantServer;
use fixtures::stack::Worker;
use fixtures::wait::until;
use tests::{Bed, LIMIT, tiny_embed};

/// More lines than this in a second are a hot loop.
const LINES_A_SECOND: u32 = 20;
/// Something is wrong is said within this time.
const NOTICE: Duration = Duration::from_secs(60);

/// What a worker has logged from some moment on.
struct Complaints {
    log: PathBuf,
    known: usize,
    since: Instant,
}

impl Complaints {
    fn of(process: &Process) -> anyhow::Result<Self> {
        let log = process.log().to_owned();
        let known = std::fs::read_to_string(&log)?.lines().count();
        Ok(Self {
            log,
            known,
            since: Instant::now(),
        })
    }

    /// All that a worker has logged.
    fn from_start(process: &Process) -> Self {
        Self {
            log: process.log().to_owned(),
            known: 0,
            since: Instant::now(),
        }
    }

    /// Warnings and errors that mention `words`.
    fn about(&self, words: &str) -> anyhow::Result<usize> {
        let log = std::fs::read_to_string(&self.log)?;
        let loud = |line: &&str| line.contains("\"WARN\"") || line.contains("\"ERROR\"");
        let lines = log.lines().skip(self.known).filter(loud);
        Ok(lines.filter(|line| line.contains(words)).count())
    }

    /// Waits until the worker has complained this often, and checks that it did not do so in a hot loop.
    async fn come(&self, words: &str, count: usize) -> anyhow::Result<()> {
        until(&format!("complaints about {words}"), NOTICE, async || {
            Ok((self.about(words)? >= count).then_some(()))
        })
        .await?;
        let all = u32::try_from(self.about("")?)?;
        let seconds = self.since.elapsed() + Duration::from_secs(1);
        assert!(
            Duration::from_secs(1) * all < seconds * LINES_A_SECOND,
            "{all} lines within {seconds:?}"
        );
        Ok(())
    }
}

/// Jobs that a worker has settled this way.
async fn settled(worker: &Worker, outcome: &str) -> anyhow::Result<u64> {
    let page = fixtures::http::get(&worker.address, "/metrics").await?;
    let series = format!("worker_jobs_total{{outcome=\"{outcome}\"}} ");
    let value = page.lines().find_map(|line| line.strip_prefix(&series));
    Ok(value.unwrap_or("0").parse()?)
}

async fn live(bed: &Bed) -> anyhow::Result<PullConsumer> {
    let [live, _] = bed.lanes();
    let consumer = bed
        .jetstream()
        .get_consumer_from_stream(live.consumer(), JOBS);
    Ok(consumer.await?)
}

async fn delete_live(bed: &Bed) -> anyhow::Result<()> {
    let [live, _] = bed.lanes();
    bed.jetstream()
        .delete_consumer_from_stream(live.consumer(), JOBS)
        .await?;
    Ok(())
}

#[tokio::test]
async fn a_worker_complains_of_a_deleted_consumer_and_goes_on_when_it_is_back() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.publish_document("before", 1, &["text"]).await?;
    bed.drained().await?;
    let complaints = Complaints::of(&worker.process)?;
    delete_live(&bed).await?;
    bed.publish_document("after", 1, &["text"]).await?;
    let [live, _] = bed.lanes();
    complaints.come(&live.consumer(), 3).await?;
    complaints.come("indexer provision", 1).await?;
    bed.stack.indexer(&["provision"]).await?;
    bed.drained().await?;
    assert_eq!(bed.points().await?.len(), 2);
    assert!(bed.dead_letters().await?.is_empty());
    assert!(worker.process.terminate().await?.success());
    bed.end().await
}

#[tokio::test]
async fn a_worker_complains_of_a_deleted_stream_and_goes_on_when_it_is_back() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.publish_document("before", 1, &["text"]).await?;
    bed.drained().await?;
    let complaints = Complaints::of(&worker.process)?;
    bed.jetstream().delete_stream(JOBS).await?;
    complaints.come("indexer provision", 3).await?;
    bed.stack.indexer(&["provision"]).await?;
    bed.publish_document("after", 1, &["text"]).await?;
    bed.drained().await?;
    assert_eq!(bed.points().await?.len(), 2);
    assert!(worker.process.terminate().await?.success());
    bed.end().await
}

/// The sequences of a new stream begin again, and dead letters of the old one are there under the same ones.
#[tokio::test]
async fn a_dead_letter_is_stored_although_a_deleted_stream_had_one_of_the_same_sequence()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_bytes("the first bad job").await?;
    bed.drain().await?;
    bed.jetstream().delete_stream(JOBS).await?;
    bed.stack.indexer(&["provision"]).await?;
    bed.publish_bytes("the second bad job").await?;
    bed.drain().await?;
    let letters = bed.dead_letters().await?;
    let payloads: Vec<_> = letters.iter().map(|letter| &letter.payload[..]).collect();
    assert_eq!(payloads, [&b"the first bad job"[..], b"the second bad job"]);
    bed.end().await
}

#[tokio::test]
async fn an_acknowledgement_to_a_deleted_consumer_counts_as_lost() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let QdrantServer::Local(qdrant) = &bed.stack.qdrant else {
        return bed.end().await;
    };
    std::fs::write(qdrant.faults(), r#"[{"on": "upsert", "delay_ms": 2000}]"#)?;
    let journal = qdrant.log();
    let worker = bed.stack.worker("worker", &[]).await?;
    bed.publish_document("doc", 1, &["text"]).await?;
    until("the write to begin", LIMIT, async || {
        let log = std::fs::read_to_string(&journal)?;
        Ok(log.contains("injected a fault").then_some(()))
    })
    .await?;
    delete_live(&bed).await?;
    until("the acknowledgement to be given up", LIMIT, async || {
        Ok((settled(&worker, "ack_lost").await? == 1).then_some(()))
    })
    .await?;
    assert_eq!(settled(&worker, "ack").await?, 0);
    bed.stack.indexer(&["provision"]).await?;
    bed.drained().await?;
    assert_eq!(bed.points().await?.len(), 1);
    assert_eq!(settled(&worker, "ack").await?, 1);
    worker.process.terminate().await?;
    bed.end().await
}

#[tokio::test]
async fn a_worker_ends_when_its_consumer_was_reconfigured_and_says_what_has_changed()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let mut worker = bed.stack.worker("worker", &[]).await?;
    let found = live(&bed).await?;
    let config = pull::Config::try_from_consumer_config(found.cached_info().config.clone());
    let mut config = config.map_err(anyhow::Error::from_boxed)?;
    config.ack_wait = Duration::from_secs(2);
    let complaints = Complaints::of(&worker.process)?;
    let stream = bed.jetstream().get_stream(JOBS).await?;
    stream.update_consumer(config).await?;
    // A worker that cannot rely on its leases ends, and does not start again before they are mended.
    complaints.come("ack_wait", 1).await?;
    complaints.come("indexer provision", 1).await?;
    bed.stack.indexer(&["provision"]).await?;
    assert!(!worker.process.wait().await?.success());
    bed.publish_document("doc", 1, &["text"]).await?;
    let worker = bed.stack.worker("next", &[]).await?;
    bed.drained().await?;
    assert_eq!(bed.points().await?.len(), 1);
    worker.process.terminate().await?;
    bed.end().await
}

/// Two users, of whom the worker's may do all but what `forbidden` says.
fn users(forbidden: &str) -> String {
    format!(
        "authorization {{ users: [\n\
         {{ user: admin, password: admin }}\n\
         {{ user: worker, password: worker, permissions: {{ publish: {{ deny: \"{forbidden}\" }} }} }}\n] }}\n"
    )
}

/// A server beside that of the bed, and an administrator's JetStream on it.
async fn guarded(bed: &Bed, forbidden: &str) -> anyhow::Result<(NatsServer, Context)> {
    let program = &bed.stack.tools.runtime.nats_server;
    let directory = bed.directory.path().join("guarded");
    let nats = NatsServer::start_with(program, &directory, &users(forbidden)).await?;
    let options =
        async_nats::ConnectOptions::with_user_and_password("admin".into(), "admin".into());
    let client = options.connect(nats.url()).await?;
    Ok((nats, queue::nats::jetstream(client)))
}

/// A worker that logs in to the guarded server.
async fn guarded_worker(bed: &Bed, nats: &NatsServer, name: &str) -> anyhow::Result<Worker> {
    let url = nats.url();
    let login = ["--nats-user", "worker", "--nats-password", "worker"];
    let arguments = [&["--grace", "3s", "--nats-url", url.as_str()][..], &login].concat();
    bed.stack.worker(name, &arguments).await
}

/// Provisions the guarded server, with an ack wait that is soon over, and publishes a document on it.
async fn publish_guarded(bed: &Bed, nats: &NatsServer, jetstream: &Context) -> anyhow::Result<()> {
    let mut provision = bed.stack.program("indexer");
    provision.args(["provision", "--ack-wait", "5s"]).envs([
        ("NATS_URL", nats.url().as_str()),
        ("NATS_USER", "admin"),
        ("NATS_PASSWORD", "admin"),
    ]);
    fixtures::process::output(provision).await?;
    let [live, _] = bed.lanes();
    let job = serde_json::json!({
        "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
        "documents": [{ "id": "doc", "version": 1, "chunks": [{ "text": "some text" }] }],
    });
    let sent = jetstream.publish(live.subject(), job.to_string().into());
    sent.await?.await?;
    Ok(())
}

/// Jobs of the live lane that wait, and those that are not settled.
async fn unsettled(bed: &Bed, jetstream: &Context) -> anyhow::Result<(u64, usize)> {
    let [live, _] = bed.lanes();
    let consumer: PullConsumer = jetstream
        .get_consumer_from_stream(live.consumer(), JOBS)
        .await?;
    let info = consumer.cached_info();
    Ok((info.num_pending, info.num_ack_pending))
}

#[tokio::test]
async fn a_worker_that_may_not_acknowledge_ends_and_its_job_is_done_again_by_one_that_may()
-> anyhow::Result<()> {
    let bed = Bed::unprovisioned(&tiny_embed(), "tiny").await?;
    let (mut nats, jetstream) = guarded(&bed, "$JS.ACK.>").await?;
    publish_guarded(&bed, &nats, &jetstream).await?;
    let mut worker = guarded_worker(&bed, &nats, "denied").await?;
    let complaints = Complaints::from_start(&worker.process);
    let ended = worker.process.wait().await?;
    assert!(!ended.success(), "{ended}");
    complaints.come("denied this login the publish", 1).await?;
    assert_eq!(unsettled(&bed, &jetstream).await?, (0, 1), "it is lost");
    nats.kill().await?;

    let (nats, jetstream) = guarded(&bed, "nothing.of.it").await?;
    let worker = guarded_worker(&bed, &nats, "permitted").await?;
    until("the job to be acknowledged", LIMIT, async || {
        Ok((unsettled(&bed, &jetstream).await? == (0, 0)).then_some(()))
    })
    .await?;
    for (outcome, jobs) in [("ack", 1), ("ack_lost", 0), ("lapsed", 0), ("nak", 0)] {
        assert_eq!(settled(&worker, outcome).await?, jobs, "{outcome}");
    }
    assert_eq!(worker.metric("worker_redeliveries_total").await?, 1.0);
    assert_eq!(bed.points().await?.len(), 1);
    assert!(worker.process.terminate().await?.success());
    bed.end().await
}
