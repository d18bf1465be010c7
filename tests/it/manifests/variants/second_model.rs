//! A second model beside the first: the reranker that the README shows.

use anyhow::Context as _;
use contract::topology::{Lane, Task};

use super::super::render::{Rendered, deploy, list, render, table, text};
use super::{Copy, block};

/// The reranker of the README.
async fn second_model(copy: &Copy) -> anyhow::Result<Rendered> {
    let folder = copy.path("deploy/reranker");
    std::fs::create_dir_all(&folder)?;
    for file in ["scale.yaml", "source.yaml"] {
        let block = block(&format!("deploy/reranker/{file}"))?;
        std::fs::write(folder.join(file), block)?;
    }
    let kustomization = block("deploy/reranker/kustomization.yaml")?;
    copy.render("deploy/reranker", &kustomization).await
}

#[tokio::test]
async fn a_second_model_is_staged_and_provisioned_without_changing_what_both_share()
-> anyhow::Result<()> {
    let copy = Copy::new()?;
    let second = second_model(&copy).await?;
    let settings = second.find("ConfigMap", "ebb-reranker")?;
    let environment = table(settings, "/data");
    for job in ["model-stage-reranker", "provision-reranker"] {
        let pod = second.pod(job)?;
        let sources = list(pod.containers()[0], "/envFrom").iter();
        let named = sources.filter_map(|source| source.pointer("/configMapRef/name"));
        assert_eq!(
            named.collect::<Vec<_>>(),
            [&settings["metadata"]["name"]],
            "{job}"
        );
        second.find("ServiceAccount", text(pod.spec, "/serviceAccountName"))?;
    }
    let stage = second.pod("model-stage-reranker")?;
    let variables = list(stage.containers()[0], "/env");
    let name = variables.iter().find(|it| it["name"] == "MODEL_NAME");
    let model = environment["EBB_MODEL"].strip_prefix("/models/");
    let (model, _) = model
        .and_then(|it| it.rsplit_once('-'))
        .context("no fingerprint")?;
    assert_eq!(name.map(|it| text(it, "/value")), Some(model));
    // Provisioned by either, the streams are the same.
    let first = render(&deploy().join("overlays/cpu"))
        .await?
        .environment()?;
    for shared in [
        "NATS_URL",
        "QDRANT_URL",
        "EBB_JOBS_MAX_BYTES",
        "EBB_ACK_WAIT",
    ] {
        assert_eq!(environment[shared], first[shared], "{shared}");
    }
    Ok(())
}

#[tokio::test]
async fn a_second_model_has_workers_lanes_and_settings_of_its_own() -> anyhow::Result<()> {
    let copy = Copy::new()?;
    let second = second_model(&copy).await?;
    let deployment = second.find("Deployment", "worker-reranker")?;
    assert_eq!(text(deployment, "/metadata/namespace"), "ebb-ai");
    let labels = table(deployment, "/spec/template/metadata/labels");
    for (name, value) in table(deployment, "/spec/selector/matchLabels") {
        assert_eq!(labels.get(&name), Some(&value));
    }
    let settings = second.find("ConfigMap", "ebb-reranker")?;
    let pod = second.pod("worker-reranker")?;
    assert_eq!(
        pod.containers()[0]["envFrom"][0]["configMapRef"]["name"],
        settings["metadata"]["name"]
    );
    let scaled = second.find("ScaledObject", "worker-reranker")?;
    assert_eq!(text(scaled, "/spec/scaleTargetRef/name"), "worker-reranker");
    let lanes = Lane::of(Task::Rescore, &"reranker".parse()?);
    for (trigger, lane) in list(scaled, "/spec/triggers").iter().zip(&lanes) {
        assert_eq!(text(trigger, "/metadata/consumer"), lane.consumer());
    }
    // Both in one: neither selects the other's pods.
    let both = "resources: [../deploy/overlays/cpu, ../keda, ../deploy/reranker]\n";
    let both = copy.render("both", both).await?;
    let selectors: Vec<_> = both
        .of_kind("Deployment")
        .map(|it| table(it, "/spec/selector/matchLabels"))
        .collect();
    assert_eq!(selectors.len(), 2);
    let labels: Vec<_> = both
        .pods()
        .iter()
        .filter(|it| it.owner.starts_with("Deployment"))
        .map(|it| table(it.labels, ""))
        .collect();
    let matches = selectors.iter().flat_map(|selector| {
        labels.iter().filter(move |labels| {
            selector
                .iter()
                .all(|(name, value)| labels.get(name) == Some(value))
        })
    });
    assert_eq!(matches.count(), 2);
    Ok(())
}
