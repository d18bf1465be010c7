//! What people change: namespaces, their own servers, one node, NFS.

use std::path::PathBuf;

use anyhow::Context as _;
use fixtures::copy::copy_folder;
use fixtures::programs::workspace;
use serde_json::json;
use tempfile::TempDir;

use super::hardening::broken_rules;
use super::render::{Rendered, deploy, render, text};

/// A copy of the manifests that can be changed.
pub(super) struct Copy(TempDir);

impl Copy {
    pub(super) fn new() -> anyhow::Result<Self> {
        let copy = Self(tempfile::tempdir()?);
        for folder in ["deploy", "keda"] {
            copy_folder(&workspace().join(folder), &copy.path(folder))?;
        }
        Ok(copy)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Gives the namespaces other names, as their file says.
    pub(super) fn rename_namespaces(&self, prefix: &str) -> anyhow::Result<()> {
        let names = self.path("deploy/components/namespaces/names.yaml");
        let text = std::fs::read_to_string(&names)?;
        Ok(std::fs::write(&names, text.replace("ebb-", prefix))?)
    }

    /// Writes a kustomization and renders it.
    pub(super) async fn render(
        &self,
        folder: &str,
        kustomization: &str,
    ) -> anyhow::Result<Rendered> {
        let folder = self.path(folder);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("kustomization.yaml"), kustomization)?;
        render(&folder).await
    }
}

/// The YAML blocks of the README that begin with the comment `# FILE`.
pub(super) fn block(file: &str) -> anyhow::Result<String> {
    let readme = std::fs::read_to_string(deploy().join("README.md"))?;
    let start = format!("```yaml\n# {file}\n");
    let after = readme.split(&start).nth(1);
    let block = after.and_then(|rest| rest.split("```").next());
    Ok(block
        .with_context(|| format!("the README shows no {file}"))?
        .to_owned())
}

#[tokio::test]
async fn namespaces_are_renamed_in_one_file() -> anyhow::Result<()> {
    let copy = Copy::new()?;
    copy.rename_namespaces("search-")?;
    let all = "resources: [../deploy/overlays/cpu, ../keda, ../deploy/monitoring/operator]\n\
               components: [../deploy/components/traces]\n";
    let rendered = copy.render("all", all).await?;
    let text = serde_json::to_string(&rendered.0)?;
    for old in ["ebb-ai", "ebb-data", "ebb-ops"] {
        assert!(!text.contains(old), "{old} is left");
    }
    assert_eq!(
        rendered.environment()?["NATS_URL"],
        "nats://nats.search-data.svc:4222"
    );
    // Two triggers, and the doctor.
    assert_eq!(
        text.matches("nats-headless.search-data.svc:8222").count(),
        3
    );
    Ok(())
}

#[tokio::test]
async fn the_overlay_of_the_readme_changes_registry_and_volume() -> anyhow::Result<()> {
    let copy = Copy::new()?;
    let rendered = copy
        .render("deploy/mine", &block("deploy/mine/kustomization.yaml")?)
        .await?;
    let worker = rendered.pod("worker")?;
    assert!(text(worker.containers()[0], "/image").starts_with("registry.example.com/"));
    let claim = rendered.find("PersistentVolumeClaim", "models")?;
    assert_eq!(
        text(claim, "/spec/volumeName"),
        text(
            rendered.find("PersistentVolume", "ebb-models")?,
            "/metadata/name"
        )
    );
    Ok(())
}

#[tokio::test]
async fn a_model_in_an_image_needs_no_volume_and_no_staging() -> anyhow::Result<()> {
    let copy = Copy::new()?;
    let image =
        "resources: [../deploy/overlays/cpu]\ncomponents: [../deploy/components/model-image]\n";
    let rendered = copy.render("image", image).await?;
    assert!(rendered.find("PersistentVolumeClaim", "models").is_err());
    assert!(rendered.find("CronJob", "model-stage").is_err());
    let mut images = 0;
    for pod in rendered.pods() {
        for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
            assert_ne!(
                volume["persistentVolumeClaim"]["claimName"], "models",
                "{}",
                pod.owner
            );
            images += usize::from(volume["image"]["reference"].is_string());
        }
    }
    assert!(images >= 2, "{images} volumes are images");
    Ok(())
}

