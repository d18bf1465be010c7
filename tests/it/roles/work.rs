//! Work: every role does everything that it is there for, by either form of acknowledgements.

use async_nats::jetstream;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use contract::topology::{ATTEMPTS, JOBS, MAX_DELIVER, RUNS};
use fixtures::install::cache_dir;
use fixtures::wait::until;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tests::LIMIT;

use super::server::{AckForm, Role};
use super::setup::{PULL, Setup};

/// What a consumer has at once.
pub(super) async fn pull(consumer: &PullConsumer) -> anyhow::Result<Vec<Message>> {
    let mut batch = consumer
        .fetch()
        .max_messages(100)
        .expires(PULL)
        .messages()
        .await?;
    let mut messages = Vec::new();
    while let Some(message) = batch.next().await {
        messages.push(message.map_err(anyhow::Error::from_boxed)?);
    }
    Ok(messages)
}

async fn provisions(setup: &Setup) -> anyhow::Result<()> {
    let provision = ["provision", "--ack-wait", "5s"];
    let created = setup.run("indexer", Role::Provision, &provision).await?;
    assert!(created.contains("+ stream `JOBS`"), "{created}");
    let check = [&provision[..], &["--check"]].concat();
    setup.run("indexer", Role::Provision, &check).await?;
    // A change of a consumer, and back.
    for ack_wait in ["6s", "5s"] {
        let provision = ["provision", "--ack-wait", ack_wait];
        let changed = setup.run("indexer", Role::Provision, &provision).await?;
        assert!(changed.contains("~ consumer"), "{changed}");
    }
    let provision = [
        "provision",
        "--ack-wait",
        "5s",
        "--jobs-max-bytes",
        "1000000000",
    ];
    let changed = setup.run("indexer", Role::Provision, &provision).await?;
    assert!(changed.contains("~ stream `JOBS`"), "{changed}");
    // A single server keeps no bucket more than once, so that no setting of an installation changes one here.
    let jetstream = jetstream::new(setup.client(Role::Provision).await?);
    for bucket in [RUNS, ATTEMPTS] {
        let found = jetstream.get_stream(format!("KV_{bucket}")).await?;
        jetstream.update_stream(&found.cached_info().config).await?;
    }
    Ok(())
}

/// Documents, a job that is none, one that asks for an answer, and one that travels alone.
async fn publishes_and_is_answered(setup: &Setup) -> anyhow::Result<()> {
    let client = setup.client(Role::Publisher).await?;
    let mut answers = client.subscribe("results.r1").await?;
    setup.publish("suspect", "delivered twice before").await?;
    setup.give_back(2).await?;
    setup.publish("plain", "a text by a plain client").await?;
    setup.publish_bytes("no job at all".to_owned()).await?;
    let query = json!({ "version": "1.0", "kind": "embed", "queries": ["who?"], "reply": "r1" });
    setup.publish_bytes(query.to_string()).await?;
    setup.run("worker", Role::Worker, &["check"]).await?;
    setup.drain(&[]).await?;
    let answer = tokio::time::timeout(LIMIT, answers.next())
        .await?
        .expect("an answer");
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    assert_eq!(
        answer["vectors"].as_array().map(Vec::len),
        Some(1),
        "{answer}"
    );
    let ids: Vec<_> = setup
        .bed
        .points()
        .await?
        .into_keys()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids, ["plain", "suspect"]);
    Ok(())
}

async fn deals_with_dead_letters(setup: &Setup) -> anyhow::Result<()> {
    assert_eq!(setup.dead_letters(1).await?, ["malformed"]);
    setup.indexer(&["dlq", "show", "1"]).await?;
    setup.indexer(&["dlq", "replay", "1"]).await?;
    setup.drain(&[]).await?;
    assert_eq!(setup.dead_letters(1).await?, ["malformed"]);
    setup.indexer(&["dlq", "drop", "2"]).await?;
    setup.publish("exhausted", "nobody settles this").await?;
    setup.give_back(usize::try_from(MAX_DELIVER)?).await?;
    let jetstream = jetstream::new(setup.client(Role::Worker).await?);
    let lane = setup.bed.lanes()[0].consumer();
    let consumer: PullConsumer = jetstream.get_consumer_from_stream(lane, JOBS).await?;
    // The server gives up when it is asked for what it has no delivery left for.
    assert!(pull(&consumer).await?.is_empty());
    until("the advisory", LIMIT, async || {
        let swept = setup.json(&["dlq", "sweep", "--dry-run"]).await?;
        Ok((swept["by_advisory"] == 1).then_some(()))
    })
    .await?;
    let swept = setup.json(&["dlq", "sweep"]).await?;
    assert_eq!(swept["by_advisory"], 1, "{swept}");
    assert_eq!(setup.dead_letters(1).await?, ["exhausted"]);
    setup.indexer(&["dlq", "drop", "--all"]).await?;
    assert_eq!(setup.dead_letters(0).await?, [""; 0]);
    // The advisory was acknowledged, and the job is gone.
    let swept = setup.json(&["dlq", "sweep"]).await?;
    assert_eq!(
        (&swept["by_advisory"], &swept["obsolete"]),
        (&json!(0), &json!(0)),
        "{swept}"
    );
    Ok(())
}

