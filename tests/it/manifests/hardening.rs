//! Every pod satisfies the restricted profile of the Pod Security Standards, and what goes beyond it here.

use serde_json::Value;

use super::render::{OVERLAYS, Pod, list, overlay, table, text};

/// Volumes that the restricted profile allows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn is(value: &Value, pointer: &str, wanted: bool) -> bool {
    value.pointer(pointer).and_then(Value::as_bool) == Some(wanted)
}

/// Rules of the restricted profile that a pod breaks. The looser profiles that it includes are in it.
pub(super) fn broken_rules(pod: &Pod<'_>) -> Vec<String> {
    let mut broken = Vec::new();
    let mut rule = |holds: bool, what: &str| {
        if !holds {
            broken.push(format!("{}: {what}", pod.owner));
        }
    };
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        rule(pod.spec.get(shared).is_none(), shared);
    }
    rule(
        is(pod.spec, "/securityContext/runAsNonRoot", true),
        "runs as root",
    );
    let profile = text(pod.spec, "/securityContext/seccompProfile/type");
    rule(profile == "RuntimeDefault", "no seccomp profile");
    let allowed = [
        "runAsNonRoot",
        "runAsUser",
        "runAsGroup",
        "fsGroup",
        "fsGroupChangePolicy",
        "seccompProfile",
    ];
    let context = table(pod.spec, "/securityContext");
    rule(
        context.keys().all(|key| allowed.contains(&key.as_str())),
        "unusual pod security context",
    );
    rule(
        context.get("runAsUser").is_some_and(|user| user != "0"),
        "user 0, or none",
    );
    for volume in list(pod.spec, "/volumes") {
        let mut keys = volume
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str());
        rule(
            keys.all(|key| key == "name" || VOLUMES.contains(&key)),
            "a volume of the host",
        );
    }
    let containers = pod.containers().into_iter();
    for what in containers.flat_map(broken_container_rules) {
        rule(false, what);
    }
    broken
}

fn broken_container_rules(container: &Value) -> Vec<&'static str> {
    let context = container.get("securityContext").unwrap_or(&Value::Null);
    let allowed = [
        "allowPrivilegeEscalation",
        "readOnlyRootFilesystem",
        "capabilities",
    ];
    let usual = table(container, "/securityContext")
        .keys()
        .all(|key| allowed.contains(&key.as_str()));
    let inside = list(container, "/ports")
        .iter()
        .all(|port| port.get("hostPort").is_none());
    let bare = context["capabilities"] == serde_json::json!({ "drop": ["ALL"] });
    let rules = [
        (
            is(context, "/allowPrivilegeEscalation", false),
            "may escalate privileges",
        ),
        (bare, "has capabilities"),
        (usual, "unusual security context"),
        (inside, "a port of the host"),
    ];
    let broken = rules.into_iter().filter(|(holds, _)| !holds);
    broken.map(|(_, what)| what).collect()
}

