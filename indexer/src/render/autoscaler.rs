//! Autoscaler: the overlay on top of `keda/`.

use contract::topology::{Lane, Task};

use super::quoted;
use crate::decisions::Decisions;
use crate::fleet::Derived;

/// Its kustomization, beside the overlay's and not in it, because it may have to wait for the consumers.
pub fn kustomization(deploy: &str, decisions: &Decisions, derived: &Derived) -> String {
    let [live, bulk] = Lane::of(Task::Embed, &decisions.model.name).map(|lane| lane.consumer());
    let keda = quoted(&format!("{deploy}/../keda"));
    let (live, bulk) = (quoted(&live), quoted(&bulk));
    let (few, many) = (
        quoted(&derived.live_lag_threshold),
        quoted(&derived.bulk_lag_threshold),
    );
    let (most, cooldown) = (derived.max_workers, derived.cooldown.as_secs());
    format!(
        "# The autoscaler. Applied by itself when the Job `provision` is done, or with everything: until the consumers are\n\
         # there, KEDA complains and does nothing.\n\
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
