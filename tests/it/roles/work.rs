//! Work: every role does everything that it is there for, by either form of acknowledgements.

use async_nats::jetstream;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::PullConsumer;
use contract::topology::{JOBS, MAX_DELIVER};
use fixtures::install::cache_dir;
use fixtures::wait::until;
use futures::StreamExt as _;
use serde_json::{Value, json};
use tests::LIMIT;

use super::scene::{PULL, Scene};
use super::server::{AckForm, Role};

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

async fn provisions(scene: &Scene) -> anyhow::Result<()> {
    let provision = ["provision", "--ack-wait", "5s"];
    let created = scene.run("indexer", Role::Provision, &provision).await?;
    assert!(created.contains("+ stream `JOBS`"), "{created}");
    let check = [&provision[..], &["--check"]].concat();
    scene.run("indexer", Role::Provision, &check).await?;
    // A change of a consumer, and back.
    for ack_wait in ["6s", "5s"] {
        let provision = ["provision", "--ack-wait", ack_wait];
        let changed = scene.run("indexer", Role::Provision, &provision).await?;
        assert!(changed.contains("~ consumer"), "{changed}");
    }
    let provision = [
        "provision",
        "--ack-wait",
        "5s",
        "--jobs-max-bytes",
        "1000000000",
    ];
    let changed = scene.run("indexer", Role::Provision, &provision).await?;
    assert!(changed.contains("~ stream `JOBS`"), "{changed}");
    Ok(())
}

/// Documents, a job that is none, one that asks for an answer, and one that travels alone.
async fn publishes_and_is_answered(scene: &Scene) -> anyhow::Result<()> {
    let client = scene.client(Role::Publisher).await?;
    let mut answers = client.subscribe("results.r1").await?;
    scene.publish("suspect", "delivered twice before").await?;
    scene.give_back(2).await?;
    scene.publish("plain", "a text by a plain client").await?;
    scene.publish_bytes("no job at all".to_owned()).await?;
    let query = json!({ "version": "1.0", "kind": "embed", "queries": ["who?"], "reply": "r1" });
    scene.publish_bytes(query.to_string()).await?;
    scene.run("worker", Role::Worker, &["check"]).await?;
    scene.drain(&[]).await?;
    let answer = tokio::time::timeout(LIMIT, answers.next())
        .await?
        .expect("an answer");
    let answer: Value = serde_json::from_slice(&answer.payload)?;
    assert_eq!(
        answer["vectors"].as_array().map(Vec::len),
        Some(1),
        "{answer}"
    );
    let ids: Vec<_> = scene
        .bed
        .points()
        .await?
        .into_keys()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(ids, ["plain", "suspect"]);
    Ok(())
}

async fn deals_with_dead_letters(scene: &Scene) -> anyhow::Result<()> {
    assert_eq!(scene.dead_letters(1).await?, ["malformed"]);
    scene.indexer(&["dlq", "show", "1"]).await?;
    scene.indexer(&["dlq", "replay", "1"]).await?;
    scene.drain(&[]).await?;
    assert_eq!(scene.dead_letters(1).await?, ["malformed"]);
    scene.indexer(&["dlq", "drop", "2"]).await?;
    scene.publish("exhausted", "nobody settles this").await?;
    scene.give_back(usize::try_from(MAX_DELIVER)?).await?;
    let jetstream = jetstream::new(scene.client(Role::Worker).await?);
    let lane = scene.bed.lanes()[0].consumer();
    let consumer: PullConsumer = jetstream.get_consumer_from_stream(lane, JOBS).await?;
    // The server gives up when it is asked for what it has no delivery left for.
    assert!(pull(&consumer).await?.is_empty());
    until("the advisory", LIMIT, async || {
        let swept = scene.json(&["dlq", "sweep", "--dry-run"]).await?;
        Ok((swept["by_advisory"] == 1).then_some(()))
    })
    .await?;
    let swept = scene.json(&["dlq", "sweep"]).await?;
    assert_eq!(swept["by_advisory"], 1, "{swept}");
    assert_eq!(scene.dead_letters(1).await?, ["exhausted"]);
    scene.indexer(&["dlq", "drop", "--all"]).await?;
    assert_eq!(scene.dead_letters(0).await?, [""; 0]);
    // The advisory was acknowledged, and the job is gone.
    let swept = scene.json(&["dlq", "sweep"]).await?;
    assert_eq!(
        (&swept["by_advisory"], &swept["obsolete"]),
        (&json!(0), &json!(0)),
        "{swept}"
    );
    Ok(())
}

