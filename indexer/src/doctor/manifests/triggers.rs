//! Triggers: whether the autoscaler looks where the jobs are.

use std::collections::BTreeSet;

use contract::names::ModelName;
use contract::topology::{JOBS, Lane, Task};
use serde_json::Value;

use super::Finding;
use super::fleet::Pair;
use super::objects::{Object, Objects, list};

/// Digits of the fingerprint in the name of a staged model.
const SHORT: usize = 12;

pub fn look(objects: &Objects, pair: &Pair<'_>) -> Vec<Finding> {
    let Some(scaler) = pair.scaler else {
        return Vec::new();
    };
    let triggers = list(&scaler.spec()["triggers"]);
    let of_lanes: Vec<_> = triggers
        .iter()
        .filter(|trigger| trigger["type"] == "nats-jetstream")
        .map(|trigger| &trigger["metadata"])
        .collect();
    let mut findings = Vec::new();
    for metadata in &of_lanes {
        findings.extend(stream(scaler, metadata));
        findings.extend(endpoint(objects, scaler, metadata));
    }
    findings.extend(consumers(objects, pair, scaler, &of_lanes));
    findings.dedup();
    findings
}

fn stream(scaler: Object<'_>, metadata: &Value) -> Option<Finding> {
    let advice = "correct the trigger: jobs are in no other stream";
    let wrong = metadata["stream"] != JOBS;
    wrong.then(|| {
        Finding::error(
            format!("{scaler}: stream"),
            &metadata["stream"],
            JOBS,
            advice,
        )
    })
}

/// Each lane of the model has a trigger, and no trigger is for anything else.
fn consumers(
    objects: &Objects,
    pair: &Pair<'_>,
    scaler: Object<'_>,
    of_lanes: &[&Value],
) -> Option<Finding> {
    let workers = pair.workers?;
    let containers = objects.containers(workers);
    let path = containers
        .iter()
        .find_map(|it| it.setting("--model", "EBB_MODEL"));
    let Some(model) = path.and_then(model_of) else {
        let advice = "let EBB_MODEL be the directory that `worker stage` names";
        let found = path.unwrap_or("no EBB_MODEL");
        return Some(Finding::unknown(format!("{workers}: model"), found, advice));
    };
    let found: BTreeSet<_> = of_lanes
        .iter()
        .filter_map(|metadata| metadata["consumer"].as_str().map(str::to_owned))
        .collect();
    let lanes = |task| BTreeSet::from(Lane::of(task, &model).map(|lane| lane.consumer()));
    if found == lanes(Task::Embed) || found == lanes(Task::Rescore) {
        return None;
    }
    let join = |names: BTreeSet<String>| Vec::from_iter(names).join(", ");
    let advice = "a lane without a trigger wakes nobody, and a consumer that is not there is an error to KEDA";
    let what = format!("{scaler}: consumers");
    Some(Finding::error(
        what,
        join(found),
        join(lanes(Task::Embed)),
        advice,
    ))
}

/// The model's name, from the directory of a staged model: `<name>-<12 digits>`.
fn model_of(path: &str) -> Option<ModelName> {
    let (name, digest) = path
        .trim_end_matches('/')
        .rsplit('/')
        .next()?
        .rsplit_once('-')?;
    let is_digest = digest.len() == SHORT && digest.chars().all(|c| c.is_ascii_hexdigit());
    is_digest.then(|| name.parse().ok()).flatten()
}

/// The service that the endpoint names is headless and has the port.
fn endpoint(objects: &Objects, scaler: Object<'_>, metadata: &Value) -> Option<Finding> {
    let what = format!("{scaler}: natsServerMonitoringEndpoint");
    let endpoint = metadata["natsServerMonitoringEndpoint"]
        .as_str()
        .unwrap_or_default();
    let (host, port) = endpoint.split_once(':').unwrap_or((endpoint, "80"));
    let mut parts = host.split('.');
    let name = parts.next().unwrap_or_default();
    let namespace = parts.next().unwrap_or(scaler.namespace());
    let Some(service) = objects.find("Service", namespace, name) else {
        let advice = "it may be elsewhere; it has to be headless, and `indexer doctor --monitoring` looks at it";
        return Some(Finding::unknown(
            what,
            format!("no service `{host}` among these"),
            advice,
        ));
    };
    let advice = "in a cluster KEDA asks the server that leads a consumer, by its own name, which only a headless service \
                  resolves";
    let cluster_ip = &service.spec()["clusterIP"];
    if cluster_ip != "None" {
        let wanted = format!("{service} with clusterIP: None");
        return Some(Finding::error(
            what,
            format!("clusterIP: {cluster_ip}"),
            wanted,
            advice,
        ));
    }
    let ports = list(&service.spec()["ports"]);
    let number: Option<u64> = port.parse().ok();
    let is_it = |open: &Value| number.is_some() && open["port"].as_u64() == number;
    let open = ports.iter().any(is_it);
    (!open).then(|| {
        Finding::error(
            what,
            endpoint,
            format!("a port of {service}"),
            "correct the port",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::model_of;

    #[test]
    fn a_staged_model_is_known_by_its_directory() {
        let name = |path| model_of(path).map(|name| name.to_string());
        assert_eq!(
            name("/models/bge-small-0123456789ab").as_deref(),
            Some("bge-small")
        );
        assert_eq!(
            name("/models/bge-small-0123456789ab/").as_deref(),
            Some("bge-small")
        );
        for path in ["/models/bge", "bge-0123", "/models/-0123456789ab", ""] {
            assert_eq!(name(path), None, "{path}");
        }
    }
}
