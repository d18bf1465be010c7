//! Read: decisions from YAML, with everything that is wrong at once.
//!
//! A derived reader stops at the first fault. This one looks at each field by itself, and leaves the whole to the derived
//! reader when every part is right.

use std::fmt;

use contract::digest::Digest;
use contract::names::{CollectionName, ModelName};
use contract::topology::Task;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::agree::disagreements;
use super::options::is_option;
use super::{
    CorpusLocation, Cron, Decisions, Gpu, ModelLocation, ObjectName, Quantity, Registry, Servers,
    Span, TimeZone,
};

/// The longest run id that a CronJob gives: its name, and the minute of its schedule.
const LONGEST_RUN: &str = "rebuild-99999999";

/// Names less alike than this are other names.
const ALIKE: f64 = 0.75;

/// Something that is wrong with decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field by its path, like `model.name`; empty for all of them.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// A field that holds one value.
pub struct Field {
    pub path: &'static str,
    required: bool,
    /// Whether it is of the whole installation, and not of each model.
    shared: bool,
    check: fn(&Value) -> Result<(), String>,
}

/// The list of further models.
const MORE: &str = "more_models";

pub static FIELDS: [Field; 31] = [
    Field::required("model.name", is::<ModelName>),
    Field::optional("model.task", is::<Task>),
    Field::required("model.source", is::<ModelLocation>),
    Field::required("model.fingerprint", is::<Digest>),
    Field::optional("model.tokens_per_second", is_count),
    Field::optional("gpu", is::<Gpu>),
    Field::optional("max_workers", is_count),
    Field::optional("drain_target", is::<Span>),
    Field::optional("alias", is_alias),
    Field::optional("attached", is_flag),
    Field::optional("source", is::<CorpusLocation>),
    Field::optional("schedule.cron", is::<Cron>),
    Field::optional("schedule.time_zone", is::<TimeZone>),
    Field::optional("queue", is::<ObjectName>),
    Field::shared(MORE, is_list),
    Field::shared("storage.class", is::<ObjectName>),
    Field::shared("storage.size", is::<Quantity>),
    Field::shared("servers", is::<Servers>),
    Field::shared("registry", is::<Registry>),
    Field::optional("options.shards", is_count),
    Field::optional("options.replication", is_count),
    Field::optional("options.write_consistency", is_count),
    Field::optional("options.datatype", |value| is_option("datatype", value)),
    Field::optional("options.vectors", |value| is_option("vectors", value)),
    Field::optional("options.payload", |value| is_option("payload", value)),
    Field::optional("options.quantization", |value| {
        is_option("quantization", value)
    }),
    Field::optional("options.rescore_vectors", |value| {
        is_option("rescore_vectors", value)
    }),
    Field::optional("options.oversampling", |value| {
        is_option("oversampling", value)
    }),
    Field::optional("options.hnsw", |value| is_option("hnsw", value)),
    Field::optional("options.strict_mode", |value| {
        is_option("strict_mode", value)
    }),
    Field::optional("options.index", |value| is_option("index", value)),
];

