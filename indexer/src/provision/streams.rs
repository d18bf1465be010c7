//! Streams, consumers and buckets.

use anyhow::Context as _;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{ConsumerError, ConsumerErrorKind};
use async_nats::jetstream::{self, ErrorCode, kv, stream};
use contract::model::Manifest;
use contract::topology::{ADVISORIES, JOBS, Lane};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::await_replicas::await_replicas;
use super::{Change, ProvisionConfig, Step};

/// Fields of a stream that are ours; the server and its operator fill in others.
const STREAM_FIELDS: [&str; 13] = [
    "description",
    "subjects",
    "retention",
    "storage",
    "discard",
    "discard_new_per_subject",
    "max_age",
    "max_bytes",
    "max_msg_size",
    "max_msgs",
    "max_msgs_per_subject",
    "duplicate_window",
    "num_replicas",
];

/// Fields of a consumer that are ours.
const CONSUMER_FIELDS: [&str; 11] = [
    "description",
    "deliver_policy",
    "ack_policy",
    "ack_wait",
    "max_deliver",
    "filter_subject",
    "max_waiting",
    "max_ack_pending",
    "inactive_threshold",
    "backoff",
    "num_replicas",
];

/// Fields of a bucket's stream that an installation decides; all others follow from the version of Ebb.
const BUCKET_FIELDS: [&str; 1] = ["num_replicas"];

/// Streams and buckets first, because consumers live in streams and are kept on the same servers.
pub async fn provision(
    config: &ProvisionConfig,
    jetstream: &jetstream::Context,
    manifest: &Manifest,
) -> anyhow::Result<Vec<Step>> {
    let (mut steps, mut names) = (Vec::new(), Vec::new());
    for wanted in queue::streams::streams(&config.installation.sizes()) {
        names.push(wanted.name.clone());
        steps.push(provision_stream(config, jetstream, wanted).await?);
    }
    for wanted in queue::streams::buckets(&config.installation.sizes()) {
        names.push(stream_of(&wanted));
        steps.push(provision_bucket(config, jetstream, wanted).await?);
    }
    if !config.check {
        // Also those that are as they should be: an earlier run may have died before their servers had them.
        await_replicas(jetstream, &names, config.installation.replicas).await?;
    }
    for lane in Lane::of(manifest.identity.task, &manifest.name) {
        let wanted =
            queue::streams::lane_consumer_config(&lane, &config.installation.consumer_sizes());
        steps.push(provision_consumer(config, jetstream, JOBS, wanted).await?);
    }
    let sweep = queue::streams::sweep_consumer_config(config.installation.replicas);
    steps.push(provision_consumer(config, jetstream, ADVISORIES, sweep).await?);
    Ok(steps)
}

async fn provision_stream(
    config: &ProvisionConfig,
    jetstream: &jetstream::Context,
    wanted: stream::Config,
) -> anyhow::Result<Step> {
    let name = wanted.name.clone();
    let subject = format!("stream `{name}`");
    let change = match jetstream.get_stream(&name).await {
        Ok(found) => {
            let found = &found.cached_info().config;
            let change = compare(found, &wanted, &STREAM_FIELDS)?;
            if !config.check && change != Change::None {
                let merged: stream::Config = overlay(found, &wanted, &STREAM_FIELDS)?;
                let updated = jetstream.update_stream(&merged).await;
                updated.with_context(|| format!("failed to update {subject}"))?;
            }
            change
        }
        Err(error) if is_missing_stream(&error) => {
            if !config.check {
                let created = jetstream.create_stream(wanted).await;
                created.with_context(|| format!("failed to create {subject}"))?;
            }
            Change::Create
        }
        Err(error) => return Err(error).with_context(|| format!("failed to look up {subject}")),
    };
    Ok(Step { subject, change })
}

async fn provision_consumer(
    config: &ProvisionConfig,
    jetstream: &jetstream::Context,
    stream: &str,
    wanted: pull::Config,
) -> anyhow::Result<Step> {
    let name = wanted.durable_name.clone().unwrap_or_default();
    let subject = format!("consumer `{name}`");
    let found: Result<PullConsumer, _> = jetstream.get_consumer_from_stream(&name, stream).await;
    let (change, target) = match found {
        Ok(found) => {
            let found = &found.cached_info().config;
            // The server's answer is a general consumer; only what both have is compared.
            let merged: pull::Config = overlay(found, &wanted, &CONSUMER_FIELDS)?;
            (compare(found, &wanted, &CONSUMER_FIELDS)?, merged)
        }
        Err(error) if is_missing_consumer(&error) => (Change::Create, wanted),
        Err(error) => return Err(error).with_context(|| format!("failed to look up {subject}")),
    };
    if !config.check && change != Change::None {
        let created = jetstream.create_consumer_on_stream(target, stream).await;
        created.with_context(|| format!("failed to write {subject}"))?;
    }
    Ok(Step { subject, change })
}

