//! Drift: what differs from what `indexer provision` would make, found by its own comparison.

use std::time::Duration;

use async_nats::jetstream;
use contract::model::Manifest;
use points::limits::UnfitSetting;

use super::Finding;
use crate::fleet::span;
use crate::provision::{Change, ProvisionConfig, Step, streams};

/// Fields whose values are nanoseconds.
const DURATIONS: [&str; 4] = [
    "ack_wait",
    "inactive_threshold",
    "duplicate_window",
    "max_age",
];
/// Fields that belong to the operator: a difference is worth a look and breaks nothing.
const OPERATORS: [&str; 5] = [
    "description",
    "max_bytes",
    "num_replicas",
    "duplicate_window",
    "max_waiting",
];
/// Prefix of the subject of a finding about options that are recorded and were changed by hand.
const RECORDED: &str = "recorded options of";
/// Fields that the rules about lanes judge: more of them is no fault.
const JUDGED: [&str; 2] = ["max_ack_pending", "ack_wait"];

pub async fn streams(
    wanted: &ProvisionConfig,
    jetstream: &jetstream::Context,
    manifest: &Manifest,
) -> Vec<Finding> {
    match streams::provision(wanted, jetstream, manifest).await {
        Ok(steps) => steps.iter().flat_map(findings).collect(),
        Err(error) => {
            let advice = "is JetStream enabled, and may this user look at streams and consumers?";
            vec![Finding::failed("jetstream", &error, advice)]
        }
    }
}

/// The findings about a step that provisioning would take.
pub fn findings(step: &Step) -> Vec<Finding> {
    let subject = &step.subject;
    match &step.change {
        Change::None => Vec::new(),
        Change::Create => {
            let advice = format!("run `indexer provision`: {}", without(subject));
            vec![Finding::error(subject, "nothing", "to be there", advice)]
        }
        Change::Rebuild(fields) => fields.iter().map(|it| by_rebuild(subject, it)).collect(),
        Change::Update(fields) if subject.starts_with(RECORDED) => {
            fields.iter().map(|it| by_hand(subject, it)).collect()
        }
        Change::Update(fields) => fields
            .iter()
            .filter(|(field, _, _)| !JUDGED.contains(&field.as_str()))
            .map(|(field, found, wanted)| difference(subject, field, found, wanted))
            .collect(),
        Change::Unfit(unfit) => unfit.iter().map(|unfit| limit(subject, unfit)).collect(),
    }
}

fn limit(subject: &str, unfit: &UnfitSetting) -> Finding {
    let what = format!("{subject}: {}", unfit.setting);
    let advice = format!(
        "change it with an update of the collection: {}",
        unfit.effect
    );
    let finding = Finding::error(what, &unfit.found, &unfit.wanted, advice);
    if unfit.stops_writes {
        finding
    } else {
        finding.into_warning()
    }
}

fn by_rebuild(subject: &str, (field, found, wanted): &(String, String, String)) -> Finding {
    let what = format!("{subject}: {field}");
    let advice = "run `indexer rebuild`, which copies all vectors: no request changes it";
    Finding::error(what, found, wanted, advice).into_warning()
}

fn by_hand(subject: &str, (field, recorded, found): &(String, String, String)) -> Finding {
    let what = format!("{subject}: {field}");
    let advice = "somebody has changed it by hand; give the option with one value or the other, or run `indexer \
                  provision` to record it as it is";
    Finding::error(what, found, recorded, advice).into_warning()
}

fn difference(subject: &str, field: &str, found: &str, wanted: &str) -> Finding {
    let what = format!("{subject}: {field}");
    let advice = format!("run `indexer provision`: {}", reason(field));
    let finding = Finding::error(what, shown(field, found), shown(field, wanted), advice);
    if OPERATORS.contains(&field) {
        finding.into_warning()
    } else {
        finding
    }
}

/// The consequence where something is missing.
fn without(subject: &str) -> &'static str {
    let kind = subject.split(' ').next().unwrap_or_default();
    match kind {
        "consumer" => {
            "without its consumer a lane is read by nobody, and the autoscaler cannot wake a worker"
        }
        "stream" => "without its stream nothing can be published",
        "bucket" => "without it no run can be recorded",
        "collection" => "without it workers have nowhere to write to",
        _ => "it is part of every installation",
    }
}

/// Why a field is as it is.
fn reason(field: &str) -> &'static str {
    match field {
        "inactive_threshold" => {
            "with no worker nobody pulls, and the server would delete the consumer after this time"
        }
        "backoff" => "it would take the place of the ack wait",
        "max_deliver" => "jobs would be given up at another time than workers count on",
        "filter_subject" => "it would read the jobs of another lane",
        "duplicate_window" => {
            "a publish that is repeated after it is stored twice, which costs work and loses nothing"
        }
        "max_age" | "discard" | "retention" => "jobs would be dropped without having been done",
        "max_msgs" => "a stream that has so many messages takes no more",
        "missing" => {
            "filters read whole collections without these payload indexes, and rebuilds take hours"
        }
        field if field.starts_with("index.") => {
            "a filter on a field without its index reads the whole collection"
        }
        _ => "it is not what this version relies on, or not what was asked for",
    }
}

/// A value as people write it.
fn shown(field: &str, value: &str) -> String {
    match value.parse().map(Duration::from_nanos) {
        Ok(duration) if DURATIONS.contains(&field) => span(duration).to_string(),
        Ok(_) | Err(_) if value == "null" => "nothing".to_owned(),
        Ok(_) | Err(_) => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Severity;

    fn update(field: &str, found: &str, wanted: &str) -> Vec<Finding> {
        let difference = [field, found, wanted].map(str::to_owned).into();
        findings(&Step {
            subject: "stream `JOBS`".to_owned(),
            change: Change::Update(vec![difference]),
        })
    }

    #[test]
    fn what_is_missing_is_an_error_and_what_is_as_it_should_be_is_none() {
        let step = |change| Step {
            subject: "consumer `embed-m-live`".to_owned(),
            change,
        };
        assert_eq!(findings(&step(Change::None)), []);
        let missing = findings(&step(Change::Create));
        assert_eq!(missing[0].severity, Severity::Error);
        assert!(missing[0].advice.contains("read by nobody"), "{missing:?}");
    }

    #[test]
    fn a_difference_weighs_as_much_as_it_can_break() {
        let severity = |field| {
            let found = update(field, "1", "2");
            found.first().map(|it| it.severity)
        };
        assert_eq!(severity("retention"), Some(Severity::Error));
        assert_eq!(severity("max_bytes"), Some(Severity::Warning));
        assert_eq!(severity("ack_wait"), None, "the rules about lanes judge it");
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        let shown = |field, value| update(field, value, value)[0].found.clone();
        assert_eq!(shown("duplicate_window", "1200000000000"), "20m");
        assert_eq!(shown("max_bytes", "1200000000000"), "1200000000000");
        assert_eq!(shown("max_age", "null"), "nothing");
    }
}
