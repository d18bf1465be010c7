//! What `deploy/e2e.sh` applies is what it speaks of: the tiny model as it is staged, its lanes, its namespaces.

use std::collections::BTreeSet;
use std::path::Path;

use contract::model::Manifest;
use contract::topology::{Lane, Task};
use fixtures::install::cache_dir;
use tests::{tiny_embed, tools};

use super::hardening::broken_rules;
use super::render::{Rendered, deploy, list, number, render, text};

async fn rendered() -> anyhow::Result<Rendered> {
    render(&deploy().join("e2e")).await
}

fn script() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(deploy().join("e2e.sh"))?)
}

/// Every file below a folder, by its path in it.
fn files(folder: &Path, below: &str) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path(), &format!("{name}/"))?);
        } else {
            found.insert(name);
        }
    }
    Ok(found)
}

#[tokio::test]
async fn the_script_for_clusters_serves_the_tiny_model_whole() -> anyhow::Result<()> {
    let models = cache_dir().join("models");
    let staged = tools().await?.stage(&tiny_embed(), "tiny", &models).await?;
    let manifest = Manifest::load(&staged)?;
    let rendered = rendered().await?;
    let environment = rendered.environment()?;
    let model = format!("/models/tiny-{}", manifest.fingerprint.short());
    assert_eq!(environment["EBB_MODEL"], model);
    assert_eq!(
        environment["EBB_FINGERPRINT"],
        manifest.fingerprint.as_str()
    );
    let stage = rendered.pod("model-stage")?;
    let mounts = list(stage.containers()[0], "/volumeMounts").iter();
    let mounted: BTreeSet<_> = mounts
        .filter_map(|mount| text(mount, "/mountPath").strip_prefix("/source/"))
        .map(str::to_owned)
        .collect();
    let files = files(&tiny_embed(), "")?;
    assert_eq!(mounted, files);
    let script = script()?;
    for file in files {
        assert!(script.contains(&format!("$tiny/{file}")), "{file}");
    }
    Ok(())
}

#[tokio::test]
async fn the_script_for_clusters_speaks_of_what_it_applies() -> anyhow::Result<()> {
    let rendered = rendered().await?;
    let script = script()?;
    for namespace in rendered.of_kind("Namespace") {
        assert!(script.contains(text(namespace, "/metadata/name")));
    }
    let broken: Vec<_> = rendered.pods().iter().flat_map(broken_rules).collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let publish = rendered.pod("publish")?;
    let arguments = text(publish.containers()[0], "/args/0");
    let documents = script
        .lines()
        .find_map(|line| line.strip_prefix("documents="));
    let counted = format!("{{1..{}}}", documents.unwrap_or_default());
    assert!(arguments.contains(&counted), "{arguments}");

    let scaler = render(&deploy().join("e2e/keda")).await?;
    let scaled = scaler.find("ScaledObject", "worker")?;
    let lanes = Lane::of(Task::Embed, &"tiny".parse()?);
    for (trigger, lane) in list(scaled, "/spec/triggers").iter().zip(&lanes) {
        assert_eq!(text(trigger, "/metadata/consumer"), lane.consumer());
    }
    let most: u64 = rendered.environment()?["EBB_MAX_WORKERS"].parse()?;
    assert_eq!(number(scaled, "/spec/maxReplicaCount")?, most);
    Ok(())
}