#[tokio::test]
async fn one_node_runs_everything_and_needs_no_shared_volume() -> anyhow::Result<()> {
    let copy = Copy::new()?;
    for overlay in ["cpu", "gpu"] {
        let one = format!(
            "resources: [../deploy/overlays/{overlay}]\ncomponents: [../deploy/components/one-node]\n"
        );
        let rendered = copy.render("one", &one).await?;
        for pod in rendered.pods() {
            assert!(pod.spec.get("affinity").is_none(), "{}", pod.owner);
        }
        let claim = rendered.find("PersistentVolumeClaim", "models")?;
        assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOnce"]));
    }
    Ok(())
}

/// A small machine has room for all of it, and the pod to run the indexer in by hand is as hardened as the rest.
#[tokio::test]
async fn the_first_look_fits_on_one_small_node() -> anyhow::Result<()> {
    let rendered = render(&deploy().join("k3s")).await?;
    let pods = rendered.pods();
    let broken: Vec<_> = pods.iter().flat_map(broken_rules).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    for pod in &pods {
        assert!(pod.spec.get("affinity").is_none(), "{}", pod.owner);
        let cpu = text(pod.containers()[0], "/resources/requests/cpu");
        assert_eq!(cpu, "50m", "{}", pod.owner);
    }
    let toolbox = rendered.pod("toolbox")?;
    let settings = text(toolbox.containers()[0], "/envFrom/0/configMapRef/name");
    assert!(rendered.find("ConfigMap", settings).is_ok(), "{settings}");
    Ok(())
}

#[tokio::test]
async fn servers_of_ones_own_leave_nothing_of_ours() -> anyhow::Result<()> {
    let copy = Copy::new()?;
    let own =
        "resources: [../deploy/overlays/cpu]\ncomponents: [../deploy/components/own-servers]\n";
    let rendered = copy.render("own", own).await?;
    assert_eq!(
        rendered.of_kind("StatefulSet").count() + rendered.of_kind("Service").count(),
        0
    );
    let left: Vec<_> = rendered
        .0
        .iter()
        .filter(|it| text(it, "/metadata/namespace") == "ebb-data")
        .collect();
    let names: Vec<_> = left
        .iter()
        .map(|it| (text(it, "/kind"), text(it, "/metadata/name")))
        .collect();
    assert_eq!(
        names
            .iter()
            .filter(|(kind, _)| *kind != "ConfigMap")
            .collect::<Vec<_>>(),
        [&("NetworkPolicy", "deny")]
    );
    Ok(())
}

#[tokio::test]
async fn traces_go_to_a_collector_that_the_network_lets_through() -> anyhow::Result<()> {
    let copy = Copy::new()?;
    let traced = "resources: [../deploy/overlays/cpu]\ncomponents: [../deploy/components/traces]\n";
    let rendered = copy.render("traced", traced).await?;
    let environment = rendered.environment()?;
    let endpoint = environment.get("OTEL_EXPORTER_OTLP_ENDPOINT");
    let endpoint = endpoint.context("no endpoint")?;
    let policy = rendered.find("NetworkPolicy", "to-collector")?;
    let port = &policy["spec"]["egress"][0]["ports"][0]["port"];
    assert!(
        endpoint.ends_with(&format!(".monitoring.svc:{port}")),
        "{endpoint}"
    );
    Ok(())
}

#[tokio::test]
async fn monitoring_renders_beside_the_rest() -> anyhow::Result<()> {
    let plain = render(&deploy().join("monitoring")).await?;
    let rules = plain.find("ConfigMap", "ebb-rules")?;
    assert!(text(rules, "/data/rules.yaml").contains("EbbDeadLetters"));
    let dashboard = plain.find("ConfigMap", "ebb-dashboard")?;
    assert_eq!(dashboard["metadata"]["labels"]["grafana_dashboard"], "1");
    let operator = render(&deploy().join("monitoring/operator")).await?;
    let pods = operator.find("PodMonitor", "worker")?;
    let workers = render(&deploy().join("overlays/cpu")).await?;
    let worker = workers.find("Deployment", "worker")?;
    assert_eq!(
        pods["metadata"]["namespace"],
        worker["metadata"]["namespace"]
    );
    let wanted = &pods["spec"]["selector"]["matchLabels"];
    let labels = &worker["spec"]["template"]["metadata"]["labels"];
    let name = "app.kubernetes.io/name";
    assert_eq!(wanted[name], labels[name]);
    let ports = &worker["spec"]["template"]["spec"]["containers"][0]["ports"];
    assert_eq!(
        pods["spec"]["podMetricsEndpoints"][0]["port"],
        ports[0]["name"]
    );
    Ok(())
}
