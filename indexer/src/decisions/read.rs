//! Read: decisions from YAML, with everything that is wrong at once.
//!
//! A derived reader stops at the first fault. This one looks at each field by itself, and leaves the whole to the derived
//! reader when every part is right.

use std::fmt;

use contract::digest::Digest;
use contract::names::{CollectionName, ModelName};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::options::is_option;
use super::{
    CorpusPlace, Cron, Decisions, Gpu, ModelPlace, Quantity, Span, StorageClass, TimeZone,
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
    check: fn(&Value) -> Result<(), String>,
}

pub static FIELDS: [Field; 25] = [
    Field::required("model.name", is::<ModelName>),
    Field::required("model.source", is::<ModelPlace>),
    Field::required("model.fingerprint", is::<Digest>),
    Field::optional("model.tokens_per_second", is_count),
    Field::optional("gpu", is::<Gpu>),
    Field::optional("max_workers", is_count),
    Field::optional("drain_target", is::<Span>),
    Field::optional("alias", is_alias),
    Field::optional("source", is::<CorpusPlace>),
    Field::optional("schedule.cron", is::<Cron>),
    Field::optional("schedule.time_zone", is::<TimeZone>),
    Field::optional("storage.class", is::<StorageClass>),
    Field::optional("storage.size", is::<Quantity>),
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
    look("", map, &mut faults);
    faults.extend(missing(&value));
    if !faults.is_empty() {
        return Err(faults);
    }
    serde_json::from_value(value).map_err(|error| whole(error.to_string()))
}

/// Looks at each key of a mapping, and of those in it.
fn look(at: &str, map: &Map<String, Value>, faults: &mut Vec<Fault>) {
    for (key, value) in map {
        let path = if at.is_empty() {
            key.clone()
        } else {
            format!("{at}.{key}")
        };
        let problem = match FIELDS.iter().find(|field| field.path == path) {
            Some(field) => (field.check)(value).err(),
            None if !is_known(&path) => Some(unknown(at, key)),
            None => {
                if let Value::Object(map) = value {
                    look(&path, map, faults);
                    continue;
                }
                Some(format!("expected a mapping with {}", list(known(&path))))
            }
        };
        faults.extend(problem.map(|problem| Fault {
            field: path,
            problem,
        }));
    }
}

/// Required fields that are not there. A part that is no mapping was complained about already.
fn missing(value: &Value) -> impl Iterator<Item = Fault> {
    let is_missing = move |field: &&Field| {
        let pointer = format!("/{}", field.path.replace('.', "/"));
        let parent = field.path.split('.').next().and_then(|key| value.get(key));
        let readable = parent.is_none_or(Value::is_object);
        field.required && readable && value.pointer(&pointer).is_none()
    };
    FIELDS.iter().filter(is_missing).map(|field| Fault {
        field: field.path.to_owned(),
        problem: "has to be decided".to_owned(),
    })
}

/// Whether some field is below this path.
fn is_known(path: &str) -> bool {
    known(path).next().is_some()
}

/// Keys that a mapping may have.
fn known(at: &str) -> impl Iterator<Item = &'static str> {
    let below = move |field: &'static Field| match at {
        "" => Some(field.path),
        at => field.path.strip_prefix(at)?.strip_prefix('.'),
    };
    let mut last = "";
    FIELDS.iter().filter_map(below).filter_map(move |path| {
        let key = path.split('.').next().unwrap_or(path);
        let repeated = std::mem::replace(&mut last, key) == key;
        (!repeated).then_some(key)
    })
}

fn unknown(at: &str, key: &str) -> String {
    let known: Vec<_> = known(at).collect();
    match nearest(key, known.iter().copied()) {
        Some(nearest) => format!("is unknown; `{nearest}` is the nearest"),
        None => format!("is unknown; known are {}", list(known.into_iter())),
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
            check,
        }
    }

    const fn optional(path: &'static str, check: fn(&Value) -> Result<(), String>) -> Self {
        Self {
            path,
            required: false,
            check,
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
