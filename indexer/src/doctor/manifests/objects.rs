//! Objects of Kubernetes in manifests, and the fields that the rules look at.

use std::fmt;

use anyhow::Context as _;
use serde::Deserialize as _;
use serde_json::Value;

#[derive(Debug, Default)]
pub struct Objects(Vec<Value>);

/// An object with its kind and name.
#[derive(Clone, Copy, Debug)]
pub struct Object<'a>(pub &'a Value);

/// A container, with the objects that its environment comes from.
#[derive(Clone, Copy)]
pub struct Container<'a> {
    objects: &'a Objects,
    namespace: &'a str,
    value: &'a Value,
}

impl Objects {
    /// Takes the documents of a stream of YAML; those of a `List` are taken out of it.
    pub fn add(&mut self, yaml: &str) -> anyhow::Result<()> {
        for document in yaml_serde::Deserializer::from_str(yaml) {
            let document = yaml_serde::Value::deserialize(document)?;
            let document = serde_json::to_value(document)?;
            if document.is_null() {
                continue;
            }
            let kind = document["kind"].as_str();
            match kind.context("a document without a kind is no object")? {
                "List" => self.0.extend(list(&document["items"]).iter().cloned()),
                _ => self.0.push(document),
            }
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn all(&self) -> impl Iterator<Item = Object<'_>> {
        self.0.iter().map(Object)
    }

    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = Object<'_>> {
        self.all().filter(move |object| object.kind() == kind)
    }

    pub fn find(&self, kind: &str, namespace: &str, name: &str) -> Option<Object<'_>> {
        let mut found = self.of_kind(kind);
        found.find(|object| object.namespace() == namespace && object.name() == name)
    }

    /// Containers of an object that starts pods.
    pub fn containers<'a>(&'a self, object: Object<'a>) -> Vec<Container<'a>> {
        let containers = object.pod().map_or(&Value::Null, |pod| &pod["containers"]);
        let container = |value| Container {
            objects: self,
            namespace: object.namespace(),
            value,
        };
        list(containers).iter().map(container).collect()
    }
}

impl<'a> Object<'a> {
    pub fn kind(self) -> &'a str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    pub fn name(self) -> &'a str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub fn namespace(self) -> &'a str {
        self.0["metadata"]["namespace"]
            .as_str()
            .unwrap_or("default")
    }

    pub fn spec(self) -> &'a Value {
        &self.0["spec"]
    }

    /// The description of its pods, if it starts any.
    pub fn pod(self) -> Option<&'a Value> {
        let spec = self.spec();
        let pod = match self.kind() {
            "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => {
                &spec["template"]["spec"]
            }
            "CronJob" => &spec["jobTemplate"]["spec"]["template"]["spec"],
            "Pod" => spec,
            _ => return None,
        };
        pod.is_object().then_some(pod)
    }
}

impl fmt::Display for Object<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind(), self.name())
    }
}

impl<'a> Container<'a> {
    /// Whether it runs this verb.
    pub fn runs(self, verb: &str) -> bool {
        self.words().any(|word| word == verb)
    }

    fn words(self) -> impl Iterator<Item = &'a str> {
        let lists = ["command", "args"].map(|key| list(&self.value[key]));
        lists.into_iter().flatten().filter_map(Value::as_str)
    }

    /// Resources that it asks for or is limited to, by name.
    pub fn resources(self) -> impl Iterator<Item = &'a str> {
        let both = ["limits", "requests"].map(|key| self.value["resources"][key].as_object());
        both.into_iter()
            .flatten()
            .flat_map(|map| map.keys().map(String::as_str))
    }

    /// The probe that decides whether it has started, if it has one.
    pub fn startup_probe(self) -> Option<&'a Value> {
        let probe = &self.value["startupProbe"];
        probe.is_object().then_some(probe)
    }

    /// Value of a setting: of its option, else of its variable.
    pub fn setting(self, option: &str, variable: &str) -> Option<&'a str> {
        self.option(option).or_else(|| self.variable(variable))
    }

    fn option(self, option: &str) -> Option<&'a str> {
        let mut words = self.words();
        while let Some(word) = words.next() {
            if word == option {
                return words.next();
            }
            let value = word
                .strip_prefix(option)
                .and_then(|rest| rest.strip_prefix('='));
            if value.is_some() {
                return value;
            }
        }
        None
    }

    /// A variable by itself counts more than a set of them, and the last set more than those before it.
    fn variable(self, variable: &str) -> Option<&'a str> {
        let own = list(&self.value["env"])
            .iter()
            .rev()
            .find(|entry| entry["name"] == variable);
        if let Some(entry) = own {
            let reference = &entry["valueFrom"]["configMapKeyRef"];
            let key = reference["key"].as_str().unwrap_or_default();
            return entry["value"]
                .as_str()
                .or_else(|| self.of_map(&reference["name"], key));
        }
        let sets = list(&self.value["envFrom"]).iter().rev();
        sets.filter_map(|set| self.of_map(&set["configMapRef"]["name"], variable))
            .next()
    }

    fn of_map(self, name: &Value, key: &str) -> Option<&'a str> {
        let map = self
            .objects
            .find("ConfigMap", self.namespace, name.as_str()?)?;
        map.0["data"][key].as_str()
    }
}

/// The elements of a list; none where there is none.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
