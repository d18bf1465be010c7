//! Traces: a job is followed from whoever published it to its points, over the wire that any collector speaks.

mod collector;

use std::process::ExitStatus;

use anyhow::Context as _;
use async_nats::HeaderMap;
use contract::topology::DLQ;
use fixtures::process::Process;
use serde_json::json;
use tests::Bed;
use tokio::net::TcpListener;
use tokio::process::Command;

use collector::{Collector, Seen};

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// Runs a program to its end with this collector.
async fn run(bed: &Bed, url: &str, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = bed.stack.program(program);
    command.args(arguments).env(ENDPOINT, url);
    let status = ended(bed, program, command).await?;
    anyhow::ensure!(status.success(), "{program} {arguments:?}: {status}");
    Ok(())
}

async fn ended(bed: &Bed, name: &str, command: Command) -> anyhow::Result<ExitStatus> {
    let log = bed.directory.path().join(format!("{name}.log"));
    Process::start(command, name, &log)?.wait().await
}

async fn drain(bed: &Bed, url: &str) -> anyhow::Result<()> {
    run(bed, url, "worker", &["run", "--drain", "--grace", "3s"]).await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The only span of a name in a trace.
fn only<'a>(spans: &'a [Seen], trace: &[u8], name: &str) -> anyhow::Result<&'a Seen> {
    let found: Vec<_> = spans
        .iter()
        .filter(|seen| seen.span.name == name && seen.span.trace_id == trace)
        .collect();
    anyhow::ensure!(
        found.len() == 1,
        "{} spans `{name}`: {spans:#?}",
        found.len()
    );
    Ok(found[0])
}

/// Publishes a job with a header that names the span it comes from.
async fn publish_from(bed: &Bed, header: &str, flags: &str, job: &str) -> anyhow::Result<()> {
    let mut headers = HeaderMap::new();
    headers.insert(header, format!("00-{TRACE}-{SPAN}-{flags}"));
    let subject = bed.lanes()[0].subject();
    let sent = bed.jetstream();
    let sent = sent.publish_with_headers(subject, headers, job.to_owned().into());
    sent.await?.await?;
    Ok(())
}

fn document(bed: &Bed, id: &str) -> String {
    json!({
        "version": "1.0", "kind": "embed", "collection": bed.stack.collection,
        "documents": [{ "id": id, "version": 1, "chunks": [{ "text": "a text" }] }],
    })
    .to_string()
}

/// Spans of the trace that [`publish_from`] begins, by their name up to the first space.
fn of_the_client(spans: &[Seen], name: &str) -> Vec<Seen> {
    let of = |seen: &&Seen| {
        let first = seen.span.name.split(' ').next();
        hex(&seen.span.trace_id) == TRACE && first == Some(name)
    };
    spans.iter().filter(of).cloned().collect()
}

#[tokio::test]
async fn one_trace_goes_from_the_publish_to_the_upsert_and_tells_no_text() -> anyhow::Result<()> {
    let (bed, collector) = (Bed::start().await?, Collector::start().await?);
    let corpus = bed.write("doc.md", "# Quokkas\n\nThe quokka smiles at everybody.\n")?;
    let corpus = corpus.display().to_string();
    run(&bed, &collector.url(), "indexer", &["publish", &corpus]).await?;
    drain(&bed, &collector.url()).await?;
    let (spans, [live, _]) = (collector.spans(), bed.lanes());
    let name = format!("publish {}", live.subject());
    let publish = spans.iter().find(|seen| seen.span.name == name);
    let publish = publish.with_context(|| format!("no `{name}`: {spans:#?}"))?;
    assert_eq!(publish.service, "ebb-indexer");
    let trace = &publish.span.trace_id;
    let process = only(&spans, trace, &format!("process {}", live.subject()))?;
    assert_eq!(process.service, "ebb-worker");
    assert_eq!(process.parent(), publish.id());
    assert_eq!(process.attribute("ebb.job.outcome").as_deref(), Some("ack"));
    for stage in ["encode", "embed", "upsert", "ack"] {
        assert_eq!(only(&spans, trace, stage)?.parent(), process.id());
    }
    let name = format!("receive {}", live.consumer());
    let receive = spans.iter().find(|seen| seen.span.name == name);
    let receive = receive.with_context(|| format!("no `{name}`: {spans:#?}"))?;
    assert_ne!(&receive.span.trace_id, trace);
    assert_eq!(receive.links(), [publish.id()]);
    assert_eq!(process.links(), [receive.id()]);
    let everything = collector.everything().to_lowercase();
    assert!(everything.contains("ebb-worker") && !everything.contains("quokka"));
    bed.end().await
}

