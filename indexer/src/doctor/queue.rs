//! Queue: what lies in the streams and should not, and how much room is left.

use std::collections::BTreeMap;
use std::time::SystemTime;

use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::{self, stream::Stream};
use contract::model::Manifest;
use contract::topology::{ADVISORIES, DLQ, JOBS, Lane, SWEEP};

use super::{DoctorConfig, Finding};
use crate::dead_letters::StoredLetter;
use crate::fleet::{Fleet, Setting, broken, in_flight, span};
use crate::streams::orphaned::orphaned;
use crate::streams::{Range, Reader};

/// Dead letters that are read, from the newest back.
const MOST_LETTERS: u64 = 10_000;
/// Percent of the room from which on somebody should look, and from which on it is late.
pub const FULL: (u64, u64) = (80, 95);

/// A stream that is missing is a finding of `drift`.
pub async fn look(config: &DoctorConfig, jetstream: &jetstream::Context) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Ok(jobs) = jetstream.get_stream(JOBS).await {
        findings.extend(nobody_reads(&jobs).await);
        findings.extend(room(&jobs));
    }
    findings.extend(exhausted(jetstream).await);
    if let Ok(letters) = jetstream.get_stream(DLQ).await {
        let recent = recent(config, &letters).await;
        findings.extend(recent.unwrap_or_else(|error| {
            let advice = "may this user read the stream of dead letters?";
            let unknown = Finding::unknown("dead letters", format!("{error:#}"), advice);
            Some(unknown)
        }));
    }
    findings
}

async fn nobody_reads(jobs: &Stream) -> Vec<Finding> {
    let orphaned = match orphaned(jobs).await {
        Ok(orphaned) => orphaned,
        Err(error) => {
            let advice = "may this user list consumers?";
            return vec![Finding::unknown(
                "jobs that nobody reads",
                format!("{error:#}"),
                advice,
            )];
        }
    };
    let advice = "provision the model that the subject names, or tell the publisher of its error";
    let found = |subject: &crate::streams::orphaned::OrphanedSubject| {
        let what = format!("subject `{}`", subject.subject);
        let found = format!("{} jobs that nobody reads", subject.jobs);
        Finding::error(what, found, "a consumer", advice)
    };
    orphaned.subjects.iter().map(found).collect()
}

/// A full stream refuses to take jobs.
fn room(jobs: &Stream) -> Option<Finding> {
    let info = jobs.cached_info();
    let most = u64::try_from(info.config.max_bytes).ok()?;
    let advice = "let workers drain it, or give it more: `indexer provision --jobs-max-bytes`; a full stream refuses jobs";
    fullness(&format!("stream `{JOBS}`"), info.state.bytes, most, advice)
}

pub fn fullness(what: &str, used: u64, most: u64, advice: &str) -> Option<Finding> {
    let percent = used.saturating_mul(100).checked_div(most)?;
    if percent < FULL.0 {
        return None;
    }
    let found = format!("{percent} % of {most} bytes used");
    let finding = Finding::error(what, found, format!("below {} %", FULL.0), advice);
    Some(if percent < FULL.1 {
        finding.into_warning()
    } else {
        finding
    })
}

/// Advisories about jobs that were given up, and that no sweep has dealt with.
async fn exhausted(jetstream: &jetstream::Context) -> Option<Finding> {
    let sweep: PullConsumer = jetstream
        .get_consumer_from_stream(SWEEP, ADVISORIES)
        .await
        .ok()?;
    let info = sweep.cached_info();
    let waiting = info.num_pending + info.num_ack_pending as u64;
    let found = format!("{waiting} jobs had their last delivery");
    let advice = "run `indexer dlq sweep`, and see that its CronJob runs: JetStream never hands them out again";
    (waiting > 0).then(|| Finding::error("exhausted jobs", found, "none", advice).into_warning())
}

/// Dead letters of late, by cause.
async fn recent(config: &DoctorConfig, letters: &Stream) -> anyhow::Result<Option<Finding>> {
    let since = SystemTime::now().checked_sub(config.recent);
    let last = letters.cached_info().state.last_sequence;
    let range = Range {
        filter: ">".to_owned(),
        first: last.saturating_sub(MOST_LETTERS - 1),
        headers_only: true,
    };
    let mut reader = Reader::open(letters.clone(), range).await?;
    let mut causes = BTreeMap::<String, u64>::new();
    while let Some((_, message)) = reader.next().await? {
        let stored = StoredLetter::delivered(&message)?;
        if since.is_none_or(|since| stored.died >= since) {
            *causes.entry(stored.cause().to_owned()).or_default() += 1;
        }
    }
    let count: u64 = causes.values().sum();
    let listed: Vec<_> = causes
        .iter()
        .map(|(cause, count)| format!("{count} {cause}"))
        .collect();
    let found = format!(
        "{count} within {}: {}",
        span(config.recent),
        listed.join(", ")
    );
    let advice = "see `indexer dlq ls`: tell the publishers, or mend what the cause names and run `indexer dlq replay`";
    Ok((count > 0).then(|| Finding::error("dead letters", found, "none", advice).into_warning()))
}

/// Judges both consumers. One that is missing is found by comparing with what should be there.
pub async fn look_at_lanes(
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
    // Both lanes have the same workers, so that a finding about the workers is reported once.
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
