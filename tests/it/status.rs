//! Status: what people see of the queue, of its workers and of long work.

use std::process::Stdio;

use anyhow::Context as _;
use serde_json::{Value, json};
use tests::{Bed, LIMIT};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::rebuild::{corpus, rebuild, rebuild_with};
use crate::sync::sync_with;

async fn status(bed: &Bed, arguments: &[&str]) -> anyhow::Result<Value> {
    let all = [&["status", "--json"], arguments].concat();
    Ok(serde_json::from_str(&bed.stack.indexer(&all).await?)?)
}

/// Publishes documents of one chunk each on the bulk lane; gives the report.
async fn publish(bed: &Bed, documents: usize, job_tokens: &str) -> anyhow::Result<Value> {
    let line = |n| json!({ "_id": format!("d{n}"), "text": format!("Document {n} of the queue.") });
    let lines: Vec<_> = (0..documents).map(|n| line(n).to_string()).collect();
    let corpus = bed.write("records.jsonl", lines.join("\n"))?;
    let corpus = corpus.display().to_string();
    let arguments = [
        "publish",
        &corpus,
        "--lane",
        "bulk",
        "--job-tokens",
        job_tokens,
        "--json",
    ];
    Ok(serde_json::from_str(&bed.stack.indexer(&arguments).await?)?)
}

/// A status that is watched.
struct Watch {
    /// Killed with it.
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Watch {
    fn start(bed: &Bed, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = bed.stack.program("indexer");
        command.args(["status", "--watch", "--interval", "100ms"]);
        command
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().context("it has no output")?;
        let lines = BufReader::new(stdout).lines();
        Ok(Self {
            _child: child,
            lines,
        })
    }

    async fn next(&mut self) -> anyhow::Result<String> {
        let line = tokio::time::timeout(LIMIT, self.lines.next_line()).await??;
        line.context("the watch has ended")
    }

    async fn look(&mut self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.next().await?)?)
    }
}

fn lag(status: &Value) -> u64 {
    let lanes = status["lanes"].as_array().into_iter().flatten();
    lanes.filter_map(|lane| lane["lag"].as_u64()).sum()
}

