//! Decisions rendered by the real program, built by kubectl, and held against what should follow from them.

mod files;
mod models;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;

use super::render::{Rendered, checkers, deploy, list, number, render, table, text};

const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A folder with decisions, and what is rendered from them.
pub(super) struct Rendering {
    folder: tempfile::TempDir,
}

/// How the program ended.
pub(super) struct Ended {
    pub(super) code: Option<i32>,
    said: String,
}

impl Rendering {
    pub(super) fn new(yaml: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let rendering = Self { folder };
        rendering.decide(yaml)?;
        Ok(rendering)
    }

    fn decide(&self, yaml: &str) -> anyhow::Result<()> {
        Ok(std::fs::write(
            self.folder.path().join("decisions.yaml"),
            yaml,
        )?)
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("clusters/home")
    }

    pub(super) async fn run(&self, more: &[&str]) -> anyhow::Result<Ended> {
        let mut command = tests::tools().await?.program("indexer");
        command
            .arg("render")
            .arg(self.folder.path().join("decisions.yaml"));
        command.arg("--out").arg(self.out());
        command.arg("--deploy").arg(deploy()).args(more);
        let output = command.output().await?;
        let said = [output.stdout, output.stderr].concat();
        Ok(Ended {
            code: output.status.code(),
            said: String::from_utf8(said)?,
        })
    }

    /// Renders, and builds what was rendered, the autoscaler included.
    pub(super) async fn built(&self) -> anyhow::Result<Rendered> {
        let ended = self.run(&[]).await?;
        anyhow::ensure!(ended.code == Some(0), "{}", ended.said);
        let mut all = render(&self.out()).await?;
        all.0.extend(render(&self.out().join("keda")).await?.0);
        Ok(all)
    }

    fn file(&self) -> PathBuf {
        self.out().join("kustomization.yaml")
    }
}

fn decisions(more: &str) -> String {
    format!(
        "model:\n  name: bge-small\n  source: hf://BAAI/bge-small-en-v1.5\n  fingerprint: {FINGERPRINT}\n{more}"
    )
}

/// What the doctor says of built manifests and their autoscaler: its exit code and its report.
async fn doctor(folder: &Path) -> anyhow::Result<(Option<i32>, Value)> {
    let mut yaml = Vec::new();
    for folder in [folder, &folder.join("keda")] {
        let mut kubectl = tokio::process::Command::new(&checkers().await?.kubectl);
        yaml.extend(kubectl.arg("kustomize").arg(folder).output().await?.stdout);
        yaml.extend(b"\n---\n");
    }
    let mut command = tests::tools().await?.program("indexer");
    command.args(["doctor", "--json", "--manifests", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().context("it has an input")?;
    stdin.write_all(&yaml).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    Ok((
        output.status.code(),
        serde_json::from_slice(&output.stdout)?,
    ))
}

fn container<'a>(pod: &'a Value, name: &str) -> anyhow::Result<&'a Value> {
    let found = list(pod, "/containers")
        .iter()
        .find(|it| it["name"] == name);
    found.with_context(|| format!("no container `{name}`"))
}

fn variable<'a>(container: &'a Value, name: &str) -> &'a str {
    let found = list(container, "/env").iter().find(|it| it["name"] == name);
    found.map_or("", |it| text(it, "/value"))
}

/// KEDA looks for consumers at once, and its fallback starts a worker where it finds none: before there is a model.
#[tokio::test]
async fn the_autoscaler_is_no_part_of_what_is_applied_first() -> anyhow::Result<()> {
    let rendering = Rendering::new(&decisions(""))?;
    rendering.built().await?;
    let first = render(&rendering.out()).await?;
    assert!(first.of_kind("ScaledObject").next().is_none());
    assert!(first.of_kind("Deployment").next().is_some());
    Ok(())
}