async fn indexes_and_searches(scene: &Scene) -> anyhow::Result<()> {
    for (name, text) in [
        ("a.md", "# Roses\n\nRoses bloom."),
        ("b.md", "# Tides\n\nThe tide goes out."),
    ] {
        scene.bed.write(name, text)?;
    }
    let corpus = scene
        .bed
        .write("c.md", "# Moon\n\nThe moon is full.")?
        .display()
        .to_string();
    let queries = scene.bed.directory.path().join("queries.jsonl");
    std::fs::write(
        &queries,
        json!({ "_id": "q", "text": "Roses bloom." }).to_string(),
    )?;
    let qrels = scene.bed.directory.path().join("qrels.tsv");
    std::fs::write(&qrels, "query-id\tcorpus-id\tscore\nq\ta.md\t1\n")?;
    let (queries, qrels) = (queries.display().to_string(), qrels.display().to_string());
    let worker = scene.worker().await?;
    scene.indexer(&["publish", &corpus]).await?;
    scene.indexer(&["delete", "plain", "suspect"]).await?;
    scene.drained().await?;
    scene.json(&["plan", &corpus]).await?;
    let quick = ["--clock-skew", "0s", "--lease", "3s"];
    scene
        .json(&[&["sync", &corpus], &quick[..]].concat())
        .await?;
    let rebuilt = scene
        .json(&[&["rebuild", &corpus, "--poll", "20ms"], &quick[..]].concat())
        .await?;
    assert_eq!(rebuilt["done"], true, "{rebuilt:#}");
    scene.json(&[&["rollback"], &quick[..]].concat()).await?;
    scene
        .indexer(&["gc", "--keep", "0", "--lease", "3s"])
        .await?;
    let found = scene.json(&["search", "Roses bloom."]).await?;
    assert!(
        found["hits"].as_array().is_some_and(|hits| hits.len() == 3),
        "{found:#}"
    );
    scene
        .json(&["eval", "--queries", &queries, "--qrels", &qrels])
        .await?;
    scene.drained().await?;
    scene.end(worker).await
}

/// Whatever the doctor finds, it was let look.
async fn diagnoses(scene: &Scene) -> anyhow::Result<()> {
    let mut doctor = scene.program("indexer", Role::Indexer);
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

async fn rescores(scene: &Scene) -> anyhow::Result<()> {
    let model = crate::rescoring::stage(&[], &cache_dir().join("models")).await?;
    let model = model.display().to_string();
    scene
        .run(
            "indexer",
            Role::Provision,
            &["provision", "--model", &model, "--ack-wait", "5s"],
        )
        .await?;
    let rescored = scene
        .json(&["rescore", "--model", &model, "--query", "Roses?"])
        .await?;
    assert!(rescored["jobs"].as_u64() > Some(0), "{rescored:#}");
    scene.drain(&["--model", &model]).await
}

/// What a worker writes goes on to the workers of the attached model.
async fn attaches(scene: &Scene) -> anyhow::Result<()> {
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
    scene.run("indexer", Role::Provision, &provision).await?;
    let attached = scene.json(&["attach", "--model", &model]).await?;
    assert!(attached["jobs"].as_u64() > Some(0), "{attached:#}");
    scene.publish("handed on", "a text for both models").await?;
    scene.drain(&[]).await?;
    scene.drain(&["--model", &model]).await?;
    let status = scene.json(&["status"]).await?;
    let vector = &status["collections"][0]["attached"][0];
    assert_eq!(vector["lacking"], 0, "{status:#}");
    scene.json(&["detach", "--vector", "second"]).await?;
    Ok(())
}

async fn every_role_can_do_its_work(form: AckForm) -> anyhow::Result<()> {
    let scene = Scene::start(form).await?;
    provisions(&scene).await?;
    publishes_and_is_answered(&scene).await?;
    deals_with_dead_letters(&scene).await?;
    indexes_and_searches(&scene).await?;
    diagnoses(&scene).await?;
    rescores(&scene).await?;
    attaches(&scene).await?;
    scene.bed.end().await
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
