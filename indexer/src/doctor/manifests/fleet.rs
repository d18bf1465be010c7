//! Fleet: the numbers of workers, of the autoscaler and of provisioning, put together and judged by the rules.

use std::str::FromStr;
use std::time::Duration;

use contract::topology::{DEFAULT_ACK_WAIT, DEFAULT_BATCH_JOBS, DEFAULT_GRACE};
use serde_json::Value;

use super::Finding;
use super::objects::{Container, Object, Objects, list};
use crate::decisions::MAX_WORKERS;
use crate::fleet::{Fleet, Setting, broken, in_flight, max_ack_pending};

/// What Kubernetes takes for a pod, and KEDA for a ScaledObject, that states no value.
const POD_GRACE: u64 = 30;
const COOLDOWN: u64 = 300;
const MOST_REPLICAS: u64 = 100;

/// Workers and the ScaledObject that scales them; one of the two may be missing among the manifests.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    pub workers: Option<Object<'a>>,
    pub scaler: Option<Object<'a>>,
}

/// All workers and all that scales them.
pub fn pairs(objects: &Objects) -> Vec<Pair<'_>> {
    let runs = |object: &Object<'_>| objects.containers(*object).iter().any(|it| it.runs("run"));
    let workers: Vec<_> = objects.of_kind("Deployment").filter(runs).collect();
    let scalers: Vec<_> = objects
        .of_kind("ScaledObject")
        .filter(|it| is_of_lanes(*it))
        .collect();
    let mut pairs: Vec<_> = workers
        .iter()
        .map(|workers| Pair {
            workers: Some(*workers),
            scaler: scalers
                .iter()
                .copied()
                .find(|scaler| scales(*scaler, *workers)),
        })
        .collect();
    let alone = |scaler: &&Object<'_>| !workers.iter().any(|workers| scales(**scaler, *workers));
    pairs.extend(scalers.iter().filter(alone).map(|scaler| Pair {
        workers: None,
        scaler: Some(*scaler),
    }));
    pairs
}

fn is_of_lanes(scaler: Object<'_>) -> bool {
    list(&scaler.spec()["triggers"])
        .iter()
        .any(|trigger| trigger["type"] == "nats-jetstream")
}

fn scales(scaler: Object<'_>, workers: Object<'_>) -> bool {
    scaler.namespace() == workers.namespace()
        && scaler.spec()["scaleTargetRef"]["name"] == workers.name()
}

/// Judges a pair, and says which half of it is missing among the manifests.
pub fn look(objects: &Objects, pair: &Pair<'_>) -> Vec<Finding> {
    let mut fleet = Fleet::default();
    let mut findings = Vec::new();
    match pair.scaler {
        Some(scaler) => of_scaler(&mut fleet, scaler, &mut findings),
        None => findings.extend(pair.workers.map(|workers| {
            let advice =
                "look at the ScaledObject as well, or make sure that something scales these workers";
            Finding::unknown(
                format!("{workers}: autoscaler"),
                "not among these manifests",
                advice,
            )
        })),
    }
    match pair.workers {
        Some(workers) => of_workers(&mut fleet, objects, workers, &mut findings),
        None => findings.extend(pair.scaler.map(|scaler| {
            let advice = "look at the manifests of the workers as well";
            Finding::unknown(
                format!("{scaler}: workers"),
                "not among these manifests",
                advice,
            )
        })),
    }
    of_provisioning(&mut fleet, objects, pair, &mut findings);
    findings.extend(broken(&fleet).into_iter().map(Finding::of));
    findings
}

fn of_scaler(fleet: &mut Fleet, scaler: Object<'_>, findings: &mut Vec<Finding>) {
    let spec = scaler.spec();
    let mut number = |path: &str, default: Option<u64>| {
        let value = path.split('.').fold(spec, |value, key| &value[key]);
        let at = format!("{scaler}: spec.{path}");
        if value.is_null() {
            return default.map(|default| Setting::new(at, default));
        }
        let number = value.as_u64();
        if number.is_none() {
            findings.push(unreadable(&at, value, "a whole number"));
        }
        number.map(|number| Setting::new(at, number))
    };
    fleet.max_workers = number("maxReplicaCount", Some(MOST_REPLICAS));
    fleet.min_workers = number("minReplicaCount", Some(0));
    fleet.idle_workers = number("idleReplicaCount", None);
    fleet.fallback_workers = number("fallback.replicas", None);
    let cooldown = number("cooldownPeriod", Some(COOLDOWN));
    fleet.cooldown = cooldown.map(|it| Setting::new(it.at, Duration::from_secs(it.value)));
    for (index, trigger) in list(&spec["triggers"]).iter().enumerate() {
        let metadata = &trigger["metadata"];
        let mut number = |key: &str, default: u64| {
            let at = format!("{scaler}: spec.triggers[{index}].metadata.{key}");
            // KEDA reads the value from text alone, and takes its own default where there is none.
            match metadata[key].as_str().map(str::parse) {
                None => Some(Setting::new(at, default)),
                Some(Ok(number)) => Some(Setting::new(at, number)),
                Some(Err(_)) => {
                    findings.push(unreadable(&at, &metadata[key], "a whole number, as text"));
                    None
                }
            }
        };
        fleet.lag_thresholds.extend(number("lagThreshold", 10));
        fleet.activation.extend(number("activationLagThreshold", 0));
    }
}

