//! Several models from one file of decisions: each has objects of its own, and nobody has those of another.

use std::collections::BTreeSet;

use anyhow::Context as _;
use contract::topology::{Lane, Task};
use fixtures::install::KUBERNETES;
use serde_json::Value;

use super::super::hardening::broken_rules;
use super::super::render::{Rendered, list, number, render, table, text, title};
use super::super::schemas::Schemas;
use super::super::variants::block;
use super::{FINGERPRINT, Rendering, container, decisions, doctor, variable};

/// A second model that embeds, on slices, one that rescores, on CPUs, and one that is attached to the first alias.
fn several() -> String {
    let more = format!(
        "alias: handbook\nmax_workers: 5\nregistry: registry.example.com/ebb\nmore_models:\n\
         \x20 - model: {{name: papers_large, source: 'hf://o/large', fingerprint: {FINGERPRINT}}}\n\
         \x20   alias: papers\n\
         \x20   source: s3://corpus/papers\n\
         \x20   gpu: mig-2g.20gb\n\
         \x20   max_workers: 3\n\
         \x20   queue: slices\n\
         \x20 - model: {{name: judge, task: rescore, source: 'hf://o/judge', fingerprint: {FINGERPRINT}}}\n\
         \x20   max_workers: 2\n\
         \x20 - model: {{name: tokens, source: 'hf://o/tokens', fingerprint: {FINGERPRINT}}}\n\
         \x20   attached: true\n\
         \x20   max_workers: 4\n"
    );
    decisions(&more)
}

/// Names of the objects of a kind.
fn named(built: &Rendered, kind: &str) -> BTreeSet<String> {
    built
        .of_kind(kind)
        .map(|it| text(it, "/metadata/name").to_owned())
        .collect()
}

fn settings(
    built: &Rendered,
    name: &str,
) -> anyhow::Result<std::collections::BTreeMap<String, String>> {
    Ok(table(built.find("ConfigMap", name)?, "/data"))
}

#[tokio::test]
async fn each_model_has_workers_settings_and_jobs_of_its_own() -> anyhow::Result<()> {
    let rendering = Rendering::new(&several())?;
    let built = rendering.built().await?;
    let workers = [
        "worker",
        "worker-judge",
        "worker-papers-large",
        "worker-tokens",
    ];
    let workers = workers.map(str::to_owned);
    assert_eq!(named(&built, "Deployment"), workers.clone().into());
    assert_eq!(named(&built, "ScaledObject"), workers.into());
    let mut jobs = BTreeSet::from(["dlq-sweep".to_owned()]);
    for suffix in ["", "-papers-large"] {
        jobs.extend(["rebuild", "eval"].map(|job| format!("{job}{suffix}")));
    }
    for suffix in ["", "-papers-large", "-judge", "-tokens"] {
        jobs.extend(["model-stage", "provision", "doctor"].map(|job| format!("{job}{suffix}")));
    }
    assert_eq!(named(&built, "CronJob"), jobs);
    for (name, model, alias, workers) in [
        ("ebb", "/models/bge-small-0123456789ab", "handbook", "5"),
        (
            "ebb-papers-large",
            "/models/papers_large-0123456789ab",
            "papers",
            "3",
        ),
        ("ebb-judge", "/models/judge-0123456789ab", "handbook", "2"),
        ("ebb-tokens", "/models/tokens-0123456789ab", "handbook", "4"),
    ] {
        let settings = settings(&built, name)?;
        // The collection is that of the first model, and provisioned for that.
        let lanes = settings.get("EBB_LANES").map(String::as_str);
        assert_eq!(lanes, (name == "ebb-tokens").then_some("true"));
        assert_eq!(settings["EBB_MODEL"], model);
        assert_eq!(settings["EBB_COLLECTIONS"], alias);
        assert_eq!(settings["EBB_MAX_WORKERS"], workers);
        // Provisioned for any of them, the streams are the same.
        let first = built.environment()?;
        for shared in [
            "NATS_URL",
            "QDRANT_URL",
            "EBB_JOBS_MAX_BYTES",
            "EBB_ACK_WAIT",
            "EBB_REPLICAS",
        ] {
            assert_eq!(settings[shared], first[shared], "{shared}");
        }
    }
    Ok(())
}

/// The environment, the account and the volume of each pod are those of its model.
#[tokio::test]
async fn every_pod_runs_with_what_belongs_to_its_model() -> anyhow::Result<()> {
    let rendering = Rendering::new(&several())?;
    let built = rendering.built().await?;
    for pod in built.pods().iter().filter(|pod| pod.namespace == "ebb-ai") {
        let suffix = ["-judge", "-papers-large", "-tokens"]
            .into_iter()
            .find(|suffix| pod.name.ends_with(suffix))
            .unwrap_or_default();
        let of = list(pod.containers()[0], "/envFrom").iter();
        let of: Vec<_> = of
            .filter_map(|it| it.pointer("/configMapRef/name"))
            .collect();
        let wanted = &built.find("ConfigMap", &format!("ebb{suffix}"))?["metadata"]["name"];
        assert_eq!(of, [wanted], "{}", pod.owner);
        built.find("ServiceAccount", text(pod.spec, "/serviceAccountName"))?;
        for volume in list(pod.spec, "/volumes") {
            let claim = text(volume, "/persistentVolumeClaim/claimName");
            assert!(claim.is_empty() || built.find("PersistentVolumeClaim", claim).is_ok());
        }
        assert_eq!(broken_rules(pod), Vec::<String>::new());
        let image = text(pod.containers()[0], "/image");
        assert!(
            image.starts_with("registry.example.com/ebb/") && image.contains(':'),
            "{image}"
        );
        let is_worker = pod.owner.starts_with("Deployment");
        assert_eq!(
            pod.has_gpu(),
            is_worker && suffix == "-papers-large",
            "{}",
            pod.owner
        );
    }
    let stage = built.pod("model-stage-judge")?;
    let stage = container(stage.spec, "model-stage")?;
    assert_eq!(variable(stage, "MODEL_NAME"), "judge");
    assert_eq!(variable(stage, "MODEL_SOURCE"), "hf://o/judge");
    let rebuild = built.pod("rebuild-papers-large")?;
    assert_eq!(
        variable(container(rebuild.spec, "rebuild")?, "SOURCE"),
        "s3://corpus/papers"
    );
    assert_eq!(built.find("CronJob", "rebuild")?["spec"]["suspend"], true);
    Ok(())
}

