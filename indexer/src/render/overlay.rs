//! Overlay: the kustomization on top of `deploy/overlays`, a patch for each object that a decision changes.

use contract::topology::Lane;

use super::quoted;
use crate::decisions::{Decisions, Gpu, Location, Servers, Serving};
use crate::fleet::{Derived, span};

/// The claim of the weights, and where every program mounts it.
const MODELS: (&str, &str) = ("models", "/models");
/// The first lines of every kustomization.
const HEAD: &str = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n";
/// Label by which Kueue lets pods begin while their quota lasts.
const QUEUE: &str = "kueue.x-k8s.io/queue-name";
/// Images of Ebb, by the ends of their names.
const IMAGES: [&str; 3] = ["worker", "worker-cuda", "indexer"];
/// The slice that `deploy/overlays/gpu-mig` asks for.
const SLICE: &str = "nvidia.com/mig-1g.10gb";

/// Folder of the further models.
pub const MORE: &str = "models";

/// A model among the decisions, and what follows for it.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    pub decisions: &'a Decisions,
    pub serving: &'a Serving,
    pub derived: &'a Derived,
}

impl Part<'_> {
    /// The suffix of its names, if it is not the first model.
    pub fn further(&self) -> Option<String> {
        let is_first = std::ptr::eq(self.serving, &self.decisions.first);
        (!is_first).then(|| self.serving.suffix())
    }

    pub fn kustomization(&self, deploy: &str) -> String {
        let head = match self.further() {
            Some(suffix) => self.beside(deploy, &suffix),
            None => self.top(deploy),
        };
        let of_first = match self.further() {
            Some(_) => String::new(),
            None => patch(
                "v1",
                "PersistentVolumeClaim",
                MODELS.0,
                &storage(self.decisions),
            ),
        };
        let patches = [
            patch("v1", "ConfigMap", "ebb", &environment(self)),
            worker(self),
            of_first,
            patch("batch/v1", "CronJob", "model-stage", &staging(self.serving)),
            match self.serving.fills_alias() {
                true => patch("batch/v1", "CronJob", "rebuild", &rebuild(self.serving)),
                false => String::new(),
            },
        ];
        format!("{head}patches:\n{}", self.aimed(&patches.concat()))
    }

    /// The whole installation but the autoscaler, which comes after it.
    fn top(&self, deploy: &str) -> String {
        let overlay = quoted(&format!("{deploy}/overlays/{}", self.serving.gpu.overlay()));
        let mut text = format!("{HEAD}resources:\n  - {overlay}\n");
        for suffix in self.others() {
            let folder = quoted(&format!("{MORE}/{suffix}"));
            text.push_str(&format!("  - {folder}\n"));
        }
        if self.decisions.servers == Servers::Three {
            let cluster = quoted(&format!("{deploy}/components/cluster"));
            text.push_str(&format!("components:\n  - {cluster}\n"));
        }
        if let Some(registry) = &self.decisions.registry {
            text.push_str("images:\n");
            for image in IMAGES {
                let place = quoted(&format!("{registry}/{image}"));
                text.push_str(&format!("  - {{name: ebb/{image}, newName: {place}}}\n"));
            }
        }
        text
    }

    /// A further model.
    fn beside(&self, deploy: &str, suffix: &str) -> String {
        let mut text = format!("{HEAD}resources:\n");
        let folders: &[_] = match self.serving.fills_alias() {
            true => &["settings", "model", "worker", "alias"],
            false => &["settings", "model", "worker"],
        };
        for folder in folders {
            let folder = quoted(&format!("{deploy}/base/{folder}"));
            text.push_str(&format!("  - {folder}\n"));
        }
        text.push_str("components:\n");
        let pool = format!("overlays/{}/pool", self.serving.gpu.overlay());
        for folder in [
            "components/namespaces",
            "components/versions",
            "components/cpu-pool",
            &pool,
        ] {
            let folder = quoted(&format!("{deploy}/{folder}"));
            text.push_str(&format!("  - {folder}\n"));
        }
        text + &format!(
            "nameSuffix: \"-{suffix}\"\nlabels:\n  - pairs: {{ebb/model: \"{suffix}\"}}\n    includeSelectors: true\n"
        )
    }

    /// Suffixes of the names of the further models, beside this first one.
    fn others(&self) -> Vec<String> {
        match self.further() {
            Some(_) => Vec::new(),
            None => self
                .decisions
                .more_models
                .iter()
                .map(Serving::suffix)
                .collect(),
        }
    }

    /// Patches that are not for further models: kustomize finds those by the names that they had before their suffix, too.
    fn aimed(&self, patches: &str) -> String {
        let others = self.others();
        if others.is_empty() {
            return patches.to_owned();
        }
        let label = format!(
            ", labelSelector: \"ebb/model notin ({})\"}}\n",
            others.join(",")
        );
        let aim = |line: &str| match line.strip_prefix("  - target: ") {
            Some(target) => format!("  - target: {}{label}", target.trim_end_matches('}')),
            None => format!("{line}\n"),
        };
        patches.lines().map(aim).collect()
    }

    /// The kustomization on top of `keda/`, beside the overlay's and not in it: without consumers, the fallback of KEDA
    /// starts a worker, which has no model yet.
    pub fn autoscaler(&self, keda: &str) -> String {
        let others: String = self
            .others()
            .iter()
            .map(|suffix| format!("  - {}\n", quoted(suffix)))
            .collect();
        let keda = quoted(&keda);
        let of_further = match self.further() {
            Some(suffix) => {
                format!(
                    "nameSuffix: \"-{suffix}\"\nlabels:\n  - pairs: {{ebb/model: \"{suffix}\"}}\n"
                )
            }
            None => String::new(),
        };
        let patch = self.aimed(&self.scaling());
        format!(
            "# The autoscaler, applied when `provision` has made the consumers: until they are there, KEDA complains, and its\n\
             # fallback starts one worker, for which a pool of GPUs buys a node.\n\
             {HEAD}resources:\n  - {keda}\n{others}{of_further}patches:\n{patch}"
        )
    }

    /// The patch of the ScaledObject.
    fn scaling(&self) -> String {
        let lanes = Lane::of(self.serving.model.task, &self.serving.model.name);
        let [live, bulk] = lanes.map(|lane| quoted(&lane.consumer()));
        let derived = self.derived;
        let few = quoted(&derived.live_lag_threshold);
        let many = quoted(&derived.bulk_lag_threshold);
        let (most, cooldown) = (derived.max_workers, derived.cooldown.as_secs());
        let target = match self.further() {
            Some(suffix) => format!(
                "      - {{op: replace, path: /spec/scaleTargetRef/name, value: worker-{suffix}}}\n"
            ),
            None => String::new(),
        };
        format!(
            "  - target: {{kind: ScaledObject, name: worker}}\n    patch: |\n{target}\
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
}

/// A strategic merge patch of one object.
fn patch(api: &str, kind: &str, name: &str, lines: &[String]) -> String {
    let metadata = format!("{{name: {name}}}");
    patch_with(&metadata, api, kind, name, lines)
}

/// A patch with more than a name in its metadata.
fn patch_with(metadata: &str, api: &str, kind: &str, name: &str, lines: &[String]) -> String {
    let mut text = format!(
        "  - target: {{kind: {kind}, name: {name}}}\n    patch: |\n      apiVersion: {api}\n      kind: {kind}\n      \
         metadata: {metadata}\n"
    );
    for line in lines {
        text.push_str(&format!("      {line}\n"));
    }
    text
}

/// The environment of all programs: what workers run with, and what `indexer provision` makes.
fn environment(part: &Part<'_>) -> Vec<String> {
    let (serving, derived) = (part.serving, part.derived);
    let collection = part.decisions.alias(serving).to_string();
    let values = [
        ("EBB_MODEL", derived.model_path.clone()),
        (
            "EBB_FINGERPRINT",
            serving.model.fingerprint.as_str().to_owned(),
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
    // The collection is that of another model, which provisions it.
    let lanes = serving.attached.then(|| ("EBB_LANES", "true".to_owned()));
    let values = values.into_iter().chain(lanes);
    let values = values.chain(part.decisions.options(serving).environment());
    head.chain(values.map(entry)).collect()
}

fn worker(part: &Part<'_>) -> String {
    let gpu = part.serving.gpu;
    let mut lines = vec![
        "spec:".to_owned(),
        "  template:".to_owned(),
        "    spec:".to_owned(),
        format!(
            "      terminationGracePeriodSeconds: {}",
            part.derived.pod_grace.as_secs()
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
    let metadata = match &part.serving.queue {
        Some(queue) => format!("{{name: worker, labels: {{{QUEUE}: {}}}}}", quoted(queue)),
        None => "{name: worker}".to_owned(),
    };
    patch_with(&metadata, "apps/v1", "Deployment", "worker", &lines)
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

fn staging(serving: &Serving) -> Vec<String> {
    let source = Mounted::new(serving.model.source.location(), "/source");
    let mut lines = ["spec:", "  jobTemplate:", "    spec:"]
        .map(str::to_owned)
        .to_vec();
    let name = ("MODEL_NAME", serving.model.name.to_string());
    let place = ("MODEL_SOURCE", source.argument.clone());
    lines.extend(source.pod("model-stage", &[place, name], "      "));
    lines
}

/// Without a source there is nothing to rebuild from, and the CronJob waits.
fn rebuild(serving: &Serving) -> Vec<String> {
    let schedule = &serving.schedule;
    let mut lines = vec![
        "spec:".to_owned(),
        format!("  schedule: {}", quoted(&schedule.cron)),
        format!("  timeZone: {}", quoted(&schedule.time_zone)),
        format!("  suspend: {}", serving.source.is_none()),
    ];
    if let Some(source) = &serving.source {
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
