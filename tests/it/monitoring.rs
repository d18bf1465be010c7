//! Monitoring: rules, dashboard and runbook speak of what is there.

mod exported;
mod page;
mod promql;
mod rules;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Context as _;
use fixtures::programs::workspace;
use serde_json::Value;

fn file(name: &str) -> PathBuf {
    workspace().join("deploy/monitoring").join(name)
}

fn yaml(name: &str) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(file(name))?;
    yaml_serde::from_str(&text).with_context(|| format!("{name} is no YAML"))
}

/// Values of a key wherever it is in a document.
fn all<'v>(value: &'v Value, key: &str) -> Vec<&'v str> {
    let deeper: Vec<_> = match value {
        Value::Object(fields) => fields.values().collect(),
        Value::Array(items) => items.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    };
    let here = value.get(key).and_then(Value::as_str);
    let deeper = deeper.into_iter().flat_map(|value| all(value, key));
    here.into_iter().chain(deeper).collect()
}

fn names<'v>(value: &'v Value, key: &str) -> BTreeSet<&'v str> {
    all(value, key).into_iter().collect()
}

fn dashboard() -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&std::fs::read_to_string(file(
        "dashboard.json",
    ))?)?)
}
