//! Small manifests, sound and spoilt.

use super::{Objects, judge};
use crate::doctor::{Finding, Severity};

const SOUND: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: ebb-abc, namespace: ai}
data:
  EBB_MODEL: /models/minilm-0123456789ab
  EBB_GRACE: 25s
  EBB_ACK_WAIT: 60s
  EBB_MAX_WORKERS: "8"
  EBB_BATCH_JOBS: "64"
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, namespace: ai}
spec:
  template:
    spec:
      terminationGracePeriodSeconds: 50
      tolerations: [{key: nvidia.com/gpu, operator: Exists}]
      containers:
        - name: worker
          args: [run]
          startupProbe: {periodSeconds: 5, failureThreshold: 60}
          envFrom: [{configMapRef: {name: ebb-abc}}]
          env: [{name: EBB_PROVIDER, value: cuda}]
          resources: {limits: {nvidia.com/gpu: "1"}}
---
apiVersion: v1
kind: List
items:
  - apiVersion: batch/v1
    kind: CronJob
    metadata: {name: provision, namespace: ai}
    spec:
      jobTemplate:
        spec:
          template:
            spec:
              containers:
                - name: provision
                  args: [provision]
                  envFrom: [{configMapRef: {name: ebb-abc}}]
---
apiVersion: v1
kind: Service
metadata: {name: nats-headless, namespace: data}
spec: {clusterIP: None, ports: [{port: 8222}]}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata: {name: worker, namespace: ai}
spec:
  scaleTargetRef: {name: worker}
  cooldownPeriod: 300
  idleReplicaCount: 0
  minReplicaCount: 1
  maxReplicaCount: 8
  fallback: {failureThreshold: 3, replicas: 1}
  triggers:
    - type: nats-jetstream
      metadata:
        natsServerMonitoringEndpoint: nats-headless.data.svc:8222
        stream: JOBS
        consumer: embed-minilm-live
        lagThreshold: "50"
        activationLagThreshold: "0"
    - type: nats-jetstream
      metadata:
        natsServerMonitoringEndpoint: nats-headless.data.svc:8222
        stream: JOBS
        consumer: embed-minilm-bulk
        lagThreshold: "1000"
"#;

fn findings(yaml: &str) -> Vec<Finding> {
    let mut objects = Objects::default();
    objects.add(yaml).unwrap();
    judge(&objects).unwrap()
}

#[test]
fn sound_manifests_have_no_findings() {
    assert_eq!(findings(SOUND), []);
}

/// A line of the sound manifests, what it is spoilt to, what is named then, and what is found.
const SPOILT: &[(&str, &str, &str, &str)] = &[
    ("EBB_GRACE: 25s", "EBB_GRACE: 60s", "EBB_GRACE", "1m"),
    ("args: [run]", "args: [run, --grace, 1m]", "EBB_GRACE", "1m"),
    (
        "args: [run]",
        "args: [run, --grace=36s]",
        "terminationGracePeriodSeconds",
        "50s",
    ),
    (
        "failureThreshold: 60",
        "initialDelaySeconds: 10",
        "startupProbe",
        "25s",
    ),
    ("EBB_GRACE: 25s", "EBB_GRACE: soon", "EBB_GRACE", "\"soon\""),
    (
        "Seconds: 50",
        "Seconds: 30",
        "terminationGracePeriodSeconds",
        "30s",
    ),
    (
        "cooldownPeriod: 300",
        "cooldownPeriod: 120",
        "spec.cooldownPeriod",
        "2m",
    ),
    (
        "EBB_MAX_WORKERS: \"8\"",
        "EBB_MAX_WORKERS: \"4\"",
        "max_ack_pending of 4 workers",
        "3840",
    ),
    (
        "maxReplicaCount: 8",
        "maxReplicaCount: 9",
        "max_ack_pending of 8 workers",
        "7680",
    ),
    (
        "minReplicaCount: 1",
        "minReplicaCount: 0",
        "spec.minReplicaCount",
        "0",
    ),
    ("  minReplicaCount: 1\n", "", "spec.minReplicaCount", "0"),
    (
        "idleReplicaCount: 0",
        "idleReplicaCount: 1",
        "spec.idleReplicaCount",
        "1",
    ),
    (
        " replicas: 1",
        " replicas: 0",
        "spec.fallback.replicas",
        "0",
    ),
    (
        "activationLagThreshold: \"0\"",
        "activationLagThreshold: \"5\"",
        "activationLagThreshold",
        "5",
    ),
    (
        "lagThreshold: \"1000\"",
        "lagThreshold: \"0\"",
        "triggers[1].metadata.lagThreshold",
        "0",
    ),
    (
        "lagThreshold: \"1000\"",
        "lagThreshold: many",
        "lagThreshold",
        "\"many\"",
    ),
    (
        "clusterIP: None, ",
        "",
        "natsServerMonitoringEndpoint",
        "clusterIP: null",
    ),
    (
        "{port: 8222}",
        "{port: 4222}",
        "natsServerMonitoringEndpoint",
        "nats-headless.data.svc:8222",
    ),
    (
        "consumer: embed-minilm-bulk",
        "consumer: embed-mini-bulk",
        "consumers",
        "embed-mini-bulk",
    ),
    ("stream: JOBS", "stream: WORK", "stream", "\"WORK\""),
    (
        "tolerations: [{key: nvidia.com/gpu, operator: Exists}]",
        "tolerations: []",
        "tolerations",
        "nvidia.com/gpu",
    ),
    (
        "{nvidia.com/gpu: \"1\"}",
        "{nvidia.com/gpu: \"1\", nvidia.com/mig-1g.10gb: \"1\"}",
        "resources",
        "mig-1g",
    ),
    ("value: cuda", "value: cpu", "EBB_PROVIDER", "cpu"),
];

#[test]
fn each_spoilt_manifest_is_named_with_its_value() {
    for (sound, spoilt, what, found) in SPOILT.iter().copied() {
        assert!(SOUND.contains(sound), "{sound}");
        let all = findings(&SOUND.replacen(sound, spoilt, 1));
        let named = all
            .iter()
            .any(|finding| finding.what.contains(what) && finding.found.contains(found));
        assert!(named, "{spoilt}: {all:#?}");
        assert!(
            all.iter()
                .all(|finding| finding.severity == Severity::Error),
            "{all:#?}"
        );
        // A longer grace than the ack wait is longer than the pod's too.
        assert!(all.len() <= 2, "{spoilt}: {all:#?}");
    }
}

#[test]
fn work_without_a_gpu_stays_away_from_gpus() {
    let spoilt = SOUND.replace(
        "resources: {limits: {nvidia.com/gpu: \"1\"}}",
        "resources: {}",
    );
    let all = findings(&spoilt);
    assert!(
        all.iter()
            .any(|finding| finding.found == "nodes with a GPU"),
        "{all:#?}"
    );
    assert!(
        all.iter()
            .any(|finding| finding.what.contains("EBB_PROVIDER")),
        "{all:#?}"
    );
}

#[test]
fn what_is_elsewhere_is_unknown_and_nothing_at_all_is_an_error() {
    let (rest, scaler) = SOUND.rsplit_once("---").unwrap();
    for part in [rest, scaler] {
        let all = findings(part);
        assert!(
            !all.is_empty() && all.iter().all(|it| it.severity == Severity::Unknown),
            "{all:#?}"
        );
    }
    let mut objects = Objects::default();
    objects
        .add("apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n")
        .unwrap();
    assert!(judge(&objects).is_err());
    assert!(objects.add("a: b\n").is_err());
}