/// Name of the stream that a bucket is to the server.
fn stream_of(bucket: &kv::Config) -> String {
    format!("KV_{}", bucket.bucket)
}

/// A bucket is a stream to the server, and is changed as one.
async fn provision_bucket(
    config: &ProvisionConfig,
    jetstream: &jetstream::Context,
    wanted: kv::Config,
) -> anyhow::Result<Step> {
    let subject = format!("bucket `{}`", wanted.bucket);
    let change = match jetstream.get_stream(stream_of(&wanted)).await {
        Ok(found) => {
            let found = &found.cached_info().config;
            let wanted = stream::Config {
                num_replicas: wanted.num_replicas,
                ..stream::Config::default()
            };
            let change = compare(found, &wanted, &BUCKET_FIELDS)?;
            if !config.check && change != Change::None {
                let merged: stream::Config = overlay(found, &wanted, &BUCKET_FIELDS)?;
                let updated = jetstream.update_stream(&merged).await;
                updated.with_context(|| format!("failed to update {subject}"))?;
            }
            change
        }
        Err(error) if is_missing_stream(&error) => {
            if !config.check {
                let created = jetstream.create_key_value(wanted).await;
                created.with_context(|| format!("failed to create {subject}"))?;
            }
            Change::Create
        }
        Err(error) => return Err(error).with_context(|| format!("failed to look up {subject}")),
    };
    Ok(Step { subject, change })
}

fn is_missing_stream(error: &jetstream::context::GetStreamError) -> bool {
    match error.kind() {
        GetStreamErrorKind::JetStream(error) => error.error_code() == ErrorCode::STREAM_NOT_FOUND,
        GetStreamErrorKind::EmptyName
        | GetStreamErrorKind::Request
        | GetStreamErrorKind::InvalidStreamName => false,
    }
}

/// Without its stream, which `--check` does not create, a consumer is missing too.
fn is_missing_consumer(error: &ConsumerError) -> bool {
    match error.kind() {
        ConsumerErrorKind::JetStream(error) => {
            let code = error.error_code();
            code == ErrorCode::CONSUMER_NOT_FOUND || code == ErrorCode::STREAM_NOT_FOUND
        }
        ConsumerErrorKind::TimedOut
        | ConsumerErrorKind::Request
        | ConsumerErrorKind::InvalidConsumerType
        | ConsumerErrorKind::InvalidName
        | ConsumerErrorKind::Other => false,
    }
}

/// Compares two configurations in the fields that are ours, as they are on the wire.
fn compare(
    found: &impl Serialize,
    wanted: &impl Serialize,
    fields: &[&str],
) -> anyhow::Result<Change> {
    let (found, wanted) = (serde_json::to_value(found)?, serde_json::to_value(wanted)?);
    let differs = |field: &&&str| !same(&found[**field], &wanted[**field]);
    let shown = |field: &&str| {
        (
            (*field).to_owned(),
            found[*field].to_string(),
            wanted[*field].to_string(),
        )
    };
    let fields: Vec<_> = fields.iter().filter(differs).map(shown).collect();
    Ok(if fields.is_empty() {
        Change::None
    } else {
        Change::Update(fields)
    })
}

/// Whether two values mean the same: a field left out is its zero.
fn same(found: &Value, wanted: &Value) -> bool {
    let is_zero = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(value) => value.as_f64() == Some(0.0),
        Value::String(value) => value.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
    };
    found == wanted || (is_zero(found) && is_zero(wanted))
}

/// The configuration that is there, with Ebb's fields as they should be.
fn overlay<T: DeserializeOwned>(
    found: &impl Serialize,
    wanted: &impl Serialize,
    fields: &[&str],
) -> anyhow::Result<T> {
    let (mut merged, wanted) = (serde_json::to_value(found)?, serde_json::to_value(wanted)?);
    for field in fields {
        if wanted[*field].is_null() {
            merged.as_object_mut().map(|merged| merged.remove(*field));
        } else {
            merged[*field] = wanted[*field].clone();
        }
    }
    Ok(serde_json::from_value(merged)?)
}
