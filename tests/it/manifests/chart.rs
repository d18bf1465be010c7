//! The chart of Helm: its templates are written from what kustomize builds of decisions, and what Helm renders of them is
//! held against it.
//!
//! ```text
//! decisions -> indexer render -> kustomize -> objects, with a slot in each place that a decision fills -> templates
//! ```
//! Some decisions change more than values: what workers run on, how many servers there are, whether a claim is mounted. The
//! objects are built for each, and where they differ, the template has all of them with their conditions.

mod helm;
mod slots;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::{Value, json};

use super::decisions::Scene;
use super::render::{Rendered, deploy, text};
use slots::Slots;

const FINGERPRINT: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// The name of a further model.
const FURTHER: &str = "zzfurther";
/// The name of a claim.
const CLAIM: &str = "zzclaim";

/// Kind and name of an object, and the role of its namespace.
type Key = (String, String, String);
type Objects = BTreeMap<Key, Value>;

/// How an installation differs from one with the defaults.
struct Variant {
    gpu: &'static str,
    servers: &'static str,
    source: &'static str,
}

const PLAIN: Variant = Variant {
    gpu: "none",
    servers: "one",
    source: "s3://zzplace/x",
};

impl Variant {
    /// What kustomize builds, with a further model.
    async fn build(&self) -> anyhow::Result<Objects> {
        let Self {
            gpu,
            servers,
            source,
        } = self;
        let model = |name: &str| {
            format!("{{name: {name}, source: '{source}', fingerprint: {FINGERPRINT}}}")
        };
        let (first, further) = (model("zzfirst"), model(FURTHER));
        let yaml = format!(
            "model: {first}\ngpu: {gpu}\nsource: '{source}'\nservers: {servers}\nmore_models:\n  - model: {further}\n    \
             gpu: {gpu}\n    source: '{source}'\n    alias: zzalias\n"
        );
        objects(Scene::new(&yaml)?.built().await?)
    }
}

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
    let plain = PLAIN.build().await?;
    let variants = [
        (
            "pool",
            Variant {
                gpu: "nvidia",
                ..PLAIN
            }
            .build()
            .await?,
        ),
        (
            "pool",
            Variant {
                gpu: "mig-1g.10gb",
                ..PLAIN
            }
            .build()
            .await?,
        ),
        (
            "servers",
            Variant {
                servers: "three",
                ..PLAIN
            }
            .build()
            .await?,
        ),
        (
            "claim",
            Variant {
                source: "pvc://zzclaim/x",
                ..PLAIN
            }
            .build()
            .await?,
        ),
    ];
    let mut slots = Slots::default();
    let mut parts = BTreeMap::from([
        ("shared", String::new()),
        ("first", String::new()),
        ("more", String::new()),
    ]);
    let mut keys: Vec<_> = plain.keys().collect();
    keys.extend(variants.iter().flat_map(|(_, objects)| objects.keys()));
    keys.sort_by_key(|(kind, name, namespace)| (kind != "Namespace", namespace, kind, name));
    keys.dedup();
    for key in keys {
        let owner = owner(&plain, key);
        let mut forms = Vec::new();
        for (axis, objects) in
            std::iter::once(("", &plain)).chain(variants.iter().map(|(a, o)| (*a, o)))
        {
            let object = objects.get(key).cloned();
            forms.push((axis, object.map(|object| slots.fill(object)).transpose()?));
        }
        let part = match owner {
            Owner::Nobody => "shared",
            Owner::First => "first",
            Owner::Further => "more",
        };
        let text = slots.written(&document(&forms, key)?);
        parts.entry(part).or_default().push_str(&text);
    }
    let test = plain
        .get(&key_of("CronJob", "doctor"))
        .context("no doctor")?;
    let test = slots.fill(test_hook(test))?;
    let test = slots.written(&yaml(&test)?);
    let head =
        "{{- /* Written by the tests from the manifests, which are the place for changes. */ -}}\n";
    let model = "{{- $m := include \"ebb.first\" . | fromJson }}\n";
    Ok(BTreeMap::from([
        ("shared.yaml", format!("{head}{}", parts["shared"])),
        ("first.yaml", format!("{head}{model}{}", parts["first"])),
        (
            "more.yaml",
            format!(
                "{head}{{{{- range $m := include \"ebb.more\" . | fromJsonArray }}}}\n{}{{{{- end }}}}\n",
                parts["more"]
                    .replace(&format!(": {FURTHER}\n"), ": {{ $m.suffix | quote }}\n")
                    .replace(FURTHER, "{{ $m.suffix }}")
            ),
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

/// An object in all its forms, with the conditions under which each is there.
fn document(forms: &[(&str, Option<Value>)], key: &Key) -> anyhow::Result<String> {
    let (_, plain) = &forms[0];
    let differs: Vec<_> = forms
        .iter()
        .filter(|(_, form)| form != plain)
        .map(|(axis, _)| *axis)
        .collect();
    let form = |index: usize| forms[index].1.as_ref().map_or(Ok(String::new()), yaml);
    let servers = |three: bool| {
        format!(
            "if eq $.Values.servers \"{}\"",
            if three { "three" } else { "one" }
        )
    };
    let text = match differs.first() {
        None => form(0)?,
        Some(&"pool") => format!(
            "{{{{- if eq $m.pool \"cpu\" }}}}\n{}{{{{- else if eq $m.pool \"gpu\" }}}}\n{}{{{{- else }}}}\n{}{{{{- end }}}}\n",
            form(0)?,
            form(1)?,
            form(2)?
        ),
        Some(&"servers") => {
            let mut text = String::new();
            for (index, three) in [(0, false), (3, true)] {
                if forms[index].1.is_some() {
                    text += &format!(
                        "{{{{- {} }}}}\n{}{{{{- end }}}}\n",
                        servers(three),
                        form(index)?
                    );
                }
            }
            text
        }
        Some(_) => {
            let place = if key.1.starts_with("rebuild") {
                "corpus"
            } else {
                "source"
            };
            format!(
                "{{{{- if $m.{place}.claim }}}}\n{}{{{{- else }}}}\n{}{{{{- end }}}}\n",
                form(4)?,
                form(0)?
            )
        }
    };
    let condition = match (key.0.as_str(), key.1.as_str()) {
        ("ScaledObject", _) => Some("if $.Values.autoscaler"),
        ("Namespace", _) => Some("if $.Values.create_namespaces"),
        (_, name)
            if name.ends_with(FURTHER)
                && (name.starts_with("rebuild") || name.starts_with("eval")) =>
        {
            Some("if eq $m.task \"embed\"")
        }
        _ => None,
    };
    let one = differs.iter().all(|axis| Some(axis) == differs.first());
    anyhow::ensure!(
        one,
        "{key:?} differs by more than one decision: {differs:?}"
    );
    Ok(match condition {
        Some(condition) => format!("{{{{- {condition} }}}}\n{text}{{{{- end }}}}\n"),
        None => text,
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