fn of_workers(
    fleet: &mut Fleet,
    objects: &Objects,
    workers: Object<'_>,
    findings: &mut Vec<Finding>,
) {
    let containers = objects.containers(workers);
    let Some(worker) = containers.iter().find(|container| container.runs("run")) else {
        return;
    };
    let grace = read(worker, workers, GRACE, findings, duration);
    fleet.grace = grace.or_else(|| default(workers, "--grace", DEFAULT_GRACE));
    let pod = workers
        .pod()
        .map_or(&Value::Null, |pod| &pod["terminationGracePeriodSeconds"]);
    let at = format!("{workers}: terminationGracePeriodSeconds");
    let seconds = pod.as_u64().unwrap_or(POD_GRACE);
    fleet.pod_grace = Some(Setting::new(at, Duration::from_secs(seconds)));
    fleet.startup = worker.startup_probe().map(|probe| startup(workers, probe));
    let jobs = read(worker, workers, BATCH_JOBS, findings, number);
    let jobs = jobs.or_else(|| default(workers, "--batch-jobs", u64::from(DEFAULT_BATCH_JOBS)));
    fleet.in_flight = jobs.map(|jobs| Setting::new(jobs.at, in_flight(jobs.value)));
}

/// How long a container may take to start. Where a probe says nothing, Kubernetes asks three times, every ten seconds.
fn startup(workers: Object<'_>, probe: &Value) -> Setting<Duration> {
    let number = |key: &str, default| probe[key].as_u64().unwrap_or(default);
    let asked = number("periodSeconds", 10).saturating_mul(number("failureThreshold", 3));
    let seconds = number("initialDelaySeconds", 0).saturating_add(asked);
    Setting::new(
        format!("{workers}: startupProbe"),
        Duration::from_secs(seconds),
    )
}

/// Adds to the fleet what `indexer provision` derives from its settings.
fn of_provisioning(
    fleet: &mut Fleet,
    objects: &Objects,
    pair: &Pair<'_>,
    findings: &mut Vec<Finding>,
) {
    let namespace = pair
        .workers
        .or(pair.scaler)
        .map_or("default", Object::namespace);
    // A Job, or a CronJob.
    let job = objects.all().filter(|job| job.namespace() == namespace);
    let found = job
        .flat_map(|job| objects.containers(job).into_iter().map(move |it| (job, it)))
        .find(|(_, container)| container.runs("provision"));
    let Some((job, container)) = found else {
        return;
    };
    let ack_wait = read(&container, job, ACK_WAIT, findings, duration);
    fleet.ack_wait = ack_wait.or_else(|| default(job, "--ack-wait", DEFAULT_ACK_WAIT));
    let most = read(&container, job, MAX_WORKERS_OF, findings, number);
    let most = most.or_else(|| default(job, "--max-workers", u64::from(MAX_WORKERS)));
    let jobs = read(&container, job, BATCH_JOBS, findings, number)
        .map_or(u64::from(DEFAULT_BATCH_JOBS), |jobs| jobs.value);
    fleet.max_ack_pending = most.map(|most| {
        let at = format!("{job}: max_ack_pending of {} workers", most.value);
        Setting::new(at, max_ack_pending(most.value, in_flight(jobs)))
    });
}

type Names = (&'static str, &'static str);
const GRACE: Names = ("--grace", "EBB_GRACE");
const ACK_WAIT: Names = ("--ack-wait", "EBB_ACK_WAIT");
const BATCH_JOBS: Names = ("--batch-jobs", "EBB_BATCH_JOBS");
const MAX_WORKERS_OF: Names = ("--max-workers", "EBB_MAX_WORKERS");

/// A setting of a container, if the container states it.
fn read<T>(
    container: &Container<'_>,
    of: Object<'_>,
    (option, variable): Names,
    findings: &mut Vec<Finding>,
    parse: fn(&str) -> Option<T>,
) -> Option<Setting<T>> {
    let text = container.setting(option, variable)?;
    let at = format!("{of}: {variable}");
    let value = parse(text);
    if value.is_none() {
        findings.push(unreadable(
            &at,
            &Value::from(text),
            "a value that the program reads",
        ));
    }
    value.map(|value| Setting::new(at, value))
}

fn default<T>(of: Object<'_>, option: &str, value: T) -> Option<Setting<T>> {
    Some(Setting::new(format!("{of}: {option} by default"), value))
}

fn duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

fn number(text: &str) -> Option<u64> {
    u64::from_str(text).ok()
}

fn unreadable(at: &str, value: &Value, wanted: &str) -> Finding {
    Finding::error(at, value, wanted, "correct the manifest")
}
