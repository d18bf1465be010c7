//! Slots: the places in objects that a decision fills, and what the templates have there.

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::super::render::text;
use super::{CHANGES, CLAIM};

/// Expressions, by the number of their slot.
#[derive(Default)]
pub(super) struct Slots(Vec<Slot>);

enum Slot {
    /// Stands where a value, or a part of one, stood.
    Value(String),
    /// Stands where a line stood: what begins it, the line, and what ends it.
    Lines([String; 3]),
}

impl Slots {
    /// Takes a slot, or that of the same expression: two forms of an object are compared with their slots.
    fn take(&mut self, slot: Slot) -> usize {
        let same = |other: &Slot| match (other, &slot) {
            (Slot::Value(a), Slot::Value(b)) => a == b,
            (Slot::Lines(a), Slot::Lines(b)) => a == b,
            (Slot::Value(_), Slot::Lines(_)) | (Slot::Lines(_), Slot::Value(_)) => false,
        };
        self.0.iter().position(same).unwrap_or_else(|| {
            self.0.push(slot);
            self.0.len() - 1
        })
    }

    /// What an expression gives, as it is.
    fn raw(&mut self, expression: &str) -> String {
        format!("zzslot{:04}", self.take(Slot::Value(expression.to_owned())))
    }

    /// What an expression gives, as text.
    fn text(&mut self, expression: &str) -> Value {
        Value::String(self.raw(&format!("{expression} | quote")))
    }

    fn number(&mut self, expression: &str) -> Value {
        Value::String(self.raw(expression))
    }

    /// A line of a mapping with what opens and what ends it.
    fn line(&mut self, map: &mut Map<String, Value>, open: &str, line: &str) {
        let lines = [
            format!("{{{{- {open} }}}}"),
            line.to_owned(),
            "{{- end }}".to_owned(),
        ];
        let key = format!("zzslot{:04}", self.take(Slot::Lines(lines)));
        map.insert(key, json!(0));
    }

    /// An object with slots in the places that its kind has for decisions.
    pub(super) fn fill(&mut self, mut object: Value) -> anyhow::Result<Value> {
        self.images(&mut object);
        let (kind, name) = (
            text(&object, "/kind").to_owned(),
            text(&object, "/metadata/name").to_owned(),
        );
        let is = |wanted: &str| name == wanted || name.starts_with(&format!("{wanted}-zz"));
        match kind.as_str() {
            "ConfigMap" if is("ebb") => self.settings(&mut object)?,
            "Deployment" => self.workers(&mut object)?,
            "ScaledObject" => self.scaling(&mut object)?,
            "PersistentVolumeClaim" => self.claim(&mut object)?,
            "CronJob" if is("model-stage") => self.staging(&mut object)?,
            "CronJob" if is("rebuild") => self.rebuild(&mut object)?,
            _ => {}
        }
        Ok(object)
    }

    /// A template of objects in YAML, with the expressions in their slots.
    pub(super) fn written(&self, yaml: &str) -> String {
        let mut text = String::new();
        for line in yaml.lines() {
            let indent = line.len() - line.trim_start().len();
            let mut line = line.to_owned();
            for (number, slot) in self.0.iter().enumerate() {
                let mark = format!("zzslot{number:04}");
                match slot {
                    Slot::Value(expression) => {
                        line = line.replace(&mark, &format!("{{{{ {expression} }}}}"))
                    }
                    Slot::Lines(lines) if line.trim_start() == format!("{mark}: 0") => {
                        let indented = lines.iter().map(|it| format!("{:indent$}{it}", ""));
                        line = indented.collect::<Vec<_>>().join("\n");
                    }
                    Slot::Lines(_) => {}
                }
            }
            text += &line;
            text.push('\n');
        }
        text
    }

