//! Rendered manifests, as data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fixtures::install::{Checkers, cache_dir, install_checkers};
use fixtures::programs::workspace;
use serde::Deserialize as _;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Every overlay of the repository.
pub(super) const OVERLAYS: [&str; 3] = ["cpu", "gpu", "gpu-mig"];

static CHECKERS: OnceCell<Checkers> = OnceCell::const_new();

/// What manifests are checked with.
pub(super) async fn checkers() -> anyhow::Result<&'static Checkers> {
    let install = || install_checkers(&cache_dir(), &mut |line| eprintln!("{line}"));
    let checkers = CHECKERS
        .get_or_try_init(|| async { anyhow::Ok(tokio::task::spawn_blocking(install).await??) });
    checkers.await
}

/// The objects of one rendered kustomization.
#[derive(Debug)]
pub(super) struct Rendered(pub(super) Vec<Value>);

/// A pod that something makes.
#[derive(Debug)]
pub(super) struct Pod<'a> {
    /// Kind and name of what makes it.
    pub(super) owner: String,
    pub(super) name: &'a str,
    pub(super) namespace: &'a str,
    pub(super) labels: &'a Value,
    pub(super) spec: &'a Value,
}

pub(super) fn deploy() -> PathBuf {
    workspace().join("deploy")
}

pub(super) async fn overlay(name: &str) -> anyhow::Result<Rendered> {
    render(&deploy().join("overlays").join(name)).await
}

pub(super) async fn autoscaler() -> anyhow::Result<Rendered> {
    render(&workspace().join("keda")).await
}

pub(super) async fn render(folder: &Path) -> anyhow::Result<Rendered> {
    let mut command = Command::new(&checkers().await?.kubectl);
    command.arg("kustomize").arg(folder);
    let output = command.output().await.context("failed to run kubectl")?;
    let problems = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{}: {problems}", folder.display());
    let text = String::from_utf8(output.stdout)?;
    // kubectl warns of what it will not understand one day.
    anyhow::ensure!(problems.is_empty(), "{}: {problems}", folder.display());
    documents(&text).map(Rendered)
}

/// All documents of a YAML stream.
pub(super) fn documents(text: &str) -> anyhow::Result<Vec<Value>> {
    let documents = yaml_serde::Deserializer::from_str(text);
    Ok(documents
        .map(Value::deserialize)
        .collect::<Result<_, _>>()?)
}

/// The text at a place, empty if there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The whole number at a place.
pub(super) fn number(value: &Value, pointer: &str) -> anyhow::Result<u64> {
    let number = value.pointer(pointer).and_then(Value::as_u64);
    number.with_context(|| format!("no number at {pointer} of {value}"))
}

/// The members of a list, none if there is no list.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

/// Texts by name, none if there is no object.
pub(super) fn table(value: &Value, pointer: &str) -> BTreeMap<String, String> {
    let object = value.pointer(pointer).and_then(Value::as_object);
    let entries = object.into_iter().flatten();
    entries
        .map(|(name, value)| {
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), value)
        })
        .collect()
}

/// `Kind name` of an object.
pub(super) fn title(object: &Value) -> String {
    format!(
        "{} {}",
        text(object, "/kind"),
        text(object, "/metadata/name")
    )
}

impl Rendered {
    /// Objects of a kind.
    pub(super) fn of_kind<'a>(&'a self, kind: &str) -> impl Iterator<Item = &'a Value> {
        self.0
            .iter()
            .filter(move |object| text(object, "/kind") == kind)
    }

    /// The object of a name, without the digest that a generated one has at its end.
    pub(super) fn find(&self, kind: &str, name: &str) -> anyhow::Result<&Value> {
        let named = |object: &&Value| {
            let rest = text(object, "/metadata/name").strip_prefix(name);
            rest.is_some_and(|rest| rest.is_empty() || (kind == "ConfigMap" && rest.len() == 11))
        };
        let found = self.of_kind(kind).find(named);
        found.with_context(|| format!("there is no {kind} `{name}`"))
    }

    /// The environment that all programs have.
    pub(super) fn environment(&self) -> anyhow::Result<BTreeMap<String, String>> {
        Ok(table(self.find("ConfigMap", "ebb")?, "/data"))
    }

    pub(super) fn pods(&self) -> Vec<Pod<'_>> {
        self.0.iter().filter_map(Pod::of).collect()
    }

    /// The pod of the object of this name.
    pub(super) fn pod(&self, name: &str) -> anyhow::Result<Pod<'_>> {
        let pods = self.pods();
        let found = pods.into_iter().find(|pod| pod.name == name);
        found.with_context(|| format!("nothing that is named `{name}` makes pods"))
    }
}

impl<'a> Pod<'a> {
    fn of(object: &'a Value) -> Option<Self> {
        let template = match text(object, "/kind") {
            "Deployment" | "StatefulSet" | "Job" => "/spec/template",
            "CronJob" => "/spec/jobTemplate/spec/template",
            _ => return None,
        };
        let template = object.pointer(template)?;
        Some(Self {
            owner: title(object),
            name: text(object, "/metadata/name"),
            namespace: text(object, "/metadata/namespace"),
            labels: template.pointer("/metadata/labels")?,
            spec: template.pointer("/spec")?,
        })
    }

    pub(super) fn containers(&self) -> Vec<&'a Value> {
        let first = list(self.spec, "/initContainers").iter();
        first.chain(list(self.spec, "/containers")).collect()
    }

    /// Whether it asks for a GPU or a part of one.
    pub(super) fn has_gpu(&self) -> bool {
        let asked = |container: &&Value| {
            let limits = table(container, "/resources/limits");
            let requests = table(container, "/resources/requests");
            limits
                .keys()
                .chain(requests.keys())
                .any(|name| name.starts_with("nvidia.com/"))
        };
        self.containers().iter().any(asked)
    }
}
