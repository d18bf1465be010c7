//! Pool: pods that ask for a GPU have to tolerate the nodes with GPUs, and no other pods may.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Finding;
use super::objects::{Object, Objects, list};

/// Resources and labels of GPUs, and the taint of their nodes.
const VENDOR: &str = "nvidia.com/";
const TAINT: &str = "nvidia.com/gpu";

pub fn look(objects: &Objects) -> Vec<Finding> {
    let starts = objects
        .all()
        .filter_map(|object| Some((object, object.pod()?)));
    starts
        .flat_map(|(object, pod)| judge(objects, object, pod))
        .collect()
}

fn judge(objects: &Objects, object: Object<'_>, pod: &Value) -> Vec<Finding> {
    let containers = objects.containers(object);
    let gpus: BTreeSet<_> = containers
        .iter()
        .flat_map(|container| container.resources())
        .filter(|resource| resource.starts_with(VENDOR))
        .collect();
    let names = Vec::from_iter(gpus.iter().copied()).join(", ");
    let mut findings = Vec::new();
    if gpus.len() > 1 {
        let advice = "CUDA uses one: ask for a whole GPU or for one kind of slice";
        findings.push(Finding::error(
            format!("{object}: resources"),
            &names,
            "one kind",
            advice,
        ));
    }
    let tolerates = list(&pod["tolerations"]).iter().any(tolerates_gpus);
    if !gpus.is_empty() && !tolerates {
        let advice = "nodes with a GPU keep everybody away who does not tolerate it: the pod would wait for ever";
        let wanted = format!("a toleration of {TAINT}");
        findings.push(Finding::error(
            format!("{object}: tolerations"),
            &names,
            wanted,
            advice,
        ));
    }
    if gpus.is_empty() && (tolerates || selects_gpus(pod)) {
        let advice = "work without a GPU would take the room of work with one";
        let what = format!("{object}: tolerations and nodeSelector");
        findings.push(Finding::error(
            what,
            "nodes with a GPU",
            "no GPU asked for, none tolerated",
            advice,
        ));
    }
    findings.extend(containers.iter().filter(|it| it.runs("run")).filter_map(|worker| {
        let provider = worker.setting("--provider", "EBB_PROVIDER").unwrap_or("cpu");
        let wanted = if gpus.is_empty() { "cpu" } else { "cuda" };
        let advice = "a worker runs on what it asks for, and refuses to start where that is not there";
        let what = format!("{object}: EBB_PROVIDER");
        (provider != wanted).then(|| Finding::error(what, provider, wanted, advice))
    }));
    findings
}

fn tolerates_gpus(toleration: &Value) -> bool {
    let everything = toleration["key"].is_null() && toleration["operator"] == "Exists";
    everything || toleration["key"] == TAINT
}

fn selects_gpus(pod: &Value) -> bool {
    let labels = pod["nodeSelector"].as_object();
    labels.is_some_and(|labels| labels.keys().any(|label| label.starts_with(VENDOR)))
}
