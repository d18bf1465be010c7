//! Overlay: the kustomization on top of `deploy/overlays`, a patch for each object that a decision changes.

use contract::topology::{Lane, Task};

use super::quoted;
use crate::decisions::{Decisions, Gpu, Location};
use crate::fleet::{Derived, span};

/// The claim of the weights, and where every program mounts it.
const MODELS: (&str, &str) = ("models", "/models");
/// The slice that `deploy/overlays/gpu-mig` asks for.
const SLICE: &str = "nvidia.com/mig-1g.10gb";

pub fn kustomization(deploy: &str, decisions: &Decisions, derived: &Derived) -> String {
    let overlay = quoted(&format!("{deploy}/overlays/{}", decisions.gpu.overlay()));
    let head = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n  - {overlay}\n  - keda\npatches:\n"
    );
    let patches = [
        patch("v1", "ConfigMap", "ebb", &environment(decisions, derived)),
        patch(
            "apps/v1",
            "Deployment",
            "worker",
            &worker(decisions.gpu, derived),
        ),
        patch("v1", "PersistentVolumeClaim", MODELS.0, &storage(decisions)),
        patch("batch/v1", "CronJob", "model-stage", &staging(decisions)),
        patch("batch/v1", "CronJob", "rebuild", &rebuild(decisions)),
    ];
    head + &patches.concat()
}

/// The kustomization on top of `keda/`, beside the overlay's and not in it, because it may have to wait for the consumers.
pub fn autoscaler(keda: &str, decisions: &Decisions, derived: &Derived) -> String {
    let [live, bulk] = Lane::of(Task::Embed, &decisions.model.name).map(|lane| lane.consumer());
    let keda = quoted(&keda);
    let (live, bulk) = (quoted(&live), quoted(&bulk));
    let (few, many) = (
        quoted(&derived.live_lag_threshold),
        quoted(&derived.bulk_lag_threshold),
    );
    let (most, cooldown) = (derived.max_workers, derived.cooldown.as_secs());
    format!(
        "# The autoscaler. Applied by itself when `provision` has made the consumers, or with everything: until they are\n\
         # there, KEDA complains, and its fallback starts one worker.\n\
         apiVersion: kustomize.config.k8s.io/v1beta1\n\
         kind: Kustomization\n\
         resources:\n\
         \x20 - {keda}\n\
         patches:\n\
         \x20 - target: {{kind: ScaledObject, name: worker}}\n\
         \x20   patch: |\n\
         \x20     - {{op: replace, path: /spec/maxReplicaCount, value: {most}}}\n\
         \x20     - {{op: replace, path: /spec/cooldownPeriod, value: {cooldown}}}\n\
         \x20     - op: replace\n\
         \x20       path: /spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown/stabilizationWindowSeconds\n\
         \x20       value: {cooldown}\n\
         \x20     - {{op: replace, path: /spec/triggers/0/metadata/consumer, value: {live}}}\n\
         \x20     - {{op: replace, path: /spec/triggers/0/metadata/lagThreshold, value: {few}}}\n\
         \x20     - {{op: replace, path: /spec/triggers/1/metadata/consumer, value: {bulk}}}\n\
         \x20     - {{op: replace, path: /spec/triggers/1/metadata/lagThreshold, value: {many}}}\n"
    )
}

/// A strategic merge patch of one object.
fn patch(api: &str, kind: &str, name: &str, lines: &[String]) -> String {
    let mut text = format!(
        "  - target: {{kind: {kind}, name: {name}}}\n    patch: |\n      apiVersion: {api}\n      kind: {kind}\n      \
         metadata: {{name: {name}}}\n"
    );
    for line in lines {
        text.push_str(&format!("      {line}\n"));
    }
    text
}

/// The environment of all programs: what workers run with, and what `indexer provision` makes.
fn environment(decisions: &Decisions, derived: &Derived) -> Vec<String> {
    let collection = decisions.alias.to_string();
    let values = [
        ("EBB_MODEL", derived.model_path.clone()),
        (
            "EBB_FINGERPRINT",
            decisions.model.fingerprint.as_str().to_owned(),
        ),
        ("EBB_COLLECTION", collection.clone()),
        ("EBB_COLLECTIONS", collection),
        ("EBB_GRACE", span(derived.grace).to_string()),
        ("EBB_ACK_WAIT", span(derived.ack_wait).to_string()),
        ("EBB_MAX_WORKERS", derived.max_workers.to_string()),
        ("EBB_BATCH_JOBS", derived.batch_jobs.to_string()),
    ];
    let entry = |(name, value): (&str, String)| format!("  {name}: {}", quoted(&value));
    let head = std::iter::once("data:".to_owned());
    let values = values.into_iter().chain(decisions.options.environment());
    head.chain(values.map(entry)).collect()
}