#[tokio::test]
async fn each_fleet_is_scaled_by_the_lanes_of_its_model() -> anyhow::Result<()> {
    let rendering = Rendering::new(&several())?;
    let built = rendering.built().await?;
    for (suffix, task, model, most) in [
        ("", Task::Embed, "bge-small", 5),
        ("-papers-large", Task::Embed, "papers_large", 3),
        ("-judge", Task::Rescore, "judge", 2),
        ("-tokens", Task::Embed, "tokens", 4),
    ] {
        let scaled = built.find("ScaledObject", &format!("worker{suffix}"))?;
        assert_eq!(
            text(scaled, "/spec/scaleTargetRef/name"),
            format!("worker{suffix}")
        );
        assert_eq!(text(scaled, "/metadata/namespace"), "ebb-ai");
        assert_eq!(number(scaled, "/spec/maxReplicaCount")?, most);
        let lanes = Lane::of(task, &model.parse()?);
        for (trigger, lane) in list(scaled, "/spec/triggers").iter().zip(&lanes) {
            assert_eq!(text(trigger, "/metadata/consumer"), lane.consumer());
        }
    }
    // None selects the pods of another.
    for kind in ["Deployment", "PodDisruptionBudget"] {
        for selector in built
            .of_kind(kind)
            .map(|it| table(it, "/spec/selector/matchLabels"))
        {
            let pods = built.pods();
            let selected = pods.iter().filter(|pod| {
                let labels = table(pod.labels, "");
                selector
                    .iter()
                    .all(|(name, value)| labels.get(name) == Some(value))
            });
            assert_eq!(selected.count(), 1, "{selector:?}");
        }
    }
    let queue = |name: &str| {
        let labels = table(built.find("Deployment", name)?, "/metadata/labels");
        anyhow::Ok(labels.get("kueue.x-k8s.io/queue-name").cloned())
    };
    assert_eq!(queue("worker-papers-large")?.as_deref(), Some("slices"));
    assert_eq!(queue("worker")?, None);
    let keda = render(&rendering.out().join("keda")).await?;
    assert_eq!(named(&keda, "ScaledObject").len(), 4);
    Ok(())
}

#[tokio::test]
async fn a_fleet_of_several_models_is_valid_and_sound() -> anyhow::Result<()> {
    let rendering = Rendering::new(&several())?;
    let built = rendering.built().await?;
    let place = |it: &Value| format!("{} in {}", title(it), text(it, "/metadata/namespace"));
    let titles: Vec<_> = built.0.iter().map(place).collect();
    let different: BTreeSet<_> = titles.iter().collect();
    assert_eq!(different.len(), titles.len(), "two objects of one name");
    for version in KUBERNETES {
        let faults = Schemas::of(version).await?.faults(&built.0)?;
        assert!(faults.is_empty(), "{version}: {faults:#?}");
    }
    let (code, report) = doctor(&rendering.out()).await?;
    assert_eq!(
        (code, &report["findings"]),
        (Some(0), &serde_json::json!([]))
    );
    // The first model is as it is alone.
    let alone = Rendering::new(&decisions(
        "alias: handbook\nmax_workers: 5\nregistry: registry.example.com/ebb\n",
    ))?;
    for object in alone.built().await?.0 {
        let same = |it: &&Value| place(it) == place(&object);
        let found = built.0.iter().find(same);
        assert_eq!(found.with_context(|| place(&object))?, &object);
    }
    Ok(())
}

#[tokio::test]
async fn what_breaks_a_rule_is_told_with_its_model() -> anyhow::Result<()> {
    let rendering = Rendering::new(&several().replace("max_workers: 2", "max_workers: 600"))?;
    let refused = rendering.run(&[]).await?;
    assert!(
        refused.said.contains("more_models[1].max_workers: `600`"),
        "{}",
        refused.said
    );
    rendering.decide(&several())?;
    let report: Value = serde_json::from_str(&rendering.run(&["--json"]).await?.said)?;
    assert_eq!(report["more_models"][0]["name"], "papers_large");
    assert_eq!(report["more_models"][0]["max_ack_pending"], 2880);
    assert_eq!(report["files"].as_array().map(Vec::len), Some(8));
    Ok(())
}

#[tokio::test]
async fn the_models_of_the_readme_are_rendered() -> anyhow::Result<()> {
    let rendering = Rendering::new(&block("decisions.yaml")?)?;
    let built = rendering.built().await?;
    let workers = ["worker", "worker-papers", "worker-reranker"];
    assert_eq!(
        named(&built, "Deployment"),
        workers.map(str::to_owned).into()
    );
    let (code, report) = doctor(&rendering.out()).await?;
    assert_eq!((code, &report["errors"]), (Some(0), &0.into()), "{report}");
    Ok(())
}