pub fn read(yaml: &str) -> Result<Decisions, Vec<Fault>> {
    let whole = |problem: String| {
        let field = String::new();
        vec![Fault { field, problem }]
    };
    // Only its own type notices a key that is there twice.
    let value: yaml_serde::Value =
        yaml_serde::from_str(yaml).map_err(|error| whole(error.to_string()))?;
    let value = serde_json::to_value(value).map_err(|error| whole(error.to_string()))?;
    let Value::Object(map) = &value else {
        return Err(whole("expected a mapping with `model` in it".to_owned()));
    };
    let mut faults = Vec::new();
    Level::TOP.look("", map, &mut faults);
    faults.extend(Level::TOP.missing(&value));
    let more = value.get(MORE).and_then(Value::as_array);
    for (index, value) in more.into_iter().flatten().enumerate() {
        let level = Level {
            prefix: format!("{MORE}[{index}]."),
            is_further: true,
        };
        if let Value::Object(map) = value {
            level.look("", map, &mut faults);
            faults.extend(level.missing(value));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let decisions: Decisions =
        serde_json::from_value(value).map_err(|error| whole(error.to_string()))?;
    let faults = disagreements(&decisions);
    if faults.is_empty() {
        Ok(decisions)
    } else {
        Err(faults)
    }
}

/// The position of a mapping in the file of decisions.
struct Level {
    /// Stands before the path of a field.
    prefix: String,
    /// Whether it is one of the further models.
    is_further: bool,
}

impl Level {
    const TOP: Self = Self {
        prefix: String::new(),
        is_further: false,
    };

    /// Looks at each key of a mapping, and of those in it.
    fn look(&self, at: &str, map: &Map<String, Value>, faults: &mut Vec<Fault>) {
        for (key, value) in map {
            let path = if at.is_empty() {
                key.clone()
            } else {
                format!("{at}.{key}")
            };
            let problem = match self.fields().find(|field| field.path == path) {
                Some(field) => (field.check)(value).err(),
                None if self.known(&path).next().is_none() => Some(self.unknown(at, key)),
                None => {
                    if let Value::Object(map) = value {
                        self.look(&path, map, faults);
                        continue;
                    }
                    let known = list(self.known(&path));
                    Some(format!("expected a mapping with {known}"))
                }
            };
            faults.extend(problem.map(|problem| self.fault(&path, problem)));
        }
    }

    /// Required fields that are not there. A part that is no mapping was complained about already.
    fn missing(&self, value: &Value) -> Vec<Fault> {
        let is_missing = |field: &&Field| {
            let pointer = format!("/{}", field.path.replace('.', "/"));
            let parent = field.path.split('.').next().and_then(|key| value.get(key));
            let readable = parent.is_none_or(Value::is_object);
            field.required && readable && value.pointer(&pointer).is_none()
        };
        let missing = self.fields().filter(is_missing);
        missing
            .map(|field| self.fault(field.path, "has to be decided".to_owned()))
            .collect()
    }

    fn fault(&self, path: &str, problem: String) -> Fault {
        let field = format!("{}{path}", self.prefix);
        Fault { field, problem }
    }

    fn fields(&self) -> impl Iterator<Item = &'static Field> {
        let is_further = self.is_further;
        FIELDS
            .iter()
            .filter(move |field| !(is_further && field.shared))
    }

    /// Keys that the mapping at a path may have.
    fn known(&self, at: &str) -> impl Iterator<Item = &'static str> {
        let below = move |field: &'static Field| match at {
            "" => Some(field.path),
            at => field.path.strip_prefix(at)?.strip_prefix('.'),
        };
        let keys = self.fields().filter_map(below);
        let keys = keys.map(|path| path.split('.').next().unwrap_or(path));
        let mut known: Vec<_> = keys.collect();
        known.dedup();
        known.into_iter()
    }

    fn unknown(&self, at: &str, key: &str) -> String {
        let known: Vec<_> = self.known(at).collect();
        match nearest(key, known.iter().copied()) {
            Some(nearest) => format!("is unknown; `{nearest}` is the nearest"),
            None => format!("is unknown; known are {}", list(known.into_iter())),
        }
    }
}

fn list(names: impl Iterator<Item = &'static str>) -> String {
    let quoted: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// The name that is most like a text, if any is.
pub fn nearest<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = text.to_lowercase();
    let scored = names.map(|name| (strsim::jaro_winkler(&lower, &name.to_lowercase()), name));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (best.0 >= ALIKE).then_some(best.1)
}

fn is<T: DeserializeOwned>(value: &Value) -> Result<(), String> {
    T::deserialize(value)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Generations behind an alias are called `<alias>--<run>`, which has to be a name, and a name of this alias alone.
fn is_alias(value: &Value) -> Result<(), String> {
    let alias = CollectionName::deserialize(value).map_err(|error| error.to_string())?;
    if alias.as_str().contains("--") {
        return Err(format!(
            "`{alias}` reads as a generation of another alias: expected a name without `--`"
        ));
    }
    let generation = alias.generation(LONGEST_RUN);
    generation.map(drop).map_err(|error| error.to_string())
}

/// The members are looked at one by one.
fn is_list(value: &Value) -> Result<(), String> {
    let members = value.as_array();
    let good = members.is_some_and(|members| members.iter().all(Value::is_object));
    let problem = "expected a list of models, each a mapping with `model` in it";
    good.then_some(()).ok_or_else(|| problem.to_owned())
}

fn is_flag(value: &Value) -> Result<(), String> {
    match value.is_boolean() {
        true => Ok(()),
        false => Err(format!("`{value}` is neither true nor false")),
    }
}

fn is_count(value: &Value) -> Result<(), String> {
    match u32::deserialize(value) {
        Ok(count) if count > 0 => Ok(()),
        Ok(_) | Err(_) => Err(format!("`{value}` is not a whole number above 0")),
    }
}

impl Field {
    const fn required(path: &'static str, check: fn(&Value) -> Result<(), String>) -> Self {
        Self {
            path,
            required: true,
            shared: false,
            check,
        }
    }

    const fn optional(path: &'static str, check: fn(&Value) -> Result<(), String>) -> Self {
        Self {
            path,
            required: false,
            shared: false,
            check,
        }
    }

    const fn shared(path: &'static str, check: fn(&Value) -> Result<(), String>) -> Self {
        Self {
            shared: true,
            ..Self::optional(path, check)
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            return f.write_str(&self.problem);
        }
        write!(f, "{}: {}", self.field, self.problem)
    }
}