    fn images(&mut self, value: &mut Value) {
        let registry = self.raw("$.Values.registry | default \"ebb\"");
        match value {
            Value::Object(map) => {
                if let Some(Value::String(image)) = map.get_mut("image")
                    && image.starts_with("ebb/")
                {
                    *image = image.replacen("ebb", &registry, 1);
                }
                map.values_mut().for_each(|value| self.images(value));
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.images(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn settings(&mut self, object: &mut Value) -> anyhow::Result<()> {
        let data = object["data"].as_object_mut().context("no data")?;
        for (name, expression) in [
            ("EBB_MODEL", "$m.path"),
            ("EBB_FINGERPRINT", "$m.fingerprint"),
            ("EBB_COLLECTION", "$m.alias"),
            ("EBB_COLLECTIONS", "$m.alias"),
            ("EBB_GRACE", "print $m.grace \"s\""),
            ("EBB_MAX_WORKERS", "$m.workers"),
            (
                "EBB_REPLICAS",
                "ternary \"3\" \"1\" (eq $.Values.servers \"three\")",
            ),
        ] {
            data.insert(name.to_owned(), self.text(expression));
        }
        // They follow from the number of servers too.
        data.remove("EBB_SHARDS");
        data.remove("EBB_REPLICATION");
        self.line(
            data,
            "range $m.options",
            "{{ .name }}: {{ .value | quote }}",
        );
        Ok(())
    }

    fn workers(&mut self, object: &mut Value) -> anyhow::Result<()> {
        let labels = object["metadata"]["labels"]
            .as_object_mut()
            .context("no labels")?;
        self.line(
            labels,
            "with $m.queue",
            "kueue.x-k8s.io/queue-name: {{ . | quote }}",
        );
        let changes = "include \"ebb.changes\" (dict \"model\" $m \"servers\" $.Values.servers \"version\" $.Chart.Version)";
        let template = &mut object["spec"]["template"];
        template["metadata"]["annotations"] = json!({ CHANGES: self.text(changes) });
        template["spec"]["terminationGracePeriodSeconds"] = self.number("$m.pod_grace");
        let limits = template["spec"]["containers"][0]["resources"]["limits"].as_object_mut();
        let limits = limits.context("no limits")?;
        if let Some(one) = limits.remove("nvidia.com/mig-1g.10gb") {
            limits.insert(self.raw("$m.resource"), one);
        }
        Ok(())
    }

    fn scaling(&mut self, object: &mut Value) -> anyhow::Result<()> {
        let spec = &mut object["spec"];
        spec["maxReplicaCount"] = self.number("$m.workers");
        spec["cooldownPeriod"] = self.number("$m.cooldown");
        let window =
            "/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown/stabilizationWindowSeconds";
        *spec.pointer_mut(window).context("no window")? = self.number("$m.cooldown");
        for (index, lane, threshold) in [(0, "live", "$m.live"), (1, "bulk", "$m.bulk")] {
            let metadata = &mut spec["triggers"][index]["metadata"];
            metadata["consumer"] = self.text(&format!("printf \"%s-%s-{lane}\" $m.task $m.name"));
            metadata["lagThreshold"] = self.text(threshold);
        }
        Ok(())
    }

    fn claim(&mut self, object: &mut Value) -> anyhow::Result<()> {
        let spec = object["spec"].as_object_mut().context("no spec")?;
        spec["resources"]["requests"]["storage"] = self.text("$.Values.storage.size");
        self.line(
            spec,
            "with $.Values.storage.class",
            "storageClassName: {{ . | quote }}",
        );
        Ok(())
    }

    fn staging(&mut self, object: &mut Value) -> anyhow::Result<()> {
        let spec = &mut object["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        self.variable(spec, "MODEL_SOURCE", "$m.source.argument")?;
        self.variable(spec, "MODEL_NAME", "$m.name")?;
        self.mounted(spec, "$m.source.claim");
        Ok(())
    }

    fn rebuild(&mut self, object: &mut Value) -> anyhow::Result<()> {
        object["spec"]["schedule"] = self.text("$m.cron");
        object["spec"]["timeZone"] = self.text("$m.time_zone");
        object["spec"]["suspend"] = self.number("$m.idle");
        let spec = &mut object["spec"]["jobTemplate"]["spec"]["template"]["spec"];
        self.variable(spec, "SOURCE", "$m.corpus.argument")?;
        self.mounted(spec, "$m.corpus.claim");
        Ok(())
    }

    fn variable(&mut self, spec: &mut Value, name: &str, expression: &str) -> anyhow::Result<()> {
        let variables = spec["containers"][0]["env"]
            .as_array_mut()
            .context("no environment")?;
        let variable = variables.iter_mut().find(|it| it["name"] == name);
        variable.context("no such variable")?["value"] = self.text(expression);
        Ok(())
    }

    /// The name of a claim that is only sometimes mounted.
    fn mounted(&mut self, spec: &mut Value, expression: &str) {
        let volumes = spec["volumes"].as_array_mut();
        for volume in volumes.into_iter().flatten() {
            let claim = volume.pointer_mut("/persistentVolumeClaim/claimName");
            if let Some(name) = claim.filter(|name| **name == CLAIM) {
                *name = self.text(expression);
            }
        }
    }
}