#[tokio::test]
async fn any_client_can_begin_a_trace_and_can_ask_for_none() -> anyhow::Result<()> {
    let (bed, collector) = (Bed::start().await?, Collector::start().await?);
    // As libraries for HTTP write the header.
    publish_from(&bed, "Traceparent", "01", &document(&bed, "a")).await?;
    drain(&bed, &collector.url()).await?;
    let process = of_the_client(&collector.spans(), "process");
    assert_eq!(process.len(), 1, "{process:#?}");
    assert_eq!(hex(&process[0].span.parent_span_id), SPAN);
    // One that was not sampled where it began.
    publish_from(&bed, "traceparent", "00", &document(&bed, "b")).await?;
    drain(&bed, &collector.url()).await?;
    assert_eq!(of_the_client(&collector.spans(), "process").len(), 1);
    assert_eq!(bed.points().await?.len(), 2);
    bed.end().await
}

#[tokio::test]
async fn a_dead_letter_and_its_replay_keep_the_trace() -> anyhow::Result<()> {
    let (bed, collector) = (Bed::start().await?, Collector::start().await?);
    publish_from(&bed, "traceparent", "01", "{}").await?;
    drain(&bed, &collector.url()).await?;
    let process = of_the_client(&collector.spans(), "process");
    let cause = process[0].attribute("error.type");
    assert_eq!(cause.as_deref(), Some("malformed"), "{process:#?}");
    assert_eq!(of_the_client(&collector.spans(), "term").len(), 1);
    let letters = bed.jetstream().get_stream(DLQ).await?;
    let letter = letters.get_raw_message(1).await?;
    let parent = letter.headers.get("traceparent").context("a trace")?;
    assert_eq!(parent.as_str(), format!("00-{TRACE}-{SPAN}-01"));
    bed.stack.indexer(&["dlq", "replay", "--all"]).await?;
    drain(&bed, &collector.url()).await?;
    assert_eq!(of_the_client(&collector.spans(), "process").len(), 2);
    bed.end().await
}

#[tokio::test]
async fn a_redelivery_keeps_the_trace() -> anyhow::Result<()> {
    let (bed, collector) = (Bed::impatient().await?, Collector::start().await?);
    publish_from(&bed, "traceparent", "01", &document(&bed, "a")).await?;
    let killed = bed.run_with_failpoints("before-upsert=kill").await?;
    assert!(!killed.success(), "{killed}");
    drain(&bed, &collector.url()).await?;
    let process = of_the_client(&collector.spans(), "process");
    let deliveries = process[0].attribute("ebb.job.deliveries");
    assert_eq!(deliveries.as_deref(), Some("2"), "{process:#?}");
    bed.end().await
}

#[tokio::test]
async fn a_collector_that_is_dead_or_silent_changes_nothing() -> anyhow::Result<()> {
    let bed = Bed::start().await?;
    let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    // Takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").await?;
    for (name, address) in [("dead", closed), ("silent", silent.local_addr()?)] {
        let url = format!("http://{address}");
        let corpus = bed.write("doc.md", format!("# Title\n\nA {name} text.\n"))?;
        let corpus = corpus.display().to_string();
        run(&bed, &url, "indexer", &["publish", &corpus]).await?;
        drain(&bed, &url).await?;
        let points = bed.points().await?;
        let text = points
            .values()
            .next()
            .map(|point| tests::text(point, "text"));
        assert!(text.is_some_and(|text| text.contains(name)));
    }
    assert!(bed.dead_letters().await?.is_empty());
    bed.end().await
}

#[tokio::test]
async fn what_cannot_be_exported_is_refused_with_the_other_faults() -> anyhow::Result<()> {
    let tools = tests::tools().await?;
    for program in ["worker", "indexer"] {
        let mut command = tools.program(program);
        let verb = if program == "worker" {
            "run"
        } else {
            "publish"
        };
        command.args([verb, "--model", "/nowhere"]);
        if program == "indexer" {
            command.arg(".");
        }
        command
            .env(ENDPOINT, "ftp://collector")
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem");
        let output = command.output().await?;
        let log = String::from_utf8(output.stderr)?;
        assert_eq!(output.status.code(), Some(64), "{log}");
        for part in ["--model", "ftp://", "http/json", "4317", "/nowhere/ca.pem"] {
            assert!(log.contains(part), "{part} is not in {log}");
        }
    }
    Ok(())
}