#[tokio::test]
async fn decisions_for_cpus_become_a_sound_system() -> anyhow::Result<()> {
    let more = "alias: handbook\nmax_workers: 5\ndrain_target: 15m\nsource: s3://corpus/handbook\n\
                schedule: {cron: 30 4 * * mon-fri, time_zone: Europe/Berlin}\nstorage: {class: nfs, size: 50Gi}\n";
    let rendering = Rendering::new(&decisions(more))?;
    let built = rendering.built().await?;
    let environment = built.environment()?;
    for (name, value) in [
        ("EBB_MODEL", "/models/bge-small-0123456789ab"),
        ("EBB_FINGERPRINT", FINGERPRINT),
        ("EBB_COLLECTION", "handbook"),
        ("EBB_COLLECTIONS", "handbook"),
        ("EBB_MAX_WORKERS", "5"),
        ("EBB_GRACE", "25s"),
        ("EBB_ACK_WAIT", "1m"),
    ] {
        assert_eq!(environment[name], value, "{name}");
    }
    let scaled = built.find("ScaledObject", "worker")?;
    assert_eq!(number(scaled, "/spec/maxReplicaCount")?, 5);
    assert_eq!(number(scaled, "/spec/cooldownPeriod")?, 240);
    // 13,000 tokens/s x 885 s / 8,192, and x 60 s / 8,192
    for (trigger, consumer, threshold) in [
        (0, "embed-bge-small-live", "95"),
        (1, "embed-bge-small-bulk", "1404"),
    ] {
        let metadata = &list(scaled, "/spec/triggers")[trigger]["metadata"];
        assert_eq!(
            (&metadata["consumer"], &metadata["lagThreshold"]),
            (&consumer.into(), &threshold.into())
        );
    }
    let worker = built.pod("worker")?;
    assert_eq!(number(worker.spec, "/terminationGracePeriodSeconds")?, 50);
    let limits = table(container(worker.spec, "worker")?, "/resources/limits");
    assert!(
        !limits.keys().any(|it| it.starts_with("nvidia")),
        "{limits:?}"
    );
    let stage = built.pod("model-stage")?;
    let stage = container(stage.spec, "model-stage")?;
    assert_eq!(
        variable(stage, "MODEL_SOURCE"),
        "hf://BAAI/bge-small-en-v1.5"
    );
    assert_eq!(variable(stage, "MODEL_NAME"), "bge-small");
    assert_rebuilds_by_schedule(&built)?;
    let claim = &built.find("PersistentVolumeClaim", "models")?["spec"];
    assert_eq!(text(claim, "/storageClassName"), "nfs");
    assert_eq!(text(claim, "/resources/requests/storage"), "50Gi");
    let keda = std::fs::read_to_string(rendering.out().join("keda/kustomization.yaml"))?;
    assert!(!keda.contains("deploy/../"), "{keda}");
    let (code, report) = doctor(&rendering.out()).await?;
    assert_eq!(code, Some(0));
    assert_eq!(report["findings"], serde_json::json!([]));
    Ok(())
}

fn assert_rebuilds_by_schedule(built: &Rendered) -> anyhow::Result<()> {
    let rebuild = &built.find("CronJob", "rebuild")?["spec"];
    assert_eq!(text(rebuild, "/schedule"), "30 4 * * mon-fri");
    assert_eq!(text(rebuild, "/timeZone"), "Europe/Berlin");
    assert_eq!(rebuild["suspend"], false);
    let pod = built.pod("rebuild")?;
    assert_eq!(
        variable(container(pod.spec, "rebuild")?, "SOURCE"),
        "s3://corpus/handbook"
    );
    Ok(())
}

#[tokio::test]
async fn three_servers_are_one_decision() -> anyhow::Result<()> {
    let more = format!(
        "servers: three\noptions: {{shards: 6}}\nmore_models:\n  - model: {{name: judge, task: rescore, source: \
         'hf://o/judge', fingerprint: {FINGERPRINT}}}\n"
    );
    let rendering = Rendering::new(&decisions(&more))?;
    let built = rendering.built().await?;
    for server in ["nats", "qdrant"] {
        assert_eq!(built.find("StatefulSet", server)?["spec"]["replicas"], 3);
    }
    for (name, shards, replication) in [("ebb", Some("6"), Some("2")), ("ebb-judge", None, None)] {
        let environment = table(built.find("ConfigMap", name)?, "/data");
        assert_eq!(environment["EBB_REPLICAS"], "3");
        let value = |name: &str| environment.get(name).map(String::as_str);
        assert_eq!(value("EBB_SHARDS"), shards);
        assert_eq!(value("EBB_REPLICATION"), replication);
    }
    let (code, report) = doctor(&rendering.out()).await?;
    assert_eq!(
        (code, &report["findings"]),
        (Some(0), &serde_json::json!([]))
    );
    Ok(())
}

