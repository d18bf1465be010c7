//! Lanes: the consumers of the model against the fleet that is to pull from them.

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use contract::model::Manifest;
use contract::topology::{JOBS, Lane};

use super::{DoctorConfig, Finding};
use crate::fleet::{Fleet, Setting, broken, in_flight};

/// Judges both consumers. One that is missing is found by comparing with what should be there.
pub async fn look(
    config: &DoctorConfig,
    jetstream: &jetstream::Context,
    manifest: &Manifest,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for lane in Lane::of(manifest.identity.task, &manifest.name) {
        let name = lane.consumer();
        let found: Result<PullConsumer, _> = jetstream.get_consumer_from_stream(&name, JOBS).await;
        if let Ok(consumer) = found {
            let broken = broken(&fleet(config, &name, &consumer));
            findings.extend(broken.into_iter().map(Finding::of));
        }
    }
    // Both lanes have the same workers: what is wrong with these is said once.
    findings.dedup();
    findings
}

fn fleet(config: &DoctorConfig, name: &str, consumer: &PullConsumer) -> Fleet {
    let found = &consumer.cached_info().config;
    let at = |field: &str| format!("consumer `{name}`: {field}");
    let installation = &config.installation;
    let pending = u64::try_from(found.max_ack_pending).unwrap_or(u64::MAX);
    Fleet {
        max_workers: setting("--max-workers", u64::from(installation.max_workers)),
        in_flight: setting(
            "--batch-jobs",
            in_flight(u64::from(installation.batch_jobs)),
        ),
        max_ack_pending: setting(at("max_ack_pending"), pending),
        ack_wait: setting(at("ack_wait"), found.ack_wait),
        grace: setting("--grace", config.grace),
        ..Fleet::default()
    }
}

fn setting<T>(at: impl Into<String>, value: T) -> Option<Setting<T>> {
    Some(Setting::new(at, value))
}
