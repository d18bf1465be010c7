//! Forms: what kustomize builds of decisions that change more than values, and the conditions under which a template has it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::decisions::Rendering;
use super::slots::Slots;
use super::{CLAIM, FINGERPRINT, FURTHER, Key, Objects, objects, yaml};

/// What is built of each kind of decisions.
pub(super) struct Builds {
    /// With the defaults.
    pub(super) plain: Objects,
    gpu: Objects,
    slice: Objects,
    three: Objects,
    claim: Objects,
}

/// One object in all of them, where it is there.
pub(super) struct Form {
    plain: Option<Value>,
    gpu: Option<Value>,
    slice: Option<Value>,
    three: Option<Value>,
    claim: Option<Value>,
}

impl Builds {
    pub(super) async fn all() -> anyhow::Result<Self> {
        let place = "s3://zzplace/x";
        Ok(Self {
            plain: build("none", "one", place).await?,
            gpu: build("nvidia", "one", place).await?,
            slice: build("mig-1g.10gb", "one", place).await?,
            three: build("none", "three", place).await?,
            claim: build("none", "one", &format!("pvc://{CLAIM}/x")).await?,
        })
    }

    /// All objects, in the order in which they are written.
    pub(super) fn keys(&self) -> Vec<&Key> {
        let all = [
            &self.plain,
            &self.gpu,
            &self.slice,
            &self.three,
            &self.claim,
        ];
        let keys: BTreeSet<_> = all.into_iter().flat_map(Objects::keys).collect();
        let mut keys: Vec<_> = keys.into_iter().collect();
        keys.sort_by_key(|(kind, name, namespace)| (kind != "Namespace", namespace, kind, name));
        keys
    }

    pub(super) fn form(&self, key: &Key, slots: &mut Slots) -> anyhow::Result<Form> {
        let mut of = |objects: &Objects| {
            let object = objects.get(key).cloned();
            object.map(|object| slots.fill(object)).transpose()
        };
        Ok(Form {
            plain: of(&self.plain)?,
            gpu: of(&self.gpu)?,
            slice: of(&self.slice)?,
            three: of(&self.three)?,
            claim: of(&self.claim)?,
        })
    }
}

/// What kustomize builds of two models that have the same decisions.
async fn build(gpu: &str, servers: &str, source: &str) -> anyhow::Result<Objects> {
    let model =
        |name: &str| format!("{{name: {name}, source: '{source}', fingerprint: {FINGERPRINT}}}");
    let (first, further) = (model("zzfirst"), model(FURTHER));
    let yaml = format!(
        "model: {first}\ngpu: {gpu}\nsource: '{source}'\nservers: {servers}\nmore_models:\n  - model: {further}\n    \
         gpu: {gpu}\n    source: '{source}'\n    alias: zzalias\n"
    );
    objects(Rendering::new(&yaml)?.built().await?)
}

impl Form {
    /// The object with its conditions.
    pub(super) fn document(&self, key: &Key) -> anyhow::Result<String> {
        let of_pool = self.gpu != self.plain || self.slice != self.plain;
        let of_servers = self.three != self.plain;
        let of_claim = self.claim != self.plain;
        let text = match (of_pool, of_servers, of_claim) {
            (false, false, false) => written(&self.plain)?,
            (true, false, false) => self.by_pool()?,
            (false, true, false) => self.by_servers()?,
            (false, false, true) => self.by_claim(key)?,
            several => anyhow::bail!("{key:?} differs by more than one decision: {several:?}"),
        };
        Ok(match condition(key) {
            Some(condition) => format!("{{{{- {condition} }}}}\n{text}{{{{- end }}}}\n"),
            None => text,
        })
    }

    fn by_pool(&self) -> anyhow::Result<String> {
        let [cpu, gpu, slice] = [&self.plain, &self.gpu, &self.slice].map(written);
        Ok(format!(
            "{{{{- if eq $m.pool \"cpu\" }}}}\n{}{{{{- else if eq $m.pool \"gpu\" }}}}\n{}{{{{- else }}}}\n{}{{{{- end }}}}\n",
            cpu?, gpu?, slice?
        ))
    }

    fn by_servers(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        for (number, form) in [("one", &self.plain), ("three", &self.three)] {
            if form.is_some() {
                let condition = format!("if eq $.Values.servers \"{number}\"");
                text += &format!("{{{{- {condition} }}}}\n{}{{{{- end }}}}\n", written(form)?);
            }
        }
        Ok(text)
    }

    fn by_claim(&self, (_, name, _): &Key) -> anyhow::Result<String> {
        let place = match name.starts_with("rebuild") {
            true => "corpus",
            false => "source",
        };
        Ok(format!(
            "{{{{- if $m.{place}.claim }}}}\n{}{{{{- else }}}}\n{}{{{{- end }}}}\n",
            written(&self.claim)?,
            written(&self.plain)?
        ))
    }
}

fn written(object: &Option<Value>) -> anyhow::Result<String> {
    object.as_ref().map_or(Ok(String::new()), yaml)
}

/// What an object waits for whatever its form.
fn condition((kind, name, _): &Key) -> Option<&'static str> {
    let of_alias = ["rebuild", "eval"].map(|job| format!("{job}-{FURTHER}"));
    match kind.as_str() {
        "ScaledObject" => Some("if $.Values.autoscaler"),
        "Namespace" => Some("if $.Values.create_namespaces"),
        // What rescores fills no alias.
        "CronJob" if of_alias.contains(name) => Some("if $m.fills"),
        _ => None,
    }
}