#[tokio::test]
async fn the_lag_is_told_in_jobs_and_in_tokens_and_says_when_it_is_an_estimate()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let few = publish(&bed, 10, "20").await?;
    let seen = status(&bed, &["--interval", "0s"]).await?;
    let [live, bulk] = [&seen["lanes"][0], &seen["lanes"][1]];
    assert_eq!(
        (&live["lag"], &live["lag_tokens"]["tokens"]),
        (&json!(0), &json!(0))
    );
    assert_eq!(
        (&bulk["lag"], &bulk["pending"]),
        (&few["jobs"], &few["jobs"])
    );
    let tokens = &bulk["lag_tokens"];
    assert_eq!(
        (&tokens["tokens"], &tokens["estimate"]),
        (&few["tokens"], &json!(false))
    );
    assert_eq!(
        (&bulk["waiting_pulls"], &seen["rate"]),
        (&json!(0), &Value::Null)
    );
    let jobs = json!({ "stream": "JOBS", "messages": few["jobs"], "last_sequence": few["jobs"] });
    for (key, value) in jobs.as_object().context("an object")? {
        assert_eq!(&seen["streams"][0][key], value, "{key}");
    }

    let many = publish(&bed, 400, "20").await?;
    bed.publish_document("untold", 1, &["a text alone"]).await?;
    let seen = status(&bed, &["--interval", "0s"]).await?;
    let [live, bulk] = [&seen["lanes"][0], &seen["lanes"][1]];
    assert_eq!(
        (&live["lag"], &live["lag_tokens"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(bulk["lag_tokens"]["estimate"], true);
    let count = |value: &Value| value.as_f64().unwrap_or_default();
    let all = count(&few["tokens"]) + count(&many["tokens"]);
    let ratio = count(&bulk["lag_tokens"]["tokens"]) / all;
    assert!((0.8..1.25).contains(&ratio), "{ratio} of {all} tokens");
    bed.end().await
}

#[tokio::test]
async fn a_watch_tells_the_rate_until_nothing_is_left_and_who_waits_for_more() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let jobs = publish(&bed, 200, "10").await?["jobs"]
        .as_f64()
        .context("jobs")?;
    let mut watch = Watch::start(&bed, &["--json"])?;
    let first = watch.look().await?;
    assert_eq!(first["rate"], Value::Null);
    assert!(lag(&first) > 0);
    let idle = watch.look().await?;
    assert_eq!(
        (
            &idle["rate"]["acked_per_second"],
            &idle["rate"]["eta_seconds"]
        ),
        (&json!(0.0), &Value::Null)
    );

    let worker = bed.stack.worker("worker", &[]).await?;
    let (mut acked, mut waiting) = (0.0, false);
    let last = loop {
        let look = watch.look().await?;
        let of = |key: &str| look["rate"][key].as_f64().unwrap_or_default();
        // Of all that was watched.
        acked = f64::max(acked, of("acked_per_second") * of("measured_seconds"));
        waiting |= look["lanes"][1]["waiting_pulls"].as_u64() > Some(0);
        // The stream is looked at before its consumers, and may have had a job that they do not have any more.
        if lag(&look) == 0 && look["jobs"] == json!(0) && waiting {
            break look;
        }
    };
    assert!(
        acked >= 1.0 && acked <= jobs + 0.5,
        "{acked} of {jobs} jobs"
    );
    assert_eq!(
        (&last["rate"]["eta_seconds"], &last["jobs"]),
        (&json!(0.0), &json!(0))
    );
    worker.process.kill().await?;
    drop(watch);

    let mut lines = Watch::start(&bed, &[])?;
    let [first, second] = [lines.next().await?, lines.next().await?];
    assert!(
        first.contains("lag 0 jobs (0 tokens)") && first.contains("not known yet"),
        "{first}"
    );
    assert!(second.contains("0.0 jobs/s, nothing left"), "{second}");
    assert!(!first.contains('\u{1b}'), "{first:?}");
    drop(lines);
    bed.end().await
}

#[tokio::test]
async fn runs_are_shown_with_their_phase_and_the_process_that_works_on_them() -> anyhow::Result<()>
{
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    assert_eq!(status(&bed, &[]).await?["runs"], json!([]));
    let corpus = corpus(5);
    let named = ["--run-id", "nightly"];
    rebuild_with(&bed, &corpus, &named, "rebuild-copied=kill").await?;
    let seen = status(&bed, &[]).await?;
    let run = &seen["runs"][0];
    let expected = json!([
        "rebuild",
        "nightly",
        bed.stack.collection,
        "copied",
        false,
        Value::Null
    ]);
    let found = ["verb", "run", "alias", "phase", "over", "failed"].map(|key| run[key].clone());
    assert_eq!(Value::from(found.to_vec()), expected);
    assert!(run["owner"]["process"].as_u64().is_some(), "{run}");
    let table = bed.stack.indexer(&["status"]).await?;
    let line = format!(
        "rebuild nightly of `{}`: copied since ",
        bed.stack.collection
    );
    assert!(table.contains(&line), "{table}");

    rebuild(&bed, &corpus, &named).await?.done();
    let seen = status(&bed, &[]).await?;
    let run = &seen["runs"][0];
    assert_eq!(
        (&run["phase"], &run["over"], &run["owner"]),
        (&json!("done"), &json!(true), &Value::Null)
    );

    sync_with(&bed, &corpus, &[], "sync-claimed=kill").await?;
    let seen = status(&bed, &[]).await?;
    let run = &seen["runs"][0];
    let found = ["verb", "alias", "phase", "over"].map(|key| run[key].clone());
    let expected = json!(["sync", bed.stack.collection, "running", false]);
    assert_eq!(Value::from(found.to_vec()), expected);
    let table = bed.stack.indexer(&["status"]).await?;
    let line = format!("sync of `{}`: running since ", bed.stack.collection);
    assert!(table.contains(&line), "{table}");
    worker.process.kill().await?;
    bed.end().await
}

#[tokio::test]
async fn all_aliases_are_shown_with_their_generations_and_workers_with_what_they_do()
-> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let worker = bed.stack.worker("worker", &[]).await?;
    let named = ["--run-id", "nightly"];
    rebuild(&bed, &corpus(5), &named).await?.done();
    let looked = async |arguments: &[&str]| {
        let mut command = bed.stack.program("indexer");
        command.env_remove("EBB_COLLECTIONS");
        command.args(["status", "--interval", "0s", "--workers", &worker.address]);
        let output = command.args(arguments).output().await?;
        anyhow::Ok(String::from_utf8(output.stdout)?)
    };
    let seen: Value = serde_json::from_str(&looked(&["--json"]).await?)?;
    let alias = &bed.stack.collection;
    let mut collections = seen["collections"].as_array().into_iter().flatten();
    let found = collections.find(|it| it["name"] == alias.as_str());
    let found = found.context("the alias")?;
    let expected = json!([
        format!("{alias}--nightly"),
        5,
        "tiny",
        format!("{alias}--initial")
    ]);
    let told = [
        &found["generation"],
        &found["points"],
        &found["model"],
        &found["rollback"]["generation"],
    ];
    assert_eq!(json!(told), expected, "{found:#}");
    assert!(found["since"].is_string(), "{found:#}");
    let told = &seen["workers"]["workers"][0];
    assert_eq!(
        (&told["address"], &told["model"]),
        (&json!(worker.address), &json!("tiny"))
    );
    let table = looked(&[]).await?;
    for part in [
        &format!("generation {alias}--nightly"),
        &format!("a rollback would lead to {alias}--initial"),
        &worker.address,
    ] {
        assert!(table.contains(part.as_str()), "{part}: {table}");
    }
    worker.process.kill().await?;
    bed.end().await
}