#[tokio::test]
async fn every_pod_satisfies_the_restricted_profile_which_every_namespace_enforces()
-> anyhow::Result<()> {
    for name in OVERLAYS {
        let rendered = overlay(name).await?;
        let pods = rendered.pods();
        assert!(pods.len() >= 8, "{name}: {pods:?}");
        let broken: Vec<_> = pods.iter().flat_map(broken_rules).collect();
        assert!(broken.is_empty(), "{name}: {broken:#?}");
        for namespace in rendered.of_kind("Namespace") {
            let labels = table(namespace, "/metadata/labels");
            assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_pod_that_may_do_more_is_found() -> anyhow::Result<()> {
    let mut rendered = overlay("cpu").await?;
    let broken =
        |rendered: &super::render::Rendered| rendered.pods().iter().flat_map(broken_rules).count();
    assert_eq!(broken(&rendered), 0);
    let worker = rendered
        .0
        .iter_mut()
        .find(|it| text(it, "/kind") == "Deployment");
    let spec = worker
        .and_then(|it| it.pointer_mut("/spec/template/spec"))
        .expect("a worker");
    spec["hostPID"] = Value::Bool(true);
    spec["containers"][0]["securityContext"]["privileged"] = Value::Bool(true);
    spec["volumes"][0] =
        serde_json::json!({ "name": "models", "nfs": { "server": "s", "path": "/" } });
    assert_eq!(broken(&rendered), 3);
    Ok(())
}

#[tokio::test]
async fn no_pod_writes_to_its_image_holds_a_token_or_has_no_bounds() -> anyhow::Result<()> {
    for name in OVERLAYS {
        let rendered = overlay(name).await?;
        for pod in rendered.pods() {
            let owner = &pod.owner;
            assert!(
                is(pod.spec, "/automountServiceAccountToken", false),
                "{owner}"
            );
            assert!(is(pod.spec, "/enableServiceLinks", false), "{owner}");
            let account = rendered.find("ServiceAccount", text(pod.spec, "/serviceAccountName"))?;
            assert!(
                is(account, "/automountServiceAccountToken", false),
                "{owner}"
            );
            assert_eq!(text(account, "/metadata/namespace"), pod.namespace);
            for container in pod.containers() {
                assert!(
                    is(container, "/securityContext/readOnlyRootFilesystem", true),
                    "{owner}"
                );
                let limits = table(container, "/resources/limits");
                let requests = table(container, "/resources/requests");
                for resource in ["memory", "ephemeral-storage"] {
                    assert!(
                        limits.contains_key(resource),
                        "{owner} has no limit of {resource}"
                    );
                    assert!(
                        requests.contains_key(resource),
                        "{owner} asks for no {resource}"
                    );
                }
                assert!(requests.contains_key("cpu"), "{owner}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn only_the_stage_job_may_write_the_models() -> anyhow::Result<()> {
    let rendered = overlay("cpu").await?;
    let mut mounted = 0;
    for pod in rendered.pods() {
        let volumes = list(pod.spec, "/volumes").iter();
        let claims = volumes.filter(|it| text(it, "/persistentVolumeClaim/claimName") == "models");
        for volume in claims {
            mounted += 1;
            let mounts = pod
                .containers()
                .into_iter()
                .flat_map(|it| list(it, "/volumeMounts"));
            let mount = mounts.into_iter().find(|it| it["name"] == volume["name"]);
            let is_read_only = is(volume, "/persistentVolumeClaim/readOnly", true)
                && mount.is_some_and(|mount| is(mount, "/readOnly", true));
            assert_eq!(is_read_only, pod.name != "model-stage", "{}", pod.owner);
        }
    }
    assert_eq!(mounted, 6);
    Ok(())
}

#[tokio::test]
async fn gpus_are_asked_for_in_their_overlays_alone_and_other_work_stays_away() -> anyhow::Result<()>
{
    for (name, resource) in [
        ("cpu", None),
        ("gpu", Some("nvidia.com/gpu")),
        ("gpu-mig", Some("nvidia.com/mig-1g.10gb")),
    ] {
        let rendered = overlay(name).await?;
        for pod in rendered.pods() {
            let owner = &pod.owner;
            let on_gpu = resource.is_some() && pod.name == "worker";
            assert_eq!(pod.has_gpu(), on_gpu, "{name}: {owner}");
            let tolerations = list(pod.spec, "/tolerations");
            let selector = table(pod.spec, "/nodeSelector");
            let away = "/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution/nodeSelectorTerms/0/matchExpressions/0";
            let term = pod.spec.pointer(away).cloned().unwrap_or_default();
            if on_gpu {
                let limits = table(pod.containers()[0], "/resources/limits");
                let gpus: Vec<_> = limits
                    .keys()
                    .filter(|key| key.starts_with("nvidia.com/"))
                    .collect();
                assert_eq!(gpus, [resource.expect("a resource")]);
                let taint = serde_json::json!([{ "key": "nvidia.com/gpu", "operator": "Equal", "value": "true", "effect": "NoSchedule" }]);
                assert_eq!(pod.spec["tolerations"], taint);
                assert_eq!(selector["nvidia.com/gpu.present"], "true");
                assert_eq!(text(pod.spec, "/runtimeClassName"), "nvidia");
                assert!(term.is_null());
            } else {
                assert!(
                    tolerations.is_empty() && selector.is_empty(),
                    "{name}: {owner}"
                );
                let wanted = serde_json::json!({ "key": "nvidia.com/gpu.present", "operator": "DoesNotExist" });
                assert_eq!(term, wanted, "{name}: {owner}");
                assert!(
                    pod.spec.get("runtimeClassName").is_none(),
                    "{name}: {owner}"
                );
            }
        }
    }
    Ok(())
}