fn worker(gpu: Gpu, derived: &Derived) -> Vec<String> {
    let mut lines = vec![
        "spec:".to_owned(),
        "  template:".to_owned(),
        "    spec:".to_owned(),
        format!(
            "      terminationGracePeriodSeconds: {}",
            derived.pod_grace.as_secs()
        ),
    ];
    if let (Gpu::Mig(_), Some(resource)) = (gpu, gpu.resource())
        && resource != SLICE
    {
        lines.push("      containers:".to_owned());
        lines.push("        - name: worker".to_owned());
        let limits = format!("{{{SLICE}: null, {resource}: \"1\"}}");
        lines.push(format!("          resources: {{limits: {limits}}}"));
    }
    lines
}

fn storage(decisions: &Decisions) -> Vec<String> {
    let size = quoted(&decisions.storage.size);
    let mut lines = vec!["spec:".to_owned()];
    if let Some(class) = &decisions.storage.class {
        lines.push(format!("  storageClassName: {}", quoted(class)));
    }
    lines.push(format!("  resources: {{requests: {{storage: {size}}}}}"));
    lines
}

fn staging(decisions: &Decisions) -> Vec<String> {
    let source = Mounted::new(decisions.model.source.location(), "/source");
    let mut lines = ["spec:", "  jobTemplate:", "    spec:"]
        .map(str::to_owned)
        .to_vec();
    let name = ("MODEL_NAME", decisions.model.name.to_string());
    let place = ("MODEL_SOURCE", source.argument.clone());
    lines.extend(source.pod("model-stage", &[place, name], "      "));
    lines
}

/// Without a source there is nothing to rebuild from, and the CronJob waits.
fn rebuild(decisions: &Decisions) -> Vec<String> {
    let schedule = &decisions.schedule;
    let mut lines = vec![
        "spec:".to_owned(),
        format!("  schedule: {}", quoted(&schedule.cron)),
        format!("  timeZone: {}", quoted(&schedule.time_zone)),
        format!("  suspend: {}", decisions.source.is_none()),
    ];
    if let Some(source) = &decisions.source {
        let source = Mounted::new(source.location(), "/corpus");
        lines.push("  jobTemplate:".to_owned());
        lines.push("    spec:".to_owned());
        let place = ("SOURCE", source.argument.clone());
        lines.extend(source.pod("rebuild", &[place], "      "));
    }
    lines
}

/// A place as a program sees it: an address, or a path below a mount.
struct Mounted {
    argument: String,
    /// Claim and mount path, where there is none yet.
    volume: Option<(String, &'static str)>,
}

impl Mounted {
    fn new(location: &Location, mount: &'static str) -> Self {
        match location {
            Location::Url(url) => Self {
                argument: url.clone(),
                volume: None,
            },
            Location::Claim { claim, path } if claim == MODELS.0 => Self {
                argument: below(MODELS.1, path),
                volume: None,
            },
            Location::Claim { claim, path } => Self {
                argument: below(mount, path),
                volume: Some((claim.clone(), mount)),
            },
        }
    }

    /// The template of a pod whose container has some environment and the volume.
    fn pod(&self, container: &str, environment: &[(&str, String)], indent: &str) -> Vec<String> {
        let mut lines = vec![
            "template:".to_owned(),
            "  spec:".to_owned(),
            "    containers:".to_owned(),
            format!("      - name: {container}"),
            "        env:".to_owned(),
        ];
        for (name, value) in environment {
            lines.push(format!(
                "          - {{name: {name}, value: {}}}",
                quoted(value)
            ));
        }
        if let Some((claim, mount)) = &self.volume {
            let mounted = format!("{{name: source, mountPath: {mount}, readOnly: true}}");
            lines.push(format!("        volumeMounts: [{mounted}]"));
            let claimed = format!("{{claimName: {}, readOnly: true}}", quoted(claim));
            let volume = format!("{{name: source, persistentVolumeClaim: {claimed}}}");
            lines.push(format!("    volumes: [{volume}]"));
        }
        lines
            .into_iter()
            .map(|line| format!("{indent}{line}"))
            .collect()
    }
}

fn below(mount: &str, path: &str) -> String {
    if path.is_empty() {
        return mount.to_owned();
    }
    format!("{mount}/{path}")
}
