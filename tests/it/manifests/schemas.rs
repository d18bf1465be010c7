//! Rendered objects are what Kubernetes and KEDA take, down to the spelling of every field.

use std::collections::BTreeSet;

use anyhow::Context as _;
use fixtures::install::KUBERNETES;
use jsonschema::Validator;
use serde_json::{Value, json};

use super::render::{OVERLAYS, autoscaler, checkers, deploy, overlay, render, text, title};

/// The schema of a ScaledObject as KEDA 2.20.2 installs it, without descriptions and status.
const SCALED_OBJECT: &str = include_str!("scaledobject-2.20.2.schema.json");

/// The schemas of one version of Kubernetes, and that of KEDA.
pub(super) struct Schemas {
    definitions: Value,
}

impl Schemas {
    pub(super) async fn of(kubernetes: &str) -> anyhow::Result<Self> {
        let path = checkers().await?.schemas(kubernetes);
        let file: Value = serde_json::from_slice(&std::fs::read(path)?)?;
        let definitions = file["$defs"].clone();
        Ok(Self { definitions })
    }

    /// Everything that is wrong with these objects.
    pub(super) fn faults(&self, objects: &[Value]) -> anyhow::Result<Vec<String>> {
        let kind = |object: &Value| {
            (
                text(object, "/apiVersion").to_owned(),
                text(object, "/kind").to_owned(),
            )
        };
        let kinds: BTreeSet<_> = objects.iter().map(kind).collect();
        let mut faults = Vec::new();
        for wanted in kinds {
            // Made once for all objects of a kind: it looks through a megabyte of definitions.
            let validator = self.validator(&wanted.0, &wanted.1)?;
            for object in objects.iter().filter(|it| kind(it) == wanted) {
                let found = validator.iter_errors(object);
                faults.extend(
                    found.map(|it| format!("{}: {} {it}", title(object), it.instance_path())),
                );
            }
        }
        Ok(faults)
    }

    fn validator(&self, api_version: &str, kind: &str) -> anyhow::Result<Validator> {
        if kind == "ScaledObject" {
            let mut schema: Value = serde_json::from_str(SCALED_OBJECT)?;
            refuse_unknown_fields(&mut schema);
            return Ok(jsonschema::validator_for(&schema)?);
        }
        let name = self.definition(api_version, kind)?;
        let schema = json!({ "$ref": format!("#/$defs/{name}"), "$defs": self.definitions });
        Ok(jsonschema::validator_for(&schema)?)
    }

    /// Name of the definition of a kind.
    fn definition(&self, api_version: &str, kind: &str) -> anyhow::Result<&str> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let wanted = json!({ "group": group, "kind": kind, "version": version });
        let definitions = self.definitions.as_object().context("no definitions")?;
        let is_it = |definition: &Value| {
            let kinds = definition["x-kubernetes-group-version-kind"].as_array();
            kinds.is_some_and(|kinds| kinds.as_slice() == std::slice::from_ref(&wanted))
        };
        let found = definitions.iter().find(|(_, definition)| is_it(definition));
        let (name, _) = found.with_context(|| format!("there is no {kind} in {api_version}"))?;
        Ok(name)
    }
}

/// A custom resource drops fields that it does not know, without a word.
fn refuse_unknown_fields(schema: &mut Value) {
    if let Value::Object(object) = schema {
        if object.contains_key("properties") && !object.contains_key("additionalProperties") {
            object.insert("additionalProperties".to_owned(), Value::Bool(false));
        }
        object.values_mut().for_each(refuse_unknown_fields);
    }
    if let Value::Array(list) = schema {
        list.iter_mut().for_each(refuse_unknown_fields);
    }
}

#[tokio::test]
async fn every_object_is_valid_in_the_oldest_and_the_newest_kubernetes() -> anyhow::Result<()> {
    let mut objects = autoscaler().await?.0;
    for name in OVERLAYS {
        objects.extend(overlay(name).await?.0);
    }
    for folder in ["e2e", "e2e/keda"] {
        objects.extend(render(&deploy().join(folder)).await?.0);
    }
    assert!(objects.len() > 150, "{}", objects.len());
    for version in KUBERNETES {
        let faults = Schemas::of(version).await?.faults(&objects)?;
        assert!(faults.is_empty(), "{version}: {faults:#?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_misspelt_field_is_not_valid() -> anyhow::Result<()> {
    let mut worker = overlay("cpu").await?.find("Deployment", "worker")?.clone();
    worker["spec"]["template"]["spec"]["terminationGraceSeconds"] = json!(60);
    let mut scaled = autoscaler().await?.find("ScaledObject", "worker")?.clone();
    scaled["spec"]["coolDownPeriod"] = json!(300);
    scaled["spec"]["fallback"]["behavior"] = json!("currentReplicasIfMore");
    let faults = Schemas::of(KUBERNETES[0])
        .await?
        .faults(&[worker, scaled])?;
    assert_eq!(faults.len(), 3, "{faults:#?}");
    Ok(())
}

#[tokio::test]
async fn no_object_is_there_twice_and_each_has_a_namespace_that_is_there() -> anyhow::Result<()> {
    for name in OVERLAYS {
        let rendered = overlay(name).await?;
        let mut seen = BTreeSet::new();
        let namespaces: Vec<_> = rendered
            .of_kind("Namespace")
            .map(|it| text(it, "/metadata/name"))
            .collect();
        assert_eq!(namespaces, ["ebb-ai", "ebb-data", "ebb-ops"]);
        for object in &rendered.0 {
            let namespace = text(object, "/metadata/namespace");
            assert!(
                seen.insert((namespace.to_owned(), title(object))),
                "{}",
                title(object)
            );
            let is_global = text(object, "/kind") == "Namespace";
            assert!(
                is_global || namespaces.contains(&namespace),
                "{}",
                title(object)
            );
        }
    }
    Ok(())
}