#[tokio::test]
async fn decisions_for_gpus_and_slices_ask_for_them() -> anyhow::Result<()> {
    for (gpu, resource, bulk, rate) in [
        ("nvidia", "nvidia.com/gpu", "21240", 100_000),
        ("mig-1g.10gb", "nvidia.com/mig-1g.10gb", "8453", 39_800),
        ("mig-3g.40gb", "nvidia.com/mig-3g.40gb", "25360", 119_400),
    ] {
        let rendering = Rendering::new(&decisions(&format!("gpu: {gpu}\nmax_workers: 3\n")))?;
        let built = rendering.built().await?;
        let worker = built.pod("worker")?;
        let limits = table(container(worker.spec, "worker")?, "/resources/limits");
        let gpus: Vec<_> = limits
            .iter()
            .filter(|(name, _)| name.starts_with("nvidia"))
            .collect();
        assert_eq!(gpus, [(&resource.to_owned(), &"1".to_owned())]);
        assert!(!list(worker.spec, "/tolerations").is_empty());
        let scaled = built.find("ScaledObject", "worker")?;
        let threshold = text(&list(scaled, "/spec/triggers")[1], "/metadata/lagThreshold");
        assert_eq!(threshold, bulk, "{rate} tokens/s x 1,740 s / 8,192");
        assert_eq!(number(scaled, "/spec/cooldownPeriod")?, 300);
        let (code, report) = doctor(&rendering.out()).await?;
        assert_eq!(
            (code, &report["findings"]),
            (Some(0), &serde_json::json!([])),
            "{gpu}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn places_on_volumes_are_mounted_and_nothing_is_rebuilt_without_a_source()
-> anyhow::Result<()> {
    let yaml = decisions("source: pvc://corpora/handbook/2026\n")
        .replace("hf://BAAI/bge-small-en-v1.5", "pvc://models/incoming/bge");
    let rendering = Rendering::new(&yaml)?;
    let built = rendering.built().await?;
    let stage = built.pod("model-stage")?;
    let source = variable(container(stage.spec, "model-stage")?, "MODEL_SOURCE");
    assert_eq!(source, "/models/incoming/bge");
    let rebuild = built.pod("rebuild")?;
    let program = container(rebuild.spec, "rebuild")?;
    assert_eq!(variable(program, "SOURCE"), "/corpus/handbook/2026");
    let mounted = |mount: &&Value| mount["mountPath"] == "/corpus" && mount["readOnly"] == true;
    let mount = list(program, "/volumeMounts")
        .iter()
        .find(mounted)
        .context("it is mounted")?;
    let volume = list(rebuild.spec, "/volumes")
        .iter()
        .find(|it| it["name"] == mount["name"]);
    let claim = volume.map(|it| text(it, "/persistentVolumeClaim/claimName"));
    assert_eq!(claim, Some("corpora"));
    // The source of the model was on its own volume before; on another one it is mounted too.
    let elsewhere = decisions("").replace("hf://BAAI/bge-small-en-v1.5", "pvc://weights/bge");
    rendering.decide(&elsewhere)?;
    let built = rendering.built().await?;
    let stage = built.pod("model-stage")?;
    let source = variable(container(stage.spec, "model-stage")?, "MODEL_SOURCE");
    assert_eq!(source, "/source/bge");
    assert_eq!(built.find("CronJob", "rebuild")?["spec"]["suspend"], true);
    Ok(())
}

#[tokio::test]
async fn the_decisions_of_the_repository_make_what_the_repository_has() -> anyhow::Result<()> {
    let rendering = Rendering::new(&std::fs::read_to_string(deploy().join("decisions.yaml"))?)?;
    let built = rendering.built().await?;
    let plain = super::render::overlay("cpu").await?;
    let (decided, default) = (built.environment()?, plain.environment()?);
    for name in [
        "EBB_MODEL",
        "EBB_FINGERPRINT",
        "EBB_COLLECTION",
        "EBB_MAX_WORKERS",
        "EBB_BATCH_JOBS",
        "EBB_GRACE",
    ] {
        assert_eq!(decided[name], default[name], "{name}");
    }
    let stage = |rendered: &Rendered| {
        let pod = rendered.pod("model-stage")?;
        let source = variable(container(pod.spec, "model-stage")?, "MODEL_SOURCE");
        anyhow::Ok(source.to_owned())
    };
    assert_eq!(stage(&built)?, stage(&plain)?);
    let keda = std::fs::read_to_string(rendering.out().join("keda/kustomization.yaml"))?;
    assert!(!keda.contains("deploy/../"), "{keda}");
    Ok(())
}

#[tokio::test]
async fn the_doctor_finds_the_overlays_sound_and_a_spoilt_one_sick() -> anyhow::Result<()> {
    for name in super::render::OVERLAYS {
        let (code, report) = doctor(&deploy().join("overlays").join(name)).await?;
        assert_eq!(code, Some(0), "{name}: {report}");
        // The autoscaler is not among them.
        assert_eq!(
            (&report["errors"], &report["unknown"]),
            (&0.into(), &1.into()),
            "{report}"
        );
    }
    let rendering = Rendering::new(&decisions(""))?;
    rendering.built().await?;
    let keda = rendering.out().join("keda/kustomization.yaml");
    let spoilt = std::fs::read_to_string(&keda)?
        .replace("maxReplicaCount, value: 8", "maxReplicaCount, value: 80")
        .replace("cooldownPeriod, value: 240", "cooldownPeriod, value: 30");
    std::fs::write(&keda, spoilt)?;
    let overlay = std::fs::read_to_string(rendering.file())?;
    let hurry = "  - target: {kind: Deployment, name: worker}\n    patch: |\n      - {op: replace, path: \
                 /spec/template/spec/containers/0/startupProbe/failureThreshold, value: 6}\n";
    std::fs::write(rendering.file(), overlay + hurry)?;
    let (code, report) = doctor(&rendering.out()).await?;
    assert_eq!((code, &report["errors"]), (Some(1), &3.into()), "{report}");
    let said = report.to_string();
    for what in [
        "max_ack_pending of 8 workers",
        "spec.cooldownPeriod",
        "Deployment `worker`: startupProbe",
    ] {
        assert!(said.contains(what), "{said}");
    }
    Ok(())
}
