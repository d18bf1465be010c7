//! The chart of Helm: its templates are written from what kustomize builds of decisions, and what Helm renders of them is
//! held against it.
//!
//! ```text
//! decisions -> indexer render -> kustomize -> objects, with a slot in each place that a decision fills -> templates
//! ```
//! Some decisions change more than values: what workers run on, how many servers there are, whether a claim is mounted. The
//! objects are built for each, and where they differ, the template has all of them with their conditions.

mod forms;
mod helm;
mod slots;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::render::{Rendered, deploy, text};
use forms::Builds;
use slots::Slots;

const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// The name of a further model.
const FURTHER: &str = "zzfurther";
/// The name of a claim.
const CLAIM: &str = "zzclaim";

/// Kind and name of an object, and the role of its namespace.
type Key = (String, String, String);
type Objects = BTreeMap<Key, Value>;

/// Objects by what they are, without the digests in names, which Helm does not make.
fn objects(rendered: Rendered) -> anyhow::Result<Objects> {
    let mut plain = serde_json::to_string(&rendered.0)?;
    let mut digests = BTreeMap::new();
    for map in rendered.of_kind("ConfigMap") {
        let name = text(map, "/metadata/name");
        let (short, digest) = name.rsplit_once('-').context("a name without a digest")?;
        plain = plain.replace(&format!("\"{name}\""), &format!("\"{short}\""));
        digests.insert(short.to_owned(), digest.to_owned());
    }
    let all: Vec<Value> = serde_json::from_str(&plain)?;
    let mut objects = Objects::new();
    for mut object in all {
        if text(&object, "/kind") == "StatefulSet" && text(&object, "/metadata/name") == "nats" {
            // Another configuration starts the servers anew.
            object["spec"]["template"]["metadata"]["annotations"] =
                json!({ CHANGES: digests["nats"] });
        }
        objects.insert(key(&object), object);
    }
    Ok(objects)
}

/// The annotation of pods that start anew when something that they read has changed.
const CHANGES: &str = "ebb/changes";

fn key(object: &Value) -> Key {
    let part = |pointer: &str| text(object, pointer).to_owned();
    (
        part("/kind"),
        part("/metadata/name"),
        part("/metadata/namespace"),
    )
}

/// Which model an object belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    First,
    Further,
}

fn owner(all: &Objects, (kind, name, namespace): &Key) -> Owner {
    let suffix = format!("-{FURTHER}");
    let beside = (kind.clone(), format!("{name}{suffix}"), namespace.clone());
    match name.ends_with(&suffix) {
        true => Owner::Further,
        false if all.contains_key(&beside) => Owner::First,
        false => Owner::Nobody,
    }
}

/// All templates by their names.
async fn templates() -> anyhow::Result<BTreeMap<&'static str, String>> {
    let builds = Builds::all().await?;
    let mut slots = Slots::default();
    let [mut shared, mut first, mut more] = [const { String::new() }; 3];
    for key in builds.keys() {
        let form = builds.form(key, &mut slots)?.document(key)?;
        let text = slots.written(&form);
        match owner(&builds.plain, key) {
            Owner::Nobody => shared += &text,
            Owner::First => first += &text,
            Owner::Further => more += &text,
        }
    }
    let doctor = builds.plain.get(&key_of("CronJob", "doctor"));
    let test = slots.fill(test_hook(doctor.context("no doctor")?))?;
    let test = slots.written(&yaml(&test)?);
    let more = more
        .replace(&format!(": {FURTHER}\n"), ": {{ $m.suffix | quote }}\n")
        .replace(FURTHER, "{{ $m.suffix }}");
    let head =
        "{{- /* Written by the tests from the manifests, which are the place for changes. */ -}}\n";
    let of_first = "{{- $m := include \"ebb.first\" . | fromJson }}\n";
    let of_more = "{{- range $m := include \"ebb.more\" . | fromJsonArray }}\n";
    Ok(BTreeMap::from([
        ("shared.yaml", format!("{head}{shared}")),
        ("first.yaml", format!("{head}{of_first}{first}")),
        (
            "more.yaml",
            format!("{head}{of_more}{more}{{{{- end }}}}\n"),
        ),
        ("tests/doctor.yaml", format!("{head}{test}")),
    ]))
}

fn key_of(kind: &str, name: &str) -> Key {
    (kind.to_owned(), name.to_owned(), "ebb-ai".to_owned())
}

/// `helm test` looks at what runs, as the doctor does every hour.
fn test_hook(doctor: &Value) -> Value {
    let mut spec = doctor["spec"]["jobTemplate"]["spec"].clone();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("ttlSecondsAfterFinished");
    }
    let annotations = json!({
        "helm.sh/hook": "test", "helm.sh/hook-delete-policy": "before-hook-creation",
    });
    json!({
        "apiVersion": "batch/v1", "kind": "Job", "spec": spec,
        "metadata": {
            "name": "doctor-test", "namespace": doctor["metadata"]["namespace"],
            "labels": doctor["metadata"]["labels"], "annotations": annotations,
        },
    })
}

fn yaml(object: &Value) -> anyhow::Result<String> {
    let text = yaml_serde::to_string(object)?;
    anyhow::ensure!(!text.contains("{{"), "a template in {text}");
    Ok(format!("---\n{text}"))
}

fn chart() -> PathBuf {
    deploy().join("chart")
}

/// `EBB_UPDATE_DOCS=1 cargo test --package tests chart` writes the templates anew.
#[tokio::test]
async fn the_templates_of_the_chart_are_written_from_the_manifests() -> anyhow::Result<()> {
    for (name, wanted) in templates().await? {
        let path = chart().join("templates").join(name);
        if std::env::var_os("EBB_UPDATE_DOCS").is_some() {
            std::fs::create_dir_all(path.parent().context("no folder")?)?;
            std::fs::write(&path, &wanted)?;
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            found == wanted,
            "{name} is not what the manifests say: run with EBB_UPDATE_DOCS=1"
        );
    }
    let about = std::fs::read_to_string(chart().join("Chart.yaml"))?;
    let version = env!("CARGO_PKG_VERSION");
    for line in ["version", "appVersion"] {
        assert!(about.contains(&format!("\n{line}: {version}\n")), "{about}");
    }
    Ok(())
}
