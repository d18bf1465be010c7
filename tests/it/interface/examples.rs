//! Examples: each is a job that a real worker does, and each answer one that a real worker gives.

use async_nats::HeaderMap;
use contract::answer::Answer;
use contract::job::Job;
use contract::topology::{DLQ, Lane, Priority, RESULTS, Task, header};
use fixtures::install::cache_dir;
use serde_json::{Value, json};
use tests::{Bed, text};

use super::document::{document, faults, json_file};

const JOB_SCHEMA: &str = "../../worker/contract/job.schema.json";
const ANSWER_SCHEMA: &str = "../../worker/contract/answer.schema.json";

/// The examples of all messages with this payload.
fn examples(payload: &str) -> anyhow::Result<Vec<Value>> {
    let document = document()?;
    let messages = document["components"]["messages"].as_object().cloned();
    let messages = messages.unwrap_or_default().into_iter();
    let of = messages.filter(|(_, message)| message["payload"]["$ref"] == payload);
    let examples =
        of.flat_map(|(_, message)| message["examples"].as_array().cloned().unwrap_or_default());
    Ok(examples.collect())
}

async fn publish(bed: &Bed, example: &Value) -> anyhow::Result<()> {
    let mut job = example["payload"].clone();
    if job["collection"].is_string() {
        job["collection"] = json!(bed.stack.collection);
    }
    if job["kind"] == "attach" {
        job["fingerprint"] = json!(bed.manifest.fingerprint);
    }
    let mut headers = HeaderMap::new();
    for (name, value) in example["headers"].as_object().into_iter().flatten() {
        headers.insert(name.as_str(), value.as_str().unwrap_or_default());
    }
    let (task, model) = match Job::decode(job.to_string().as_bytes())? {
        Job::Rescore(_) => (Task::Rescore, "tiny-rerank".parse()?),
        Job::Embed(_) | Job::Delete(_) | Job::Attach(_) => (Task::Embed, bed.manifest.name.clone()),
    };
    let lane = Lane::new(task, model, Priority::Live);
    let sent =
        bed.jetstream()
            .publish_with_headers(lane.subject(), headers, job.to_string().into());
    sent.await?.await?;
    Ok(())
}

#[test]
fn each_example_of_a_job_is_one_by_schema_and_by_code() -> anyhow::Result<()> {
    let schema = json_file("worker/contract/job.schema.json")?;
    let mut jobs = examples(JOB_SCHEMA)?;
    assert!(jobs.len() >= 6);
    jobs.push(json!({ "payload": json_file("deploy/contract/cli/job.json")? }));
    for example in jobs {
        let job = &example["payload"];
        assert_eq!(faults(&schema, job)?, [""; 0], "{job:#}");
        Job::decode(job.to_string().as_bytes())?;
    }
    assert_ne!(
        faults(&schema, &json!({ "version": "1.0", "kind": "dance" }))?,
        [""; 0]
    );
    Ok(())
}

#[test]
fn each_example_of_an_answer_is_one_by_schema_and_by_code() -> anyhow::Result<()> {
    let schema = json_file("worker/contract/answer.schema.json")?;
    let answers = examples(ANSWER_SCHEMA)?;
    assert_eq!(answers.len(), 5);
    for example in answers {
        let answer = &example["payload"];
        assert_eq!(faults(&schema, answer)?, [""; 0], "{answer:#}");
        let read: Answer = serde_json::from_value(answer.clone())?;
        assert_eq!(serde_json::to_value(read)?["reply"], answer["reply"]);
    }
    Ok(())
}

#[tokio::test]
async fn a_real_worker_does_each_example_and_answers_as_the_schema_says() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let model = crate::rescoring::stage(&[], &cache_dir().join("models")).await?;
    let model = model.display().to_string();
    bed.stack.indexer(&["provision", "--model", &model]).await?;
    let jobs = examples(JOB_SCHEMA)?;
    for example in &jobs {
        publish(&bed, example).await?;
    }
    bed.drain().await?;
    let mut rescorer = bed
        .stack
        .worker("rescorer", &["--model", &model, "--drain", "--grace", "3s"])
        .await?;
    assert!(rescorer.process.wait().await?.success());
    let letters = bed.dead_letters().await?;
    assert!(letters.is_empty(), "{letters:?}");
    let points = bed.points().await?;
    let chunk = &points[&("handbook.md".to_owned(), 1)];
    assert_eq!(text(chunk, "text"), "Leave room for the tide.");
    // The removal came after the document, and left its tombstone.
    assert!(tests::flag(
        &points[&("notes/tides.md".to_owned(), 0)],
        "deleted"
    ));
    let schema = json_file("worker/contract/answer.schema.json")?;
    let results = bed.jetstream().get_stream(RESULTS).await?;
    for reply in jobs
        .iter()
        .filter_map(|job| job["payload"]["reply"].as_str())
    {
        let answer = results
            .get_last_raw_message_by_subject(&format!("results.{reply}"))
            .await?;
        let answer: Value = serde_json::from_slice(&answer.payload)?;
        assert_eq!(faults(&schema, &answer)?, [""; 0], "{answer:#}");
    }
    bed.end().await
}

#[tokio::test]
async fn a_real_dead_letter_has_the_headers_of_the_document() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    bed.publish_bytes(r#"{"version":"1.0","kind":"embed","run":"r7"}"#)
        .await?;
    bed.drain().await?;
    let message = bed
        .jetstream()
        .get_stream(DLQ)
        .await?
        .get_raw_message(1)
        .await?;
    let headers = message.headers.iter();
    let headers: serde_json::Map<_, _> = headers
        .filter_map(|(name, values)| Some((name.to_string(), json!(values.first()?.as_str()))))
        .collect();
    assert_eq!(headers[header::RUN], "r7");
    let document = document()?;
    let schema = &document["components"]["messages"]["deadLetter"]["headers"];
    assert_eq!(faults(schema, &Value::Object(headers))?, [""; 0]);
    bed.end().await
}
