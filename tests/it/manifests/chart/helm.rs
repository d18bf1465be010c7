//! What Helm renders is what kustomize builds, for many decisions; and both refuse the same.

use std::path::{Path, PathBuf};
use std::process::Output;

use fixtures::install::{cache_dir, install_helm};
use serde_json::{Value, json};
use tokio::process::Command;

use super::super::decisions::Rendering;
use super::super::render::{Rendered, deploy, documents, text};
use super::{CHANGES, FINGERPRINT, Objects, chart, key, objects};

/// Decisions beside a model.
const GOOD: [&str; 9] = [
    "",
    "gpu: nvidia\nmax_workers: 3\ndrain_target: 1h 30m\nalias: handbook\nsource: s3://corpus/handbook\nregistry: r.example.com/ebb\n",
    "gpu: mig-3g.40gb\nqueue: slices\nstorage: {class: nfs, size: 50Gi}\n",
    "source: pvc://corpora/handbook/2026/\nschedule: {cron: 30 4 * * mon-fri, time_zone: Europe/Berlin}\n",
    "source: pvc://models/corpus\nschedule: {cron: '@daily'}\ndrain_target: 2days\n",
    "servers: three\n",
    "servers: three\noptions: {shards: 6, replication: 3, quantization: 'int8:ram', index: 'meta.lang=keyword,meta.price=float'}\n",
    "max_workers: 156\ndrain_target: 4h\noptions: {vectors: disk, write_consistency: 2}\n",
    "servers: three\ngpu: nvidia\nmore_models:\n  - model: {name: '2026', task: rescore, source: 'hf://o/judge', fingerprint: 0000456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}\n    max_workers: 2\n  - model: {name: papers, source: 'pvc://weights/p', fingerprint: 1111456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef, tokens_per_second: 90000}\n    gpu: mig-1g.5gb\n    alias: papers\n    source: az://c/papers\n    queue: slices\n",
];

/// Decisions that cannot be met, beside a model.
const BAD: [&str; 12] = [
    "max_workers: 157\n",
    "max_workers: 0\n",
    "drain_target: 1m\n",
    "drain_target: soon\n",
    "gpu: mig-9g.90gb\n",
    "alias: a/b\n",
    "colour: blue\n",
    "servers: two\n",
    "source: handbook/\n",
    "registry: https://r.io\n",
    "options: {shards: 0}\n",
    "more_models:\n  - model: {name: judge, task: rescore, source: 'hf://o/judge', fingerprint: 0123}\n",
];

async fn helm() -> anyhow::Result<PathBuf> {
    let install = || install_helm(&cache_dir(), &mut |line| eprintln!("{line}"));
    Ok(tokio::task::spawn_blocking(install).await??)
}

async fn run(helm: &Path, arguments: &[&str], decisions: Option<&str>) -> anyhow::Result<Output> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(helm);
    command
        .args(arguments)
        .env("HELM_CACHE_HOME", folder.path());
    if let Some(decisions) = decisions {
        let file = folder.path().join("decisions.yaml");
        std::fs::write(&file, decisions)?;
        command.arg("--values").arg(file);
    }
    Ok(command.output().await?)
}

async fn template(helm: &Path, decisions: &str) -> anyhow::Result<Output> {
    let chart = chart().display().to_string();
    let arguments = [
        "template",
        "ebb",
        chart.as_str(),
        "--kube-version",
        "1.34.0",
    ];
    run(helm, &arguments, Some(decisions)).await
}

/// What Helm has rendered, without what it has of its own: the hooks, and what makes pods start anew.
fn installed(output: &Output) -> anyhow::Result<Objects> {
    let problems = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{problems}");
    let mut objects = Objects::new();
    for mut object in documents(std::str::from_utf8(&output.stdout)?)? {
        let is_hook = object
            .pointer("/metadata/annotations/helm.sh~1hook")
            .is_some();
        if object.is_null() || is_hook {
            continue;
        }
        comparable(&mut object);
        let twice = objects.insert(key(&object), object);
        anyhow::ensure!(twice.is_none(), "{twice:?} is there twice");
    }
    Ok(objects)
}

