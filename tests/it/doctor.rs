//! The doctor: it finds nothing on a sound system, and names each thing that somebody broke.

mod queue;
mod servers;

use ::queue::streams::{ConsumerSizes, lane_consumer_config};
use async_nats::jetstream;
use contract::topology::{DEFAULT_ACK_WAIT, JOBS, Lane};
use fixtures::process::output;
use points::collection;
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{CreateAliasBuilder, DeleteFieldIndexCollectionBuilder};
use serde_json::Value;
use tests::Bed;

/// What the doctor says, and how it ended.
pub(crate) struct Report {
    code: Option<i32>,
    report: Value,
}

/// Room for jobs that is not much on any disk.
const ROOM: (&str, &str) = ("EBB_JOBS_MAX_BYTES", "1000000000");

/// Servers that are provisioned with little room.
async fn provisioned() -> anyhow::Result<Bed> {
    let bed = Bed::unprovisioned(&tests::tiny_embed(), "tiny").await?;
    provision(&bed, &[]).await?;
    Ok(bed)
}

async fn provision(bed: &Bed, more: &[&str]) -> anyhow::Result<String> {
    let mut command = bed.stack.program("indexer");
    command.arg("provision").args(more).env(ROOM.0, ROOM.1);
    output(command).await
}

pub(crate) async fn doctor(bed: &Bed, more: &[&str]) -> anyhow::Result<Report> {
    let mut command = bed.stack.program("indexer");
    command.args(["doctor", "--json", "--monitoring"]);
    command.arg(bed.stack.nats.monitoring_url()).args(more);
    command.env(ROOM.0, ROOM.1);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    anyhow::ensure!(!output.stdout.is_empty(), "{said}");
    Ok(Report {
        code: output.status.code(),
        report: serde_json::from_slice(&output.stdout)?,
    })
}

impl Report {
    fn findings(&self) -> &[Value] {
        self.report["findings"]
            .as_array()
            .map_or(&[], Vec::as_slice)
    }

    /// The finding about something, of a severity, with a value.
    fn has(&self, severity: &str, what: &str, found: &str) -> bool {
        let text =
            |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        self.findings().iter().any(|finding| {
            finding["severity"] == severity
                && text(finding, "what").contains(what)
                && text(finding, "found").contains(found)
        })
    }
}

/// What was spoilt is named, with the value that it has; errors make the exit code 1.
#[track_caller]
pub(crate) fn named(report: &Report, severity: &str, what: &str, found: &str) {
    assert!(
        report.has(severity, what, found),
        "{what} {found}: {:#}",
        report.report
    );
    let errors = report.report["errors"] != 0;
    assert_eq!(report.code, Some(i32::from(errors)), "{:#}", report.report);
}

fn qdrant(bed: &Bed) -> anyhow::Result<Qdrant> {
    let client = Qdrant::from_url(&bed.stack.qdrant.url());
    Ok(client.skip_compatibility_check().build()?)
}

#[tokio::test]
async fn a_sound_system_has_no_findings() -> anyhow::Result<()> {
    let bed = provisioned().await?;
    let corpus = bed.write("a.md", "Some text.")?;
    bed.stack
        .indexer(&["publish", &corpus.display().to_string()])
        .await?;
    bed.drain().await?;
    let report = doctor(&bed, &[]).await?;
    assert_eq!(
        (report.code, report.findings().len()),
        (Some(0), 0),
        "{:#}",
        report.report
    );
    bed.end().await
}

#[tokio::test]
async fn what_is_not_looked_at_is_unknown_and_no_error() -> anyhow::Result<()> {
    let bed = provisioned().await?;
    let mut command = bed.stack.program("indexer");
    let output = command.arg("doctor").env(ROOM.0, ROOM.1).output().await?;
    let said = String::from_utf8(output.stdout)?;
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("unknown  sync_interval"), "{said}");
    assert!(said.contains("0 errors, 0 warnings, 3 unknown"), "{said}");
    bed.end().await
}

#[tokio::test]
async fn nothing_provisioned_is_named_thing_by_thing() -> anyhow::Result<()> {
    let bed = Bed::unprovisioned(&tests::tiny_embed(), "tiny").await?;
    let report = doctor(&bed, &[]).await?;
    let lanes = bed
        .lanes()
        .map(|lane| format!("consumer `{}`", lane.consumer()));
    let collection = format!("collection `{}`", bed.stack.collection);
    for what in [
        "stream `JOBS`",
        "bucket `RUNS`",
        &lanes[0],
        &lanes[1],
        &collection,
    ] {
        named(&report, "error", what, "nothing");
    }
    named(&report, "error", "what the autoscaler reads", "none");
    bed.end().await
}