async fn indexes_and_searches(setup: &Setup) -> anyhow::Result<()> {
    for (name, text) in [
        ("a.md", "# Roses\n\nRoses bloom."),
        ("b.md", "# Tides\n\nThe tide goes out."),
    ] {
        setup.bed.write(name, text)?;
    }
    let corpus = setup
        .bed
        .write("c.md", "# Moon\n\nThe moon is full.")?
        .display()
        .to_string();
    let queries = setup.bed.directory.path().join("queries.jsonl");
    std::fs::write(
        &queries,
        json!({ "_id": "q", "text": "Roses bloom." }).to_string(),
    )?;
    let qrels = setup.bed.directory.path().join("qrels.tsv");
    std::fs::write(&qrels, "query-id\tcorpus-id\tscore\nq\ta.md\t1\n")?;
    let (queries, qrels) = (queries.display().to_string(), qrels.display().to_string());
    let worker = setup.worker().await?;
    setup.indexer(&["publish", &corpus]).await?;
    setup.indexer(&["delete", "plain", "suspect"]).await?;
    setup.drained().await?;
    setup.json(&["plan", &corpus]).await?;
    let quick = ["--clock-skew", "0s", "--lease", "3s"];
    setup
        .json(&[&["sync", &corpus], &quick[..]].concat())
        .await?;
    let rebuilt = setup
        .json(&[&["rebuild", &corpus, "--poll", "20ms"], &quick[..]].concat())
        .await?;
    assert_eq!(rebuilt["done"], true, "{rebuilt:#}");
    setup.json(&[&["rollback"], &quick[..]].concat()).await?;
    setup
        .indexer(&["gc", "--keep", "0", "--lease", "3s"])
        .await?;
    let found = setup.json(&["search", "Roses bloom."]).await?;
    assert!(
        found["hits"].as_array().is_some_and(|hits| hits.len() == 3),
        "{found:#}"
    );
    setup
        .json(&["eval", "--queries", &queries, "--qrels", &qrels])
        .await?;
    setup.drained().await?;
    setup.end(worker).await
}

/// Whatever the doctor finds, it was let look.
async fn diagnoses(setup: &Setup) -> anyhow::Result<()> {
    let mut doctor = setup.program("indexer", Role::Indexer);
    let output = doctor.args(["doctor", "--json"]).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| anyhow::anyhow!("{error}: {said}"))?;
    assert!(report["findings"].is_array(), "{report:#}");
    let report = report.to_string();
    assert!(!report.contains("may this user"), "{report}");
    assert!(!said.contains("denied"), "{said}");
    Ok(())
}

async fn rescores(setup: &Setup) -> anyhow::Result<()> {
    let model = crate::rescoring::stage(&[], &cache_dir().join("models")).await?;
    let model = model.display().to_string();
    setup
        .run(
            "indexer",
            Role::Provision,
            &["provision", "--model", &model, "--ack-wait", "5s"],
        )
        .await?;
    let rescored = setup
        .json(&["rescore", "--model", &model, "--query", "Roses?"])
        .await?;
    assert!(rescored["jobs"].as_u64() > Some(0), "{rescored:#}");
    setup.drain(&["--model", &model]).await
}

/// What a worker writes goes on to the workers of the attached model.
async fn attaches(setup: &Setup) -> anyhow::Result<()> {
    let source = fixtures::programs::workspace().join("fixtures/models/tiny-embed");
    let model = crate::attaching::stage_from(&source, "second", &["--max-tokens", "32"]).await?;
    let provision = [
        "provision",
        "--lanes",
        "--model",
        &model,
        "--ack-wait",
        "5s",
    ];
    setup.run("indexer", Role::Provision, &provision).await?;
    let attached = setup.json(&["attach", "--model", &model]).await?;
    assert!(attached["jobs"].as_u64() > Some(0), "{attached:#}");
    setup.publish("handed on", "a text for both models").await?;
    setup.drain(&[]).await?;
    setup.drain(&["--model", &model]).await?;
    let status = setup.json(&["status"]).await?;
    let vector = &status["collections"][0]["attached"][0];
    assert_eq!(vector["lacking"], 0, "{status:#}");
    setup.json(&["detach", "--vector", "second"]).await?;
    Ok(())
}

async fn every_role_can_do_its_work(form: AckForm) -> anyhow::Result<()> {
    let setup = Setup::start(form).await?;
    provisions(&setup).await?;
    publishes_and_is_answered(&setup).await?;
    deals_with_dead_letters(&setup).await?;
    indexes_and_searches(&setup).await?;
    diagnoses(&setup).await?;
    rescores(&setup).await?;
    attaches(&setup).await?;
    setup.bed.end().await
}

#[tokio::test]
async fn every_role_can_do_its_work_with_the_first_form_of_acknowledgements() -> anyhow::Result<()>
{
    every_role_can_do_its_work(AckForm::V1).await
}

#[tokio::test]
async fn every_role_can_do_its_work_with_the_second_form_of_acknowledgements() -> anyhow::Result<()>
{
    every_role_can_do_its_work(AckForm::V2).await
}
