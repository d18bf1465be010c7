//! The examples for Argo CD and Flux leave the number of workers to KEDA.

use serde_json::{Value, json};

use super::render::{deploy, documents, list, text};

fn example(name: &str) -> anyhow::Result<Vec<Value>> {
    documents(&std::fs::read_to_string(
        deploy().join("gitops").join(name),
    )?)
}

#[test]
fn argo_cd_neither_compares_nor_sets_the_number_of_workers() -> anyhow::Result<()> {
    let [application, autoscaler] = &example("argo-cd.yaml")?[..] else {
        anyhow::bail!("two applications");
    };
    // People start it: before there are consumers, it would start a worker.
    assert!(autoscaler["spec"]["syncPolicy"]["automated"].is_null());
    let [all, keda] = [application, autoscaler].map(|it| text(it, "/spec/source/path"));
    assert_eq!(keda, format!("{all}/keda"));
    assert_eq!(text(application, "/kind"), "Application");
    let ignored =
        json!([{ "group": "apps", "kind": "Deployment", "jsonPointers": ["/spec/replicas"] }]);
    assert_eq!(application["spec"]["ignoreDifferences"], ignored);
    let options = list(application, "/spec/syncPolicy/syncOptions");
    assert!(
        options.contains(&json!("RespectIgnoreDifferences=true")),
        "{options:?}"
    );
    Ok(())
}

#[test]
fn flux_waits_for_no_worker_and_takes_its_number_for_no_drift() -> anyhow::Result<()> {
    let objects = example("flux.yaml")?;
    let find = |kind: &str| {
        objects
            .iter()
            .find(|it| it["kind"] == kind)
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(find("Kustomization")["spec"]["wait"], false);
    let autoscaler = objects
        .iter()
        .find(|it| it["metadata"]["name"] == "ebb-autoscaler")
        .cloned()
        .unwrap_or_default();
    assert_eq!(autoscaler["spec"]["suspend"], true);
    let all = text(&find("Kustomization"), "/spec/path").to_owned();
    assert_eq!(text(&autoscaler, "/spec/path"), format!("{all}/keda"));
    let release = find("HelmRelease");
    assert_eq!(text(&release, "/spec/chart/spec/chart"), "./deploy/chart");
    let ignored = json!([{ "paths": ["/spec/replicas"], "target": { "kind": "Deployment" } }]);
    assert_eq!(release["spec"]["driftDetection"]["ignore"], ignored);
    for source in [&release, &find("Kustomization")] {
        let name = ["/spec/sourceRef/name", "/spec/chart/spec/sourceRef/name"]
            .map(|at| text(source, at).to_owned());
        assert!(name.contains(&text(&find("GitRepository"), "/metadata/name").to_owned()));
    }
    Ok(())
}