/// The object without what one of the two has alone, and without an order where there is none.
fn comparable(object: &mut Value) {
    let metadata = object.pointer_mut("/spec/template/metadata");
    if let Some(metadata) = metadata.and_then(Value::as_object_mut)
        && let Some(annotations) = metadata
            .get_mut("annotations")
            .and_then(Value::as_object_mut)
    {
        annotations.remove(CHANGES);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    // Kustomize puts what a patch names before the rest.
    let job = object.pointer_mut("/spec/jobTemplate/spec/template/spec/containers/0/env");
    if let Some(Value::Array(variables)) = job {
        variables.sort_by_key(|variable| text(variable, "/name").to_owned());
    }
}

fn beside_a_model(decisions: &str, more: &str) -> String {
    format!(
        "model: {{name: bge-small, source: 'hf://BAAI/bge', fingerprint: {FINGERPRINT}{more}}}\n{decisions}"
    )
}

#[tokio::test]
#[ignore = "builds helm; run with --ignored helm"]
async fn helm_renders_what_kustomize_builds() -> anyhow::Result<()> {
    let helm = helm().await?;
    let mut all: Vec<_> = GOOD
        .iter()
        .map(|decisions| beside_a_model(decisions, ""))
        .collect();
    all.push(beside_a_model("", ", tokens_per_second: 700"));
    all.push(std::fs::read_to_string(deploy().join("decisions.yaml"))?);
    for decisions in all {
        let rendered = installed(&template(&helm, &decisions).await?)?;
        let built = objects(Rendering::new(&decisions)?.built().await?)?;
        assert!(rendered.keys().eq(built.keys()), "{decisions}");
        for (key, mut object) in built {
            comparable(&mut object);
            assert_eq!(rendered[&key], object, "{key:?} of {decisions}");
        }
    }
    Ok(())
}

#[tokio::test]
#[ignore = "builds helm; run with --ignored helm"]
async fn helm_refuses_the_decisions_that_are_refused_without_it() -> anyhow::Result<()> {
    let helm = helm().await?;
    let mut all: Vec<_> = BAD
        .iter()
        .map(|decisions| beside_a_model(decisions, ""))
        .collect();
    all.push(beside_a_model("", ", tokens_per_second: 100"));
    all.push("alias: docs\n".to_owned());
    let more = "model: {name: m, source: 'hf://o/m', fingerprint: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}\n";
    for further in [
        more.to_owned(),
        format!("{more}    alias: docs\n"),
        more.replace("name: m,", "name: bge-small, task: rescore,"),
        more.replace("name: m,", "name: m, task: rescore,") + "    source: s3://corpus\n",
    ] {
        all.push(beside_a_model(&format!("more_models:\n  - {further}"), ""));
    }
    for decisions in all {
        let refused = Rendering::new(&decisions)?.run(&[]).await?;
        assert_eq!(
            refused.code,
            Some(i32::from(runtime::settings::EXIT_CONFIG)),
            "{decisions}"
        );
        let output = template(&helm, &decisions).await?;
        assert!(!output.status.success(), "{decisions}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "builds helm; run with --ignored helm"]
async fn helm_finds_the_chart_in_order_and_tests_with_the_doctor() -> anyhow::Result<()> {
    let helm = helm().await?;
    let decisions = std::fs::read_to_string(deploy().join("decisions.yaml"))?;
    let path = chart().display().to_string();
    let linted = run(
        &helm,
        &["lint", "--strict", path.as_str()],
        Some(&decisions),
    )
    .await?;
    let said = String::from_utf8_lossy(&linted.stdout).into_owned();
    assert!(linted.status.success(), "{said}");
    let rendered = template(&helm, &decisions).await?;
    let rendered = Rendered(documents(std::str::from_utf8(&rendered.stdout)?)?);
    let test = rendered.find("Job", "doctor-test")?;
    assert_eq!(test["metadata"]["annotations"]["helm.sh/hook"], "test");
    let pod = rendered.pod("doctor-test")?;
    assert_eq!(pod.containers()[0]["args"], json!(["doctor", "--json"]));
    // What the chart alone decides.
    let without = format!("{decisions}\nautoscaler: false\ncreate_namespaces: false\n");
    let without = installed(&template(&helm, &without).await?)?;
    let kinds = |kind: &str| without.keys().filter(|(found, ..)| found == kind).count();
    assert_eq!((kinds("ScaledObject"), kinds("Namespace")), (0, 0));
    assert_eq!(kinds("Deployment"), 1);
    // A change of a setting starts the workers anew, and one of the autoscaler does not.
    let changes = async |decisions: &str| {
        let output = template(&helm, decisions).await?;
        let rendered = Rendered(documents(std::str::from_utf8(&output.stdout)?)?);
        let pointer = format!(
            "/spec/template/metadata/annotations/{}",
            CHANGES.replace('/', "~1")
        );
        anyhow::Ok(text(rendered.find("Deployment", "worker")?, &pointer).to_owned())
    };
    let plain = beside_a_model("", "");
    assert_ne!(
        changes(&plain).await?,
        changes(&format!("{plain}max_workers: 9\n")).await?
    );
    assert_eq!(
        changes(&plain).await?,
        changes(&format!("{plain}drain_target: 2h\n")).await?
    );
    Ok(())
}