/// Writes the live lane's consumer anew, spoilt.
async fn spoil_consumer(
    bed: &Bed,
    spoil: impl Fn(&mut jetstream::consumer::pull::Config),
) -> anyhow::Result<Lane> {
    let [live, _] = bed.lanes();
    let mut config = lane_consumer_config(
        &live,
        &ConsumerSizes {
            ack_wait: DEFAULT_ACK_WAIT,
            max_ack_pending: 7680,
            replicas: 1,
        },
    );
    spoil(&mut config);
    bed.jetstream()
        .create_consumer_on_stream(config, JOBS)
        .await?;
    Ok(live)
}

#[tokio::test]
async fn a_drifted_consumer_is_named_by_field() -> anyhow::Result<()> {
    let bed = provisioned().await?;
    let day = std::time::Duration::from_secs(86_400);
    let live = spoil_consumer(&bed, |config| {
        config.inactive_threshold = day;
        config.max_deliver = 3;
        config.max_ack_pending = 1000;
    })
    .await?;
    let report = doctor(&bed, &[]).await?;
    let at = |field: &str| format!("consumer `{}`: {field}", live.consumer());
    named(&report, "error", &at("inactive_threshold"), "1day");
    named(&report, "error", &at("max_deliver"), "3");
    named(&report, "error", &at("max_ack_pending"), "1000");
    assert_eq!(report.findings().len(), 3, "{:#}", report.report);
    provision(&bed, &[]).await?;
    assert_eq!(doctor(&bed, &[]).await?.findings().len(), 0);
    // More than is needed is no fault, less than a larger fleet needs is one.
    provision(&bed, &["--max-workers", "10"]).await?;
    assert_eq!(doctor(&bed, &[]).await?.findings().len(), 0);
    let larger = doctor(&bed, &["--max-workers", "20"]).await?;
    named(&larger, "error", &at("max_ack_pending"), "9600");
    let longer = doctor(&bed, &["--grace", "60s"]).await?;
    named(&longer, "error", "--grace", "1m");
    bed.end().await
}

#[tokio::test]
async fn a_missing_consumer_is_missed_by_the_autoscaler_too() -> anyhow::Result<()> {
    let bed = provisioned().await?;
    let [live, bulk] = bed.lanes();
    let jobs = bed.jetstream().get_stream(JOBS).await?;
    jobs.delete_consumer(&bulk.consumer()).await?;
    let report = doctor(&bed, &[]).await?;
    named(
        &report,
        "error",
        &format!("consumer `{}`", bulk.consumer()),
        "nothing",
    );
    named(
        &report,
        "error",
        "what the autoscaler reads: consumer",
        &live.consumer(),
    );
    bed.end().await
}

#[tokio::test]
async fn a_collection_without_an_index_or_of_another_model_is_named() -> anyhow::Result<()> {
    let bed = provisioned().await?;
    let alias = &bed.stack.collection;
    let client = qdrant(&bed)?;
    let generation = format!("{alias}--initial");
    let dropped = DeleteFieldIndexCollectionBuilder::new(generation.as_str(), "digest").wait(true);
    client.delete_field_index(dropped).await?;
    let report = doctor(&bed, &[]).await?;
    named(
        &report,
        "error",
        &format!("payload indexes of `{alias}`"),
        "digest",
    );
    assert_eq!(report.findings().len(), 1, "{:#}", report.report);
    provision(&bed, &[]).await?;

    let other = "0".repeat(64);
    let pinned = doctor(&bed, &["--fingerprint", &other]).await?;
    named(
        &pinned,
        "error",
        "model `tiny`: fingerprint",
        bed.manifest.fingerprint.as_str(),
    );

    let mut manifest = bed.manifest.clone();
    manifest.fingerprint = contract::digest::Digest::of(b"another model");
    let name = format!("{alias}--other").parse()?;
    client
        .create_collection(collection::create(&name, &manifest, None))
        .await?;
    client
        .create_alias(CreateAliasBuilder::new(name.as_str(), alias.as_str()))
        .await?;
    let report = doctor(&bed, &[]).await?;
    named(
        &report,
        "error",
        &format!("collection `{alias}`"),
        manifest.fingerprint.as_str(),
    );
    bed.end().await
}

#[tokio::test]
async fn a_doctor_without_a_patient_says_what_it_needs() -> anyhow::Result<()> {
    let mut command = tests::tools().await?.program("indexer");
    let output = command.arg("doctor").output().await?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(
        said.contains("--model") && said.contains("--manifests"),
        "{said}"
    );
    Ok(())
}
